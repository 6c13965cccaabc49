"""The statements that drop shapes, and that keep what is dropped for those who read it."""

from __future__ import annotations

# --- shapes that go -----------------------------------------------------------------------------------------------

NUMBER_OF_HANDLE = "SELECT number FROM shapes WHERE handle = :handle"

# (handles: [handle]) -> numbers of the shapes that these attempts, if their fencing token still holds, replace
REPLACED = """
    SELECT shapes.number FROM create_locks AS lock JOIN shapes ON shapes.comparable = lock.comparable
    WHERE lock.handle IN (SELECT value FROM json_each(:handles)) AND lock.state = 'in_progress'
"""

NUMBER_OF_KEY = "SELECT number FROM shapes WHERE comparable = :comparable"

NUMBERS_OF_TABLE = "SELECT number FROM shapes WHERE namespace = :namespace AND table_name = :table LIMIT :limit"

# A reader at the last position there can be: it has read all, and waits for more.
_WAITS = "readers.position = 268435455"

# -> numbers and sizes of the shapes that were least recently read, and that are not waited for
LEAST_READ = f"""
    SELECT number, bytes + log_bytes FROM shapes
    WHERE NOT EXISTS (SELECT 1 FROM readers WHERE readers.shape = shapes.number AND {_WAITS})
    ORDER BY read_order LIMIT :limit
"""

# -> the same of those that are waited for
LEAST_READ_OF_THOSE_WAITED_FOR = f"""
    SELECT number, bytes + log_bytes FROM shapes
    WHERE number IN (SELECT shape FROM readers WHERE {_WAITS}) ORDER BY read_order LIMIT :limit
"""

# (numbers: [number]): copied in the transaction that drops them
KEEP = """
    INSERT INTO kept (
        number, handle, comparable, table_name, row_count, snapshot, position, written, round, floor, floor_round,
        bytes, log_bytes, key_columns, created_at_ms, refreshed_at_ms, gone_boot, gone_at_boot_ms, gone_at_ms)
    SELECT number, handle, comparable, table_name, row_count, snapshot, position, written, round, floor, floor_round,
           bytes, log_bytes, key_columns, created_at_ms, refreshed_at_ms, :boot, :boot_ms, :wall_ms
    FROM shapes WHERE number IN (SELECT value FROM json_each(:numbers))
"""

# (numbers: [number]) -> of those that were there the handles, and what sources they followed
DROP_SHAPES = "DELETE FROM shapes WHERE number IN (SELECT value FROM json_each(:numbers)) RETURNING handle, source"

# (handles: [handle], in the order in which they were read)
NOTE_READS = """
    UPDATE shapes
    SET last_read_at_ms = :wall_ms, read_order = newest.read_order + 1 + read.key
    FROM json_each(:handles) AS read, (SELECT coalesce(max(read_order), 0) AS read_order FROM shapes) AS newest
    WHERE shapes.handle = read.value
"""

# --- kept handles, and those who read for long -------------------------------------------------------------------

_UNREAD = "NOT EXISTS (SELECT 1 FROM readers WHERE readers.shape = kept.number)"

# (boot, oldest: boot time in ms) -> numbers of kept handles whose time is up
EXPIRED = f"""
    SELECT number FROM kept WHERE gone_boot = :boot AND gone_at_boot_ms <= :oldest AND {_UNREAD}
    UNION ALL SELECT number FROM kept WHERE gone_boot < :boot AND {_UNREAD}
    UNION ALL SELECT number FROM kept WHERE gone_boot > :boot AND {_UNREAD}
    LIMIT :limit
"""

# A reader that began while the handle was there is registered by then.
SPARED_SECONDS = 1.0
SPARED_MS = round(SPARED_SECONDS * 1000)
_NOT_SPARED = f"{_UNREAD} AND (gone_boot <> :boot OR gone_at_boot_ms <= :boot_ms - {SPARED_MS})"

# -> numbers and sizes of kept handles without registered readers, the oldest first
OLDEST_KEPT = f"SELECT number, bytes + log_bytes FROM kept WHERE {_NOT_SPARED} ORDER BY sequence LIMIT :limit"

# (numbers: [number] of handles that are kept from now on) -> older ones of their keys, beyond two a key
MORE_THAN_TWO_OF_A_KEY = f"""
    SELECT number FROM (
        SELECT kept.number, row_number() OVER (PARTITION BY kept.comparable ORDER BY kept.sequence DESC) AS nth,
               {_NOT_SPARED} AS may_go
        FROM kept
        WHERE kept.comparable IN (
            SELECT kept.comparable FROM kept WHERE number IN (SELECT value FROM json_each(:numbers)))
          AND {_UNREAD})
    WHERE nth > 2 AND may_go
"""

# (seen: sequence) -> handles that were kept since then, and by now for as long as all are
KEPT_SINCE = """
    SELECT sequence, number FROM kept
    WHERE sequence > :seen AND (gone_boot <> :boot OR gone_at_boot_ms <= :oldest) ORDER BY sequence LIMIT :limit
"""

# (numbers: [number]) -> those that were there, without registered readers
FORGET_KEPT = f"""
    DELETE FROM kept WHERE number IN (SELECT value FROM json_each(:numbers)) AND {_UNREAD} RETURNING number
"""

# (readers: {reading: [number, position]})
ADD_READERS = """
    INSERT INTO readers (owner, reading, shape, position, registered_at_ms)
    SELECT :owner, reader.key, reader.value ->> 0, reader.value ->> 1, :wall_ms FROM json_each(:readers) AS reader
    WHERE true ON CONFLICT DO NOTHING
"""

# (readings: [reading]) -> the numbers of what they read
FORGET_READERS = """
    DELETE FROM readers WHERE owner = :owner AND reading IN (SELECT value FROM json_each(:readings)) RETURNING shape
"""

# (owner) -> the numbers of what they read
FORGET_READERS_OF_OWNER = "DELETE FROM readers WHERE owner = :owner RETURNING shape"
