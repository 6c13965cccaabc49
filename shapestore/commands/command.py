"""What a command is: a wish of somebody's, done by the writer inside its batch's transaction."""

from __future__ import annotations

import asyncio
from typing import Generic, Self, TypeVar

from shapestore.transaction import Transaction

T = TypeVar("T")


class Command(Generic[T]):
    """One wish, and the future of its answer. If the future is cancelled, the wish is done all the same."""

    size: int = 0
    """Bytes of rows that it brings; they are what makes a transaction long."""

    def __init__(self) -> None:
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[T]:
        """Do all of ``group``; give back their answers in order. They are told after the commit."""
        raise NotImplementedError

    def answer(self, answer: T) -> None:
        if not self.done.done():
            self.done.set_result(answer)

    def refuse(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits is told; where nobody does, nobody is to be warned
