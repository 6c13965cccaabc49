"""The structured forms of a where and an order, as JSON, which clients send beside their text.

    {"type": "func", "name": "eq", "args": [{"type": "ref", "column": "id"}, {"type": "val", "paramIndex": 1}]}
    [{"column": "title", "direction": "desc", "nulls": "last"}]

Each becomes the text that says the same, so that there is one reader of both forms.
"""

from __future__ import annotations

from typing import Any

from shapestore.http.where.refusal import RefusedError
from shapestore.shape.quoting import quoted
from shapestore.shape.where.parser import MAX_DEPTH

_INFIX = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "LIKE", "ilike": "ILIKE", "add": "+"}
_JOINED = {"and": " AND ", "or": " OR "}
_POSTFIX = {"isNull": "IS NULL", "isUndefined": "IS NULL"}
_CALLS = frozenset(("upper", "lower", "length", "concat", "coalesce"))
_WORDS_OF_ORDER = ("asc", "desc", "nulls", "first", "last")
_MOST_NODES = 10_000


def where_text(expression: Any) -> str:
    """The text of a where. Raises RefusedError."""
    return _Writer().text(expression)


def order_text(clauses: Any) -> str:
    """The text of an order. Raises RefusedError."""
    if not isinstance(clauses, list) or not clauses:
        raise RefusedError("must be a list of columns, each with its direction")
    return ", ".join(map(_order, clauses))


class _Writer:
    def __init__(self) -> None:
        self._depth = self._nodes = 0

    def text(self, expression: Any) -> str:
        self._nodes += 1
        if self._depth > MAX_DEPTH or self._nodes > _MOST_NODES:
            raise RefusedError(f"nested more than {MAX_DEPTH} deep, or made of more than {_MOST_NODES} expressions")
        match expression:
            case {"type": "ref", "column": str(column)}:
                return quoted(column)
            case {"type": "val", "paramIndex": str(number)}:
                return f"${number}"
            case {"type": "func", "name": str(name), "args": list(operands)}:
                self._depth += 1
                written = [self.text(operand) for operand in operands]
                self._depth -= 1
                return _function(name, written)
        raise RefusedError(f"not an expression: {expression!r:.100}")


def _function(name: str, operands: list[str]) -> str:
    match operands:
        case [left, right] if name in _INFIX:
            return f"({left} {_INFIX[name]} {right})"
        case [left, right] if name == "in":
            return f"({left} = ANY({right}))"
        case [operand] if name in _POSTFIX:
            return f"({operand} {_POSTFIX[name]})"
        case [operand] if name == "not":
            return f"(NOT {operand})"
        case [_, *_] if name in _JOINED:
            return f"({_JOINED[name].join(operands)})"
        case [_, *_] if name in _CALLS:
            return f"{name}({', '.join(operands)})"
    raise RefusedError(f'unknown function "{name:.50}" of {len(operands)} argument(s)')


def _order(clause: Any) -> str:
    match clause:
        case {"column": str(column)}:
            words = [clause.get("direction") or "asc"]
            words += ["nulls", clause["nulls"]] if clause.get("nulls") else []
            if all(word in _WORDS_OF_ORDER for word in words):
                return " ".join((quoted(column), *words))
    raise RefusedError(f"not a column with its direction: {clause!r:.100}")
