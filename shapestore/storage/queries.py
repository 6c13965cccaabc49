"""Every hot statement about keys, attempts and shapes, by name: first those that read, then those that write.

Those that drop shapes are in drop_queries.py, those about rows and changes in log/. Each is proved by its plan, in
tests/storage/test_queries.py, to use an index. Many at once go through ``json_each``: one statement for a whole batch,
and one step of SQLite's, for which Python's lock is released. A statement for each would ask for that lock again as
often, from an event loop that is busy. Parameters are named; the hottest statements take theirs by ``?``.
"""

from __future__ import annotations

# --- reads: point reads, on the event loop's thread -------------------------------------------------------------

LIVE = 1
"""Changes of its source are followed."""
STALE = 2
"""It counts as stale at any age."""
NEVER_FOLLOWED = 4
"""It was made by a creator that does not follow its source."""
OF_SOURCE = 8
"""So often the number of the source that it follows is in it."""
MARK = f"(stale << 1) | iif(source_signature IS NULL, {NEVER_FOLLOWED}, live | (ifnull(source, 0) << 3))"
"""What is to be known of a shape, beside its age, before it is served: the sum of these four."""

_STORED = "handle, row_count, position, round, created_at_ms, refreshed_at_ms"
STORED = f"{_STORED}, live"
"""What a StoredShape is made of."""


def _seen(column: str, followed: str, latest: str) -> str:
    """A column of the moment as of which rows were confirmed: of an attempt, or of the round that saw them last."""
    return f"""CASE WHEN shapes.source IS NULL OR shapes.source_seq IS NOT NULL THEN shapes.{column} ELSE coalesce((
        SELECT iif(sources.followed_boot = shapes.confirmed_boot, {latest}, sources.{followed}) FROM sources
        WHERE sources.number = shapes.source AND sources.unfinished_round IS NULL), shapes.{column}) END"""


CONFIRMED = f"""
    shapes.confirmed_by, {_seen("confirmed_boot", "followed_boot", "sources.followed_boot")},
    {_seen("confirmed_at_boot_ms", "followed_at_boot_ms", "max(confirmed_at_boot_ms, followed_at_boot_ms)")},
    {_seen("confirmed_at_ms", "followed_at_ms", "max(confirmed_at_ms, followed_at_ms)")}, shapes.stale
"""
"""What says how fresh a shape is. A live one was seen by each round of its source, once one has reached it."""

# (comparable) -> the stored shape, with its mark in place of ``live``: each column fewer is felt
FIND = f"SELECT {_STORED}, {MARK} FROM shapes WHERE comparable = ?"

# (comparable) -> the same, and how fresh it is
FIND_WITH_AGE = f"SELECT {_STORED}, {MARK}, {CONFIRMED} FROM shapes WHERE comparable = ?"

# (handle)
FIND_BY_HANDLE = f"SELECT comparable, where_as_written, {STORED} FROM shapes WHERE handle = ?"

# (handle) -> the key of a shape, and how fresh it is
FIND_BY_HANDLE_WITH_AGE = f"SELECT comparable, where_as_written, live, {CONFIRMED} FROM shapes WHERE handle = ?"

# (comparable, comparable, awaited handle) -> a row if ``POLL`` would find anything. What is not there yet, as most keys
# that are about to be created, is seen in less than half of the time: a row of many columns takes Python long.
IS_KNOWN = """
    SELECT 1 FROM shapes WHERE comparable = ?
    UNION ALL SELECT 1 FROM create_locks WHERE comparable = ?
    UNION ALL SELECT 1 FROM creations WHERE handle = ? AND outcome = 'failed'
"""

# (comparable, awaited handle) -> shape row, lock row and outcome of the attempt waited for, all of one moment.
POLL = f"""
    SELECT {", ".join(f"shapes.{column}" for column in STORED.split(", "))}, shapes.confirmed_by,
           create_locks.handle, create_locks.state, create_locks.owner,
           create_locks.error_type, create_locks.error_message, create_locks.retry_after_ms,
           creations.error_type, creations.error_message, creations.retry_after_ms
    FROM (SELECT :comparable AS comparable) AS asked
    LEFT JOIN shapes ON shapes.comparable = asked.comparable
    LEFT JOIN create_locks ON create_locks.comparable = asked.comparable
    LEFT JOIN creations ON creations.handle = :awaited AND creations.outcome = 'failed'
"""

IN_PROGRESS_OF_OWNER = "SELECT handle FROM create_locks WHERE owner = :owner AND state = 'in_progress'"

# (comparable, comparable) -> the attempts at a key that may have read its source before that was said to have changed
READ_TOO_EARLY = """
    SELECT handle FROM create_locks WHERE comparable = ? AND state = 'in_progress' AND touched
    UNION ALL SELECT confirmed_by FROM shapes WHERE comparable = ? AND stale
"""

# -> numbers and names of the sources that live shapes follow
LIVE_SOURCES = """
    SELECT number, name FROM sources WHERE EXISTS (SELECT 1 FROM shapes WHERE shapes.source = sources.number)
"""

# (comparable) -> number and name of the source that a live shape follows
SOURCE_OF = """
    SELECT sources.number, sources.name FROM shapes JOIN sources ON sources.number = shapes.source WHERE comparable = ?
"""

# (source, seq) -> whether all of its shapes hold what was in it as of that change, for their readers too
HAS_REACHED = """
    SELECT followed_seq >= :seq AND unfinished_round IS NULL AND NOT EXISTS (
               SELECT 1 FROM shapes WHERE source = :source AND source_seq < :seq)
           OR NOT EXISTS (SELECT 1 FROM shapes WHERE source = :source)
    FROM sources WHERE number = :source
"""

TOTALS = "SELECT name, value FROM totals"

DISCARDED = "SELECT number FROM discarded ORDER BY number LIMIT :limit"

# --- reads: pages, on the reader's thread -----------------------------------------------------------------------

_PAGE = f"SELECT number, comparable, where_as_written, {STORED} FROM shapes"

# In the order of the table, and not by the index of namespaces, whose numbers would have to be sorted.
SHAPES = f"{_PAGE} WHERE number > :after AND +namespace = :namespace ORDER BY number LIMIT :limit"

SHAPES_OF_TABLE = f"""
    {_PAGE} WHERE namespace = :namespace AND table_name = :table AND number > :after ORDER BY number LIMIT :limit
"""

LOCKS = """
    SELECT comparable, table_name, state, owner, handle, started_at_ms, failed_at_ms,
           error_type, error_message, retry_after_ms
    FROM create_locks ORDER BY started_at_ms, handle
"""

HAS_LITESTREAM = "SELECT 1 FROM sqlite_schema WHERE name = '_litestream_seq'"

# --- writes: an attempt's way, each bound to its fencing token --------------------------------------------------
# MATERIALIZED where much of a value is asked for: SQLite would write it as text again for each part of it.

# (claims: {handle: [comparable, namespace, table, where as written, judged confirmed_by or null]}) -> how many lead. A
# refresh leads unless the shape was confirmed by another attempt since it was judged, or if the shape has gone.
CLAIM = """
    INSERT INTO create_locks (
        comparable, namespace, table_name, where_as_written, state, owner, handle, refreshes,
        started_boot, started_at_boot_ms, started_at_ms, touched_keys_from)
    WITH claim AS MATERIALIZED (SELECT key, value FROM json_each(:claims))
    SELECT claim.value ->> 0, claim.value ->> 1, claim.value ->> 2, claim.value ->> 3, 'in_progress', :owner,
           claim.key, claim.value ->> 4, :boot, :boot_ms, :wall_ms,
           (SELECT coalesce(max(number), 0) FROM touched_keys)
    FROM claim
    WHERE NOT EXISTS (
        SELECT 1 FROM shapes
        WHERE shapes.comparable = claim.value ->> 0 AND shapes.confirmed_by IS NOT claim.value ->> 4)
    ON CONFLICT (comparable) DO NOTHING
"""

# (handles: [handle]) -> those whose fencing token still holds, with the numbers of their attempts
STILL_LEADING = """
    SELECT handle, number FROM create_locks
    WHERE handle IN (SELECT value FROM json_each(:handles)) AND state = 'in_progress'
"""

# (firsts: {handle: position from which rows come}) -> those whose fencing token holds, without the row before these
LACK_ROWS = """
    SELECT lock.handle FROM json_each(:firsts) AS first
    JOIN create_locks AS lock ON lock.handle = first.key AND lock.state = 'in_progress'
    WHERE NOT EXISTS (SELECT 1 FROM shape_rows WHERE id = (lock.number << 28) + first.value - 1)
"""

# (published: {handle: [row count, bytes, key columns, chunk ends, columns described; of a live shape, source, source
# table, seq, nonce, signature]}) -> those whose fencing token still holds, with their numbers: the lock row becomes the
# shape's.
PUBLISH = """
    WITH published AS MATERIALIZED (SELECT id, key, value FROM json_each(:published))
    INSERT INTO shapes (
        number, handle, comparable, namespace, table_name, where_as_written, row_count, snapshot, position, written,
        bytes, key_columns, chunk_ends, columns_described,
        live, source, source_table, source_seq, snapshot_seq, source_nonce, source_signature,
        confirmed_by, confirmed_boot, confirmed_at_boot_ms, confirmed_at_ms, stale,
        created_at_ms, refreshed_at_ms, last_read_at_ms, read_order)
    SELECT lock.number, lock.handle, lock.comparable, lock.namespace, lock.table_name, lock.where_as_written,
           published.value ->> 0, published.value ->> 0, published.value ->> 0, published.value ->> 0,
           published.value ->> 1, published.value ->> 2, published.value ->> 3, published.value ->> 4,
           published.value ->> 5 IS NOT NULL, published.value ->> 5, published.value ->> 6, published.value ->> 7,
           published.value ->> 7, published.value ->> 8, published.value ->> 9,
           lock.handle, lock.started_boot, lock.started_at_boot_ms, lock.started_at_ms, lock.touched,
           :wall_ms, :wall_ms, :wall_ms, (SELECT coalesce(max(read_order), 0) FROM shapes) + published.id
    FROM published JOIN create_locks AS lock ON lock.handle = published.key AND lock.state = 'in_progress'
    RETURNING handle, number
"""

# (handle) -> the number of the shape of that key, or NULL, if the fencing token still holds
REFRESHED_BY = """
    SELECT shapes.number
    FROM create_locks AS lock LEFT JOIN shapes ON shapes.comparable = lock.comparable
    WHERE lock.handle = :handle AND lock.state = 'in_progress'
"""

# (handle of the attempt, number of the shape) -> the shape, whose rows that attempt has confirmed
CONFIRM = f"""
    UPDATE shapes
    SET confirmed_by = lock.handle, confirmed_boot = lock.started_boot,
        confirmed_at_boot_ms = lock.started_at_boot_ms, confirmed_at_ms = lock.started_at_ms,
        stale = lock.touched, refreshed_at_ms = :wall_ms
    FROM create_locks AS lock
    WHERE lock.handle = :handle AND shapes.number = :number
    RETURNING {STORED}
"""

# (handles: [handle])
UNLOCK = "DELETE FROM create_locks WHERE handle IN (SELECT value FROM json_each(:handles))"

# (failures: {handle: [error type, message, retry after]}) -> those whose fencing token still held
FAIL = """
    UPDATE create_locks
    SET state = 'failed', failed_at_ms = :wall_ms, error_type = failed.value ->> 0,
        error_message = failed.value ->> 1, retry_after_ms = failed.value ->> 2
    FROM json_each(:failures) AS failed
    WHERE create_locks.handle = failed.key AND create_locks.state = 'in_progress'
    RETURNING handle, number
"""

_ENDED = "RETURNING handle, comparable, state, number"

# (handle) -> the lock row, if it was there
ABANDON = f"""
    DELETE FROM create_locks WHERE handle = :handle AND state = 'in_progress' AND owner = :owner {_ENDED}
"""

# (handles: [handle])
SWEEP = "DELETE FROM create_locks WHERE handle IN (SELECT value FROM json_each(:handles)) AND state = 'failed'"

# --- writes: what ends an attempt from outside ------------------------------------------------------------------

# (handles: [handle]) -> lock rows that were there
RELEASE = f"DELETE FROM create_locks WHERE handle IN (SELECT value FROM json_each(:handles)) {_ENDED}"

RELEASE_KEY = f"DELETE FROM create_locks WHERE comparable = :comparable {_ENDED}"

RELEASE_KEY_IN_PROGRESS = f"""
    DELETE FROM create_locks WHERE comparable = :comparable AND state = 'in_progress' {_ENDED}
"""

# -> the attempts of now, each with what it reads
ATTEMPTS = "SELECT namespace, table_name, handle FROM create_locks WHERE state = 'in_progress'"

RELEASE_OWNER = f"DELETE FROM create_locks WHERE owner = :owner {_ENDED}"

# --- writes: the record of outcomes -----------------------------------------------------------------------------

# (ended: [[handle, comparable, outcome, error type, message, retry after, duration, followers]])
ADD_ENDED = """
    INSERT INTO creations (handle, comparable, outcome, error_type, error_message, retry_after_ms,
                           duration_ms, followers, finished_at_ms)
    SELECT ended.value ->> 0, ended.value ->> 1, ended.value ->> 2, ended.value ->> 3, ended.value ->> 4,
           ended.value ->> 5, ended.value ->> 6, ended.value ->> 7, :wall_ms
    FROM json_each(:ended) AS ended
"""

# (created: {handle: [duration, followers]}): of shapes that have just been published
ADD_CREATED = """
    INSERT INTO creations (handle, comparable, outcome, duration_ms, row_count, followers, finished_at_ms)
    SELECT shapes.handle, shapes.comparable, 'created', created.value ->> 0, shapes.row_count, created.value ->> 1,
           :wall_ms
    FROM json_each(:created) AS created JOIN shapes ON shapes.handle = created.key
"""

ADD_REFRESHED = """
    INSERT INTO creations (
        handle, comparable, outcome, duration_ms, row_count, changes, followers, finished_at_ms)
    SELECT :handle, comparable, 'refreshed', :duration_ms, row_count, :changes, :followers, :wall_ms
    FROM shapes WHERE number = :number
"""

# (followers: {handle: callers})
NOTE_FOLLOWERS = """
    UPDATE creations SET followers = creations.followers + noted.value
    FROM json_each(:followers) AS noted WHERE creations.handle = noted.key
"""

KEPT_CREATIONS = 1000
# So many more are there before the oldest go, all at once: they lie on other pages than the newest, which each
# creation would have to write too.
TRIMMED_AT_ONCE = 100

# (newest: number)
TRIM_CREATIONS = f"DELETE FROM creations WHERE number <= :newest - {KEPT_CREATIONS}"

# --- writes: owners ---------------------------------------------------------------------------------------------

OWNERS = "SELECT owner FROM owners UNION SELECT owner FROM create_locks UNION SELECT owner FROM readers"

ADD_OWNER = """
    INSERT INTO owners (owner, pid, hostname, program, opened_at_ms)
    VALUES (:owner, :pid, :hostname, :program, :wall_ms)
"""

FORGET_OWNER = "DELETE FROM owners WHERE owner = :owner"

SET_JUMP_DUE = "UPDATE log_state SET jump_due = 1"
