"""Shapes get a log, and are stored under short numbers; what is stored is kept.

Frozen: it says what revision 0002 is, whatever becomes of ``shapestore.storage.schema`` later. A test compares the two.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

VIEWS_OF_0001 = ["shapes_in_words", "create_locks_in_words", "owners_in_words", "creations_in_words", "left_behind"]
TRIGGERS_OF_0001 = ["shapes_counted_in", "shapes_counted_out"]
REPLACED = ["shapes", "shape_rows", "create_locks", "discarded", "creations"]
INDEXES_OF_0001 = ["shapes_by_table", "shapes_by_read_order", "create_locks_by_table", "create_locks_by_owner"]

DEFINITION = """
        comparable TEXT NOT NULL,
        namespace TEXT NOT NULL,
        table_name TEXT NOT NULL,
        where_as_written TEXT,
"""
LOG = """
        row_count INTEGER NOT NULL,
        snapshot INTEGER NOT NULL,
        position INTEGER NOT NULL,
        written INTEGER NOT NULL,
        round INTEGER DEFAULT 0 NOT NULL,
        floor INTEGER DEFAULT 0 NOT NULL,
        floor_round INTEGER DEFAULT 0 NOT NULL,
        bytes INTEGER NOT NULL,
        log_bytes INTEGER DEFAULT 0 NOT NULL,
"""
ID = """
        id INTEGER NOT NULL,
        shape INTEGER GENERATED ALWAYS AS (id >> 28) VIRTUAL,
        position INTEGER GENERATED ALWAYS AS (id & 268435455) VIRTUAL,
"""

TABLES_AND_INDEXES = [
    f"""
    CREATE TABLE shapes (
        number INTEGER NOT NULL,
        handle TEXT NOT NULL,
        {DEFINITION}
        {LOG}
        key_columns TEXT,
        columns_described TEXT,
        chunk_ends TEXT DEFAULT '[]' NOT NULL,
        live INTEGER DEFAULT 0 NOT NULL,
        source INTEGER,
        source_table INTEGER,
        source_seq INTEGER,
        snapshot_seq INTEGER,
        source_nonce INTEGER,
        source_signature TEXT,
        confirmed_by TEXT NOT NULL,
        confirmed_boot TEXT NOT NULL,
        confirmed_at_boot_ms INTEGER NOT NULL,
        confirmed_at_ms INTEGER NOT NULL,
        stale INTEGER DEFAULT 0 NOT NULL,
        created_at_ms INTEGER NOT NULL,
        refreshed_at_ms INTEGER NOT NULL,
        last_read_at_ms INTEGER NOT NULL,
        read_order INTEGER NOT NULL,
        PRIMARY KEY (number),
        CONSTRAINT shapes_positions_in_order CHECK (
            floor <= position AND position <= written AND written < 268435456
        ),
        UNIQUE (handle),
        UNIQUE (comparable)
    ) STRICT
    """,
    "CREATE INDEX shapes_by_table ON shapes (namespace, table_name, number)",
    "CREATE INDEX shapes_by_read_order ON shapes (read_order)",
    "CREATE INDEX shapes_by_source ON shapes (source, source_seq) WHERE source IS NOT NULL",
    f"""
    CREATE TABLE shape_rows (
        {ID}
        value TEXT NOT NULL,
        key TEXT,
        PRIMARY KEY (id)
    ) STRICT
    """,
    f"""
    CREATE TABLE shape_changes (
        {ID}
        round INTEGER NOT NULL,
        operation TEXT NOT NULL,
        row_id INTEGER NOT NULL,
        key TEXT NOT NULL,
        old TEXT,
        PRIMARY KEY (id),
        CONSTRAINT shape_changes_operation CHECK (
            operation = 'insert' OR operation = 'update' OR operation = 'delete'
        ),
        CONSTRAINT shape_changes_old CHECK ((operation = 'insert') = (old IS NULL))
    ) STRICT
    """,
    "CREATE INDEX changes_of_row ON shape_changes (row_id) WHERE old IS NOT NULL",
    f"""
    CREATE TABLE create_locks (
        number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        {DEFINITION}
        handle TEXT NOT NULL,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        refreshes TEXT,
        started_boot TEXT NOT NULL,
        started_at_boot_ms INTEGER NOT NULL,
        started_at_ms INTEGER NOT NULL,
        touched INTEGER DEFAULT 0 NOT NULL,
        touched_keys_from INTEGER DEFAULT 0 NOT NULL,
        failed_at_ms INTEGER,
        error_type TEXT,
        error_message TEXT,
        retry_after_ms INTEGER,
        CONSTRAINT create_locks_state CHECK (state IN ('in_progress', 'failed')),
        CONSTRAINT create_locks_failure_is_whole CHECK (
            (state = 'failed') = (failed_at_ms IS NOT NULL AND error_type IS NOT NULL
            AND error_message IS NOT NULL AND retry_after_ms IS NOT NULL)
        ),
        UNIQUE (comparable),
        UNIQUE (handle)
    ) STRICT
    """,
    f"""
    CREATE TABLE kept (
        sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        number INTEGER NOT NULL,
        handle TEXT NOT NULL,
        comparable TEXT NOT NULL,
        table_name TEXT NOT NULL,
        {LOG}
        key_columns TEXT,
        created_at_ms INTEGER NOT NULL,
        refreshed_at_ms INTEGER NOT NULL,
        gone_boot TEXT NOT NULL,
        gone_at_boot_ms INTEGER NOT NULL,
        gone_at_ms INTEGER NOT NULL,
        UNIQUE (number),
        UNIQUE (handle)
    ) STRICT
    """,
    "CREATE INDEX kept_by_key ON kept (comparable)",
    "CREATE INDEX kept_by_age ON kept (gone_boot, gone_at_boot_ms)",
    """
    CREATE TABLE readers (
        owner TEXT NOT NULL,
        reading INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        position INTEGER NOT NULL,
        registered_at_ms INTEGER NOT NULL,
        PRIMARY KEY (owner, reading)
    ) WITHOUT ROWID, STRICT
    """,
    "CREATE INDEX readers_of_shape ON readers (shape)",
    """
    CREATE TABLE discarded (
        number INTEGER NOT NULL,
        PRIMARY KEY (number)
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
        changes INTEGER,
        followers INTEGER DEFAULT 0 NOT NULL,
        finished_at_ms INTEGER NOT NULL,
        PRIMARY KEY (number),
        CONSTRAINT creations_outcome CHECK (
            outcome IN ('created', 'refreshed', 'failed', 'abandoned', 'died', 'released', 'invalidated')
        ),
        UNIQUE (handle)
    ) STRICT
    """,
    """
    CREATE TABLE log_state (
        id INTEGER NOT NULL,
        round INTEGER NOT NULL,
        jump_due INTEGER NOT NULL,
        gaps_known_from INTEGER NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT log_state_is_one_row CHECK (id = 1)
    ) STRICT
    """,
    "INSERT INTO log_state (id, round, jump_due, gaps_known_from) VALUES (1, 1, 0, 0)",
    """
    CREATE TABLE rounds (
        number INTEGER NOT NULL,
        source INTEGER,
        seq INTEGER,
        markers TEXT,
        finished INTEGER DEFAULT 1 NOT NULL,
        ended_boot TEXT NOT NULL,
        ended_at_boot_ms INTEGER NOT NULL,
        ended_at_ms INTEGER NOT NULL,
        PRIMARY KEY (number)
    ) STRICT
    """,
    """
    CREATE TABLE gaps (
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (first)
    ) STRICT
    """,
    """
    CREATE TABLE sources (
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        followed_seq INTEGER DEFAULT 0 NOT NULL,
        followed_nonce INTEGER,
        rounds INTEGER DEFAULT 0 NOT NULL,
        unfinished_round INTEGER,
        followed_boot TEXT,
        followed_at_boot_ms INTEGER,
        followed_at_ms INTEGER,
        PRIMARY KEY (number),
        UNIQUE (name)
    ) STRICT
    """,
    """
    CREATE TABLE source_tables (
        number INTEGER NOT NULL,
        source INTEGER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (number),
        UNIQUE (source, name)
    ) STRICT
    """,
    """
    CREATE TABLE members (
        source_table INTEGER NOT NULL,
        key TEXT NOT NULL,
        shape INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (source_table, key, shape)
    ) WITHOUT ROWID, STRICT
    """,
    """
    CREATE TABLE touched_keys (
        number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        namespace TEXT,
        source INTEGER,
        table_name TEXT NOT NULL,
        key TEXT,
        seq INTEGER
    ) STRICT
    """,
]

CONTENTS = [
    # In the order of the handles, which is the order in which their rows lay.
    """
    INSERT INTO shapes (
        number, handle, comparable, namespace, table_name, where_as_written, row_count, snapshot, position, written,
        bytes, confirmed_by, confirmed_boot, confirmed_at_boot_ms, confirmed_at_ms, created_at_ms, refreshed_at_ms,
        last_read_at_ms, read_order)
    SELECT row_number() OVER (ORDER BY handle), handle, comparable, '', table_name, comparable ->> '$.where',
           row_count, row_count, row_count, row_count,
           coalesce((SELECT sum(length(CAST(value AS BLOB))) FROM shape_rows_of_0001 AS old
                     WHERE old.handle = shapes_of_0001.handle), 0),
           handle, '', 0, created_at_ms, created_at_ms, created_at_ms, last_read_at_ms, read_order
    FROM shapes_of_0001
    """,
    """
    INSERT INTO shape_rows (id, value)
    SELECT (shapes.number << 28) + old.position, old.value
    FROM shapes JOIN shape_rows_of_0001 AS old ON old.handle = shapes.handle
    ORDER BY shapes.number, old.position
    """,
    # Attempts in progress are of stores that cannot work with this file any more. Numbers go on behind the shapes'.
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'create_locks', coalesce(max(number), 0) FROM shapes",
    """
    INSERT INTO create_locks (
        comparable, namespace, table_name, where_as_written, handle, state, owner,
        started_boot, started_at_boot_ms, started_at_ms, failed_at_ms, error_type, error_message, retry_after_ms)
    SELECT comparable, '', table_name, comparable ->> '$.where', handle, state, owner,
           '', 0, started_at_ms, failed_at_ms, error_type, error_message, retry_after_ms
    FROM create_locks_of_0001 WHERE state = 'failed'
    """,
    """
    INSERT INTO creations (
        number, handle, comparable, outcome, error_type, error_message, retry_after_ms, duration_ms, row_count,
        followers, finished_at_ms)
    SELECT number, handle, comparable, outcome, error_type, error_message, retry_after_ms, duration_ms, row_count,
           followers, finished_at_ms
    FROM creations_of_0001
    """,
    "DELETE FROM totals",
    """
    INSERT INTO totals (name, value)
    SELECT 'shapes', count(*) FROM shapes
    UNION ALL SELECT 'bytes', coalesce(sum(bytes), 0) FROM shapes
    UNION ALL VALUES ('kept', 0), ('kept_bytes', 0)
    """,
]


def triggers_of(table: str, count: str, size: str) -> list[str]:
    new, old = "new.bytes + new.log_bytes", "old.bytes - old.log_bytes"
    counted = [("counted_in", "INSERT", "1", new), ("counted_out", "DELETE", "-1", f"-{old}")]
    return [
        *(
            f"""
            CREATE TRIGGER {table}_{name} AFTER {when} ON {table}
            BEGIN
                UPDATE totals SET value = value + {number} WHERE name = '{count}';
                UPDATE totals SET value = value + {bytes_} WHERE name = '{size}';
            END
            """
            for name, when, number, bytes_ in counted
        ),
        f"""
        CREATE TRIGGER {table}_resized AFTER UPDATE OF bytes, log_bytes ON {table}
        BEGIN
            UPDATE totals SET value = value + {new} - {old} WHERE name = '{size}';
        END
        """,
    ]


# Otherwise a view or a foreign key of somebody's own, which names a table of ours, would follow that table to its old
# name, and a view that is broken already would make every renaming fail.
RENAME_NOTHING_ELSE = "PRAGMA legacy_alter_table = 1"


def upgrade() -> None:
    op.execute(RENAME_NOTHING_ELSE)
    for view in VIEWS_OF_0001:
        op.execute(f"DROP VIEW IF EXISTS {view}")
    for trigger in TRIGGERS_OF_0001:
        op.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    for index in INDEXES_OF_0001:
        op.execute(f"DROP INDEX IF EXISTS {index}")
    for table in REPLACED:
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_of_0001")
    for statement in (*TABLES_AND_INDEXES, *CONTENTS):
        op.execute(statement)
    for table in REPLACED:
        op.execute(f"DROP TABLE {table}_of_0001")
    for trigger in (*triggers_of("shapes", "shapes", "bytes"), *triggers_of("kept", "kept", "kept_bytes")):
        op.execute(trigger)


BACK = [
    """
    INSERT INTO shapes (handle, comparable, table_name, row_count, created_at_ms, last_read_at_ms, read_order)
    SELECT handle, comparable, table_name, row_count, created_at_ms, last_read_at_ms, read_order
    FROM shapes_of_0002 WHERE namespace = '' AND written = position AND NOT stale
    """,
    """
    INSERT INTO shape_rows (handle, position, value)
    SELECT handle, row_number() OVER (PARTITION BY number ORDER BY id), value
    FROM shapes_of_0002 AS shape JOIN shape_rows_of_0002 AS old
        ON old.id > shape.number << 28 AND old.id < (shape.number + 1) << 28
    WHERE namespace = '' AND written = shape.position AND NOT stale
    """,
    """
    INSERT INTO create_locks (
        comparable, table_name, state, owner, handle, started_at_ms, failed_at_ms, error_type, error_message,
        retry_after_ms)
    SELECT comparable, table_name, state, owner, handle, started_at_ms, failed_at_ms, error_type, error_message,
           retry_after_ms
    FROM create_locks_of_0002 WHERE state = 'failed' AND namespace = ''
    """,
    """
    INSERT INTO creations (
        number, handle, comparable, outcome, error_type, error_message, retry_after_ms, duration_ms, row_count,
        followers, finished_at_ms)
    SELECT number, handle, comparable, outcome, error_type, error_message, retry_after_ms, duration_ms, row_count,
           followers, finished_at_ms
    FROM creations_of_0002 WHERE outcome <> 'refreshed'
    """,
]
# Their positions are forgotten, and an upgrade gives out the same ones again, which must not stand for other rows.
NEW_HANDLES = "UPDATE shapes SET handle = lower(hex(randomblob(16))) WHERE round > 0 OR floor > 0"
NEW_TABLES = [
    "shape_changes",
    "kept",
    "readers",
    "log_state",
    "rounds",
    "gaps",
    "sources",
    "source_tables",
    "members",
    "touched_keys",
]
NEW_INDEXES = ["shapes_by_table", "shapes_by_read_order"]


def downgrade() -> None:
    """Keep the rows of each shape as they are now; its log, and shapes of other namespaces, are dropped.

    So are those that count as stale, which 0001 cannot say; and those in which a round goes on: their rows have half of
    its changes, which no reader has seen.
    """
    op.execute(RENAME_NOTHING_ELSE)
    op.execute(NEW_HANDLES)
    scripts = op.get_context().script
    assert scripts is not None
    first = scripts.get_revision("0001").module
    for table in (*REPLACED, "totals"):
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_of_0002")
    for index in NEW_INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {index}")
    for statement in (*first.TABLES_AND_INDEXES, *first.TRIGGERS):
        if "TABLE owners" not in statement and "TRIGGER" not in statement:
            op.execute(statement)
    for statement in BACK:
        op.execute(statement)
    op.execute("UPDATE totals SET value = (SELECT count(*) FROM shapes)")
    for table in (*(f"{table}_of_0002" for table in (*REPLACED, "totals")), *NEW_TABLES):
        op.execute(f"DROP TABLE {table}")
    for statement in (*first.TRIGGERS, *first.VIEWS):
        op.execute(statement)
