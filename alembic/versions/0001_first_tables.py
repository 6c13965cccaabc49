"""The first tables, triggers and views.

Frozen: it says what revision 0001 is, whatever becomes of ``shapestore.schema`` later. A test compares the two.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES_AND_INDEXES = [
    """
    CREATE TABLE shapes (
        handle TEXT NOT NULL,
        comparable TEXT NOT NULL,
        table_name TEXT NOT NULL,
        row_count INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        last_read_at_ms INTEGER NOT NULL,
        read_order INTEGER NOT NULL,
        PRIMARY KEY (handle),
        UNIQUE (comparable)
    ) STRICT
    """,
    "CREATE INDEX shapes_by_table ON shapes (table_name, handle)",
    "CREATE INDEX shapes_by_read_order ON shapes (read_order)",
    """
    CREATE TABLE shape_rows (
        handle TEXT NOT NULL,
        position INTEGER NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (handle, position)
    ) WITHOUT ROWID, STRICT
    """,
    """
    CREATE TABLE create_locks (
        comparable TEXT NOT NULL,
        table_name TEXT NOT NULL,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        handle TEXT NOT NULL,
        started_at_ms INTEGER NOT NULL,
        failed_at_ms INTEGER,
        error_type TEXT,
        error_message TEXT,
        retry_after_ms INTEGER,
        PRIMARY KEY (comparable),
        CONSTRAINT create_locks_state CHECK (state IN ('in_progress', 'failed')),
        CONSTRAINT create_locks_failure_is_whole CHECK (
            (state = 'failed') = (failed_at_ms IS NOT NULL AND error_type IS NOT NULL
            AND error_message IS NOT NULL AND retry_after_ms IS NOT NULL)
        ),
        UNIQUE (handle)
    ) STRICT
    """,
    "CREATE INDEX create_locks_by_table ON create_locks (table_name)",
    "CREATE INDEX create_locks_by_owner ON create_locks (owner)",
    """
    CREATE TABLE owners (
        owner TEXT NOT NULL,
        pid INTEGER NOT NULL,
        hostname TEXT NOT NULL,
        program TEXT NOT NULL,
        opened_at_ms INTEGER NOT NULL,
        PRIMARY KEY (owner)
    ) STRICT
    """,
    """
    CREATE TABLE discarded (
        handle TEXT NOT NULL,
        PRIMARY KEY (handle)
    ) STRICT
    """,
    """
    CREATE TABLE creations (
        number INTEGER NOT NULL,
        handle TEXT NOT NULL,
        comparable TEXT NOT NULL,
        outcome TEXT NOT NULL,
        error_type TEXT,
        error_message TEXT,
        retry_after_ms INTEGER,
        duration_ms INTEGER,
        row_count INTEGER,
        followers INTEGER DEFAULT 0 NOT NULL,
        finished_at_ms INTEGER NOT NULL,
        PRIMARY KEY (number),
        CONSTRAINT creations_outcome CHECK (
            outcome IN ('created', 'failed', 'abandoned', 'died', 'released', 'invalidated')
        ),
        UNIQUE (handle)
    ) STRICT
    """,
    """
    CREATE TABLE totals (
        name TEXT NOT NULL,
        value INTEGER NOT NULL,
        PRIMARY KEY (name)
    ) STRICT
    """,
    "INSERT INTO totals (name, value) VALUES ('shapes', 0)",
]

TRIGGERS = [
    """
    CREATE TRIGGER shapes_counted_in AFTER INSERT ON shapes
    BEGIN UPDATE totals SET value = value + 1 WHERE name = 'shapes'; END
    """,
    """
    CREATE TRIGGER shapes_counted_out AFTER DELETE ON shapes
    BEGIN UPDATE totals SET value = value - 1 WHERE name = 'shapes'; END
    """,
]


def _time(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')"


def _age(column: str) -> str:
    return f"""(
            SELECT CASE WHEN s < 120 THEN s || ' s' WHEN s < 7200 THEN (s / 60) || ' min'
                        WHEN s < 172800 THEN (s / 3600) || ' h' ELSE (s / 86400) || ' days' END
            FROM (SELECT max(0, unixepoch('now') - {column} / 1000) AS s))"""


VIEWS = [
    f"""
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
    f"""
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
    f"""
    CREATE VIEW owners_in_words AS
    SELECT 'process ' || pid || ' (' || program || ') on ' || hostname AS who,
           (SELECT count(*) FROM create_locks
            WHERE create_locks.owner = owners.owner AND state = 'in_progress') AS creating,
           {_time("opened_at_ms")} AS opened_at,
           {_age("opened_at_ms")} AS age,
           owner
    FROM owners
    """,
    f"""
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
    """
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
]


def upgrade() -> None:
    for statement in TABLES_AND_INDEXES + TRIGGERS + VIEWS:
        op.execute(statement)


def downgrade() -> None:
    for view in ("left_behind", "creations_in_words", "owners_in_words", "create_locks_in_words", "shapes_in_words"):
        op.execute(f"DROP VIEW {view}")
    for table in ("totals", "creations", "discarded", "owners", "create_locks", "shape_rows", "shapes"):
        op.execute(f"DROP TABLE {table}")  # its indexes and triggers go with it
