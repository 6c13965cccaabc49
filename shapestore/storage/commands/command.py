"""What a command is: a wish of somebody's, done by the writer inside its batch's transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from shapestore.errors import ShapeStoreError
from shapestore.storage.transaction import Transaction

T = TypeVar("T")


class Command(Generic[T]):
    """One wish, and who is told what became of it. It is done whether or not they still care."""

    size: int = 0
    """Bytes of rows that it brings; they are what makes a transaction long."""
    answered: Callable[[T], object]
    """Set by the writer when it is sent: called with the answer, once, after the commit."""
    refused: Callable[[ShapeStoreError], object]
    """The same, called instead if nothing was done, or if nobody knows."""

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[T]:
        """Do all of ``group``; give back their answers in order. They are told after the commit."""
        raise NotImplementedError
