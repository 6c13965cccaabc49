"""The texts of the triggers of one table. SQLite keeps them as they are written here, so they can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shapestore.source.sqlite_feed.changes import CHANGES
from shapestore.source.sqlite_feed.file import quoted
from shapestore.source.sqlite_feed.followed_table import PREFIX, FollowedTable, Unique

_NAME = re.compile(rf"{PREFIX}(?P<token>[0-9a-f]{{16}})_[a-z0-9_]+")


def token_of(trigger: str) -> str | None:
    """The token in the name of a trigger of ours; None for another one."""
    match = _NAME.fullmatch(trigger)
    return match and match["token"]


def triggers_of(table: FollowedTable, number: int, token: str) -> dict[str, str]:
    """The triggers of a table by their names. ``number`` stands for the table in the change table."""
    log = _Log(table, number)
    texts = {
        "inserted": f"AFTER INSERT ON {log.table} BEGIN {log.row('new')} END",
        "updated": f"AFTER UPDATE ON {log.table} BEGIN {log.row('new')} END",
        "rekeyed": f"AFTER UPDATE ON {log.table} WHEN {_has_other_key(table)} BEGIN {log.row('old')} END",
        "deleted": f"AFTER DELETE ON {log.table} BEGIN {log.row('old')} END",
    }
    if table.replacing:
        removed = " ".join(map(log.rows_like_the_new, table.replacing))
        texts["replaced"] = f"BEFORE INSERT ON {log.table} BEGIN {removed} END"
    for place, unique in enumerate(table.replacing):
        when = "" if unique.condition else f"WHEN {_moves_in(unique)} "  # an update may bring a row into the condition
        body = log.rows_like_the_new(unique)
        texts[f"replaced_{place}"] = f"BEFORE UPDATE ON {log.table} {when}BEGIN {body} END"
    return {f"{PREFIX}{token}_{what}": f"CREATE TRIGGER {PREFIX}{token}_{what} {text}" for what, text in texts.items()}


class _Log:
    """Statements that log keys of one table."""

    def __init__(self, table: FollowedTable, number: int) -> None:
        self.table = quoted(table.name)
        self._key = table.key
        self._number = number
        self._defaults = table.defaults
        self._into = f"INSERT INTO {CHANGES} (tab, {', '.join(f'k{place}' for place in range(len(table.key)))})"

    def row(self, which: str) -> str:
        """Log the key of the row ``old`` or ``new``."""
        return f"{self._into} VALUES ({self._number}, {_listed(self._key, f'{which}.')});"

    def rows_like_the_new(self, unique: Unique) -> str:
        """Log the keys of the rows that REPLACE would remove for the new row's values."""
        same = [f"{quoted(name)} COLLATE {quoted(collation)} = {self._new(name)}" for name, collation in unique.columns]
        where = " AND ".join(same if unique.condition is None else [*same, f"({unique.condition})"])
        return f"{self._into} SELECT {self._number}, {_listed(self._key)} FROM {self.table} WHERE {where};"

    def _new(self, column: str) -> str:
        default = self._defaults.get(column)
        return f"new.{quoted(column)}" if default is None else f"coalesce(new.{quoted(column)}, {default})"


def _listed(columns: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{quoted(column)}" for column in columns)


def _has_other_key(table: FollowedTable) -> str:
    """Whether the stored key is another one, whatever its columns' collations take for equal."""

    def differs(column: str) -> Iterator[str]:
        old, new = f"old.{quoted(column)}", f"new.{quoted(column)}"
        yield f"{old} COLLATE BINARY IS NOT {new}"
        yield f"typeof({old}) <> typeof({new})"

    return " OR ".join(term for column in table.key for term in differs(column))


def _moves_in(unique: Unique) -> str:
    """Whether the index finds the new row in another place than the old one."""
    return " OR ".join(
        f"old.{quoted(name)} COLLATE {quoted(collation)} IS NOT new.{quoted(name)}"
        for name, collation in unique.columns
    )
