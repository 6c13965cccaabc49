"""What a follower reads of the store's file, and has written to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future
from enum import Enum, auto
from typing import Protocol, TypeVar

from shapestore.errors import StoreClosedError
from shapestore.events import RoundMade
from shapestore.source.sqlite_feed.file import why_unnamed
from shapestore.storage.commands import Command
from shapestore.storage.commands.rounds import Follows
from shapestore.storage.connection import BUSY_TIMEOUT_MS, open_point_reader
from shapestore.storage.log.live import queries
from shapestore.storage.row_codec import as_json

T = TypeVar("T")

_LOOK_UP_SECONDS = 0.5


class Store(Protocol):
    """What a follower needs of the open store. It calls from its own thread."""

    path: str

    @property
    def has_ended(self) -> bool:
        """Whether no command is answered any more."""

    def send(self, command: Command[T], answer: Future[T]) -> None:
        """Have a command written. Raises StoreClosedError."""

    def is_at(self, follower: object, path: str) -> None:
        """The source of this follower is the file of this path."""

    def has_found(self, follower: object, source: int | None) -> None:
        """The source of this follower has this number; or none, if no shape was ever made of it."""

    def sweep_later(self, failures: list[str], seconds: float) -> None:
        """Remove the failures with these handles in so many seconds."""

    def made_round(self, round_: RoundMade) -> None:
        """A round that brought changes is committed."""


class LiveShapes(Enum):
    """What live shapes of a source there are."""

    NONE = auto()
    REACHED = auto()
    """Rounds have reached them all since they were read."""
    WITH_NEWCOMERS = auto()
    """Some were not reached by any round yet."""


class StoreSide:
    """One follower's reading connection to the store's file, and its way to the writer."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stopped = False
        """Set to give up waiting for what is being written."""
        self._reader: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, by the thread that will read it. Once more does nothing."""
        if self._reader is None:
            self._reader = open_point_reader(self.store.path, busy_timeout_ms=BUSY_TIMEOUT_MS)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    @property
    def reader(self) -> sqlite3.Connection:
        """The open file."""
        assert self._reader is not None
        return self._reader

    def number_of(self, path: str) -> int | None:
        """What stands for the source of this path; None if no shape was ever made of it."""
        if why_unnamed(path):
            return None
        found = self.reader.execute(queries.SOURCE_NUMBER, {"source": path}).fetchall()
        return found[0][0] if found else None

    def live_shapes(self, source: int) -> LiveShapes:
        """What live shapes of a source there are."""
        found = self.reader.execute(queries.ANY_LIVE, {"source": source}).fetchall()
        if not found:
            return LiveShapes.NONE
        return LiveShapes.WITH_NEWCOMERS if found[0][0] else LiveShapes.REACHED

    def follows(self, source: int) -> Follows:
        """How many rounds of a source there were, by any process, and up to where."""
        ((rounds, seq, nonce),) = self.reader.execute(queries.SOURCE_STATE, {"source": source}).fetchall()
        return Follows(rounds, seq, nonce)

    def in_parts(self, numbers: Sequence[int], *, rows: int) -> list[list[int]]:
        """Those of these shapes that there are, in parts that have fewer rows together, or are a single shape."""
        parts: list[list[int]] = []
        room = 0
        for number, count in self.reader.execute(queries.ROW_COUNTS, {"numbers": as_json(numbers)}).fetchall():
            if count >= room:
                parts.append([])
                room = rows
            parts[-1].append(number)
            room -= count + 1
        return parts

    def written(self, command: Command[T]) -> T:
        """The answer to a command. Raises what it is refused by, and StoreClosedError if this is to end."""
        answer: Future[T] = Future()
        self.store.send(command, answer)
        while True:
            try:
                return answer.result(timeout=_LOOK_UP_SECONDS)
            except TimeoutError:
                if self.stopped or self.store.has_ended:
                    raise StoreClosedError("the store was closed while a round was being written") from None
