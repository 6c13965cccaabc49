"""The grammar of a where, read into its canonical text.

    condition   one or more conjunctions, joined by OR
    conjunction one or more negations, joined by AND
    negation    NOT negation | comparison
    comparison  value [= <> < <= > >= value | IS [NOT] value | ISNULL | NOTNULL | NOT NULL
                | [NOT] IN (conditions) | [NOT] BETWEEN value AND value | [NOT] LIKE value [ESCAPE value]]
    value       terms joined by + - * / %, or by ||
    term        [-] operand
    operand     name | number | string | :parameter | NULL | TRUE | FALSE | (condition) | function(conditions)

What databases do not group alike (``a = b = c``, ``a || b + c``) has no place in it without parentheses, so that a
where has one meaning, and its canonical text needs no other parentheses than it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from shapestore.shape.where.lexer import END, FUNCTION, NAME, NUMBER, PARAMETER, STRING, Token, quoted, refuse, tokenize

MAX_DEPTH = 32
"""Parentheses, calls and NOTs inside one another. Far below what would exhaust Python's stack."""

# How tightly a part holds together: it needs parentheses where something tighter is called for.
OR, AND, NOT, COMPARISON, CONCATENATION, SUM, PRODUCT, NEGATIVE, OPERAND = range(9)
VALUE = CONCATENATION

FUNCTIONS = {
    "abs": (1, 1),
    "coalesce": (2, 100),
    "length": (1, 1),
    "lower": (1, 1),
    "ltrim": (1, 1),
    "nullif": (2, 2),
    "replace": (3, 3),
    "round": (1, 2),
    "rtrim": (1, 1),
    "substr": (2, 3),
    "trim": (1, 1),
    "upper": (1, 1),
}
"""The functions a where may call, with the least and the greatest number of their arguments."""

_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">="))
_NEGATED = frozenset(("IN", "BETWEEN", "LIKE"))
_POSTFIXED = _COMPARISONS | _NEGATED | {"IS", "ISNULL", "NOTNULL", "NOT"}
_OPERANDS = frozenset(("(", NAME, FUNCTION, PARAMETER, STRING, NUMBER, "NULL", "TRUE", "FALSE"))
_SUMS = frozenset("+-")
_PRODUCTS = frozenset("*/%")
_ARITHMETIC = _SUMS | _PRODUCTS


class Part(NamedTuple):
    """A piece of the canonical text."""

    text: str
    binding: int
    operands: tuple[str, ...] = ()
    """Of an AND or OR: what it joins. One inside another of its kind gives its operands to it."""
    opposite: str | None = None
    """What NOT makes of it, for an operator with a NOT of its own."""

    def within(self, binding: int) -> str:
        return self.text if self.binding >= binding else f"({self.text})"


class Parser:
    """AccessTracker one where. ``parameters`` and ``columns`` gather the names met on the way."""

    def __init__(self, text: str) -> None:
        self.parameters: set[str] = set()
        self.columns: set[str] = set()
        self._text = text
        self._words = iter(tokenize(text))
        self._next = next(self._words)
        self._depth = 0

    def canonical(self) -> str:
        """The canonical text of the whole. Raises InvalidShapeError."""
        condition = self._condition()
        if self._next.kind != END:
            self._expected("an operator or the end")
        return condition.text

    def _advance(self) -> str:
        """Step over the next word; its kind."""
        kind = self._next.kind
        self._next = next(self._words)
        return kind

    def _take(self, kind: str) -> bool:
        """Step over the next word if it is of this kind."""
        taken = self._next.kind == kind
        if taken:
            self._advance()
        return taken

    def _require(self, kind: str) -> None:
        if not self._take(kind):
            self._expected(repr(kind))

    def _expected(self, what: str) -> NoReturn:
        found = END if self._next.kind == END else repr(self._next.text)
        refuse(self._text, self._next.start, f"expected {what}, found {found}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            refuse(self._text, self._next.start, f"nested more than {MAX_DEPTH} deep")

    def _condition(self) -> Part:
        parts = [self._conjunction()]
        while self._take("OR"):
            parts.append(self._conjunction())
        return _joined(parts, "OR", OR)

    def _conjunction(self) -> Part:
        parts = [self._negation()]
        while self._take("AND"):
            parts.append(self._negation())
        return _joined(parts, "AND", AND)

    def _negation(self) -> Part:
        if not self._take("NOT"):
            return self._comparison()
        self._deeper()
        part = self._negation()
        self._depth -= 1
        if part.opposite is not None:
            return Part(part.opposite, COMPARISON, opposite=part.text)
        return Part(f"NOT {part.within(NOT)}", NOT)

    def _comparison(self) -> Part:
        value = self._value()
        if self._next.kind not in _POSTFIXED:
            return value
        part = self._compared(value.within(VALUE))
        if self._next.kind in _POSTFIXED:
            refuse(self._text, self._next.start, "comparisons do not follow one another; put one in parentheses")
        return part

    def _compared(self, left: str) -> Part:
        operator = self._advance()
        if operator in _COMPARISONS:
            return Part(f"{left} {operator} {self._value().within(VALUE)}", COMPARISON)
        if operator == "ISNULL":
            return _negatable(left, "IS", "IS NOT", "NULL")
        negated = operator == "NOT"
        if operator == "NOTNULL" or (negated and self._take("NULL")):
            return _negatable(left, "IS NOT", "IS", "NULL")
        if operator == "IS":
            operators = ("IS NOT", "IS") if self._take("NOT") else ("IS", "IS NOT")
            return _negatable(left, *operators, self._value().within(VALUE))
        if negated:
            if self._next.kind not in _NEGATED:
                self._expected("IN, BETWEEN, LIKE or NULL after NOT")
            operator = self._advance()
        operators = (f"NOT {operator}", operator) if negated else (operator, f"NOT {operator}")
        return _negatable(left, *operators, self._right_of(operator))

    def _right_of(self, operator: str) -> str:
        if operator == "IN":
            return f"({', '.join(sorted(set(self._list())))})"
        right = self._value().within(VALUE)
        if operator == "BETWEEN":
            self._require("AND")
            return f"{right} AND {self._value().within(VALUE)}"
        return f"{right} ESCAPE {self._value().within(VALUE)}" if self._take("ESCAPE") else right

    def _list(self) -> list[str]:
        self._require("(")
        self._deeper()
        parts = [self._condition().text]
        while self._take(","):
            parts.append(self._condition().text)
        self._require(")")
        self._depth -= 1
        return parts

    def _value(self) -> Part:
        part = self._term()
        part = self._concatenation(part) if self._next.kind == "||" else self._sum(part)
        if self._next.kind == "||" or self._next.kind in _ARITHMETIC:
            refuse(self._text, self._next.start, "|| and arithmetic side by side; put one of them in parentheses")
        return part

    def _concatenation(self, part: Part) -> Part:
        while self._take("||"):
            left = part.text if part.binding == CONCATENATION else part.within(NEGATIVE)
            part = Part(f"{left} || {self._term().within(NEGATIVE)}", CONCATENATION)
        return part

    def _sum(self, part: Part) -> Part:
        part = self._product(part)
        while (sign := self._next.kind) in _SUMS:
            self._advance()
            part = _infix(part, sign, self._product(self._term()), SUM)
        return part

    def _product(self, part: Part) -> Part:
        while (sign := self._next.kind) in _PRODUCTS:
            self._advance()
            part = _infix(part, sign, self._term(), PRODUCT)
        return part

    def _term(self) -> Part:
        if self._take("-"):
            return Part(f"-{self._operand().within(OPERAND)}", NEGATIVE)
        return self._operand()

    def _operand(self) -> Part:
        word = self._next
        if word.kind not in _OPERANDS:
            self._expected("a column, a literal, a :parameter, a function, '-' or '('")
        self._advance()
        match word.kind:
            case "(":
                return self._parenthesized()
            case "name":
                self.columns.add(word.text)
                return Part(quoted(word.text), OPERAND)
            case "function":
                return self._call(word)
            case "parameter":
                self.parameters.add(word.text)
                return Part(f":{word.text}", OPERAND)
            case "string":
                return Part(quoted(word.text, "'"), OPERAND)
            case "number":
                return Part(word.text, OPERAND)
        return Part(word.kind, OPERAND)

    def _parenthesized(self) -> Part:
        self._deeper()
        part = self._condition()
        self._require(")")
        self._depth -= 1
        return part

    def _call(self, name: Token) -> Part:
        function = name.text.lower()
        if function not in FUNCTIONS:
            refuse(self._text, name.start, f"there is no function {name.text!r}; there are {', '.join(FUNCTIONS)}")
        arguments = self._list()
        least, most = FUNCTIONS[function]
        if not least <= len(arguments) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            refuse(self._text, name.start, f"{function} takes {count} argument(s), not {len(arguments)}")
        return Part(f"{function}({', '.join(arguments)})", OPERAND)


def _infix(left: Part, sign: str, right: Part, binding: int) -> Part:
    """Left-associative: ``a - (b - c)`` keeps its parentheses, and so does ``a + (b + c)``, since floats round."""
    return Part(f"{left.within(binding)} {sign} {right.within(binding + 1)}", binding)


def _negatable(left: str, operator: str, opposite: str, right: str) -> Part:
    return Part(f"{left} {operator} {right}", COMPARISON, opposite=f"{left} {opposite} {right}")


def _joined(parts: list[Part], operator: str, binding: int) -> Part:
    """AND and OR do not mind order or repetition, NULL included, as long as they join truth values to a truth value."""
    if len(parts) == 1:
        return parts[0]
    operands = tuple(sorted({text for part in parts for text in _operands(part, binding)}))
    if len(operands) > 1:
        return Part(f" {operator} ".join(operands), binding, operands)
    # `5 AND 5` is 1 and not 5: only what is a truth value by itself stands for two of it.
    only = parts[0]
    return (
        only if only.binding <= COMPARISON else Part(f"{operands[0]} {operator} {operands[0]}", binding, operands * 2)
    )


def _operands(part: Part, binding: int) -> Iterable[str]:
    return part.operands if part.binding == binding else (part.within(binding + 1),)
