"""What gives space back: logs are cut, and what is pending deletion is deleted, in pieces."""

from __future__ import annotations

from typing import Self

from shapestore.storage.commands.command import Command
from shapestore.storage.log import compact
from shapestore.storage.transaction import Transaction


class DeletePiece(Command[None]):
    """Delete some of what is pending deletion."""

    def __init__(self, piece: compact.Piece) -> None:
        self.piece = piece

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[None]:
        for command in group:
            compact.delete(tx, command.piece)
        return [None] * len(group)


class Compact(Command[bool]):
    """Cut a log that is long beside its rows. Answered True if it has changes to be trimmed."""

    def __init__(self, number: int, keep_ms: int) -> None:
        self.number = number
        self.keep_ms = keep_ms

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        return [compact.raise_floor(tx, command.number, command.keep_ms) for command in group]


class TrimLog(Command[None]):
    """Delete some of the changes that a floor has left behind."""

    def __init__(self, number: int, last: int) -> None:
        self.number = number
        self.last = last

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[None]:
        for command in group:
            compact.trim(tx, command.number, command.last)
        return [None] * len(group)
