"""The followers of one open store: one for each source that its creators follow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import astuple
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from shapestore.errors import ShapeStoreError, StoreClosedError
from shapestore.events import RoundMade
from shapestore.following.leadership import is_led
from shapestore.logger import logger
from shapestore.source.creator import follows
from shapestore.storage.commands import Command, UnfollowSource
from shapestore.storage.queries import LIVE, OF_SOURCE
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry

if TYPE_CHECKING:
    from shapestore.following.follower import Follower

T = TypeVar("T")

_CLOSE_SECONDS = 5.0


class Followers:
    """Starts and ends followers, and carries their commands to the writer's event loop."""

    def __init__(
        self, path: str, writer: Writer, telemetry: Telemetry, *, sweep_later: Callable[[str, float], None]
    ) -> None:
        self.path = path
        self._writer = writer
        self._telemetry = telemetry
        self._sweep_later = sweep_later
        self._loop = asyncio.get_running_loop()
        self._followers: dict[object, Follower] = {}
        """By what they read."""
        self._found: dict[object, int | None] = {}
        """The numbers of their sources, as far as they have found them."""
        self.marks: set[int] = set()
        """Those of live shapes whose source is one of these; see ``queries.MARK``."""
        self._unsure: dict[object, dict[int, str]] = {}
        """Sources whose shapes were served before a follower had found its own: numbers and paths."""
        self._closed = False

    def follow(self, creator: Any) -> Follower | None:
        """Follow what a creator follows, if it does, from now on. Once more does nothing.

        A follower that gets no thread, or no descriptor, is tried again by the next call: those who ask for shapes are
        answered meanwhile.
        """
        if self._closed or not follows(creator) or not hasattr(creator, "source_path"):
            return None
        from shapestore.following.follower import Follower  # noqa: PLC0415 - SQLAlchemy, which it needs, loads slowly

        reads = getattr(creator, "reads", creator)
        follower = self._followers.get(reads)
        if follower is None:
            try:
                follower = Follower(creator, self)
                follower.start()
            except (RuntimeError, OSError) as error:
                logger.warning("%r is not followed yet: %s", creator, error)
                return None
            self._followers[reads] = follower
        return follower

    def wake(self, creator: Any) -> None:
        """The same, and look at once: a live shape was published, or a caller waits."""
        follower = self.follow(creator)
        if follower is not None:
            follower.wake()

    def is_adrift(self, creator: Any, source: int, path: str) -> bool:
        """Whether a live shape is of another source than the one that the creator follows, and nobody follows that.

        As where the source was moved, or a link to it was switched, while no store was open. Then all shapes of it are
        dropped, as after a switch that a follower sees: who waits for changes of them would wait for ever.
        """
        follower = self.follow(creator)
        if follower is None:
            return False
        if follower.path is None:
            self._unsure.setdefault(follower, {})[source] = path
            return False
        return self._drop_if_adrift(source, path, follower.path)

    def _drop_if_adrift(self, source: int, path: str, followed: str) -> bool:
        if path == followed or is_led(self.path, source):
            return False
        self._drop_all(source)
        return True

    def _drop_all(self, source: int) -> None:
        def go_on(dropped: int) -> None:
            if dropped == UnfollowSource.SHAPES:
                self._drop_all(source)

        with contextlib.suppress(ShapeStoreError):  # the next caller tries again
            self._writer.send(UnfollowSource(source), go_on, lambda _: None)

    @property
    def behind(self) -> int:
        """How many changes of the sources were seen by the last rounds, and left to the next ones."""
        return sum(follower.behind for follower in self._followers.values())

    def stop(self) -> None:
        """Have all end, without waiting for it."""
        self._closed = True
        for follower in self._followers.values():
            follower.stop()

    async def close(self) -> None:
        """Have all end. The writer still takes what they have sent. A follower that hangs in its source is left."""
        self.stop()
        until = self._loop.time() + _CLOSE_SECONDS
        while not all(follower.ended.is_set() for follower in self._followers.values()) and self._loop.time() < until:
            await asyncio.sleep(0.002)

    # --- for followers, in their threads

    def send(self, command: Command[T], answer: Future[T]) -> None:
        self._on_loop(partial(self._send, command, answer))

    @property
    def has_ended(self) -> bool:
        """Whether no command is answered any more, since the loop is closed."""
        return self._loop.is_closed()

    def is_at(self, follower: object, path: str) -> None:
        self._on_loop(partial(self._look_again, follower, path))

    def _look_again(self, follower: object, followed: str) -> None:
        for source, path in self._unsure.pop(follower, {}).items():
            self._drop_if_adrift(source, path, followed)

    def has_found(self, follower: object, source: int | None) -> None:
        self._on_loop(partial(self._note, follower, source))

    def _note(self, follower: object, source: int | None) -> None:
        self._found[follower] = source
        self.marks = {LIVE + OF_SOURCE * number for number in self._found.values() if number is not None}

    def sweep_later(self, failures: list[str], seconds: float) -> None:
        self._on_loop(lambda: [self._sweep_later(handle, seconds) for handle in failures])

    def made_round(self, round_: RoundMade) -> None:
        self._on_loop(partial(self._tell, round_))

    def _tell(self, round_: RoundMade) -> None:
        self._telemetry.changes_followed += round_.changes
        self._telemetry.tell(RoundMade, *astuple(round_))

    def _on_loop(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            raise StoreClosedError("the store's event loop has ended") from None

    def _send(self, command: Command[T], answer: Future[T]) -> None:
        try:
            self._writer.send(
                command, partial(self._soon, answer.set_result), partial(self._soon, answer.set_exception)
            )
        except ShapeStoreError as error:
            answer.set_exception(error)

    def _soon(self, answer: Callable[[T], None], by: T) -> None:
        """Answer a follower in the next turn of the loop.

        A follower that goes on takes Python's lock from the loop, which tells the waiters of its round: so they are
        first.
        """
        try:
            self._loop.call_soon(answer, by)
        except RuntimeError:  # the loop is closed, and the writer is cleared away
            answer(by)
