"""What is counted, and the triggers that count it."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from shapestore.storage.schema.columns import metadata

totals = Table(
    "totals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    sqlite_strict=True,
)


def _totals_of(table: str, count: str, size: str) -> dict[str, str]:
    """Triggers that count the rows of a table and sum their bytes."""

    def counted(name: str, when: str, number: str, bytes_: str) -> str:
        return f"""
            CREATE TRIGGER {table}_{name} AFTER {when} ON {table}
            BEGIN
                UPDATE totals SET value = value + {number} WHERE name = '{count}';
                UPDATE totals SET value = value + {bytes_} WHERE name = '{size}';
            END
        """

    new, old = "new.bytes + new.log_bytes", "old.bytes - old.log_bytes"
    return {
        f"{table}_counted_in": counted("counted_in", "INSERT", "1", new),
        f"{table}_counted_out": counted("counted_out", "DELETE", "-1", f"-{old}"),
        f"{table}_resized": f"""
            CREATE TRIGGER {table}_resized AFTER UPDATE OF bytes, log_bytes ON {table}
            BEGIN
                UPDATE totals SET value = value + {new} - {old} WHERE name = '{size}';
            END
        """,
    }


TRIGGERS = _totals_of("shapes", "shapes", "bytes") | _totals_of("kept", "kept", "kept_bytes")
TOTALS = ("shapes", "bytes", "kept", "kept_bytes")
