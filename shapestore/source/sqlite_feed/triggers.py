"""The texts of the triggers of one table. SQLite keeps them as they are written here, so they can be compared."""

from __future__ import annotations

import re

from shapestore.shape.quoting import quoted
from shapestore.source.sqlite_feed.changes import CHANGES, PREFIX
from shapestore.source.sqlite_feed.followed_table import FollowedTable, KeyColumn, Unique

_NAME = re.compile(rf"{PREFIX}(?P<token>[0-9a-f]{{16}})_[a-z0-9_]+")


def token_of(trigger: str) -> str | None:
    """The token in the name of a trigger of ours; None for another one."""
    match = _NAME.fullmatch(trigger)
    return match and match["token"]


def triggers_of(table: FollowedTable, number: int, token: str) -> dict[str, str]:
    """The triggers of a table by their names. ``number`` stands for the table in the change table."""
    log = _Log(table, number)
    on = f"ON {log.table}"
    texts = {
        "inserted": f"AFTER INSERT {on} BEGIN {log.new_key()} END",
        "updated": f"AFTER UPDATE {on} BEGIN {log.new_key()} END",
        "rekeyed": f"BEFORE UPDATE {on} WHEN {_has_other_key(table)} BEGIN {log.old_key()} END",
        "deleted": f"BEFORE DELETE {on} BEGIN {log.old_key()} END",
    }
    if table.rowid is None and any(column.is_textual for column in table.key):
        has_key = " AND ".join(f"new.{quoted(column.name)} IS NOT NULL" for column in table.key)
        texts["inserting"] = f"BEFORE INSERT {on} WHEN {has_key} BEGIN {log.new_key()} END"
        texts["updating"] = f"BEFORE UPDATE {on} WHEN {has_key} BEGIN {log.new_key()} END"
    if table.replacing:
        removed = " ".join(map(log.keys_like_the_new, table.replacing))
        by_insert = " OR ".join(map(log.finds_like_the_new, table.replacing))
        by_update = " OR ".join(f"{_moves_in(unique)}{log.finds_like_the_new(unique)}" for unique in table.replacing)
        texts["replaced_by_insert"] = f"BEFORE INSERT {on} WHEN {by_insert} BEGIN {removed} END"
        texts["replaced_by_update"] = f"BEFORE UPDATE {on} WHEN {by_update} BEGIN {removed} END"
    return {f"{PREFIX}{token}_{what}": f"CREATE TRIGGER {PREFIX}{token}_{what} {text}" for what, text in texts.items()}


class _Log:
    """Statements that log keys of one table, and conditions for them."""

    def __init__(self, table: FollowedTable, number: int) -> None:
        self.table = quoted(table.name)
        self._key = table.key
        self._rowid = table.rowid
        self._number = number
        self._defaults = table.defaults
        self._into = f"INSERT INTO {CHANGES} (tab, {', '.join(f'k{place}' for place in range(len(table.key)))})"

    def new_key(self) -> str:
        return f"{self._into} VALUES ({self._number}, {', '.join(map(self._stored, self._key))});"

    def old_key(self) -> str:
        key = ", ".join(f"old.{quoted(column.name)}" for column in self._key)
        return f"{self._into} VALUES ({self._number}, {key});"

    def _stored(self, column: KeyColumn) -> str:
        """The new row's value of a column of the key, as it is in the table."""
        new = f"new.{quoted(column.name)}"
        if self._rowid is None or not column.is_textual:
            return new
        row = f"SELECT {quoted(column.name)} FROM {self.table} WHERE {self._rowid} = new.{self._rowid}"
        return f"coalesce(({row}), {new})"

    def keys_like_the_new(self, unique: Unique) -> str:
        """Log the key of the row that REPLACE would remove for the new row's values."""
        key = ", ".join(quoted(column.name) for column in self._key)
        return f"{self._into} SELECT {self._number}, {key} {self._like_the_new(unique)};"

    def finds_like_the_new(self, unique: Unique) -> str:
        return f"EXISTS (SELECT 1 {self._like_the_new(unique)})"

    def _like_the_new(self, unique: Unique) -> str:
        same = [f"{quoted(name)} COLLATE {quoted(collation)} = {self._new(name)}" for name, collation in unique.columns]
        condition = [] if unique.condition is None else [f"({unique.condition})"]
        return f"FROM {self.table} WHERE {' AND '.join([*same, *condition, f'({self._is_another()})'])}"

    def _is_another(self) -> str:
        """Whether a row of the table has another key than the new row, which is logged anyway."""
        terms = [_differs(column, quoted(column.name)) for column in self._key]
        if len(terms) == 1:  # before the insert, -1 stands for a rowid that SQLite will choose
            terms.append(f"new.{quoted(self._key[0].name)} = -1")
        return " OR ".join(terms)

    def _new(self, column: str) -> str:
        default = self._defaults.get(column)
        return f"new.{quoted(column)}" if default is None else f"coalesce(new.{quoted(column)}, {default})"


def _has_other_key(table: FollowedTable) -> str:
    return " OR ".join(_differs(column, f"old.{quoted(column.name)}") for column in table.key)


def _differs(column: KeyColumn, stored: str) -> str:
    """Whether a stored value and the new one differ, whatever their column's collation takes for equal."""
    new = f"new.{quoted(column.name)}"
    if column.is_rowid:  # in the trigger of each update, the rest would cost a twentieth of the application's write
        return f"{stored} IS NOT {new}"
    return f"{stored} COLLATE BINARY IS NOT {new} OR typeof({stored}) <> typeof({new})"


def _moves_in(unique: Unique) -> str:
    """Whether the index finds the new row in another place than the old one, followed by AND; nothing if it may be."""
    if unique.condition is not None:  # an update of any column may bring a row into it
        return ""
    differs = " OR ".join(
        f"old.{quoted(name)} COLLATE {quoted(collation)} IS NOT new.{quoted(name)}"
        for name, collation in unique.columns
    )
    return f"({differs}) AND "
