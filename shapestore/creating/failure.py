"""A creator's failure: as the text that its lock row publishes, in the log, and for how long this store knows it."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from traceback import format_exception

from shapestore.errors import (
    InvalidRowError,
    InvalidShapeError,
    InvalidSourceError,
    RetryLater,
    UnknownColumnError,
    UnknownTableError,
)
from shapestore.locking.create_lock import Failure
from shapestore.logger import logger
from shapestore.shape.listing import printable
from shapestore.shape.shape import Shape

_TELL_ALL = (InvalidRowError, InvalidShapeError, InvalidSourceError, UnknownColumnError, UnknownTableError)
"""Their messages say what was asked for or given, and what to do; a traceback would show nothing of the application."""

MAX_MESSAGE = 2_000
MAX_NAME = 200
MAX_TRACEBACK = 100_000
SHOWN_AGAIN_SECONDS = 60.0
MAX_SECONDS = 10 * 365 * 86_400.0  # a longer failure TTL, in milliseconds, might not fit its column


def describe(error: BaseException, *, grace: float) -> Failure:
    """The failure to publish for ``error``. Its TTL is ``grace`` seconds, or what a RetryLater asks for if longer.

    ``raise RetryLater(30) from error`` publishes the ``error``.
    """
    seconds = grace
    shown = error
    if isinstance(error, RetryLater):
        seconds = max(grace, error.seconds)
        shown = error if error.__cause__ is None else error.__cause__
    return Failure(_text(type(shown).__name__), _message(shown), round(min(seconds, MAX_SECONDS) * 1000))


def name_of(shape: Shape) -> str:
    """What errors call a shape: its table and where, which say enough to find it by, and no value of a param."""
    where = shape.where_as_written
    return printable(_text(shape.table if where is None else f"{shape.table} where {where}", MAX_NAME))


def _message(error: BaseException) -> str:
    try:
        return _text(str(error))
    except BaseException as again:
        return f"(its message could not be read: {type(again).__name__})"


def _text(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text, limited in length, with what SQLite, JSON or a log cannot hold written as escapes."""
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


class FailureLog:
    """Logs failed attempts: each in a line, and the traceback of those that fail alike once a minute.

    While a source is down, every shape that is polled fails every second or so.
    """

    def __init__(self, limit: int = 1_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._shown: OrderedDict[int, float] = OrderedDict()
        """By the hash of a traceback, when it was logged last."""

    def log(self, key: str, failure: Failure, error: BaseException) -> None:
        """Log that creating a shape failed."""
        logger.warning(
            "creating %.500s failed: %s: %s; callers get this error for %g s",
            key,
            failure.error_type,
            failure.message,
            failure.retry_after_ms / 1000,
            exc_info=error if self._is_traceback_news(error) else None,
        )

    def _is_traceback_news(self, error: BaseException) -> bool:
        """Whether it adds to the message, and is neither huge nor something no log file can hold."""
        if isinstance(error, _TELL_ALL):
            return False
        traceback = "".join(format_exception(error))
        return _text(traceback, MAX_TRACEBACK) == traceback and not self._was_just_shown(hash(traceback))

    def _was_just_shown(self, traceback: int) -> bool:
        now = self._clock()
        if now - self._shown.get(traceback, -math.inf) < SHOWN_AGAIN_SECONDS:
            return True
        self._shown[traceback] = now
        self._shown.move_to_end(traceback)
        if len(self._shown) > self._limit:
            self._shown.popitem(last=False)
        return False


class FailureAges:
    """When this store first saw each failed attempt, by its own monotonic clock; the latest ``limit`` of them.

    A failure is swept by its owner. If that owner does not (it is stopped, or has lost its timer), any store that has
    seen the row for longer than its TTL may take over, whatever the wall clocks of the two processes say.
    """

    def __init__(self, limit: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._first_seen: OrderedDict[str, float] = OrderedDict()

    def age_ms(self, handle: str) -> float:
        """Milliseconds since this was first called for the failed attempt ``handle``."""
        now = self._clock()
        first = self._first_seen.setdefault(handle, now)
        if len(self._first_seen) > self._limit:
            # Forgetting one too early only makes its TTL begin again.
            self._first_seen.popitem(last=False)
        return (now - first) * 1000
