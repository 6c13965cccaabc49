"""From operands of one kind to those of another: where SQLite converts a value, and a typed database would not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from shapestore.shape.shape import Scalar
from shapestore.source.column_type import Kind
from shapestore.source.predicate.bindings import Bindings
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.operand import (
    NUMBERS,
    Operand,
    UntranslatableError,
    is_read_of_a_single,
    kind_of,
    number_in,
)

_TEMPORAL = frozenset(("date", "datetime", "timestamp", "timestamptz"))


class Conversions:
    """The conversions of one statement. They raise UntranslatableError."""

    def __init__(self, dialect: Dialect, bindings: Bindings) -> None:
        self._dialect = dialect
        self._bindings = bindings

    def constant(self, value: Scalar) -> Operand:
        """A value that is known. Only text is bound: what else there is has one spelling in all databases."""
        kind = kind_of(value)
        match value:
            case None:
                return Operand("NULL", kind, value)
            case bool():
                return Operand("TRUE" if value else "FALSE", kind, value)
            case str():
                return Operand(self._bindings.bind(value), kind, value)
        literal = format(Decimal(repr(value)), "f") if kind is Kind.DECIMAL else repr(value)
        operand = Operand(literal if value >= 0 else f"({literal})", kind, value)
        return replace(operand, sql=self._dialect.floating(operand)) if kind is Kind.FLOAT else operand

    def truth(self, operand: Operand) -> str:
        """The operand as a condition."""
        match operand.kind:
            case Kind.TRUTH:
                return operand.sql
            case Kind.NULL:
                return self._dialect.null(Kind.TRUTH)
            case Kind.INTEGER | Kind.DECIMAL | Kind.FLOAT:
                return f"({operand.sql} <> 0)"
        raise UntranslatableError(f"a condition is a truth value or a number, not {operand.kind.value}")

    def number(self, operand: Operand) -> Operand:
        """The operand as a number, ready for arithmetic: an integer of 64 bits, a decimal or a float."""
        match operand.kind:
            case Kind.INTEGER:
                return Operand(self._dialect.integer(operand), Kind.INTEGER, operand.value)
            case Kind.DECIMAL | Kind.FLOAT:
                return self._double(operand)
            case Kind.TRUTH:
                return Operand(self._dialect.truth_as_integer(operand.sql), Kind.INTEGER)
            case Kind.NULL:
                return Operand(self._dialect.null(Kind.INTEGER), Kind.INTEGER)
        raise UntranslatableError(f"a number is needed here, not {operand.kind.value}")

    def text(self, operand: Operand) -> Operand:
        """The operand as text, ready for a function."""
        match operand.kind:
            case Kind.TEXT:
                return replace(operand, sql=self._dialect.text(operand))
            case Kind.INTEGER if operand.is_constant:
                return self.text(self.constant(str(operand.value)))
            case Kind.INTEGER:
                return Operand(self._dialect.text(operand), Kind.TEXT)
            case Kind.TRUTH:
                return self.text(self.number(operand))
            case Kind.NULL:
                return Operand(self._dialect.null(Kind.TEXT), Kind.TEXT)
        raise UntranslatableError(
            f"text or an integer is needed here, not {operand.kind.value}, which every database writes in its own way"
        )

    def compared(self, operands: Sequence[Operand]) -> list[Operand]:
        """The operands as they are compared: of one kind, or numbers. The collation of a column decides between texts.

        Where there is no column, bytes are compared.
        """
        aligned = self._single_or_double(self._aligned(operands))
        if any(
            operand.has_collation or operand.kind is not Kind.TEXT for operand in aligned if operand.value is not None
        ):
            return aligned
        return [replace(one, sql=self._dialect.by_bytes(self.text(one).sql)) for one in aligned]

    def aligned(self, operands: Sequence[Operand]) -> list[Operand]:
        """The operands as values of one kind, or numbers."""
        return [self._double(operand) for operand in self._aligned(operands)]

    def _aligned(self, operands: Sequence[Operand]) -> list[Operand]:
        operands = self._with_numbers_from_text(operands)
        kinds = {operand.kind for operand in operands} - {Kind.NULL}
        if Kind.TRUTH in kinds and kinds & NUMBERS and kinds <= NUMBERS | {Kind.TRUTH}:
            return [self.number(operand) if operand.kind is Kind.TRUTH else operand for operand in operands]
        if Kind.OTHER in kinds:
            self._check_others(operands)
        elif len(kinds) > 1 and not kinds <= NUMBERS:
            raise _mixed(kinds)
        return list(operands)

    def _with_numbers_from_text(self, operands: Sequence[Operand]) -> Sequence[Operand]:
        """Beside a column of numbers, and no computed value, a constant text that spells a number is that number."""
        rest = [operand for operand in operands if operand.kind is not Kind.TEXT and not operand.is_constant]
        if not rest or not all(operand.is_column and operand.kind in NUMBERS for operand in rest):
            return operands
        return [self._number_from_text(operand) for operand in operands]

    def _single_or_double(self, operands: list[Operand]) -> list[Operand]:
        """The operands with numbers of 32 bits as what they read as: 0.1 is 0.1, though it has more digits in each.

        Beside constants alone it is they that get 32 bits, so that an index of the column serves; unless one would
        become another number: 16777217 the 16777216 that the column may hold.
        """
        if any(operand.is_single for operand in operands):
            singles = [single for operand in operands if (single := self._single(operand))]
            if len(singles) == len(operands):
                return singles
        return [self._double(operand) for operand in operands]

    def _single(self, operand: Operand) -> Operand | None:
        """The operand as it is compared with a number of 32 bits; None if it cannot be without becoming another."""
        if operand.is_single or operand.kind is Kind.NULL:
            return operand
        if is_read_of_a_single(operand.value):
            return replace(operand, sql=self._dialect.single(operand), kind=Kind.FLOAT)
        return None

    def _double(self, operand: Operand) -> Operand:
        return Operand(self._dialect.as_it_reads(operand.sql), Kind.FLOAT) if operand.is_single else operand

    def _number_from_text(self, operand: Operand) -> Operand:
        found = number_in(operand.value) if isinstance(operand.value, str) else None
        return operand if found is None else self.constant(found)

    def _check_others(self, operands: Sequence[Operand]) -> None:
        """A value of another type is compared with one of its own type, or with a constant text that spells one."""
        types = {operand.type_name for operand in operands if operand.kind is Kind.OTHER}
        if len(types) > 1 and not types <= _TEMPORAL:
            raise UntranslatableError(f"the types {' and '.join(sorted(types))} are not compared alike everywhere")
        for operand in operands:
            spells_one = operand.kind is Kind.TEXT and operand.is_constant
            if operand.kind not in (Kind.OTHER, Kind.NULL) and not spells_one:
                raise UntranslatableError(
                    f"a value of type {types.pop()} is compared with its own type, or with a string or parameter that "
                    f"spells one, not with {operand.kind.value}"
                )


def _mixed(kinds: set[Kind]) -> UntranslatableError:
    named = " and ".join(sorted(kind.value for kind in kinds))
    return UntranslatableError(
        f"{named} stand side by side, which every database converts in its own way; write values of one kind"
    )
