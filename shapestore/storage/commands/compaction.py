"""What gives space back: logs are cut, and what is pending deletion is deleted, in pieces."""

from __future__ import annotations

from shapestore.storage.commands.command import Command
from shapestore.storage.log import compact
from shapestore.storage.transaction import Transaction


class DeletePiece(Command[None]):
    """Delete some of what is pending deletion."""

    piece: compact.Piece

    def run(self, tx: Transaction) -> None:
        compact.delete(tx, self.piece)


class Compact(Command[bool]):
    """Cut a log that is long beside its rows. Answered True if it has changes to be trimmed."""

    number: int
    keep_ms: int

    def run(self, tx: Transaction) -> bool:
        return compact.raise_floor(tx, self.number, self.keep_ms)


class TrimLog(Command[None]):
    """Delete some of the changes that a floor has left behind."""

    number: int
    last: int

    def run(self, tx: Transaction) -> None:
        compact.trim(tx, self.number, self.last)
