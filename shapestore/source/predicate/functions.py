"""The functions of a where, translated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from shapestore.source.column_type import Kind
from shapestore.source.predicate.conversions import Conversions
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.operand import Operand, UntranslatableError
from shapestore.source.predicate.substr import substr

_MOST_DIGITS = 30
"""Behind the point, as in SQLite."""

_WIDEST = (Kind.FLOAT, Kind.DECIMAL, Kind.INTEGER, Kind.TRUTH, Kind.OTHER, Kind.TEXT)
"""The kind of a choice among several: the first of these that is among them."""


class Functions:
    """The functions of one statement. They raise UntranslatableError."""

    def __init__(self, dialect: Dialect, conversions: Conversions) -> None:
        self._dialect = dialect
        self._conversions = conversions
        self._by_name: Mapping[str, Callable[[Sequence[Operand]], Operand]] = {
            "abs": self._abs,
            "coalesce": self._coalesce,
            "length": self._length,
            "lower": lambda arguments: self._of_text("LOWER", arguments),
            "ltrim": lambda arguments: self._of_text("LTRIM", arguments),
            "nullif": self._nullif,
            "replace": lambda arguments: self._of_text("REPLACE", arguments),
            "round": self._round,
            "rtrim": lambda arguments: self._of_text("RTRIM", arguments),
            "substr": self._substr,
            "trim": lambda arguments: self._of_text("TRIM", arguments),
            "upper": lambda arguments: self._of_text("UPPER", arguments),
        }

    def call(self, name: str, arguments: Sequence[Operand]) -> Operand:
        """A call of one of the functions that the parser knows."""
        return self._by_name[name](arguments)

    def _abs(self, arguments: Sequence[Operand]) -> Operand:
        number = self._conversions.number(arguments[0])
        return Operand(f"ABS({number.sql})", number.kind)

    def _coalesce(self, arguments: Sequence[Operand]) -> Operand:
        aligned = self._conversions.aligned(arguments)
        return self.choice(_sql("COALESCE", aligned), among=aligned)

    def _nullif(self, arguments: Sequence[Operand]) -> Operand:
        compared = self._conversions.compared(self._conversions.aligned(arguments))
        return self.choice(_sql("NULLIF", compared), among=compared[:1])

    def choice(self, sql: str, *, among: Sequence[Operand]) -> Operand:
        """What gives the value of one of ``among``."""
        kind = next((kind for kind in _WIDEST if any(operand.kind is kind for operand in among)), None)
        if kind is None:
            return self._conversions.constant(None)
        return Operand(
            sql,
            kind,
            type_name=next((operand.type_name for operand in among if operand.kind is Kind.OTHER), ""),
            is_unsigned=any(operand.is_unsigned for operand in among),
            has_collation=any(operand.has_collation for operand in among),
        )

    def _length(self, arguments: Sequence[Operand]) -> Operand:
        return Operand(f"CHAR_LENGTH({self._conversions.text(arguments[0]).sql})", Kind.INTEGER)

    def _of_text(self, function: str, arguments: Sequence[Operand]) -> Operand:
        texts = [self._conversions.text(argument) for argument in arguments]
        return _text(f"{function}({', '.join(text.sql for text in texts)})", texts[0])

    def _round(self, arguments: Sequence[Operand]) -> Operand:
        number = self._conversions.number(arguments[0])
        digits = self._whole(arguments[1]) if len(arguments) > 1 else 0
        if digits is None:
            return Operand(self._dialect.null(Kind.FLOAT), Kind.FLOAT)
        return Operand(self._dialect.rounded(number, max(0, min(digits, _MOST_DIGITS))), Kind.FLOAT)

    def _substr(self, arguments: Sequence[Operand]) -> Operand:
        text = self._conversions.text(arguments[0])
        places = [self._whole(argument) for argument in arguments[1:]]
        start, length = places[0], places[1] if len(places) > 1 else None
        if start is None or (length is None and len(places) > 1):
            return Operand(self._dialect.null(Kind.TEXT), Kind.TEXT)
        sql = substr(text.sql, start, length)
        if sql is None:
            raise UntranslatableError("a start and a length that are both below 0 are not translated")
        return _text(sql, text)

    def _whole(self, operand: Operand) -> int | None:
        """The value of an argument that must be known, since it decides how the function is written."""
        if not operand.is_constant or operand.kind not in (Kind.INTEGER, Kind.NULL):
            raise UntranslatableError(
                "in this database the second and third argument are whole numbers, written as literals or parameters"
            )
        return operand.value if isinstance(operand.value, int) else None


def _sql(function: str, arguments: Sequence[Operand]) -> str:
    return f"{function}({', '.join(argument.sql for argument in arguments)})"


def _text(sql: str, source: Operand) -> Operand:
    return Operand(sql, Kind.TEXT, has_collation=source.has_collation)
