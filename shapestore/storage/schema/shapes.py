"""Shapes, their rows and logs, and what is kept of them for their readers."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from shapestore.storage.schema.columns import definition, ids, log, metadata, number

shapes = Table(
    "shapes",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("handle", Text, nullable=False, unique=True),
    *definition(),
    *log(),
    Column("key_columns", Text),  # JSON; NULL where rows have no key
    Column("columns_described", Text),  # JSON: names, types and keys, for HTTP
    Column("chunk_ends", Text, nullable=False, server_default=text("'[]'")),  # JSON: positions, for HTTP
    # Of a live shape: its source and its table there, the seq of the source as of which it was read (cleared by a round
    # that has seen more) with its nonce, and what the source's table and triggers were like then.
    number("live", 0),
    Column("source", Integer),
    Column("source_table", Integer),
    Column("source_seq", Integer),
    Column("snapshot_seq", Integer),  # the same of the first snapshot, never cleared, for HTTP
    Column("source_nonce", Integer),
    Column("source_signature", Text),
    # The attempt that confirmed the rows last, and when it claimed.
    Column("confirmed_by", Text, nullable=False),
    Column("confirmed_boot", Text, nullable=False),
    number("confirmed_at_boot_ms"),
    number("confirmed_at_ms"),
    number("stale", 0),  # 1: the source was touched while that attempt read it
    number("created_at_ms"),
    number("refreshed_at_ms"),
    number("last_read_at_ms"),
    # A logical clock, not a time: the greater, the later read. Eviction takes the smallest.
    number("read_order"),
    CheckConstraint(
        "floor <= position AND position <= written AND written < 268435456", name="shapes_positions_in_order"
    ),
    Index("shapes_by_table", "namespace", "table_name", "number"),
    Index("shapes_by_read_order", "read_order"),
    Index("shapes_by_source", "source", "source_seq", sqlite_where=text("source IS NOT NULL")),
    sqlite_strict=True,
)

shape_rows = Table(
    "shape_rows",
    metadata,
    *ids(),
    Column("value", Text, nullable=False),
    Column("key", Text),  # JSON; NULL where rows have no key
    sqlite_strict=True,
)

shape_changes = Table(
    "shape_changes",
    metadata,
    *ids(),
    number("round"),
    Column("operation", Text, nullable=False),
    number("row_id"),
    Column("key", Text, nullable=False),
    Column("old", Text),
    CheckConstraint(  # with IN, writing a change would take half as long again
        "operation = 'insert' OR operation = 'update' OR operation = 'delete'", name="shape_changes_operation"
    ),
    CheckConstraint("(operation = 'insert') = (old IS NULL)", name="shape_changes_old"),
    # Not of inserts: it is asked what a row was before a change.
    Index("changes_of_row", "row_id", sqlite_where=text("old IS NOT NULL")),
    sqlite_strict=True,
)

kept = Table(
    "kept",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("handle", Text, nullable=False, unique=True),
    Column("comparable", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    *log(),
    Column("key_columns", Text),
    number("created_at_ms"),
    number("refreshed_at_ms"),
    Column("gone_boot", Text, nullable=False),
    number("gone_at_boot_ms"),
    number("gone_at_ms"),
    Index("kept_by_key", "comparable"),
    Index("kept_by_age", "gone_boot", "gone_at_boot_ms"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

readers = Table(
    "readers",
    metadata,
    Column("owner", Text, nullable=False),
    Column("reading", Integer, nullable=False),
    number("shape"),
    number("position"),
    number("registered_at_ms"),
    PrimaryKeyConstraint("owner", "reading"),
    Index("readers_of_shape", "shape"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

discarded = Table(
    "discarded",
    metadata,
    Column("number", Integer, primary_key=True),
    sqlite_strict=True,
)
