"""A translated where for MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from shapestore.errors import InvalidSourceError
from shapestore.source.column_type import Kind
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.operand import Operand

_REFUSED_MODES = {"EMPTY_STRING_IS_NULL", "ORACLE"}


class MariadbDialect(Dialect):
    """Truth values are the integers 1 and 0. Everything is in parentheses, so that modes of precedence do not matter.

    ``without_padding``: the collation that compares text by its bytes, blanks at its end included.
    """

    def __init__(self, without_padding: str) -> None:
        self._without_padding = without_padding

    def floating(self, operand: Operand) -> str:
        return f"CAST({operand.sql} AS DOUBLE)"

    def single(self, operand: Operand) -> str:
        return f"CAST({operand.sql} AS FLOAT)"

    def as_it_reads(self, single: str) -> str:
        return f"CAST(CAST({single} AS CHAR) AS DOUBLE)"

    def integer(self, operand: Operand) -> str:
        # Arithmetic with an unsigned integer refuses results below 0.
        return f"CAST({operand.sql} AS DECIMAL(20, 0))" if operand.is_unsigned else operand.sql

    def truth_as_integer(self, truth: str) -> str:
        return truth

    def text(self, operand: Operand) -> str:
        return operand.sql if operand.kind is Kind.TEXT else f"CAST({self.integer(operand)} AS CHAR)"

    def null(self, kind: Kind) -> str:
        return "NULL"

    def by_bytes(self, text: str) -> str:
        return f"(CONVERT({text} USING utf8mb4) COLLATE {self._without_padding})"

    def concatenation(self, texts: Sequence[str]) -> str:
        return f"CONCAT({', '.join(texts)})"

    def quotient(self, dividend: str, divisor: str, *, of_integers: bool) -> str:
        return f"({dividend} {'DIV' if of_integers else '/'} {divisor})"

    def remainder(self, dividend: str, divisor: str) -> str:
        return f"({dividend} % {divisor})"

    def identity(self, left: str, right: str, negated: bool) -> str:
        return f"(NOT ({left} <=> {right}))" if negated else f"({left} <=> {right})"

    def rounded(self, operand: Operand, digits: int) -> str:
        if operand.kind is not Kind.FLOAT:
            return f"CAST(ROUND({operand.sql}, {digits}) AS DOUBLE)"
        # Rounding a float goes half to even, so it becomes a decimal; a larger float than fits has no fraction.
        number = operand.sql
        rounded = f"CAST(ROUND(CAST({number} AS DECIMAL(65, 30)), {digits}) AS DOUBLE)"
        return f"IF(ABS({number}) < 1e16, {rounded}, {number})"


def mariadb_dialect(connection: Connection) -> MariadbDialect:
    """The dialect of this session. Raises InvalidSourceError where its SQL mode gives strings another meaning."""
    modes = str(connection.exec_driver_sql("SELECT @@sql_mode").scalar()).split(",")
    if refused := sorted(_REFUSED_MODES.intersection(modes)):
        raise InvalidSourceError(
            f"the session's sql_mode has {', '.join(refused)}, in which an empty string is NULL: give SQLSource an "
            "Engine that connects without it"
        )
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    return MariadbDialect("utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin")
