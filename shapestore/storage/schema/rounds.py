"""Rounds of logs, and the sources that live shapes follow."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from shapestore.storage.schema.columns import metadata, number

log_state = Table(
    "log_state",
    metadata,
    Column("id", Integer, primary_key=True),
    number("round"),
    number("jump_due"),
    number("gaps_known_from"),  # gaps before this round are forgotten
    CheckConstraint("id = 1", name="log_state_is_one_row"),
    sqlite_strict=True,
)

rounds = Table(
    "rounds",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("source", Integer),
    Column("seq", Integer),  # of the source, as of which it was read
    Column("markers", Text),  # JSON: seqs that the application asked to be told of
    number("finished", 1),
    Column("ended_boot", Text, nullable=False),
    number("ended_at_boot_ms"),
    number("ended_at_ms"),
    sqlite_strict=True,
)

gaps = Table(
    "gaps",
    metadata,
    Column("first", Integer, primary_key=True),
    number("last"),
    sqlite_strict=True,
)

sources = Table(
    "sources",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    number("followed_seq", 0),
    Column("followed_nonce", Integer),
    number("rounds", 0),  # how many there were: what a follower compares and sets
    Column("unfinished_round", Integer),
    Column("followed_boot", Text),
    Column("followed_at_boot_ms", Integer),
    Column("followed_at_ms", Integer),
    sqlite_strict=True,
)

source_tables = Table(
    "source_tables",
    metadata,
    Column("number", Integer, primary_key=True),
    number("source"),
    Column("name", Text, nullable=False),
    UniqueConstraint("source", "name"),
    sqlite_strict=True,
)

members = Table(
    "members",
    metadata,
    number("source_table"),
    Column("key", Text, nullable=False),
    number("shape"),
    number("position"),
    PrimaryKeyConstraint("source_table", "key", "shape"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

touched_keys = Table(
    "touched_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("namespace", Text),
    Column("source", Integer),
    Column("table_name", Text, nullable=False),
    Column("key", Text),  # NULL: any
    Column("seq", Integer),  # of the source, as of which a round asked
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
