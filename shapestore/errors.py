"""Every error that shapestore raises, under one root: :class:`ShapeStoreError`.

Each carries its facts as fields, and a message that says what happened, to what, and what to do.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar


class _WithFields:
    """Makes an error keep its fields when it is copied or pickled.

    ``__init__``, which takes other arguments than the error's ``args``, is not called again.
    """

    args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_of, (type(self), self.args), self.__dict__


def _made_of(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return kind.__new__(kind, *args)


class ShapeStoreError(_WithFields, Exception):
    """The root of all errors of this package."""


class InvalidShapeError(ShapeStoreError, ValueError):
    """A shape's table, where, params or columns are not acceptable; the message says which and why."""


class InvalidRowError(ShapeStoreError, ValueError):
    """A creator returned something that cannot be a row: not a mapping of str, or a value that JSON cannot hold."""


class InvalidCreatorError(ShapeStoreError, TypeError):
    """A creator is not a callable, or there is none and the shape is missing."""


class InvalidSourceError(ShapeStoreError, ValueError):
    """A SQLSource cannot read what it was made with; the message says why, and what to do."""


class UnknownTableError(ShapeStoreError, LookupError):
    """The source has no table or view of this name; the message lists those it has."""


class UnknownColumnError(ShapeStoreError, LookupError):
    """The table has no column of this name; the message lists those it has."""


class CreateFailedError(ShapeStoreError):
    """The creator of a shape failed. Every waiter gets a fresh instance.

    ``__cause__`` is the creator's own exception for those who waited for the attempt in the process that led. For
    others, as those who ask later within the failure TTL, it is None.
    """

    def __init__(self, error_type: str, message: str, retry_after: float, shape: str = "") -> None:
        why = f"{error_type}: {message}" if message else error_type
        super().__init__(f"{why} (while creating {shape})" if shape else why)
        self.error_type = error_type
        """The name of the exception's class, as the leader's process knew it."""
        self.message = message
        self.retry_after = retry_after
        """The failure TTL: seconds for which callers get this same failure, counted from when it happened."""
        self.shape = shape
        """The table and the where of the shape, shortened; without the values of its params, which may be secret."""


class RetryLater(_WithFields, Exception):  # noqa: N818 - a creator's word to the store, not an error of the store
    """Raised by a creator to hold its failure for ``seconds``, if that is longer than ``failure_grace``.

    >>> raise RetryLater(30, "the source asks for fewer requests")
    Traceback (most recent call last):
    shapestore.errors.RetryLater: the source asks for fewer requests
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise ValueError(f"RetryLater takes a finite number of seconds >= 0, not {seconds!r}")
        super().__init__(message or f"the creator asked for {seconds:g} s without another attempt")
        self.seconds = seconds


class WaitTimeoutError(ShapeStoreError, TimeoutError):
    """The caller's time is up; the message says what it waited for. A creation in progress goes on."""


class StoreBusyError(ShapeStoreError):
    """A limit was reached, or the write gate could not be acquired in time.

    Nothing was changed; try again after ``retry_after`` seconds.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which to try again."""


class StoreClosedError(ShapeStoreError):
    """The store is not open: not yet, or no longer."""


class ShapeGoneError(ShapeStoreError, LookupError):
    """A handle, or a position in its log, is gone: deleted, evicted, invalidated, replaced. Ask for the shape again."""

    def __init__(self, handle: str) -> None:
        super().__init__(
            f"no shape has the handle {handle!r:.100} (any more), or its log does not have that position; ask for "
            "the shape again by get_or_create"
        )
        self.handle = handle


class SupersededError(ShapeStoreError):
    """An attempt's fencing token no longer holds, since its lock row was released, invalidated or taken over.

    The attempt changed nothing.
    """

    def __init__(self, handle: str) -> None:
        super().__init__(f"the attempt {handle!r} was superseded: its lock row was released, invalidated or taken over")
        self.handle = handle


class MigrationRequiredError(ShapeStoreError):
    """The file's schema is not the one this version works with; the message names the command, or the remedy."""


class CorruptStoreError(ShapeStoreError):
    """The file is not a database, or is corrupt. Nothing is repaired by guessing: restore a backup, or move it away."""


class ForkedStoreError(ShapeStoreError):
    """The store was opened before a fork and is used in the child; or the child opens the file its parent has open.

    Open a store in each process, after the fork.
    """


class StorageError(ShapeStoreError):
    """The disk or the operating system refused: full, unreadable, gone. The store recovers once the cause is fixed.

    Or the path names something that cannot be a store: a folder, another program's database.
    """


E = TypeVar("E", bound=ShapeStoreError)


def fresh(error: E) -> E:
    """A copy to be raised elsewhere: one instance raised by many callers would gather the tracebacks of all."""
    another = copy.copy(error)
    another.__cause__ = error.__cause__
    return another
