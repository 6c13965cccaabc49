"""The statements that shorten logs, and that delete what no reader can reach."""

from __future__ import annotations

# --- compaction ---------------------------------------------------------------------------------------------------

_IS_LONG = "(position - max(snapshot, floor) > 2 * row_count + 100 OR log_bytes > 2 * bytes + 1000000)"

# (number) -> where its log begins and ends, if it is long beside its rows
LONG_LOG = f"SELECT max(snapshot, floor), position FROM shapes WHERE number = :number AND {_IS_LONG}"

# (numbers: [number]) -> those whose logs are long, or have changes below their floors
LONG_LOGS = f"""
    SELECT number FROM shapes
    WHERE number IN (SELECT value FROM json_each(:numbers))
      AND ({_IS_LONG} OR EXISTS (
          SELECT 1 FROM shape_changes WHERE id > number << 28 AND id <= (number << 28) + shapes.floor))
"""

# (number, limit) -> the numbers of the next shapes
SHAPES_BEHIND = "SELECT number FROM shapes WHERE number > :number ORDER BY number LIMIT :limit"

# (number, position, boot, oldest: boot time in ms) -> something, if the round logged there ended later than that. One
# that is not noted any more is old.
IS_YOUNG = """
    SELECT 1 FROM shape_changes CROSS JOIN rounds ON rounds.number = shape_changes.round
    WHERE shape_changes.id = (:number << 28) + :position AND ended_boot = :boot AND ended_at_boot_ms > :oldest
"""

# (number, position, round of it): no reader needs an older position any more
RAISE_FLOOR = """
    UPDATE shapes SET floor = :position, floor_round = :round
    WHERE number = :number AND floor < :position AND position >= :position
      AND NOT EXISTS (SELECT 1 FROM readers WHERE readers.shape = :number AND readers.position < :position)
"""

# (number, beside: bytes) -> the ends of the parts of its snapshot; how many rows there are, and their size, for which
# each row counts for so many bytes more
PART_ENDS = "SELECT chunk_ends, row_count, bytes + row_count * :beside FROM shapes WHERE number = :number"

# (number, after, last: positions, size, beside: bytes) -> the last position of each part of that size, where each row
# counts for so many bytes more; the last part is not full
FURTHER_PART_ENDS = """
    SELECT max(position) FROM (
        SELECT id & 268435455 AS position,
            sum(length(CAST(value AS BLOB)) + :beside) OVER (ORDER BY id) / :size AS part
        FROM shape_rows
        WHERE id > (:number << 28) + :after AND id <= (:number << 28) + :last)
    GROUP BY part ORDER BY part
"""

SET_PART_ENDS = "UPDATE shapes SET chunk_ends = :ends WHERE number = :number"

OLDEST_READER = "SELECT min(position) FROM readers WHERE shape = :number"

# (number, limit) -> ids and sizes of the changes that the floor has left behind
BELOW_FLOOR = """
    SELECT id, length(CAST(old AS BLOB)) FROM shape_changes
    WHERE id > :number << 28 AND id <= (:number << 28) + (SELECT floor FROM shapes WHERE number = :number)
    ORDER BY id LIMIT :limit
"""

# (number, last: id) -> the sizes of what was deleted
TRIM_LOG = """
    DELETE FROM shape_changes
    WHERE id > :number << 28 AND id <= :last
      AND id <= (:number << 28) + (SELECT floor FROM shapes WHERE number = :number)
    RETURNING length(CAST(old AS BLOB))
"""

SHORTEN_LOG = "UPDATE shapes SET log_bytes = max(0, log_bytes - :size) WHERE number = :number"

# --- deletion -----------------------------------------------------------------------------------------------------

# (numbers: [number])
DISCARD = "INSERT INTO discarded (number) SELECT value FROM json_each(:numbers) WHERE true ON CONFLICT DO NOTHING"

# (numbers: [number]) -> those of them that are pending deletion
STILL_DISCARDED = "SELECT number FROM discarded WHERE number IN (SELECT value FROM json_each(:numbers)) ORDER BY number"

# (numbers: [number])
FORGET_DISCARDED = "DELETE FROM discarded WHERE number IN (SELECT value FROM json_each(:numbers))"

# (numbers: [number], in their order) -> ids and sizes of what is left of them, in order. It is read only as far as it
# is asked for, which is why nothing sorts it.
_LEFT = """
    SELECT {table}.id, length(CAST({text} AS BLOB)) FROM json_each(:numbers) AS gone CROSS JOIN {table}
    ON {table}.id > gone.value << 28 AND {table}.id < (gone.value + 1) << 28
"""
ROWS_LEFT = _LEFT.format(table="shape_rows", text="shape_rows.value")
CHANGES_LEFT = _LEFT.format(table="shape_changes", text="old")

# (numbers: [number], last: id)
_DELETE = """
    DELETE FROM {table} WHERE id IN (
        SELECT {table}.id FROM json_each(:numbers) AS gone CROSS JOIN {table}
        ON {table}.id > gone.value << 28 AND {table}.id < (gone.value + 1) << 28 AND {table}.id <= :last)
"""
DELETE_ROWS = _DELETE.format(table="shape_rows")
DELETE_CHANGES = _DELETE.format(table="shape_changes")
