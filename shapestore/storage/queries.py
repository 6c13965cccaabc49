"""Every hot statement by name: first those that read, then those that write.

Each is proved by its query plan, in tests/storage/test_queries.py, to use an index.
Many at once go through ``json_each``: one statement for a whole batch, and one step of SQLite's, for which Python's
lock is let go of. A statement for each would ask for that lock again as often, from an event loop that is busy.
"""

from __future__ import annotations

# --- reads: point reads, on the event loop's thread -------------------------------------------------------------

# (comparable) -> the stored shape
FIND = "SELECT handle, row_count, created_at_ms FROM shapes WHERE comparable = ?"

FIND_BY_HANDLE = "SELECT comparable, row_count, created_at_ms FROM shapes WHERE handle = ?"

# (comparable, awaited handle) -> shape row, lock row and outcome of the attempt waited for, all of one moment.
LOOK = """
    SELECT shapes.handle, shapes.row_count, shapes.created_at_ms,
           create_locks.handle, create_locks.state, create_locks.owner,
           create_locks.error_type, create_locks.error_message, create_locks.retry_after_ms,
           creations.error_type, creations.error_message, creations.retry_after_ms
    FROM (SELECT ?1 AS comparable) AS asked
    LEFT JOIN shapes ON shapes.comparable = asked.comparable
    LEFT JOIN create_locks ON create_locks.comparable = asked.comparable
    LEFT JOIN creations ON creations.handle = ?2 AND creations.outcome = 'failed'
"""

IN_PROGRESS_OF_OWNER = "SELECT handle FROM create_locks WHERE owner = ? AND state = 'in_progress'"

NEXT_DISCARDED = "SELECT handle FROM discarded LIMIT 1"

# --- reads: pages, on the reader's thread -----------------------------------------------------------------------

# (handle, after, count): no rows once the shape is gone, though its rows are not all deleted yet.
ROWS = """
    SELECT value FROM shape_rows
    WHERE handle = ?1 AND position > ?2 AND position <= ?2 + ?3
      AND EXISTS (SELECT 1 FROM shapes WHERE shapes.handle = ?1)
    ORDER BY position
"""

# (after this handle, limit)
SHAPES = """
    SELECT handle, comparable, row_count, created_at_ms FROM shapes
    WHERE handle > ?1 ORDER BY handle LIMIT ?2
"""

# (after this handle, limit, table)
SHAPES_OF_TABLE = """
    SELECT handle, comparable, row_count, created_at_ms FROM shapes
    WHERE table_name = ?3 AND handle > ?1 ORDER BY handle LIMIT ?2
"""

COUNT = "SELECT value FROM totals WHERE name = 'shapes'"

LOCKS = """
    SELECT comparable, table_name, state, owner, handle, started_at_ms, failed_at_ms,
           error_type, error_message, retry_after_ms
    FROM create_locks ORDER BY started_at_ms, handle
"""

HAS_LITESTREAM = "SELECT 1 FROM sqlite_schema WHERE name = '_litestream_seq'"

# --- writes: an attempt's way, each bound to its fence ----------------------------------------------------------

# (json {handle: comparable}, owner, now) -> handles of the attempts that lead
CLAIM = """
    INSERT INTO create_locks (comparable, table_name, state, owner, handle, started_at_ms)
    SELECT asked.value, asked.value ->> '$.table', 'in_progress', ?2, asked.key, ?3
    FROM json_each(?1) AS asked
    WHERE NOT EXISTS (SELECT 1 FROM shapes WHERE shapes.comparable = asked.value)
    ON CONFLICT (comparable) DO NOTHING
    RETURNING handle
"""

# (comparable, owner, now, handle, handle of the shape to be replaced) -> handle, if the attempt leads
CLAIM_REFRESH = """
    INSERT INTO create_locks (comparable, table_name, state, owner, handle, started_at_ms)
    SELECT ?1, ?1 ->> '$.table', 'in_progress', ?2, ?4, ?3
    WHERE NOT EXISTS (SELECT 1 FROM shapes WHERE shapes.comparable = ?1 AND shapes.handle <> ?5)
    ON CONFLICT (comparable) DO NOTHING
    RETURNING handle
"""

# (json [handle]) -> those whose fence still holds
STILL_LEADING = """
    SELECT handle FROM create_locks
    WHERE handle IN (SELECT value FROM json_each(?1)) AND state = 'in_progress'
"""

# (handle, position of the first, json [row]): one chunk
ADD_ROWS = """
    INSERT INTO shape_rows (handle, position, value)
    SELECT ?1, ?2 + rows.key, rows.value FROM json_each(?3) AS rows
"""

# (json [[handle, position of the first, [row]]]): many chunks of a few rows each
ADD_SMALL_CHUNKS = """
    INSERT INTO shape_rows (handle, position, value)
    SELECT chunk.value ->> 0, (chunk.value ->> 1) + rows.key, rows.value
    FROM json_each(?1) AS chunk, json_each(chunk.value, '$[2]') AS rows
"""

# (json [handle]) -> handles of the shapes that these attempts, if their fence still holds, are to replace
DELETE_REPLACED = """
    DELETE FROM shapes WHERE comparable IN (
        SELECT comparable FROM create_locks
        WHERE handle IN (SELECT value FROM json_each(?1)) AND state = 'in_progress')
    RETURNING handle
"""

# (json {handle: row count}, now) -> those whose fence still holds: the lock row becomes the shape's
PUBLISH = """
    INSERT INTO shapes (handle, comparable, table_name, row_count, created_at_ms, last_read_at_ms, read_order)
    SELECT create_locks.handle, create_locks.comparable, create_locks.table_name, published.value, ?2, ?2,
           newest.read_order + published.id
    FROM json_each(?1) AS published
    JOIN create_locks ON create_locks.handle = published.key AND create_locks.state = 'in_progress',
         (SELECT coalesce(max(read_order), 0) AS read_order FROM shapes) AS newest
    RETURNING handle
"""

# (json [handle])
UNLOCK = "DELETE FROM create_locks WHERE handle IN (SELECT value FROM json_each(?1))"

# (json {handle: [error type, message, retry after]}, now) -> those whose fence still held
FAIL = """
    UPDATE create_locks
    SET state = 'failed', failed_at_ms = ?2, error_type = failed.value ->> 0,
        error_message = failed.value ->> 1, retry_after_ms = failed.value ->> 2
    FROM json_each(?1) AS failed
    WHERE create_locks.handle = failed.key AND create_locks.state = 'in_progress'
    RETURNING handle
"""

# (json [handle], owner) -> lock rows that were there
ABANDON = """
    DELETE FROM create_locks
    WHERE handle IN (SELECT value FROM json_each(?1)) AND state = 'in_progress' AND owner = ?2
    RETURNING handle, comparable, state
"""

# (json [handle])
SWEEP = "DELETE FROM create_locks WHERE handle IN (SELECT value FROM json_each(?1)) AND state = 'failed'"

# --- writes: what ends an attempt from outside ------------------------------------------------------------------

# (json [handle]) -> lock rows that were there
RELEASE = """
    DELETE FROM create_locks WHERE handle IN (SELECT value FROM json_each(?1))
    RETURNING handle, comparable, state
"""

# (comparable)
RELEASE_KEY = "DELETE FROM create_locks WHERE comparable = ?1 RETURNING handle, comparable, state"

# (table)
RELEASE_TABLE = """
    DELETE FROM create_locks WHERE table_name = ?1 AND state = 'in_progress'
    RETURNING handle, comparable, state
"""

# --- writes: shapes that go, and their rows after them ----------------------------------------------------------

# (json [handle]) -> those that were there
DELETE_SHAPES = "DELETE FROM shapes WHERE handle IN (SELECT value FROM json_each(?1)) RETURNING handle"

# (table, limit)
DELETE_SHAPES_OF_TABLE = """
    DELETE FROM shapes WHERE handle IN (SELECT handle FROM shapes WHERE table_name = ?1 LIMIT ?2)
    RETURNING handle
"""

# (limit, json [handle that is spared])
DELETE_LEAST_READ = """
    DELETE FROM shapes WHERE handle IN (
        SELECT handle FROM shapes WHERE handle NOT IN (SELECT value FROM json_each(?2)) ORDER BY read_order LIMIT ?1)
    RETURNING handle
"""

# (json [handle], in the order in which they were read; now)
NOTE_READS = """
    UPDATE shapes
    SET last_read_at_ms = ?2, read_order = newest.read_order + 1 + read.key
    FROM json_each(?1) AS read, (SELECT coalesce(max(read_order), 0) AS read_order FROM shapes) AS newest
    WHERE shapes.handle = read.value
"""

# (json [handle])
DISCARD = "INSERT INTO discarded (handle) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING"

# (handles, rows): of the first so many discarded handles, so many rows
DELETE_ROWS = """
    DELETE FROM shape_rows WHERE (handle, position) IN (
        SELECT shape_rows.handle, shape_rows.position
        FROM (SELECT handle FROM discarded ORDER BY handle LIMIT ?1) AS first
        JOIN shape_rows ON shape_rows.handle = first.handle
        LIMIT ?2)
"""

# (handles): of the first so many discarded handles, those that have no rows left
FORGET_DISCARDED = """
    DELETE FROM discarded
    WHERE handle IN (SELECT handle FROM discarded ORDER BY handle LIMIT ?1)
      AND NOT EXISTS (SELECT 1 FROM shape_rows WHERE shape_rows.handle = discarded.handle)
"""

# --- writes: the record of outcomes -----------------------------------------------------------------------------

# (json [[handle, comparable, outcome, error type, message, retry after, duration, followers]], now)
ADD_ENDED = """
    INSERT INTO creations (handle, comparable, outcome, error_type, error_message, retry_after_ms,
                           duration_ms, followers, finished_at_ms)
    SELECT ended.value ->> 0, ended.value ->> 1, ended.value ->> 2, ended.value ->> 3, ended.value ->> 4,
           ended.value ->> 5, ended.value ->> 6, ended.value ->> 7, ?2
    FROM json_each(?1) AS ended
"""

# (json {handle: [duration, followers]}, now): of shapes that have just been published
ADD_CREATED = """
    INSERT INTO creations (handle, comparable, outcome, duration_ms, row_count, followers, finished_at_ms)
    SELECT shapes.handle, shapes.comparable, 'created', created.value ->> 0, shapes.row_count, created.value ->> 1, ?2
    FROM json_each(?1) AS created JOIN shapes ON shapes.handle = created.key
"""

# (json {handle: callers})
NOTE_FOLLOWERS = """
    UPDATE creations SET followers = creations.followers + noted.value
    FROM json_each(?1) AS noted WHERE creations.handle = noted.key
"""

KEPT_CREATIONS = 1000

TRIM_CREATIONS = f"DELETE FROM creations WHERE number <= (SELECT max(number) FROM creations) - {KEPT_CREATIONS}"

# --- writes: owners ---------------------------------------------------------------------------------------------

OWNERS = "SELECT owner FROM owners UNION SELECT owner FROM create_locks"

ADD_OWNER = "INSERT INTO owners (owner, pid, hostname, program, opened_at_ms) VALUES (?, ?, ?, ?, ?)"

FORGET_OWNER = "DELETE FROM owners WHERE owner = ?1"

LOCKS_OF_OWNER = "SELECT handle, comparable, state FROM create_locks WHERE owner = ?1"
