"""A creator's exception as the text that its lock row publishes."""

from __future__ import annotations

from shapestore.errors import RetryLater
from shapestore.locking.create_lock import Failure

MAX_MESSAGE = 2_000
MAX_SECONDS = 10 * 365 * 86_400.0  # a window that is longer, were it written in milliseconds, might fit no column


def describe(error: BaseException, *, grace: float) -> Failure:
    """The failure that ``error`` is, held for ``grace`` seconds, or for longer if it is a RetryLater that says so.

    ``raise RetryLater(30) from error`` publishes the ``error``.
    """
    seconds = grace
    shown = error
    if isinstance(error, RetryLater):
        seconds = max(grace, error.seconds)
        shown = error if error.__cause__ is None else error.__cause__
    return Failure(_text(type(shown).__name__), _message(shown), round(min(seconds, MAX_SECONDS) * 1000))


def _message(error: BaseException) -> str:
    try:
        return _text(str(error))
    except BaseException as again:
        return f"(its message cannot be had: {type(again).__name__})"


def _text(text: str) -> str:
    """As SQLite and JSON can hold it, and not without bound."""
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
