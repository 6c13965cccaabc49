"""A translated where for PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from shapestore.source.column_type import Kind
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.operand import Operand

_TYPES = {
    Kind.TRUTH: "boolean",
    Kind.INTEGER: "bigint",
    Kind.DECIMAL: "numeric",
    Kind.FLOAT: "double precision",
    Kind.TEXT: "text",
}


class PostgresDialect(Dialect):
    """Arithmetic is that of the operands' types: two integers of 16 bits overflow as such. So all of it is cast.

    A bound string has no type until something gives it one: a column that it is compared with, or else a cast.
    """

    def floating(self, operand: Operand) -> str:
        return f"CAST({operand.sql} AS double precision)"

    def single(self, operand: Operand) -> str:
        return f"CAST({operand.sql} AS real)"

    def as_it_reads(self, single: str) -> str:
        return f"CAST(CAST({single} AS text) AS double precision)"

    def integer(self, operand: Operand) -> str:
        return f"CAST({operand.sql} AS bigint)"

    def truth_as_integer(self, truth: str) -> str:
        return f"CAST({truth} AS integer)"

    def text(self, operand: Operand) -> str:
        if operand.kind is Kind.TEXT and not operand.is_constant and operand.type_name in ("", "text", "varchar"):
            return operand.sql
        return f"CAST({operand.sql} AS text)"

    def null(self, kind: Kind) -> str:
        return f"CAST(NULL AS {_TYPES[kind]})"

    def by_bytes(self, text: str) -> str:
        return f'({text} COLLATE "C")'

    def concatenation(self, texts: Sequence[str]) -> str:
        return f"({' || '.join(texts)})"

    def quotient(self, dividend: str, divisor: str, *, of_integers: bool) -> str:
        return f"({dividend} / NULLIF({divisor}, 0))"

    def remainder(self, dividend: str, divisor: str) -> str:
        return f"({dividend} % NULLIF({divisor}, 0))"

    def identity(self, left: str, right: str, negated: bool) -> str:
        return f"({left} IS {'' if negated else 'NOT '}DISTINCT FROM {right})"

    def rounded(self, operand: Operand, digits: int) -> str:
        # Rounding a float goes half to even, so it becomes a decimal: of all its digits, which only its text has.
        number = f"CAST({operand.sql} AS text)" if operand.kind is Kind.FLOAT else operand.sql
        return f"CAST(ROUND(CAST({number} AS numeric), {digits}) AS double precision)"
