"""The statements about rows of a source that may have changed, as an application says, by name."""

from __future__ import annotations

# (namespace, table) what is being read now may be too old
MARK_ATTEMPTS_TOUCHED = """
    UPDATE create_locks SET touched = 1
    WHERE namespace = :namespace AND table_name = :table AND state = 'in_progress'
"""

# (handle)
MARK_ATTEMPT_TOUCHED = "UPDATE create_locks SET touched = 1 WHERE handle = :handle"

# (handle) -> whether the ring has forgotten keys since the attempt claimed; [key] that were published since
TOUCHED_SINCE_CLAIM = """
    SELECT coalesce((SELECT min(number) FROM touched_keys) > lock.touched_keys_from + 1, 0),
           (SELECT json_group_array(key) FROM touched_keys
            WHERE number > lock.touched_keys_from AND namespace = lock.namespace AND table_name = lock.table_name)
    FROM create_locks AS lock WHERE lock.handle = :handle
"""

# (namespace, table, after: number, limit) -> the numbers of those that count as stale from now on
MARK_SHAPES_STALE = """
    UPDATE shapes SET stale = 1
    WHERE number IN (
        SELECT number FROM shapes
        WHERE namespace = :namespace AND table_name = :table AND number > :after ORDER BY number LIMIT :limit)
    RETURNING number
"""

# (numbers: [number])
MARK_THESE_STALE = (
    "UPDATE shapes SET stale = 1 WHERE number IN (SELECT value FROM json_each(:numbers)) RETURNING number"
)

# -> the number of the newest key in the ring
NEWEST_TOUCHED_KEY = "SELECT coalesce(max(number), 0) FROM touched_keys"

# (namespace, table, after: number, limit) -> the shapes, each with the attempt that is refreshing it
SHAPES_OF_TOUCHED_TABLE = """
    SELECT number, comparable, where_as_written, confirmed_by, live, row_count, key_columns,
           (SELECT handle FROM create_locks WHERE create_locks.comparable = shapes.comparable AND state = 'in_progress')
    FROM shapes
    WHERE namespace = :namespace AND table_name = :table AND number > :after ORDER BY number LIMIT :limit
"""

# (since: number, namespace, table, keys: [key]) -> something, if one of the keys was published since, or may have been:
# the ring forgets its oldest
PUBLISHED_SINCE = """
    SELECT 1 FROM touched_keys
    WHERE number > :since AND namespace = :namespace AND table_name = :table
      AND key IN (SELECT value FROM json_each(:keys))
    UNION ALL SELECT 1 WHERE (SELECT min(number) FROM touched_keys) > :since + 1
    LIMIT 1
"""

# (namespace, table, judged: {number: [confirmed_by, refreshed_by]}) -> something, if a refresh of one of the shapes was
# published since; or if another one is in progress, also of a shape that was not there then: it may read later, and yet
# gives way to what is published before it, in whatever shape
REFRESHED_SINCE = """
    SELECT 1 FROM json_each(:judged) AS judged CROSS JOIN shapes ON shapes.number = CAST(judged.key AS INTEGER)
    WHERE shapes.confirmed_by IS NOT judged.value ->> 0
    UNION ALL
    SELECT 1 FROM create_locks AS lock CROSS JOIN shapes ON shapes.comparable = lock.comparable AND NOT shapes.live
    WHERE lock.namespace = :namespace AND lock.table_name = :table AND lock.state = 'in_progress'
      AND lock.handle IS NOT (
          SELECT judged.value ->> 1 FROM json_each(:judged) AS judged WHERE CAST(judged.key AS INTEGER) = shapes.number)
    LIMIT 1
"""

# (namespace, table, keys: [key])
ADD_TOUCHED_KEYS = """
    INSERT INTO touched_keys (namespace, table_name, key)
    SELECT :namespace, :table, value FROM json_each(:keys)
"""
