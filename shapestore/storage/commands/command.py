"""What a command is: a write request, carried out by the writer inside its batch's transaction."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

import msgspec

from shapestore.storage.transaction import Transaction

T = TypeVar("T")


class Command(msgspec.Struct, Generic[T], eq=False):
    """One write request. It runs even if its caller was cancelled.

    A kind of which a batch may hold many overrides ``apply``, and carries out all of them in a few statements.
    """

    @property
    def size(self) -> int:
        """Bytes of rows that it brings; they are what makes a transaction long."""
        return 0

    def run(self, tx: Transaction) -> T:
        """Carry it out on the writer's thread; return its answer."""
        raise NotImplementedError

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[T]:
        """Carry out all of ``group`` on the writer's thread; return their answers in order."""
        return [command.run(tx) for command in group]
