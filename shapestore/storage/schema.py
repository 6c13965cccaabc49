"""The tables of a store's file, as SQLAlchemy metadata: what alembic compares its migrations with.

Names and values are plain, since people read them in the ``sqlite3`` shell; views.py says the same in words.

- A column ending ``_ms`` is a time in integer milliseconds since the epoch, from the wall clock, for people.
- A column ending ``_boot_ms`` is a time since the machine started, and the column ``_boot`` beside it names that start:
  these are what ages are computed from.
- A shape is stored under a short number, its attempt's. Its rows and changes have the ids ``number << 28 | position``,
  so that all of a shape lies together in one range.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()


def _number(name: str, default: int | None = None) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=None if default is None else text(str(default)))


def _definition() -> list[Column[str]]:
    """What a shape is. The where is kept as it was written too: that is what is executed."""
    return [
        Column("comparable", Text, nullable=False, unique=True),
        Column("namespace", Text, nullable=False),
        Column("table_name", Text, nullable=False),
        Column("where_as_written", Text),
    ]


def _log() -> list[Column[int]]:
    """Where the log of a shape stands. ``floor``: changes up to there are forgotten."""
    return [
        _number("row_count"),
        _number("snapshot"),  # the first snapshot has the positions 1 to this
        _number("position"),  # the last that readers see
        _number("written"),  # the last in the file: beyond position only while a round is unfinished
        _number("round", 0),  # of position; 0 for the first snapshot
        _number("floor", 0),
        _number("floor_round", 0),
        _number("bytes"),  # of the rows, as JSON in UTF-8
        _number("log_bytes", 0),
    ]


shapes = Table(
    "shapes",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("handle", Text, nullable=False, unique=True),
    *_definition(),
    *_log(),
    Column("key_columns", Text),  # JSON; NULL where rows have no key
    Column("columns_described", Text),  # JSON: names, types and keys, for HTTP
    Column("chunk_ends", Text, nullable=False, server_default=text("'[]'")),  # JSON: positions, for HTTP
    # Of a live shape: its source and its table there, the seq of the source as of which it was read (cleared by a round
    # that has seen more) with its nonce, and what the source's table and triggers were like then.
    _number("live", 0),
    Column("source", Integer),
    Column("source_table", Integer),
    Column("source_seq", Integer),
    Column("snapshot_seq", Integer),  # the same of the first snapshot, never cleared, for HTTP
    Column("source_nonce", Integer),
    Column("source_signature", Text),
    # The attempt that confirmed the rows last, and when it claimed.
    Column("confirmed_by", Text, nullable=False),
    Column("confirmed_boot", Text, nullable=False),
    _number("confirmed_at_boot_ms"),
    _number("confirmed_at_ms"),
    _number("stale", 0),  # 1: the source was touched while that attempt read it
    _number("created_at_ms"),
    _number("refreshed_at_ms"),
    _number("last_read_at_ms"),
    # A logical clock, not a time: the greater, the later read. Eviction takes the smallest.
    _number("read_order"),
    CheckConstraint(
        "floor <= position AND position <= written AND written < 268435456", name="shapes_positions_in_order"
    ),
    Index("shapes_by_table", "namespace", "table_name", "number"),
    Index("shapes_by_read_order", "read_order"),
    Index("shapes_by_source", "source", "source_seq", sqlite_where=text("source IS NOT NULL")),
    sqlite_strict=True,
)

_POSITION_COLUMNS = (
    ("shape", "id >> 28"),
    ("position", "id & 268435455"),
)


def _id() -> list[Column[int]]:
    return [
        Column("id", Integer, primary_key=True),
        *(Column(name, Integer, Computed(formula, persisted=False)) for name, formula in _POSITION_COLUMNS),
    ]


shape_rows = Table(
    "shape_rows",
    metadata,
    *_id(),
    Column("value", Text, nullable=False),
    Column("key", Text),  # JSON; NULL where rows have no key
    sqlite_strict=True,
)

# An undo log: rows are updated in place, and a change keeps the row as it was before it.
shape_changes = Table(
    "shape_changes",
    metadata,
    *_id(),
    _number("round"),
    Column("operation", Text, nullable=False),
    _number("row_id"),
    Column("key", Text, nullable=False),
    Column("old", Text),
    CheckConstraint("operation IN ('insert', 'update', 'delete')", name="shape_changes_operation"),
    CheckConstraint("(operation = 'insert') = (old IS NULL)", name="shape_changes_old"),
    Index("changes_of_row", "row_id"),
    sqlite_strict=True,
)

create_locks = Table(
    "create_locks",
    metadata,
    Column("number", Integer, primary_key=True),
    *_definition(),
    Column("handle", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("refreshes", Text),  # the attempt that had confirmed the shape that is refreshed
    Column("started_boot", Text, nullable=False),
    _number("started_at_boot_ms"),
    _number("started_at_ms"),
    _number("touched", 0),  # 1: the source was touched meanwhile, and what is read counts as stale
    _number("touched_keys_from", 0),  # the newest number of touched_keys at the claim
    Column("failed_at_ms", Integer),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("retry_after_ms", Integer),
    CheckConstraint("state IN ('in_progress', 'failed')", name="create_locks_state"),
    CheckConstraint(
        "(state = 'failed') = (failed_at_ms IS NOT NULL AND error_type IS NOT NULL"
        " AND error_message IS NOT NULL AND retry_after_ms IS NOT NULL)",
        name="create_locks_failure_is_whole",
    ),
    Index("create_locks_by_table", "namespace", "table_name"),
    Index("create_locks_by_owner", "owner"),
    sqlite_strict=True,
    sqlite_autoincrement=True,  # numbers are never used again
)

owners = Table(
    "owners",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("hostname", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("opened_at_ms", Integer, nullable=False),
    sqlite_strict=True,
)

# Handles that were replaced or dropped, for those who still read them.
kept = Table(
    "kept",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("handle", Text, nullable=False, unique=True),
    Column("comparable", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    *_log(),
    Column("key_columns", Text),
    _number("created_at_ms"),
    _number("refreshed_at_ms"),
    Column("gone_boot", Text, nullable=False),
    _number("gone_at_boot_ms"),
    _number("gone_at_ms"),
    Index("kept_by_key", "comparable"),
    Index("kept_by_age", "gone_boot", "gone_at_boot_ms"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

# Those who read for long: what they read is neither deleted nor compacted.
readers = Table(
    "readers",
    metadata,
    Column("owner", Text, nullable=False),
    Column("reading", Integer, nullable=False),
    _number("shape"),
    _number("position"),
    _number("registered_at_ms"),
    PrimaryKeyConstraint("owner", "reading"),
    Index("readers_of_shape", "shape"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# Numbers whose rows and changes are pending deletion.
discarded = Table(
    "discarded",
    metadata,
    Column("number", Integer, primary_key=True),
    sqlite_strict=True,
)

creations = Table(
    "creations",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("handle", Text, nullable=False, unique=True),
    Column("comparable", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("retry_after_ms", Integer),
    Column("duration_ms", Integer),
    Column("row_count", Integer),
    Column("changes", Integer),  # of a refresh by difference: how many rows changed
    _number("followers", 0),
    _number("finished_at_ms"),
    CheckConstraint(
        "outcome IN ('created', 'refreshed', 'failed', 'abandoned', 'died', 'released', 'invalidated')",
        name="creations_outcome",
    ),
    sqlite_strict=True,
)

# The counter of rounds, in one row. ``jump_due``: a copy of this file may have given out rounds that it does not know.
log_state = Table(
    "log_state",
    metadata,
    Column("id", Integer, primary_key=True),
    _number("round"),
    _number("jump_due"),
    _number("gaps_known_from"),  # gaps before this round are forgotten
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
    _number("finished", 1),
    Column("ended_boot", Text, nullable=False),
    _number("ended_at_boot_ms"),
    _number("ended_at_ms"),
    sqlite_strict=True,
)

# Rounds that were jumped over, and so are of no log.
gaps = Table(
    "gaps",
    metadata,
    Column("first", Integer, primary_key=True),
    _number("last"),
    sqlite_strict=True,
)

sources = Table(
    "sources",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _number("followed_seq", 0),
    Column("followed_nonce", Integer),
    _number("rounds", 0),  # how many there were: what a follower compares and sets
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
    _number("source"),
    Column("name", Text, nullable=False),
    UniqueConstraint("source", "name"),
    sqlite_strict=True,
)

# Which live shapes hold a key. An update of a row never touches it.
members = Table(
    "members",
    metadata,
    _number("source_table"),
    Column("key", Text, nullable=False),
    _number("shape"),
    _number("position"),
    PrimaryKeyConstraint("source_table", "key", "shape"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# A ring of keys that may have changed in the source, told by the application or asked for by rounds.
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

# Kept by triggers, so that counting costs the same for a million shapes as for one.
totals = Table(
    "totals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    sqlite_strict=True,
)


def _totals_of(table: str, count: str, size: str) -> dict[str, str]:
    """Triggers that count the rows of a table and sum their bytes."""

    def counted(name: str, when: str, number: str, bytes_: str) -> str:
        return f"""
            CREATE TRIGGER {table}_{name} AFTER {when} ON {table}
            BEGIN
                UPDATE totals SET value = value + CASE name WHEN '{count}' THEN {number} ELSE {bytes_} END
                WHERE name IN ('{count}', '{size}');
            END
        """

    new, old = "new.bytes + new.log_bytes", "old.bytes - old.log_bytes"
    return {
        f"{table}_counted_in": counted("counted_in", "INSERT", "1", new),
        f"{table}_counted_out": counted("counted_out", "DELETE", "-1", f"-{old}"),
        f"{table}_resized": f"""
            CREATE TRIGGER {table}_resized AFTER UPDATE OF bytes, log_bytes ON {table}
            BEGIN
                UPDATE totals SET value = value + {new} - {old} WHERE name = '{size}';
            END
        """,
    }


TRIGGERS = _totals_of("shapes", "shapes", "bytes") | _totals_of("kept", "kept", "kept_bytes")
TOTALS = ("shapes", "bytes", "kept", "kept_bytes")
