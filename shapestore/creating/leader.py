"""What an attempt, and the run of its creator, know of the flight that leads by it."""

from __future__ import annotations

from contextvars import Context
from typing import Protocol

from shapestore.creating.waiters import Answer, Waiters
from shapestore.errors import ShapeStoreError
from shapestore.shape.shape import Shape
from shapestore.source.creator import Creator


class Leader(Protocol):
    """What is to be created, by what, for whom; and what is told of it."""

    key: str
    shape: Shape
    creator: Creator
    context: Context
    """The context of the first caller."""
    older: str | None
    """Of a refresh: the attempt that has confirmed what is stored."""
    overtaken: int
    """How many attempts at it were overtaken by changes of the shape."""
    waiters: Waiters

    def answer(self, answer: Answer) -> None:
        """End with the shape."""

    def end_by(self, error: ShapeStoreError) -> None:
        """End with an error."""

    def begin_again(self) -> None:
        """The attempt has ended without an answer."""
