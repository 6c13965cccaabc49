"""How one database spells what a translated where is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from shapestore.source.column_type import Kind
from shapestore.source.predicate.operand import Operand


class Dialect(ABC):
    """Every method gives SQL that holds together by itself: a name, a value, a call, or something in parentheses."""

    @abstractmethod
    def floating(self, operand: Operand) -> str:
        """A number as a floating-point number."""

    @abstractmethod
    def single(self, operand: Operand) -> str:
        """A number as a floating-point number of 32 bits."""

    @abstractmethod
    def as_it_reads(self, single: str) -> str:
        """A floating-point number of 32 bits as the one of 64 bits that is read of it: 0.1 as 0.1."""

    @abstractmethod
    def integer(self, operand: Operand) -> str:
        """An integer as one of 64 bits with a sign, ready for arithmetic."""

    @abstractmethod
    def truth_as_integer(self, truth: str) -> str:
        """A truth value as 1 or 0."""

    @abstractmethod
    def text(self, operand: Operand) -> str:
        """Text, or an integer as text, ready for a function."""

    @abstractmethod
    def null(self, kind: Kind) -> str:
        """NULL, where a value of this kind is expected."""

    @abstractmethod
    def by_bytes(self, text: str) -> str:
        """Text that is compared by its bytes."""

    @abstractmethod
    def concatenation(self, texts: Sequence[str]) -> str:
        """NULL if one of them is."""

    @abstractmethod
    def quotient(self, dividend: str, divisor: str, *, of_integers: bool) -> str:
        """Of two integers an integer, towards zero. By zero: NULL."""

    @abstractmethod
    def remainder(self, dividend: str, divisor: str) -> str:
        """Of two integers, with the sign of the first. By zero: NULL."""

    @abstractmethod
    def identity(self, left: str, right: str, negated: bool) -> str:
        """Whether two values are the same, NULL being the same as NULL."""

    @abstractmethod
    def rounded(self, operand: Operand, digits: int) -> str:
        """A number rounded half away from zero to 0 to 30 digits behind the point, as a floating-point number."""
