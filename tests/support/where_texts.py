"""Wheres for the property tests: random trees, the many ways to spell one, and what SQLite makes of a text."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from shapestore.shape.quoting import quoted
from shapestore.shape.where.render import Renderer
from shapestore.shape.where.where import parse_where

Tree = tuple[Any, ...]

COLUMNS = ["number", "words", "real", "anything", "nocase", 'odd "name"']
PARAMETERS = {"one": 1, "half": 0.5, "text": "a", "none": None}
LITERALS = ["0", "1", "2", "1.0", "0.5", "1e1", "'1'", "'a'", "'A'", "'it''s'", "''", "'%a'", "' AND '", "NULL", "TRUE"]
VALUES = [
    None,
    0,
    1,
    -1,
    2,
    10,
    0.5,
    1.0,
    -2.5,
    1e300,
    "",
    "1",
    "1.0",
    "a",
    "A",
    "it's",
    "ab",
    " AND ",
    "%a",
    "b",
    "2x",
]

OR, AND, NOT, COMPARISON, SUM, PRODUCT, CONCATENATION, NEGATIVE, OPERAND = range(9)
BINDINGS = {"OR": OR, "AND": AND, "NOT": NOT, "||": CONCATENATION, "negative": NEGATIVE}
BINDINGS |= dict.fromkeys(["compare", "IS", "IN", "BETWEEN", "LIKE"], COMPARISON)
BINDINGS |= dict.fromkeys("+-", SUM) | dict.fromkeys("*/%", PRODUCT)


def database() -> sqlite3.Connection:
    """A table in which every kind of column holds every kind of value."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, number INTEGER, words TEXT, real REAL, anything,"
        ' nocase TEXT COLLATE NOCASE, "odd ""name""" NUMERIC)'
    )
    chance = random.Random(7)
    rows = [[chance.choice(VALUES) for _ in COLUMNS] for _ in range(60)]
    connection.executemany("INSERT INTO t VALUES (NULL, ?, ?, ?, ?, ?, ?)", rows)
    return connection


def selected(connection: sqlite3.Connection, where: str) -> list[Any]:
    """What the where is for each row, and the rows it selects."""
    values = connection.execute(f"SELECT id, {where} FROM t ORDER BY id", PARAMETERS).fetchall()
    return values + connection.execute(f"SELECT id FROM t WHERE {where} ORDER BY id", PARAMETERS).fetchall()


class Plain(Renderer):
    """Spells a where as standard SQL does, or by functions of a name or value."""

    def __init__(
        self,
        identifier: Callable[[str], str] = quoted,
        string: Callable[[str], str] = lambda value: quoted(value, "'"),
        parameter: Callable[[str], str] = ":{}".format,
    ) -> None:
        self._spell = identifier, string, parameter

    def identifier(self, name: str) -> str:
        return self._spell[0](name)

    def string(self, value: str) -> str:
        return self._spell[1](value)

    def parameter(self, name: str) -> str:
        return self._spell[2](name)

    def where(self, text: str) -> str:
        """The SQL of a where's text."""
        return self.render(parse_where(text).tree)


leaves: st.SearchStrategy[Tree] = st.one_of(
    st.sampled_from(COLUMNS).map(lambda name: ("column", name)),
    st.sampled_from(COLUMNS).map(lambda name: ("column", name)),
    st.sampled_from(LITERALS).map(lambda text: ("literal", text)),
    st.sampled_from(sorted(PARAMETERS)).map(lambda name: ("parameter", name)),
)


def _larger(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    some, negated = st.lists(inner, min_size=1, max_size=4).map(tuple), st.booleans()
    return st.one_of(
        st.tuples(st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=4).map(tuple)),
        st.tuples(st.just("NOT"), inner),
        st.tuples(st.just("compare"), st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), inner, inner),
        st.tuples(st.just("IS"), negated, inner, st.one_of(inner, st.just(("literal", "NULL")))),
        st.tuples(st.just("IN"), negated, inner, some),
        st.tuples(st.just("BETWEEN"), negated, inner, inner, inner),
        st.tuples(st.just("LIKE"), negated, inner, inner, st.none() | st.just(("literal", "'!'"))),
        st.tuples(st.sampled_from(["+", "-", "*", "/", "%", "||"]), inner, inner),
        st.tuples(st.just("negative"), inner),
        st.tuples(
            st.just("CASE"), st.lists(st.tuples(inner, inner), min_size=1, max_size=2).map(tuple), st.none() | inner
        ),
        st.tuples(
            st.just("call"), st.sampled_from(["lower", "upper", "length", "abs", "round", "trim"]), st.tuples(inner)
        ),
        st.tuples(st.just("call"), st.sampled_from(["nullif", "coalesce", "substr"]), st.tuples(inner, inner)),
    )


trees = st.recursive(leaves, _larger, max_leaves=12)


class Speller:
    """Spells a tree in one of its many ways, all of which have one canonical text."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def spell(self, tree: Tree) -> str:
        spelled: Callable[..., str] = getattr(self, f"_{tree[0].lower()}", self._infix)
        return spelled(*tree)

    def _within(self, tree: Tree, binding: int) -> str:
        text = self.spell(tree)
        if BINDINGS.get(tree[0], OPERAND) < binding or self.chance.random() < 0.15:
            text = f"({self._gap()}{text}{self._gap()})"
        return text

    def _gap(self) -> str:
        return self.chance.choice(["", "", " ", "  ", "\n", "\t "])

    def _space(self) -> str:
        return self.chance.choice([" ", " ", "  ", "\n\t"])

    def _keywords(self, text: str) -> str:
        case = self.chance.choice([str.upper, str.lower, str.title])
        return self._space() + self._space().join(case(word) for word in text.split()) + self._space()

    def _column(self, _: str, name: str) -> str:
        quoted = ['"' + name.replace('"', '""') + '"', f"`{name}`", f"[{name}]"]
        return self.chance.choice([name, *quoted] if name.isidentifier() else quoted)

    def _literal(self, _: str, text: str) -> str:
        return self._keywords(text).strip() if text.isalpha() else text

    def _parameter(self, _: str, name: str) -> str:
        return f":{name}"

    def _case(self, _: str, branches: tuple[tuple[Tree, Tree], ...], otherwise: Tree | None) -> str:
        words = [f"{self._keywords('WHEN')}{self.spell(a)}{self._keywords('THEN')}{self.spell(b)}" for a, b in branches]
        words += [] if otherwise is None else [f"{self._keywords('ELSE')}{self.spell(otherwise)}"]
        return f"{self._keywords('CASE').lstrip()}{''.join(words)}{self._keywords('END').rstrip()}"

    def _call(self, _: str, name: str, arguments: tuple[Tree, ...]) -> str:
        spelled = f"{self._gap()},{self._gap()}".join(map(self.spell, arguments))
        return f"{self._keywords(name).strip()}{self._gap()}({spelled})"

    def _junction(self, kind: str, operands: tuple[Tree, ...]) -> str:
        shuffled = self.chance.sample(operands, len(operands))
        if self.chance.random() < 0.2:
            shuffled.append(self.chance.choice(shuffled))
        return self._keywords(kind).join(self._within(operand, BINDINGS[kind]) for operand in shuffled)

    _and = _or = _junction

    def _not(self, _: str, operand: Tree) -> str:
        return self._keywords("NOT").lstrip() + self._within(operand, NOT)

    def _negative(self, _: str, operand: Tree) -> str:
        return f"-{self._gap()}{self._within(operand, OPERAND)}"

    def _compare(self, _: str, sign: str, left: Tree, right: Tree) -> str:
        sign = self.chance.choice({"=": ["=", "=="], "<>": ["<>", "!="]}.get(sign, [sign]))
        return f"{self._within(left, SUM)}{self._gap()}{sign}{self._gap()}{self._within(right, SUM)}"

    def _is(self, _: str, negated: bool, left: Tree, right: Tree) -> str:
        value = self._within(left, SUM)
        if right == ("literal", "NULL"):
            spellings = ["NOTNULL", "NOT NULL", "IS NOT NULL"] if negated else ["ISNULL", "IS NULL"]
            return value + self._keywords(self.chance.choice(spellings))
        return self._negatable("IS NOT" if negated else "IS", negated, value, self._within(right, SUM))

    def _in(self, _: str, negated: bool, value: Tree, items: tuple[Tree, ...]) -> str:
        shuffled = [*self.chance.sample(items, len(items)), self.chance.choice(items)]
        spelled = f"{self._gap()},{self._gap()}".join(map(self.spell, shuffled))
        return self._negatable("IN", negated, self._within(value, SUM), f"({spelled})")

    def _between(self, _: str, negated: bool, value: Tree, low: Tree, high: Tree) -> str:
        bounds = self._within(low, SUM) + self._keywords("AND") + self._within(high, SUM)
        return self._negatable("BETWEEN", negated, self._within(value, SUM), bounds)

    def _like(self, _: str, negated: bool, value: Tree, pattern: Tree, escape: Tree | None) -> str:
        right = self._within(pattern, SUM)
        if escape is not None:
            right += self._keywords("ESCAPE") + self._within(escape, SUM)
        return self._negatable("LIKE", negated, self._within(value, SUM), right)

    def _negatable(self, operator: str, negated: bool, left: str, right: str) -> str:
        if operator != "IS NOT" and negated:
            operator = f"NOT {operator}"
        return f"{left}{self._keywords(operator)}{right}"

    def _infix(self, sign: str, left: Tree, right: Tree) -> str:
        binding = BINDINGS[sign]
        gap = self._space() if sign == "-" else self._gap()  # `--` would begin a comment
        return f"{self._beside(sign, left, binding)}{gap}{sign}{gap}{self._beside(sign, right, binding + 1)}"

    def _beside(self, sign: str, operand: Tree, binding: int) -> str:
        """As an operand of ``sign``: || beside arithmetic is in parentheses."""
        return self._within(operand, OPERAND if operand[0] == "||" != sign else binding)


def mutated(tree: Tree, chance: random.Random) -> Tree:
    """The tree with one thing changed: an operator, a leaf, a NOT, or the order of two operands."""
    inner = [place for place, child in enumerate(tree[:4]) if _is_tree(child)]  # an ESCAPE has to stay one character
    if inner and chance.random() < 0.7:
        place = chance.choice(inner)
        return (*tree[:place], mutated(tree[place], chance), *tree[place + 1 :])
    match tree:
        case (("AND" | "OR") as kind, operands):
            place = chance.randrange(len(operands))
            changed = (*operands[:place], mutated(operands[place], chance), *operands[place + 1 :])
            return chance.choice(
                [("OR" if kind == "AND" else "AND", operands), (kind, changed), (kind, operands[:-1] * 2)]
            )
        case ("NOT", (*operand,)):
            return tuple(operand)
        case ("compare", _, left, right):
            return ("compare", chance.choice(["=", "<>", "<", "<=", ">", ">="]), right, left)
        case (("IS" | "IN" | "BETWEEN" | "LIKE") as kind, negated, *rest):
            return (kind, not negated, *rest)
        case (("+" | "-" | "*" | "/" | "%" | "||"), (sign, first, second), right) if sign in "+-*/%||":
            return (sign, first, (tree[0], second, right))
        case (("+" | "-" | "*" | "/" | "%" | "||") as sign, left, right):
            return (chance.choice("+-*/%"), left, right) if chance.random() < 0.5 else (sign, right, left)
    return chance.choice(
        [("NOT", tree), ("negative", tree), ("literal", chance.choice(LITERALS)), ("column", "number")]
    )


def _is_tree(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], str)
