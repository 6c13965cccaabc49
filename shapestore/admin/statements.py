"""Every statement of the inspector, by name.

They take their parameters by name. What a row of each holds, ``records`` says.
"""

from __future__ import annotations

from shapestore.admin.records import CREATION_COLUMNS, OWNER_COLUMNS, SHAPE_COLUMNS
from shapestore.storage import queries

SORTS = {
    "table": ("namespace", "table_name", "created_at_ms", "handle"),
    "created": ("-created_at_ms", "handle"),
    "read": ("-last_read_at_ms", "handle"),
    "rows": ("-row_count", "handle"),
    "bytes": ("-bytes", "handle"),
}
"""Orders of stored shapes, by columns; a minus sign is descending."""


def shapes(sort: str, reverse: bool) -> str:
    """The stored shapes that pass a filter, in an order of ``SORTS`` or its reverse."""
    columns = ((name.lstrip("-"), name.startswith("-") != reverse) for name in SORTS[sort])
    order = ", ".join(f"{name} DESC" if descending else name for name, descending in columns)
    return f"{_SHAPES} ORDER BY {order} LIMIT :limit"


# A parameter is the same if its type is: 1, 1.0, '1' and true are four.
_SHAPES = f"""
    SELECT {SHAPE_COLUMNS} FROM shapes
    WHERE (:namespace IS NULL OR namespace = :namespace)
      AND (:table IS NULL OR table_name = :table)
      AND (:where IS NULL OR comparable ->> '$.where' = :where)
      AND NOT EXISTS (
          SELECT 1 FROM json_each(:params) AS wanted WHERE NOT EXISTS (
              SELECT 1 FROM json_each(comparable, '$.params') AS given
              WHERE given.key = wanted.key AND given.type = wanted.type AND given.atom IS wanted.atom))
"""

SHAPES_BY_PART = f"""
    SELECT {SHAPE_COLUMNS} FROM shapes
    WHERE handle IN (
        SELECT handle FROM shapes
        WHERE substr(handle, 1, length(:part)) = :part OR substr(handle, -length(:part)) = :part
        ORDER BY handle <> :part LIMIT 2)
    ORDER BY handle <> :part
"""

# Of one namespace, or of all.
TABLES = """
    SELECT DISTINCT table_name FROM shapes WHERE :namespace IS NULL OR namespace = :namespace ORDER BY table_name
"""

NAMESPACES = "SELECT DISTINCT namespace FROM shapes WHERE :table IS NULL OR table_name = :table ORDER BY namespace"

STORED = f"SELECT comparable, where_as_written, {queries.STORED} FROM shapes"

SAME_OR_OF_TABLE = f"""
    {STORED} WHERE comparable = :key
       OR number IN (
           SELECT number FROM shapes WHERE namespace = :namespace AND table_name = :table ORDER BY number LIMIT :most)
"""

ANY = f"{STORED} WHERE namespace = :namespace ORDER BY number LIMIT :most"

OWNERS = f"SELECT {OWNER_COLUMNS} FROM owners ORDER BY opened_at_ms, owner"

ROWS_SO_FAR = """
    SELECT handle,
           coalesce((SELECT max(id) & 268435455 FROM shape_rows
                     WHERE id > create_locks.number << 28 AND id < (create_locks.number + 1) << 28), 0)
    FROM create_locks
"""

CREATIONS = f"""
    SELECT {CREATION_COLUMNS} FROM creations
    WHERE (:table IS NULL OR comparable ->> '$.table' = :table)
      AND (:namespace IS NULL OR coalesce(comparable ->> '$.namespace', '') = :namespace)
      AND (NOT :failed OR outcome IN ('failed', 'died'))
      AND (:since_ms IS NULL OR finished_at_ms >= :since_ms)
    ORDER BY number DESC LIMIT :limit
"""

CREATION_OF = f"SELECT {CREATION_COLUMNS} FROM creations WHERE handle = :handle"

TOTALS = """
    SELECT (SELECT count(*) FROM shapes), (SELECT count(*) FROM discarded), count(*),
           coalesce(sum(outcome = 'created'), 0), coalesce(sum(outcome = 'failed'), 0),
           coalesce(sum(followers), 0), coalesce(max(followers), 0)
    FROM creations
"""
