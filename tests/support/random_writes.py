"""Random tables and random statements, made so that keys, unique values and rowids collide often."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

VALUES = (
    *("0", "1", "2", "3", "-1", "1.0", "2.0", "0.5", "-0.0", "9007199254740993", "9007199254740992.0"),
    *("-9223372036854775808", "-9223372036854775808.0", "4611686018427387904", "9e999", "NULL"),
    *("'a'", "'A'", "'a '", "'b'", "'B'", "'1'", "'2'", "''", "'é'", "'É'", "x''", "x'61'", "x'31'", "x'00'"),
    "CAST(x'610062' AS TEXT)",
)
TYPES = ("", "INTEGER", "INT", "TEXT", "VARCHAR(9)", "REAL", "NUMERIC", "BLOB", "DATE", "TEXT COLLATE NOCASE")
COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
CONFLICTS = ("ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE")
NAMES = ('"order"', '"a b"', '"t""q"', '"select"', '"é"', "plain")


@dataclass
class Table:
    name: str
    columns: list[str]
    key: list[str]
    has_rowid: bool
    statements: list[str] = field(default_factory=list)
    """They make the table and its indexes."""


def a_table(rnd: random.Random, name: str, parent: Table | None) -> Table:
    """A table; of a parent, a foreign key with an action refers to its key, if that is one column."""
    columns = [f"c{number}" for number in range(rnd.randint(3, 6))]
    definitions = [_column(rnd, column) for column in columns]
    key = rnd.sample(columns, rnd.choice((1, 1, 1, 2, 3)))
    has_rowid = rnd.random() < 0.6
    constraints = []
    if len(key) == 1 and rnd.random() < 0.35:
        definitions[columns.index(key[0])] = f"{key[0]} INTEGER PRIMARY KEY{_on_conflict(rnd)}"
    else:
        definitions = [
            f"{text} NOT NULL" if column in key and "NOT NULL" not in text else text
            for column, text in zip(columns, definitions, strict=True)
        ]
        constraints.append(f"PRIMARY KEY ({', '.join(key)}){_on_conflict(rnd)}")
    if rnd.random() < 0.4:
        unique = rnd.sample(columns, rnd.randint(1, 2))
        constraints.append(f"UNIQUE ({', '.join(unique)}){_on_conflict(rnd)}")
    # Not of a default, with which REPLACE may replace a NULL after triggers saw what is generated.
    plain = [column for column, text in zip(columns, definitions, strict=True) if "DEFAULT" not in text]
    if plain and rnd.random() < 0.25:
        definitions.append(f"g AS ({rnd.choice(plain)} || 'x') {rnd.choice(('VIRTUAL', 'STORED'))}")
        constraints.append("UNIQUE (g)")
    refers_to = [table for table in (parent, Table(name, columns, key, has_rowid)) if table and len(table.key) == 1]
    if refers_to and rnd.random() < 0.7:
        target = rnd.choice(refers_to)
        # With ON DELETE SET NULL to itself, INSERT OR REPLACE is checked only if the table has any update trigger.
        kinds = (
            ("CASCADE", "SET DEFAULT", "NO ACTION") if target is refers_to[-1] else ("CASCADE", "SET NULL", "NO ACTION")
        )
        actions = (rnd.choice(kinds) for _ in range(2))
        constraints.append(
            f"FOREIGN KEY ({rnd.choice(columns)}) REFERENCES {target.name} ({target.key[0]}) "
            f"ON DELETE {next(actions)} ON UPDATE {next(actions)} DEFERRABLE INITIALLY DEFERRED"
        )
    suffix = "" if has_rowid else " WITHOUT ROWID"
    made = f"CREATE TABLE {name} ({', '.join([*definitions, *constraints])}){suffix}"
    indexes = [_index(rnd, name, number, columns) for number in range(rnd.choice((0, 0, 1, 2)))]
    return Table(name, columns, key, has_rowid, [made, *indexes])


def _column(rnd: random.Random, name: str) -> str:
    text = f"{name} {rnd.choice(TYPES)}"
    if rnd.random() < 0.15 and "COLLATE" not in text:
        text += f" COLLATE {rnd.choice(COLLATIONS)}"
    if rnd.random() < 0.2:
        text += f" NOT NULL{_on_conflict(rnd)}"
    if rnd.random() < 0.4:
        text += " DEFAULT " + rnd.choice(("1", "'a'", '"b"', "b", "[A]", "(1 + 1)", "-1", "CURRENT_DATE", "TRUE", "''"))
    return text


def _on_conflict(rnd: random.Random) -> str:
    return f" ON CONFLICT {rnd.choice(CONFLICTS)}" if rnd.random() < 0.3 else ""


def _index(rnd: random.Random, table: str, number: int, columns: Sequence[str]) -> str:
    parts = [f"{column} COLLATE {rnd.choice(COLLATIONS)}" for column in rnd.sample(columns, rnd.randint(1, 2))]
    column = rnd.choice(columns)
    conditions = (
        f"{column} IS NULL",
        f"{column} > 1 /* where ) */ AND {column} <> 'where (' -- it's",
        f"{table}.{column} IN (1, 'a', 'A')",
    )
    where = f" WHERE {rnd.choice(conditions)}" if rnd.random() < 0.4 else ""
    name = f'"index {number} of ' + table.strip('"') + '"'
    return f"CREATE UNIQUE INDEX {name} ON {table} ({', '.join(parts)}){where}"


def a_trigger(rnd: random.Random, table: Table, number: int) -> str:
    """A trigger as an application may have it, which writes to the same table."""
    column = rnd.choice([column for column in table.columns if column not in table.key] or table.columns)
    event = rnd.choice(("INSERT", "UPDATE", "DELETE"))
    row = "old" if event == "DELETE" else "new"
    other, key = rnd.choice(table.columns), table.key[0]
    body = rnd.choice(
        (
            f"UPDATE {table.name} SET {column} = {rnd.choice(VALUES)} WHERE {key} = {row}.{key}",
            f"DELETE FROM {table.name} WHERE {other} = {row}.{column}",
            f"UPDATE OR IGNORE {table.name} SET {key} = {rnd.choice(VALUES)} WHERE {other} = {row}.{other}",
            f"INSERT OR REPLACE INTO {table.name} ({', '.join(table.key)}) VALUES ({_values(rnd, table.key)})",
        )
    )
    # What follows is undefined where a trigger changes the row before it is updated or deleted.
    when = rnd.choice(("BEFORE", "AFTER")) if event == "INSERT" else "AFTER"
    return f'CREATE TRIGGER "application {number}" {when} {event} ON {table.name} BEGIN {body}; END'


class Statements:
    """Statements without end. Many fail, as an application's do.

    With ``one_row``, an update or deletion is of one row: of several, the outcome may depend on their order, which
    SQLite is free to choose, and chooses otherwise where there are triggers.
    """

    def __init__(self, rnd: random.Random, tables: Sequence[Table], *, one_row: bool) -> None:
        self._rnd = rnd
        self._tables = tables
        self._one_row = one_row

    def __iter__(self) -> Iterator[str]:
        kinds = [self._insert] * 3 + [self._update] * 3 + [self._delete, self._transaction]
        while True:
            yield self._rnd.choice(kinds)(self._rnd.choice(self._tables))

    def _insert(self, table: Table) -> str:
        rnd = self._rnd
        columns = rnd.sample(table.columns, rnd.randint(1, len(table.columns)))
        if rnd.random() < 0.8:
            columns = list(dict.fromkeys([*table.key, *columns]))
        into = [*columns, "rowid"] if table.has_rowid and rnd.random() < 0.15 else columns
        given = "VALUES " + ", ".join(f"({_values(rnd, into)})" for _ in range(rnd.choice((1, 1, 2, 5))))
        if rnd.random() < 0.1:
            expressions = ", ".join(self._expression(table, column) for column in into)
            given = f"SELECT {expressions} FROM {table.name} WHERE true"
            given += f" ORDER BY {', '.join(table.key)}"
        if rnd.random() < 0.25:
            update = f"DO UPDATE SET {rnd.choice(table.columns)} = excluded.{rnd.choice(table.columns)}"
            action = rnd.choice((update, "DO NOTHING"))
            return f"INSERT INTO {table.name} ({', '.join(into)}) {given} ON CONFLICT {action}"
        return f"INSERT{self._or()} INTO {table.name} ({', '.join(into)}) {given}"

    def _update(self, table: Table) -> str:
        columns = self._rnd.sample(table.columns, self._rnd.choice((1, 1, 2)))
        if table.has_rowid and self._rnd.random() < 0.15:
            columns = ["rowid"]
        changes = ", ".join(f"{column} = {self._expression(table, column)}" for column in columns)
        return f"UPDATE{self._or()} {table.name} SET {changes} WHERE {self._where(table)}"

    def _delete(self, table: Table) -> str:
        if not self._one_row and self._rnd.random() < 0.15:
            return f"DELETE FROM {table.name}"
        return f"DELETE FROM {table.name} WHERE {self._where(table)}"

    def _transaction(self, _: Table) -> str:
        ends = ("COMMIT", "COMMIT", "ROLLBACK", "RELEASE s")
        return self._rnd.choice(("BEGIN", "SAVEPOINT s", "ROLLBACK TO s", *ends))

    def _or(self) -> str:
        return f" OR {self._rnd.choice((*CONFLICTS, *['REPLACE'] * 3))}" if self._rnd.random() < 0.6 else ""

    def _where(self, table: Table) -> str:
        key = ", ".join(table.key)
        if self._one_row:
            return f"({key}) = (SELECT {key} FROM {table.name} ORDER BY {key} LIMIT 1 OFFSET {self._rnd.randint(0, 4)})"
        column = self._rnd.choice(table.columns)
        return self._rnd.choice(
            (
                f"{column} = {self._rnd.choice(VALUES)}",
                f"{self._rnd.choice(table.key)} = {self._rnd.choice(VALUES)}",
                f"{column} IS NOT NULL",
                f"{column} < {self._rnd.choice(VALUES)}",
                f"({key}) IN (SELECT {key} FROM {table.name} LIMIT 2)",
            )
        )

    def _expression(self, table: Table, column: str) -> str:
        """A value, another column, or the column in another case or type."""
        changed = (
            f"upper({column})",
            f"lower({column})",
            f"{column} || ' '",
            f"{column} + 1",
            f"{column} * 1.0",
            f"CAST({column} AS BLOB)",
        )
        return self._rnd.choice((*self._rnd.sample(VALUES, 4), self._rnd.choice(table.columns), *changed))


def _values(rnd: random.Random, columns: Sequence[str]) -> str:
    return ", ".join(rnd.choice(VALUES[:5] if column == "rowid" else VALUES) for column in columns)
