"""Attempts, their owners and their outcomes."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, Table, Text

from shapestore.storage.schema.columns import definition, metadata, number

create_locks = Table(
    "create_locks",
    metadata,
    Column("number", Integer, primary_key=True),
    *definition(),
    Column("handle", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("refreshes", Text),  # the attempt that had confirmed the shape that is refreshed
    Column("started_boot", Text, nullable=False),
    number("started_at_boot_ms"),
    number("started_at_ms"),
    number("touched", 0),  # 1: the source was touched meanwhile, and what is read counts as stale
    number("touched_keys_from", 0),  # the newest number of touched_keys at the claim, or when a round reached the shape
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
    # No index by table or owner: each attempt would write its pages twice, and there are few rows to go through.
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
    number("followers", 0),
    number("finished_at_ms"),
    CheckConstraint(
        "outcome IN ('created', 'refreshed', 'failed', 'abandoned', 'died', 'released', 'invalidated')",
        name="creations_outcome",
    ),
    sqlite_strict=True,
)
