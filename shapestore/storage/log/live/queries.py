"""The statements about live shapes: their sources and members, the ring of keys, and what a follower reads and sets."""

from __future__ import annotations

# --- sources and members ------------------------------------------------------------------------------------------

ADD_SOURCE = "INSERT INTO sources (name) VALUES (:name) ON CONFLICT DO NOTHING"

# (source: its name, name: of the table)
ADD_SOURCE_TABLE = """
    INSERT INTO source_tables (source, name) SELECT number, :name FROM sources WHERE name = :source
    ON CONFLICT DO NOTHING
"""

SOURCE_NUMBERS = """
    SELECT sources.number, source_tables.number
    FROM sources JOIN source_tables ON source_tables.source = sources.number
    WHERE sources.name = :source AND source_tables.name = :name
"""

# (added: [[table, number of the shape, position of the first row, count]])
ADD_MEMBERS = """
    INSERT INTO members (source_table, key, shape, position)
    SELECT added.value ->> 0, shape_rows.key, added.value ->> 1, shape_rows.id & 268435455
    FROM json_each(:added) AS added
    CROSS JOIN shape_rows ON shape_rows.id >= ((added.value ->> 1) << 28) + (added.value ->> 2)
                         AND shape_rows.id < ((added.value ->> 1) << 28) + (added.value ->> 2) + (added.value ->> 3)
"""

# -> about how many source tables there are
NEWEST_SOURCE_TABLE = "SELECT coalesce(max(number), 1) FROM source_tables"

# (numbers: [number]) -> those whose first row is a member, each with its source table: whether a shape was live is not
# known any more
WITH_MEMBERS = """
    WITH first (number, key) AS MATERIALIZED (
        SELECT gone.value, (
            SELECT shape_rows.key FROM shape_rows
            WHERE shape_rows.id > gone.value << 28 AND shape_rows.id < (gone.value + 1) << 28 ORDER BY id LIMIT 1)
        FROM json_each(:numbers) AS gone)
    SELECT first.number, members.source_table
    FROM first CROSS JOIN source_tables CROSS JOIN members
        ON members.source_table = source_tables.number AND members.key = first.key AND members.shape = first.number
"""

# (number, table: its source table, last: id): of rows that will be deleted
FORGET_MEMBERS = """
    DELETE FROM members
    WHERE source_table = :table
      AND key IN (
          SELECT key FROM shape_rows WHERE id > :number << 28 AND id < (:number + 1) << 28 AND id <= :last)
      AND shape = :number
"""

# --- the refresh of a live shape ----------------------------------------------------------------------------------

# (number, handle: of the attempt, position: with which it was compared) -> source and table, whether no round has
# reached it since it was read, and behind which of the noted keys its own begin; if its log still reaches back so far
REFRESHED_SHAPE = """
    SELECT shapes.source, source_tables.name, shapes.source_seq IS NOT NULL, create_locks.touched_keys_from
    FROM shapes JOIN source_tables ON source_tables.number = shapes.source_table
    JOIN create_locks ON create_locks.handle = :handle
    WHERE shapes.number = :number AND shapes.floor <= :position
"""

# (noted_from) -> something, if keys that were noted behind this number are forgotten already
RING_OVERRUN = "SELECT 1 WHERE (SELECT min(number) FROM touched_keys) > :noted_from + 1"

# (number, position, but_for: [key]) -> {key: the row as it was then, or null} of what the log has changed since. Not of
# the keys that rounds have asked for later: those are many where the refresh took long
ROWS_CHANGED_SINCE = """
    SELECT json_group_object(key, old) FROM (
        SELECT key, old, min(id) FROM shape_changes
        WHERE id > (:number << 28) + :position AND id < (:number + 1) << 28
          AND key NOT IN (SELECT value FROM json_each(:but_for))
        GROUP BY key)
"""

# (noted_from, source, table, seq) -> [key] that rounds have asked for, as of a later change than seq
KEYS_ASKED_LATER = """
    SELECT json_group_array(key) FROM touched_keys
    WHERE number > :noted_from AND source = :source AND table_name = :table AND seq > :seq
"""

# (number, seq, nonce, signature): the next round asks for what has changed since, unless rounds have seen more
SET_READ_AS_OF = """
    UPDATE shapes
    SET source_seq = read.seq, source_nonce = iif(read.seq IS NULL, NULL, :nonce),
        source_signature = coalesce(:signature, source_signature)
    FROM (
        SELECT iif(shape.source_seq IS NULL AND sources.followed_seq >= :seq
                   AND coalesce(:signature, shape.source_signature) = shape.source_signature, NULL, :seq) AS seq
        FROM shapes AS shape JOIN sources ON sources.number = shape.source WHERE shape.number = :number) AS read
    WHERE shapes.number = :number
"""

# --- rounds that follow a source ----------------------------------------------------------------------------------

# (source: name) -> its number
SOURCE_NUMBER = "SELECT number FROM sources WHERE name = :source"

# (source) -> how many rounds there were, and up to where
SOURCE_STATE = "SELECT rounds, followed_seq, followed_nonce FROM sources WHERE number = :source"

# (source) -> up to where it is followed, and whether there are shapes that no round has reached since they were read
FOLLOWED_UP_TO = """
    SELECT followed_seq, followed_nonce,
           EXISTS (SELECT 1 FROM shapes WHERE shapes.source = :source AND source_seq IS NOT NULL)
    FROM sources WHERE number = :source
"""

TABLES_OF_SOURCE = "SELECT number, name FROM source_tables WHERE source = :source"

# (source) -> for each live shape the name of its table, and the signature under which it was read
SIGNATURES = """
    SELECT source_tables.name, source_signature
    FROM shapes JOIN source_tables ON source_tables.number = shapes.source_table WHERE shapes.source = :source
"""

_LIVE = """
    SELECT number, comparable, where_as_written, source_table, source_signature, source_seq, source_nonce
    FROM shapes WHERE source = :source
"""
LIVE_SHAPES = _LIVE

# Those that were read as of another moment than the others: new ones, and refreshed ones.
NEWCOMERS = f"{_LIVE} AND source_seq IS NOT NULL"

# (source) -> of one of them whether it is a newcomer; of a newcomer, if there is one
ANY_LIVE = """
    SELECT source_seq IS NOT NULL FROM shapes WHERE source = :source ORDER BY source_seq DESC LIMIT 1
"""

# (source) -> how many rounds there were, and up to where; how many live shapes; whether there are newcomers among them
SOURCE_SUMMARY = """
    SELECT rounds, followed_seq, followed_nonce,
           (SELECT count(*) FROM shapes WHERE shapes.source = :source),
           EXISTS (SELECT 1 FROM shapes WHERE shapes.source = :source AND source_seq IS NOT NULL)
    FROM sources WHERE number = :source
"""

# (numbers: [number]) -> number and rows of each
ROW_COUNTS = "SELECT number, row_count FROM shapes WHERE number IN (SELECT value FROM json_each(:numbers))"

NUMBERS_OF_SOURCE = "SELECT number FROM shapes WHERE source = :source LIMIT :limit"

# (asked: {source table: [key]}) -> how many shapes hold them
COUNT_HOLDERS = """
    SELECT count(*) FROM json_each(:asked) AS of_table
    CROSS JOIN json_each(of_table.value) AS asked
    CROSS JOIN members ON members.source_table = CAST(of_table.key AS INTEGER) AND members.key = asked.value
"""

# (source, rounds and before: as they were judged, seq, nonce, finished: only then it is known what shapes are like)
TAKE_ROUND = """
    UPDATE sources
    SET followed_seq = :seq, followed_nonce = :nonce, rounds = rounds + 1,
        followed_boot = iif(:finished, :boot, followed_boot),
        followed_at_boot_ms = iif(:finished, :boot_ms, followed_at_boot_ms),
        followed_at_ms = iif(:finished, :wall_ms, followed_at_ms)
    WHERE number = :source AND rounds = :rounds AND followed_seq = :before
"""

# (source): its shapes begin again, and no round goes on
FORGET_POSITION = """
    UPDATE sources SET followed_seq = 0, followed_nonce = NULL, rounds = rounds + 1, unfinished_round = NULL
    WHERE number = :source
"""

# A round that has no shapes any more has ended: the next one may be of another past of the source.
END_EMPTY_ROUNDS = """
    UPDATE sources SET unfinished_round = NULL
    WHERE unfinished_round IS NOT NULL AND NOT EXISTS (SELECT 1 FROM shapes WHERE shapes.source = sources.number)
"""

# (newcomers: [[number, seq]]): rounds have left these alone until now: what they noted is not for refreshes of these
NOTED_FROM_NOW = """
    UPDATE create_locks SET touched_keys_from = (SELECT coalesce(max(number), 0) FROM touched_keys)
    WHERE state = 'in_progress' AND comparable IN (
        SELECT shapes.comparable FROM json_each(:newcomers) AS newcomer
        CROSS JOIN shapes ON shapes.number = newcomer.value ->> 0)
"""

# (newcomers: [[number, seq]]): what has changed since then is asked for now
CATCH_UP = """
    UPDATE shapes SET source_seq = NULL, source_nonce = NULL
    FROM json_each(:newcomers) AS newcomer
    WHERE shapes.number = newcomer.value ->> 0 AND shapes.source_seq = newcomer.value ->> 1
"""

# (source) -> something, if a live shape of it is being refreshed
ANY_REFRESHED = """
    SELECT 1 FROM create_locks CROSS JOIN shapes ON shapes.comparable = create_locks.comparable
    WHERE create_locks.state = 'in_progress' AND shapes.source = :source LIMIT 1
"""

# (read: {handle: [path of the source, seq]}) -> those of these attempts whose shapes show what was read of that source
# later
SHOW_LATER = """
    SELECT lock.handle FROM json_each(:read) AS read
    CROSS JOIN create_locks AS lock ON lock.handle = read.key AND lock.state = 'in_progress'
    CROSS JOIN shapes ON shapes.comparable = lock.comparable
    CROSS JOIN rounds ON rounds.number = shapes.round
    CROSS JOIN sources ON sources.number = shapes.source AND sources.name = read.value ->> 0
    WHERE rounds.seq > read.value ->> 1
"""

# (source, seq, asked: {source table: [key]})
NOTE_ASKED = """
    INSERT INTO touched_keys (source, table_name, key, seq)
    SELECT :source, source_tables.name, asked.value, :seq
    FROM json_each(:asked) AS of_table
    CROSS JOIN source_tables ON source_tables.number = CAST(of_table.key AS INTEGER)
    CROSS JOIN json_each(of_table.value) AS asked
"""

KEPT_KEYS = 100_000

TRIM_RING = f"DELETE FROM touched_keys WHERE number <= (SELECT max(number) FROM touched_keys) - {KEPT_KEYS}"

# (numbers: [number], failures: {number: [handle, error type, message, retry after]}): for a while their keys fail
REFUSE_KEYS = """
    INSERT INTO create_locks (
        comparable, namespace, table_name, where_as_written, state, owner, handle,
        started_boot, started_at_boot_ms, started_at_ms, failed_at_ms, error_type, error_message, retry_after_ms)
    SELECT shapes.comparable, shapes.namespace, shapes.table_name, shapes.where_as_written, 'failed', :owner,
           failed.value ->> 0, :boot, :boot_ms, :wall_ms, :wall_ms, failed.value ->> 1, failed.value ->> 2,
           failed.value ->> 3
    FROM json_each(:failures) AS failed JOIN shapes ON shapes.number = CAST(failed.key AS INTEGER)
    WHERE true ON CONFLICT DO NOTHING
    RETURNING handle
"""

# (numbers: [number]): they are live no more
STILL_LIVE = "SELECT number FROM shapes WHERE number IN (SELECT value FROM json_each(:numbers)) AND live"

LEAVE = """
    UPDATE shapes
    SET live = 0, source = NULL, source_table = NULL, source_seq = NULL, source_nonce = NULL
    WHERE number IN (SELECT value FROM json_each(:numbers)) AND written = position
"""
