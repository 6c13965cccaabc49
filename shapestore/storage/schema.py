"""The tables and views of a store's file, as SQLAlchemy metadata: what alembic compares its migrations with.

Names and values are plain, since people read them in the ``sqlite3`` shell. Times are integer
milliseconds since the epoch in columns ending ``_ms``; the views say the same in words.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, PrimaryKeyConstraint, Table, Text, text

metadata = MetaData()

shapes = Table(
    "shapes",
    metadata,
    Column("handle", Text, primary_key=True),
    Column("comparable", Text, nullable=False, unique=True),
    Column("table_name", Text, nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("created_at_ms", Integer, nullable=False),
    Column("last_read_at_ms", Integer, nullable=False),
    # A logical clock, not a time: the greater, the later read. Eviction takes the smallest.
    Column("read_order", Integer, nullable=False),
    Index("shapes_by_table", "table_name", "handle"),
    Index("shapes_by_read_order", "read_order"),
    sqlite_strict=True,
)

# WITHOUT ROWID: the primary key is the order in which rows are written, read and deleted.
shape_rows = Table(
    "shape_rows",
    metadata,
    Column("handle", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("handle", "position"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

create_locks = Table(
    "create_locks",
    metadata,
    Column("comparable", Text, primary_key=True),
    Column("table_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("handle", Text, nullable=False, unique=True),
    Column("started_at_ms", Integer, nullable=False),
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
    Index("create_locks_by_table", "table_name"),
    Index("create_locks_by_owner", "owner"),
    sqlite_strict=True,
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

discarded = Table(
    "discarded",
    metadata,
    Column("handle", Text, primary_key=True),
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
    Column("followers", Integer, nullable=False, server_default=text("0")),
    Column("finished_at_ms", Integer, nullable=False),
    CheckConstraint(
        "outcome IN ('created', 'failed', 'abandoned', 'died', 'released', 'invalidated')",
        name="creations_outcome",
    ),
    sqlite_strict=True,
)

# Kept by triggers, so that counting costs the same for a million shapes as for one.
totals = Table(
    "totals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    sqlite_strict=True,
)

TRIGGERS = {
    "shapes_counted_in": """
        CREATE TRIGGER shapes_counted_in AFTER INSERT ON shapes
        BEGIN UPDATE totals SET value = value + 1 WHERE name = 'shapes'; END
    """,
    "shapes_counted_out": """
        CREATE TRIGGER shapes_counted_out AFTER DELETE ON shapes
        BEGIN UPDATE totals SET value = value - 1 WHERE name = 'shapes'; END
    """,
}


def _time(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')"


def _age(column: str) -> str:
    """Seconds, minutes, hours or days, whichever says it in two or three digits."""
    return f"""(
            SELECT CASE WHEN s < 120 THEN s || ' s' WHEN s < 7200 THEN (s / 60) || ' min'
                        WHEN s < 172800 THEN (s / 3600) || ' h' ELSE (s / 86400) || ' days' END
            FROM (SELECT max(0, unixepoch('now') - {column} / 1000) AS s))"""


# Views for people and the sqlite3 shell. No store reads them: SQLite before 3.41 refuses ->> inside of a view where
# trusted_schema is off, as it is on a store's connections.
VIEWS = {
    "shapes_in_words": f"""
        CREATE VIEW shapes_in_words AS
        SELECT handle,
               table_name AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               coalesce(comparable ->> '$.columns', 'all') AS columns,
               row_count AS "rows",
               {_time("created_at_ms")} AS created_at,
               {_age("created_at_ms")} AS age,
               {_time("last_read_at_ms")} AS last_read_at,
               {_age("last_read_at_ms")} AS unread_for
        FROM shapes
    """,
    "create_locks_in_words": f"""
        CREATE VIEW create_locks_in_words AS
        SELECT create_locks.table_name AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               CASE state
                   WHEN 'in_progress' THEN 'being created for ' || {_age("started_at_ms")}
                   ELSE 'failed ' || {_age("failed_at_ms")} || ' ago: ' || error_type || ': ' || error_message
               END AS what,
               CASE state
                   WHEN 'in_progress' THEN coalesce((
                       SELECT max(position) FROM shape_rows WHERE shape_rows.handle = create_locks.handle), 0)
               END AS rows_so_far,
               coalesce('process ' || pid || ' (' || program || ') on ' || hostname, 'a store that is gone') AS who,
               {_time("started_at_ms")} AS started_at,
               handle,
               create_locks.owner
        FROM create_locks LEFT JOIN owners ON owners.owner = create_locks.owner
    """,
    "owners_in_words": f"""
        CREATE VIEW owners_in_words AS
        SELECT 'process ' || pid || ' (' || program || ') on ' || hostname AS who,
               (SELECT count(*) FROM create_locks
                WHERE create_locks.owner = owners.owner AND state = 'in_progress') AS creating,
               {_time("opened_at_ms")} AS opened_at,
               {_age("opened_at_ms")} AS age,
               owner
        FROM owners
    """,
    "creations_in_words": f"""
        CREATE VIEW creations_in_words AS
        SELECT {_time("finished_at_ms")} AS finished_at,
               {_age("finished_at_ms")} || ' ago' AS "when",
               outcome,
               comparable ->> '$.table' AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               row_count AS "rows",
               duration_ms || ' ms' AS took,
               followers AS followers_served,
               error_type || ': ' || error_message AS error,
               handle
        FROM creations ORDER BY number DESC
    """,
    # The handles of shape_rows are found by one seek each, however many rows there are.
    "left_behind": """
        CREATE VIEW left_behind AS
        WITH RECURSIVE handles (handle) AS (
            SELECT min(handle) FROM shape_rows
            UNION ALL
            SELECT (SELECT min(handle) FROM shape_rows WHERE shape_rows.handle > handles.handle)
            FROM handles WHERE handles.handle IS NOT NULL
        )
        SELECT 'rows of a shape that was dropped, about to be deleted' AS what, handle
        FROM discarded
        UNION ALL
        SELECT 'rows that belong to no shape', handle
        FROM handles
        WHERE handle IS NOT NULL
            AND handle NOT IN (SELECT handle FROM shapes)
            AND handle NOT IN (SELECT handle FROM discarded)
            AND handle NOT IN (SELECT handle FROM create_locks WHERE state = 'in_progress')
        UNION ALL
        SELECT 'a lock of a store that is gone', handle
        FROM create_locks WHERE owner NOT IN (SELECT owner FROM owners)
    """,
}
