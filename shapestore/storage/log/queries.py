"""Every statement about rows and changes, by name.

All of a shape lies in the range of ids from ``number << 28`` to ``(number + 1) << 28``; a statement always names both
ends, else a shape without rows would read its neighbour's.

Rows are joined in the order of their ids, the order in which SQLite reads a range of them: a subquery that sorted them
would take twice as long. tests/storage/test_queries.py proves that it is such a range that is read. A separator other
than the comma, which is the default, is written out, since one that is bound takes half as long again.
"""

from __future__ import annotations

_OF_SHAPE = "id > :number << 28 AND id < (:number + 1) << 28"

# --- reads ------------------------------------------------------------------------------------------------------

# (most bytes) -> all rows of a shape, as the inside of a JSON array, and how many bytes that should be. NULL for the
# rows if they are more than the most, or if a round is unfinished.
ROWS_OF_SMALL = """
    CASE WHEN bytes + row_count <= ? AND written = position THEN CAST((
        SELECT coalesce(group_concat(value), '') FROM shape_rows
        WHERE shape_rows.id > shapes.number << 28 AND shape_rows.id < (shapes.number + 1) << 28) AS BLOB) END,
    bytes + row_count - (row_count > 0)
"""

# (handle) -> where its log stands; of a shape, or of a kept handle
_STANDING = "number, row_count, bytes, snapshot, position, written, round, floor, floor_round, key_columns"
LOCATE_KEY = f"""
    SELECT {_STANDING}, 0, columns_described, (SELECT name FROM sources WHERE sources.number = shapes.source),
           live = 0 AND source_signature IS NOT NULL
    FROM shapes WHERE comparable = :comparable
"""
LOCATE = f"""
    SELECT {_STANDING}, 0 FROM shapes WHERE handle = :handle
    UNION ALL SELECT {_STANDING}, 1 FROM kept WHERE handle = :handle
"""

# (numbers: [number]) -> where the logs of those of them end that are stored, and whether they count as stale
ENDS = """
    SELECT number, handle, round, position, stale FROM shapes WHERE number IN (SELECT value FROM json_each(:numbers))
"""

# (handle) -> where its log stands, what it is of, and the newest round that its readers may see: of a shape only. The
# number before that of a round that goes on may never have been one: rounds jump.
LOCATE_SERVED = f"""
    SELECT {_STANDING}, 0, columns_described, comparable, chunk_ends,
           coalesce((SELECT (SELECT coalesce(max(rounds.number), 1) FROM rounds WHERE rounds.number < unfinished_round)
                     FROM sources WHERE sources.number = shapes.source AND unfinished_round IS NOT NULL),
                    (SELECT max(round) FROM log_state)),
           coalesce((SELECT seq FROM rounds WHERE rounds.number = shapes.floor_round), snapshot_seq),
           iif(live, coalesce(source_seq, (
               SELECT iif(unfinished_round IS NULL, followed_seq, 0) FROM sources WHERE sources.number = shapes.source
           )), NULL)
    FROM shapes WHERE handle = :handle
"""

# (number, after, position) -> something, if a row stands behind ``after``, up to ``position``
ANY_ROW_BEHIND = """
    SELECT 1 FROM shape_rows WHERE id > (:number << 28) + :after AND id <= (:number << 28) + :position LIMIT 1
"""

# (number, after, limit): the next rows behind a position, of which the last has to be looked for
_NEXT_ROWS = """
    id > (:number << 28) + :after AND id <= coalesce((
        SELECT id FROM shape_rows WHERE id > (:number << 28) + :after AND id < (:number + 1) << 28
        ORDER BY id LIMIT 1 OFFSET :limit - 1), ((:number + 1) << 28) - 1)
"""

# (number, after, limit): the rows at the next positions. As a rule each has one, and to look for the end of exactly so
# many rows would take half as long again.
_NEXT_POSITIONS = "id > (:number << 28) + :after AND id <= (:number << 28) + min(:after + :limit, 268435455)"

# -> the rows at the next positions as they are now, as one text, how many there are, the last of these positions,
# whether no row follows, and the handle: NULL if its log does not end at ``position``, of ``round``, any more
ROWS = f"""
    SELECT CAST(group_concat(value) AS BLOB), count(*), :after + :limit, NOT EXISTS (
        SELECT 1 FROM shape_rows WHERE id > (:number << 28) + :after + :limit AND id < (:number + 1) << 28),
        (SELECT handle FROM shapes WHERE number = :number AND written = :position AND round = :round)
    FROM shape_rows WHERE {_NEXT_POSITIONS}
"""
ROWS_AS_LINES = ROWS.replace("group_concat(value)", "group_concat(value, '\n')")

# -> the same of the next rows, for where few positions have one
ROWS_FAR_BETWEEN = f"""
    SELECT CAST(group_concat(value, :separator) AS BLOB), count(*), max(id) & 268435455, count(*) < :limit
    FROM shape_rows WHERE {_NEXT_ROWS}
"""

# With their keys; or compared with what a creator gives.
KEYED_ROWS = f"""
    SELECT id & 268435455, key, value FROM shape_rows
    WHERE {_OF_SHAPE} AND id > (:number << 28) + :after ORDER BY id LIMIT :limit
"""

# (values, keys: the texts of rows and of their keys, keyed: whether these count) -> the last of the next positions, how
# many rows there are, and whether they are these; and the same of the next rows.
_ARE_THESE = "group_concat(value) = :values AND (NOT :keyed OR group_concat(key) = :keys)"
COMPARE_ROWS = f"SELECT :after + :limit, count(*), {_ARE_THESE} FROM shape_rows WHERE {_NEXT_POSITIONS}"
COMPARE_ROWS_FAR_BETWEEN = f"""
    SELECT max(id) & 268435455, count(*), {_ARE_THESE} FROM shape_rows WHERE {_NEXT_ROWS}
"""

# (position, keys: [key]) -> those that were stored by then
STORED_KEYS = """
    SELECT key FROM shape_rows
    WHERE id > :number << 28 AND id <= (:number << 28) + :position AND key IN (SELECT value FROM json_each(:keys))
"""

# (number) -> how far a log is written, and from where on it is known; also of a kept handle
WRITTEN = """
    SELECT written, floor FROM shapes WHERE number = :number
    UNION ALL SELECT written, floor FROM kept WHERE number = :number
"""

# (handle of an attempt) -> a key that stands more than once among its rows
REPEATED_KEY = """
    SELECT key FROM create_locks AS lock JOIN shape_rows
        ON shape_rows.id > lock.number << 28 AND shape_rows.id < (lock.number + 1) << 28
    WHERE lock.handle = :handle GROUP BY key HAVING count(*) > 1 LIMIT 1
"""

# Rows as of ``position``, behind ``after``: old images are put back. Without INDEXED BY the planner takes the primary
# key, and reads all changes of the shape for each row. The index holds what has an old image, which has to be said.
_IMAGE_BEFORE = """
    SELECT later.old FROM shape_changes AS later INDEXED BY changes_of_row
    WHERE later.row_id = {row} AND later.id > (:number << 28) + :position AND later.old IS NOT NULL
    ORDER BY later.id LIMIT 1
"""


def _as_of(last: str) -> str:
    """Rows as of ``position``, of which the last may be that at ``last``."""
    return f"""
    SELECT id & 268435455 AS position, value, key FROM (
        SELECT r.id AS id, r.key AS key, coalesce(({_IMAGE_BEFORE.format(row="r.id")}), r.value) AS value
        FROM shape_rows AS r
        WHERE r.id > (:number << 28) + :after AND r.id <= (:number << 28) + {last}
        UNION ALL
        SELECT d.row_id, d.key, ({_IMAGE_BEFORE.format(row="d.row_id")})
        FROM shape_changes AS d INDEXED BY changes_of_row
        WHERE d.row_id > (:number << 28) + :after AND d.row_id <= (:number << 28) + {last}
          AND d.id > (:number << 28) + :position AND d.operation = 'delete' AND d.old IS NOT NULL
        ORDER BY 1 LIMIT :limit)
"""


_AS_OF = _as_of(":position")

ROWS_AS_OF = f"""
    SELECT CAST(group_concat(value, :separator) AS BLOB), count(*), max(position), count(*) < :limit FROM ({_AS_OF})
"""

# As KEYED_ROWS and COMPARE_ROWS_FAR_BETWEEN, as of a position.
KEYED_ROWS_AS_OF = f"SELECT position, key, value FROM ({_AS_OF})"
COMPARE_ROWS_AS_OF = f"SELECT max(position), count(*), {_ARE_THESE} FROM ({_AS_OF})"

# (number, after, last) -> a part of the rows as they are now, a line each, with their keys
PART = """
    SELECT count(*), CAST(group_concat(value, '\n') AS BLOB), CAST(group_concat(key, '\n') AS BLOB) FROM shape_rows
    WHERE id > (:number << 28) + :after AND id <= (:number << 28) + :last
"""

# (number, position, after, last) -> the same as of ``position``
PART_AS_OF = f"""
    SELECT count(*), CAST(group_concat(value, char(10)) AS BLOB), CAST(group_concat(key, char(10)) AS BLOB)
    FROM ({_as_of(":last")})
"""

# (rounds: [number]) -> what is known of them
ROUNDS = "SELECT number, seq, markers FROM rounds WHERE number IN (SELECT value FROM json_each(:rounds))"

# Changes behind ``after``, up to ``position``, with the row after each: the next change's old image, or the row itself.
LOG = """
    SELECT c.id & 268435455, c.round, c.operation, c.key,
        CASE WHEN c.operation <> 'delete' THEN coalesce(
            (SELECT later.old FROM shape_changes AS later INDEXED BY changes_of_row
             WHERE later.row_id = c.row_id AND later.id > c.id AND later.old IS NOT NULL ORDER BY later.id LIMIT 1),
            (SELECT value FROM shape_rows WHERE id = c.row_id)) END,
        c.old
    FROM shape_changes AS c
    WHERE c.id > (:number << 28) + :after AND c.id <= (:number << 28) + :position ORDER BY c.id LIMIT :limit
"""

# (number, position) -> the round logged there
ROUND_AT = "SELECT round FROM shape_changes WHERE id = (:number << 28) + :position"

# (number, round) -> the last position whose round is not later
LAST_POSITION_OF_ROUND = f"""
    SELECT max(id) & 268435455 FROM shape_changes WHERE {_OF_SHAPE} AND round <= :round
"""

GAP_AT = "SELECT 1 FROM gaps WHERE first <= :round AND last >= :round"

HAS_ROUND = "SELECT 1 FROM rounds WHERE number = :round"

LOG_STATE = "SELECT round, jump_due, gaps_known_from FROM log_state"

# --- writes: rows of an attempt -----------------------------------------------------------------------------------

# (number, position of the first, keyed, rows: [row], or {key: row} if keyed). The rowid of json_each counts its values
# from 0; row_number() would take as long as all the rest.
ADD_ROWS = """
    INSERT INTO shape_rows (id, value, key)
    SELECT (:number << 28) + :first + rows.rowid, rows.value, iif(:keyed, rows.key, NULL) FROM json_each(:rows) AS rows
"""

# (chunks: [[number, position of the first, keyed, rows]]): many chunks of a few rows each. MATERIALIZED, or all of a
# chunk would be read again for each of its rows.
ADD_SMALL_CHUNKS = """
    WITH chunk (number, first, keyed, rows) AS MATERIALIZED (
        SELECT value ->> 0, value ->> 1, value ->> 2, value -> 3 FROM json_each(:chunks))
    INSERT INTO shape_rows (id, value, key)
    SELECT (chunk.number << 28) + chunk.first + rows.rowid, rows.value, iif(chunk.keyed, rows.key, NULL)
    FROM chunk CROSS JOIN json_each(chunk.rows) AS rows
"""

# (number, position of the first, source: number, after, last, position): rows of another attempt, as of ``position``
COPY_ROWS = f"""
    INSERT INTO shape_rows (id, value, key)
    SELECT (:number << 28) + :first - 1 + row_number() OVER (ORDER BY position), value, key
    FROM ({_as_of(":last").replace(":number", ":source")})
"""

# --- writes: rounds ------------------------------------------------------------------------------------------------

# (gap: how far to jump) -> the new round
NEXT_ROUND = "UPDATE log_state SET round = round + :gap + 1, jump_due = 0 RETURNING round"

ADD_GAP = "INSERT INTO gaps (first, last) VALUES (:first, :last)"

KEPT_GAPS = 1_000

TRIM_GAPS = f"""
    DELETE FROM gaps WHERE first <= (SELECT first FROM gaps ORDER BY first DESC LIMIT 1 OFFSET {KEPT_GAPS})
    RETURNING last
"""

FORGET_GAPS_BEFORE = "UPDATE log_state SET gaps_known_from = max(gaps_known_from, :round)"

ADD_ROUND = """
    INSERT INTO rounds (number, source, seq, markers, finished, ended_boot, ended_at_boot_ms, ended_at_ms)
    VALUES (:round, :source, :seq, :markers, :finished, :boot, :boot_ms, :wall_ms)
"""

KEPT_ROUNDS = 100_000

# (round: the newest) They are counted at each thousandth, which takes a millisecond. By their numbers alone, all before
# a jump would go: the other stores would not find the one that they have seen last, and jump too, again and again. One
# that goes on stays, however many of other sources come meanwhile.
TRIM_ROUNDS = f"""
    DELETE FROM rounds
    WHERE :round % 1000 = 0
        AND number <= (SELECT number FROM rounds ORDER BY number DESC LIMIT 1 OFFSET {KEPT_ROUNDS})
        AND number NOT IN (SELECT unfinished_round FROM sources WHERE unfinished_round IS NOT NULL)
"""
