"""The where of a client that speaks PostgreSQL, read with PostgreSQL's grammar and precedence.

    or          ands joined by OR
    and         nots joined by AND
    not         NOT not | test
    test        compared [IS [NOT] (NULL | TRUE | FALSE | UNKNOWN | DISTINCT FROM compared) | ISNULL | NOTNULL] ...
    compared    matched [(= <> < <= > >=) matched | (= ANY | <> ALL) (array)]
    matched     joined [[NOT] (IN (ors) | BETWEEN joined AND joined | (LIKE | ILIKE) joined [ESCAPE joined])]
    joined      sums joined by || ~~ !~~ ~~* !~~*
    sum         products joined by + -
    product     units joined by * / %
    unit        (- | +) unit | cast
    cast        operand [::type] ...
    operand     column | string | number | $n | NULL | TRUE | FALSE | (or) | function(ors) | CAST(or AS type)
                | type string | case
    case        CASE [or] WHEN or THEN or [WHEN or THEN or] ... [ELSE or] END

Each of these is one method, which gives the operand that :class:`Builder` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shapestore.http.where.builder import Builder
from shapestore.http.where.casts import cast
from shapestore.http.where.functions import Functions
from shapestore.http.where.lexer import END, QUOTED, STRING, Token
from shapestore.http.where.names import Columns, Name
from shapestore.http.where.operand import Operand
from shapestore.http.where.params import Params
from shapestore.http.where.reader import Reader, TypeName
from shapestore.http.where.refusal import UNSUPPORTED, refuse, refuse_syntax
from shapestore.http.where.types import canonical_name, family_of
from shapestore.shape.where.nodes import Column, Expression
from shapestore.shape.where.parser import MAX_DEPTH

_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">="))
_LIKES = {"~~": ("LIKE", False), "!~~": ("LIKE", True), "~~*": ("ILIKE", False), "!~~*": ("ILIKE", True)}
_MATCHES = frozenset(("IN", "BETWEEN", "LIKE", "ILIKE"))
_RESERVED = """
    AND AS BETWEEN DISTINCT ELSE END ESCAPE FROM ILIKE IN IS ISNULL LIKE NOT NOTNULL OR SIMILAR THEN WHEN
"""
_KEYWORDS = frozenset(_RESERVED.split())


class Parser(Reader):
    """Reads one where."""

    def __init__(self, text: str, columns: Columns, params: Params) -> None:
        super().__init__(text)
        self._depth = 0
        self._columns = columns
        self._builder = Builder(params)
        self._functions = Functions(self._builder)

    def whole(self) -> Expression:
        """The expression of the text. Raises RefusedError."""
        operand = self._or()
        if self._next.kind != END:
            self._unexpected()
        return self._builder.condition(operand)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            refuse(self._next.place, f"nested more than {MAX_DEPTH} deep")
        yield
        self._depth -= 1

    # --- conditions

    def _or(self) -> Operand:
        return self._junction("OR", self._and)

    def _and(self) -> Operand:
        return self._junction("AND", self._not)

    def _junction(self, word: str, part: Callable[[], Operand]) -> Operand:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return self._builder.junction(word, parts) if len(parts) > 1 else parts[0]

    def _not(self) -> Operand:
        place = self._next.place
        if not self._take("NOT"):
            return self._test()
        with self._deeper():
            return self._builder.negation(self._not(), place)

    def _test(self) -> Operand:
        value = self._compared()
        while self._next.kind in ("IS", "ISNULL", "NOTNULL"):
            token = self._advance()
            if token.kind == "IS":
                value = self._is(value, token.place)
            else:
                value = self._builder.null_test(value, negated=token.kind == "NOTNULL")
        return value

    def _is(self, value: Operand, place: int) -> Operand:
        negated = self._take("NOT")
        word = self._next.kind
        match word:
            case "NULL" | "UNKNOWN":
                self._advance()
                return self._builder.null_test(value, negated=negated)
            case "TRUE" | "FALSE":
                self._advance()
                return self._builder.truth_test(value, word, negated=negated)
        self._require("DISTINCT")
        self._require("FROM")
        return self._builder.distinction(value, self._compared(), place, negated=negated)

    def _compared(self) -> Operand:
        left = self._matched()
        if self._next.kind not in _COMPARISONS:
            return left
        sign = self._advance()
        if self._next.kind in ("ANY", "SOME", "ALL"):
            compared = self._array_test(left, sign)
        else:
            compared = self._builder.comparison(left, sign.kind, self._matched(), sign.place)
        if self._next.kind in _COMPARISONS:
            self._unexpected()
        return compared

    def _array_test(self, left: Operand, sign: Token) -> Operand:
        word = self._advance().kind
        negated = word == "ALL"
        if sign.kind != ("<>" if negated else "="):
            refuse(sign.place, f"{sign.text} {word} is not supported; there are = ANY and <> ALL")
        self._require("(")
        with self._deeper():
            if self._next.kind == "ARRAY":
                items = self._array_items()
                test = self._builder.membership(left, items, sign.place, negated=negated)
            else:
                test = self._builder.array_test(left, self._or(), sign.place, negated=negated)
        self._require(")")
        return test

    def _array_items(self) -> Sequence[Operand]:
        self._advance()
        self._require("[")
        items = self._list("]")
        if self._take("::"):
            type_ = self._type()._replace(is_array=False)
            items = [cast(self._builder, item, type_) for item in items]
        return items

    def _matched(self) -> Operand:
        value = self._joined()
        token = self._next
        negated = self._take("NOT")
        if self._next.kind not in _MATCHES:
            if negated or self._next.kind == "SIMILAR":
                self._unexpected()
            return value
        word = self._advance().kind
        match word:
            case "IN":
                self._require("(")
                with self._deeper():
                    items = self._list(")")
                matched = self._builder.membership(value, items, token.place, negated=negated)
            case "BETWEEN":
                low = self._joined()
                self._require("AND")
                matched = self._builder.between(value, low, self._joined(), token.place, negated=negated)
            case _:
                pattern = self._joined()
                escape = self._joined() if self._take("ESCAPE") else None
                matched = self._builder.like(value, pattern, escape, negated=negated, folds=word == "ILIKE")
        if self._next.kind in _MATCHES | {"NOT"}:
            self._unexpected()
        return matched

    # --- values

    def _joined(self) -> Operand:
        left = self._sum()
        while self._next.kind == "||" or self._next.kind in _LIKES:
            sign = self._advance()
            right = self._sum()
            if sign.kind == "||":
                left = self._builder.concatenation(left, right, sign.place)
            else:
                word, negated = _LIKES[sign.kind]
                left = self._builder.like(left, right, None, negated=negated, folds=word == "ILIKE")
        return left

    def _sum(self) -> Operand:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/", "%"), self._unit))

    def _chain(self, signs: Sequence[str], operand: Callable[[], Operand]) -> Operand:
        left = operand()
        while self._next.kind in signs:
            sign = self._advance()
            left = self._builder.arithmetic(left, sign.kind, operand(), sign.place)
        return left

    def _unit(self) -> Operand:
        sign = self._next
        if sign.kind not in ("-", "+"):
            return self._cast()
        self._advance()
        with self._deeper():
            operand = self._unit()
        return self._builder.negative(operand, sign.place) if sign.kind == "-" else operand

    def _cast(self) -> Operand:
        operand = self._operand()
        while self._take("::"):
            operand = cast(self._builder, operand, self._type())
        if self._next.kind == "[":
            refuse(self._next.place, "subscripts are not supported")
        return operand

    def _operand(self) -> Operand:
        token = self._advance()
        match token.kind:
            case "number":
                return self._builder.number(token.text, token.place)
            case "string":
                return self._builder.string(token.text, token.place)
            case "parameter":
                return self._builder.parameter(int(token.text), token.place)
            case "NULL":
                return self._builder.null(token.place)
            case "TRUE" | "FALSE":
                return self._builder.truth(token.kind, token.place)
            case "(":
                with self._deeper():
                    inner = self._or()
                self._require(")")
                return inner
            case "CASE":
                with self._deeper():
                    return self._case(token.place)
        if token.kind in UNSUPPORTED:
            refuse(token.place, UNSUPPORTED[token.kind])
        if token.kind in _KEYWORDS or not (token.is_name or token.kind == QUOTED):
            refuse_syntax(token.place, token.text)
        return self._named(token)

    def _named(self, token: Token) -> Operand:
        """What begins with a name: a column, a call, or a string of a type."""
        if token.is_name and self._next.kind == "(":
            return self._call(token)
        if token.is_name and self._next.kind == STRING and canonical_name(token.text):
            string = self._advance()
            operand = self._builder.string(string.text, string.place)
            return cast(self._builder, operand, TypeName(token.text, token.place))
        parts = [Name.of(token)]
        while self._take("."):
            parts.append(self._name())
        name, column = self._columns.find(parts)
        return Operand(Column(name), family_of(column), token.place, column.type)

    def _case(self, place: int) -> Operand:
        compared = None if self._next.kind == "WHEN" else self._or()
        branches: list[tuple[Operand, Operand]] = []
        while not branches or self._next.kind == "WHEN":
            sign = self._next.place
            self._require("WHEN")
            condition = self._or()
            if compared is not None:
                condition = self._builder.comparison(compared, "=", condition, sign)
            self._require("THEN")
            branches.append((condition, self._or()))
        otherwise = self._or() if self._take("ELSE") else None
        self._require("END")
        return self._builder.case(branches, otherwise, place)

    def _call(self, name: Token) -> Operand:
        self._advance()
        with self._deeper():
            if name.kind == "CAST":
                operand = self._or()
                self._require("AS")
                operand = cast(self._builder, operand, self._type())
                self._require(")")
                return operand
            arguments = [] if self._take(")") else self._list(")")
        return self._functions.call(name.text, arguments, name.place)

    def _list(self, end: str) -> list[Operand]:
        """Operands between commas, and what ends them."""
        items = [self._or()]
        while self._take(","):
            items.append(self._or())
        self._require(end)
        return items
