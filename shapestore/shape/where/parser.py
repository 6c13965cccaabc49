"""The grammar of a where, read into its tree.

    condition   one or more conjunctions, joined by OR
    conjunction one or more negations, joined by AND
    negation    NOT negation | comparison
    comparison  value [= <> < <= > >= value | IS [NOT] value | ISNULL | NOTNULL | NOT NULL
                | [NOT] IN (conditions) | [NOT] BETWEEN value AND value | [NOT] LIKE value [ESCAPE character]]
    value       terms joined by + - * / %, or by ||
    term        [-] operand
    operand     name | number | string | :parameter | NULL | TRUE | FALSE | (condition) | function(conditions) | case
    case        CASE WHEN condition THEN condition [WHEN condition THEN condition] ... [ELSE condition] END
    character   string | :parameter

What databases do not group alike (``a = b = c``, ``a || b + c``) is refused without parentheses, so that a where has
one meaning. A new operator is one branch here, one class in :mod:`nodes`, and one case for each that reads trees:
:mod:`canonical`, :mod:`render` and :mod:`limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from shapestore.shape.where import nodes
from shapestore.shape.where.lexer import END, FUNCTION, NAME, NUMBER, PARAMETER, STRING, Token, refuse, tokenize
from shapestore.shape.where.nodes import Expression, chained, joined

MAX_DEPTH = 32
"""How many parentheses, calls and NOTs may stand inside one another. Far below what would exhaust Python's stack."""

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
"""The functions that a where may call, with the least and the greatest number of their arguments."""

_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">="))
_NEGATED = frozenset(("IN", "BETWEEN", "LIKE"))
_POSTFIXED = _COMPARISONS | _NEGATED | {"IS", "ISNULL", "NOTNULL", "NOT"}
_SUMS, _PRODUCTS, _CONCATENATIONS = frozenset("+-"), frozenset("*/%"), frozenset(("||",))
_VALUE_SIGNS = _SUMS | _PRODUCTS | _CONCATENATIONS
_CONSTANTS = frozenset(("NULL", "TRUE", "FALSE"))
_OPERANDS = _CONSTANTS | {"(", "CASE", NAME, FUNCTION, PARAMETER, STRING, NUMBER}


def parse(text: str) -> Expression:
    """The tree of a where. Raises InvalidShapeError, which says what is not accepted, and at which character."""
    return _Parser(text).whole()


class _Parser:
    """Reads one where, by recursive descent: a method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = iter(tokenize(text))
        self._next = next(self._tokens)
        self._depth = 0

    def whole(self) -> Expression:
        condition = self._condition()
        if self._next.kind != END:
            self._expected("an operator or the end")
        return condition

    # --- steps over the tokens

    def _advance(self) -> Token:
        """Step over the next token, and return it."""
        token = self._next
        self._next = next(self._tokens)
        return token

    def _take(self, kind: str) -> bool:
        """Step over the next token if it is of this kind."""
        taken = self._next.kind == kind
        if taken:
            self._advance()
        return taken

    def _require(self, kind: str) -> None:
        if not self._take(kind):
            self._expected(repr(kind))

    def _expected(self, what: str) -> NoReturn:
        token = self._next
        written = f":{token.text}" if token.kind == PARAMETER else token.text
        refuse(self._text, token.start, f"expected {what}, found {END if token.kind == END else repr(written)}")

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            refuse(self._text, self._next.start, f"nested more than {MAX_DEPTH} deep")
        yield
        self._depth -= 1

    # --- the grammar

    def _condition(self) -> Expression:
        return self._junction("OR", self._conjunction)

    def _conjunction(self) -> Expression:
        return self._junction("AND", self._negation)

    def _junction(self, word: str, operand: Callable[[], Expression]) -> Expression:
        first = operand()
        if self._next.kind != word:
            return first
        parts = [first]
        while self._take(word):
            parts.append(operand())
        return joined(word, parts)

    def _negation(self) -> Expression:
        if not self._take("NOT"):
            return self._comparison()
        with self._deeper():
            return nodes.Not(self._negation())

    def _comparison(self) -> Expression:
        value = self._value()
        if self._next.kind not in _POSTFIXED:
            return value
        compared = self._compared(value)
        if self._next.kind in _POSTFIXED:
            refuse(self._text, self._next.start, "comparisons do not follow one another; put one in parentheses")
        return compared

    def _compared(self, left: Expression) -> Expression:
        operator = self._advance().kind
        if operator in _COMPARISONS:
            return nodes.Comparison(left, operator, self._value())
        if operator == "IS":
            negated = self._take("NOT")
            return nodes.Is(left, self._value(), negated)
        negated = operator == "NOT"
        if operator in ("ISNULL", "NOTNULL") or (negated and self._take("NULL")):
            return nodes.Is(left, nodes.Constant("NULL"), operator != "ISNULL")
        if negated:
            if self._next.kind not in _NEGATED:
                self._expected("IN, BETWEEN, LIKE or NULL after NOT")
            operator = self._advance().kind
        if operator == "IN":
            return nodes.In(left, self._list(), negated)
        return self._between(left, negated) if operator == "BETWEEN" else self._like(left, negated)

    def _between(self, left: Expression, negated: bool) -> Expression:
        low = self._value()
        self._require("AND")
        return nodes.Between(left, low, self._value(), negated)

    def _like(self, left: Expression, negated: bool) -> Expression:
        pattern = self._value()
        if not self._take("ESCAPE"):
            return nodes.Like(left, pattern, None, negated)
        place = self._next.start
        escape = self._value()
        if not (isinstance(escape, nodes.Parameter) or (isinstance(escape, nodes.String) and len(escape.value) == 1)):
            refuse(self._text, place, "ESCAPE takes one character, as a string or a :parameter")
        return nodes.Like(left, pattern, escape, negated)

    def _list(self) -> tuple[Expression, ...]:
        if self._next.kind == PARAMETER:
            self._expected("a list with a :parameter for each of its values, as in (:a, :b)")
        self._require("(")
        with self._deeper():
            items = [self._condition()]
            while self._take(","):
                items.append(self._condition())
        self._require(")")
        return tuple(items)

    def _value(self) -> Expression:
        value = self._term()
        if self._next.kind == "||":
            value = self._chain(value, _CONCATENATIONS, self._term)
        elif self._next.kind in _VALUE_SIGNS:
            value = self._chain(self._product(value), _SUMS, lambda: self._product(self._term()))
        if self._next.kind in _VALUE_SIGNS:
            refuse(self._text, self._next.start, "|| and arithmetic side by side; put one of them in parentheses")
        return value

    def _product(self, first: Expression) -> Expression:
        return self._chain(first, _PRODUCTS, self._term)

    def _chain(self, first: Expression, signs: frozenset[str], operand: Callable[[], Expression]) -> Expression:
        rest: list[tuple[str, Expression]] = []
        while self._next.kind in signs:
            rest.append((self._advance().kind, operand()))
        return chained(first, *rest) if rest else first

    def _term(self) -> Expression:
        return nodes.Negative(self._operand()) if self._take("-") else self._operand()

    def _operand(self) -> Expression:
        if self._next.kind not in _OPERANDS:
            self._expected("a column, a literal, a :parameter, a function, '-' or '('")
        token = self._advance()
        match token.kind:
            case "name":
                return nodes.Column(token.text)
            case "parameter":
                return nodes.Parameter(token.text)
            case "string":
                return nodes.String(token.text)
            case "number":
                return nodes.Number(token.text)
            case "function":
                return self._call(token)
            case "(":
                return self._parenthesized()
            case "CASE":
                return self._case()
        return nodes.Constant(token.kind)

    def _parenthesized(self) -> Expression:
        with self._deeper():
            condition = self._condition()
        self._require(")")
        return condition

    def _case(self) -> Expression:
        branches: list[tuple[Expression, Expression]] = []
        with self._deeper():
            while not branches or self._next.kind == "WHEN":
                self._require("WHEN")
                condition = self._condition()
                self._require("THEN")
                branches.append((condition, self._condition()))
            otherwise = self._condition() if self._take("ELSE") else None
        self._require("END")
        return nodes.Case(tuple(branches), otherwise)

    def _call(self, name: Token) -> Expression:
        function = name.text.lower()
        if function not in FUNCTIONS:
            refuse(self._text, name.start, f"there is no function {name.text!r}; there are {', '.join(FUNCTIONS)}")
        arguments = self._list()
        least, most = FUNCTIONS[function]
        if not least <= len(arguments) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            refuse(self._text, name.start, f"{function} takes {count} argument(s), not {len(arguments)}")
        return nodes.Call(function, arguments)
