"""The statements by which wanted rows become a round of the logs of many shapes, by name.

They work on two tables of the writer's own connection: what is wanted, and what will be appended. So all is done in a
few steps of SQLite's, for each of which Python's lock is released, however many rows there are.
"""

from __future__ import annotations

# --- what is wanted -----------------------------------------------------------------------------------------------

MAKE_WANTED = """
    CREATE TEMP TABLE IF NOT EXISTS wanted (
        shape INTEGER, key TEXT, nth INTEGER, value TEXT, position INTEGER, PRIMARY KEY (shape, key)) WITHOUT ROWID
"""

MAKE_APPENDED = """
    CREATE TEMP TABLE IF NOT EXISTS appended (
        id INTEGER PRIMARY KEY, operation TEXT, row_id INTEGER, key TEXT, value TEXT, old TEXT, source_table INTEGER)
"""

MAKE_WANTED_ROWS = "CREATE TEMP TABLE IF NOT EXISTS wanted_rows (nth INTEGER PRIMARY KEY, key TEXT, value TEXT)"

CLEAR_WANTED = "DELETE FROM temp.wanted"

CLEAR_WANTED_ROWS = "DELETE FROM temp.wanted_rows"

CLEAR_APPENDED = "DELETE FROM temp.appended"

# (wanted: [[number of a shape, key, row or null, position or null]])
WANT = """
    INSERT OR REPLACE INTO temp.wanted (shape, key, nth, value, position)
    SELECT wanted.value ->> 0, wanted.value ->> 1, wanted.key, wanted.value ->> 2, wanted.value ->> 3
    FROM json_each(:wanted) AS wanted
"""

# (source, asked: {source table: [key]}): no shape that the round has reached is to hold them, but for its matches
WANT_REMOVALS = """
    INSERT INTO temp.wanted (shape, key, nth, position)
    SELECT members.shape, members.key, 0, members.position
    FROM json_each(:asked) AS of_table
    CROSS JOIN json_each(of_table.value) AS asked
    CROSS JOIN members ON members.source_table = CAST(of_table.key AS INTEGER) AND members.key = asked.value
    CROSS JOIN shapes ON shapes.number = members.shape
    WHERE shapes.source = :source AND shapes.source_seq IS NULL
"""

# (rows: {key: row}): a key may be there more than once. The rowid of json_each counts from 0.
WANT_ROWS = """
    INSERT INTO temp.wanted_rows (nth, key, value) SELECT row.rowid, row.key, row.value FROM json_each(:rows) AS row
"""

# (source, matches: [number of a shape << 28 | which of the rows])
WANT_MATCHES = """
    INSERT INTO temp.wanted (shape, key, nth, value)
    SELECT shapes.number, wanted_rows.key, matched.key, wanted_rows.value
    FROM json_each(:matches) AS matched
    CROSS JOIN shapes ON shapes.number = matched.value >> 28
    JOIN temp.wanted_rows ON wanted_rows.nth = matched.value & 268435455
    WHERE shapes.source = :source AND shapes.source_seq IS NULL
    ON CONFLICT (shape, key) DO UPDATE SET nth = excluded.nth, value = excluded.value
"""

# Of live shapes it is known where they hold a key.
FIND_AS_MEMBERS = """
    UPDATE temp.wanted SET position = (
        SELECT members.position FROM shapes JOIN members
            ON members.source_table = shapes.source_table AND members.key = wanted.key AND members.shape = wanted.shape
        WHERE shapes.number = wanted.shape)
    WHERE position IS NULL
"""

# The rows of others are gone through.
FIND_AMONG_ROWS = """
    INSERT INTO temp.wanted (shape, key, nth, value, position)
    SELECT wanted.shape, wanted.key, wanted.nth, wanted.value, shape_rows.id & 268435455
    FROM (
        SELECT DISTINCT others.shape FROM temp.wanted AS others JOIN shapes ON shapes.number = others.shape
        WHERE shapes.source_table IS NULL) AS asked
    CROSS JOIN shape_rows ON shape_rows.id > asked.shape << 28 AND shape_rows.id < (asked.shape + 1) << 28
    CROSS JOIN temp.wanted ON wanted.shape = asked.shape AND wanted.key = shape_rows.key
    WHERE true ON CONFLICT (shape, key) DO UPDATE SET position = excluded.position
"""

# What is different, in the order of shapes and of the rows in each; new rows at the end. Shapes that are gone are left
# out.
COMPARE_WANTED = """
    INSERT INTO temp.appended (id, operation, row_id, key, value, old, source_table)
    SELECT (shape << 28) + written + place,
           CASE WHEN value IS NULL THEN 'delete' WHEN old IS NULL THEN 'insert' ELSE 'update' END,
           (shape << 28) + CASE WHEN old IS NULL THEN written + place ELSE found END,
           key, value, old, source_table
    FROM (
        SELECT wanted.shape, wanted.key, wanted.value, wanted.position AS found, stored.value AS old,
               shapes.written, shapes.source_table,
               row_number() OVER (
                   PARTITION BY wanted.shape ORDER BY stored.value IS NULL, wanted.position, wanted.nth) AS place
        FROM temp.wanted JOIN shapes ON shapes.number = wanted.shape
        LEFT JOIN shape_rows AS stored ON stored.id = (wanted.shape << 28) + wanted.position
        WHERE stored.value IS NOT wanted.value)
"""

# --- appending it -------------------------------------------------------------------------------------------------

# (round, visible: 0 in a round that goes on): what readers see of a shape changes at the end of the round
ADVANCE_WANTED = """
    UPDATE shapes
    SET (written, position, round, row_count, bytes, log_bytes) = (
        SELECT max(id) & 268435455,
               iif(:visible, max(id) & 268435455, shapes.position),
               iif(:visible, :round, shapes.round),
               shapes.row_count + iif(:visible, sum((old IS NULL) - (value IS NULL)), 0),
               shapes.bytes + sum(ifnull(length(CAST(value AS BLOB)), 0) - ifnull(length(CAST(old AS BLOB)), 0)),
               shapes.log_bytes + sum(ifnull(length(CAST(old AS BLOB)), 0))
        FROM temp.appended WHERE id > shapes.number << 28 AND id < (shapes.number + 1) << 28)
    WHERE number IN (SELECT id >> 28 FROM temp.appended)
"""

APPEND_CHANGES = """
    INSERT INTO shape_changes (id, round, operation, row_id, key, old)
    SELECT id, :round, operation, row_id, key, old FROM temp.appended ORDER BY id
"""

APPEND_ROWS = """
    INSERT INTO shape_rows (id, value, key)
    SELECT row_id, value, key FROM temp.appended WHERE value IS NOT NULL ORDER BY id
    ON CONFLICT (id) DO UPDATE SET value = excluded.value
"""

APPEND_REMOVALS = """
    DELETE FROM shape_rows WHERE id IN (SELECT row_id FROM temp.appended WHERE operation = 'delete')
"""

APPEND_MEMBERS = """
    INSERT INTO members (source_table, key, shape, position)
    SELECT source_table, key, id >> 28, id & 268435455 FROM temp.appended
    WHERE operation = 'insert' AND source_table IS NOT NULL
"""

# Without `key IN` all members of the table would be read; without the + each key would be looked up for each shape.
REMOVE_MEMBERS = """
    DELETE FROM members
    WHERE source_table IN (SELECT source_table FROM temp.appended WHERE operation = 'delete')
      AND key IN (SELECT key FROM temp.appended WHERE operation = 'delete')
      AND (source_table, key, +shape) IN (
          SELECT source_table, key, id >> 28 FROM temp.appended WHERE operation = 'delete')
"""

# Positions left in a log below which its shape makes room for a new one.
FEW_POSITIONS = 100_000

# -> the shapes whose logs have grown, one JSON array of their numbers, a number for each change; and another one of
# those whose logs have hardly any positions left
APPENDED_SHAPES = f"""
    SELECT json_group_array(id >> 28),
           json_group_array(id >> 28) FILTER (WHERE id & 268435455 > 268435455 - {FEW_POSITIONS})
    FROM temp.appended
"""

# --- rounds of a source ---------------------------------------------------------------------------------------------

UNFINISHED_ROUND = "SELECT unfinished_round FROM sources WHERE number = :source AND unfinished_round IS NOT NULL"

# (source, seq): the same, unless something in it was read as of a later change of the source
UNFINISHED_ROUND_UP_TO = f"""
    {UNFINISHED_ROUND}
        AND NOT EXISTS (SELECT 1 FROM rounds WHERE rounds.number = unfinished_round AND rounds.seq > :seq)
"""

SET_UNFINISHED_ROUND = "UPDATE sources SET unfinished_round = :round WHERE number = :source"

# (round, more: number, seq, markers): a round that goes on
ADD_TO_ROUND = """
    UPDATE rounds
    SET seq = max(coalesce(seq, 0), coalesce(:seq, 0)),
        markers = (SELECT json_group_array(marker) FROM (
            SELECT value AS marker FROM json_each(coalesce(rounds.markers, '[]'))
            UNION SELECT value FROM json_each(coalesce(:markers, '[]'))))
    WHERE number = :round
"""

# (source, round, new) a round that goes on gets another number, as have its changes, which no reader has seen
RENUMBER_CHANGES = """
    UPDATE shape_changes SET round = :new
    FROM shapes
    WHERE shapes.source = :source AND shapes.written > shapes.position
      AND shape_changes.id > (shapes.number << 28) + shapes.position
      AND shape_changes.id <= (shapes.number << 28) + shapes.written
"""

# (round, new): a round that goes on has ended for a shape, and goes on under another number
COPY_ROUND = """
    INSERT INTO rounds (number, source, seq, markers, finished, ended_boot, ended_at_boot_ms, ended_at_ms)
    SELECT :new, source, seq, markers, finished, ended_boot, ended_at_boot_ms, ended_at_ms
    FROM rounds WHERE number = :round
"""

RENUMBER_ROUND = "UPDATE rounds SET number = :new WHERE number = :round"

# (source, round): what a round has written becomes visible
SHOW_WRITTEN = """
    UPDATE shapes
    SET row_count = row_count + (
            SELECT sum((operation = 'insert') - (operation = 'delete')) FROM shape_changes
            WHERE id > (number << 28) + shapes.position AND id <= (number << 28) + shapes.written),
        position = written, round = :round
    WHERE source = :source AND written > position
"""

# (source, round, number): the same of one shape
SHOW_WRITTEN_OF_ONE = f"{SHOW_WRITTEN} AND number = :number"

# (source) -> the shapes that have something to be shown: one JSON array of their numbers
HIDDEN_SHAPES = """
    SELECT json_group_array(number) FROM shapes WHERE source = :source AND written > position
"""

FINISH_ROUND = """
    UPDATE rounds SET finished = 1, ended_boot = :boot, ended_at_boot_ms = :boot_ms, ended_at_ms = :wall_ms
    WHERE number = :round
"""
