"""The steps of a flight's way are called by the event loop, or by the writer: no error of a flight's is theirs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from shapestore.errors import ShapeStoreError, StoreClosedError

logger = logging.getLogger("shapestore")


class OnItsWay(Protocol):
    """Whose step it is."""

    def end_by(self, error: ShapeStoreError) -> None:
        """End, and tell the callers why."""


W = TypeVar("W", bound=OnItsWay)
P = ParamSpec("P")


def error_boundary(step: Callable[Concatenate[W, P], None]) -> Callable[Concatenate[W, P], None]:
    """Whatever goes wrong in this step ends the flight, and is told to its callers."""

    @functools.wraps(step)
    def bounded_step(flying: W, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(flying, *args, **kwargs)
        except ShapeStoreError as error:
            flying.end_by(error)
        except Exception as error:
            logger.exception("a flight failed in a way that was not foreseen; its callers are told")
            flying.end_by(_unforeseen(error))
        except BaseException:  # the program ends; but first its store is closed, which waits for the flights
            flying.end_by(StoreClosedError("the program was ended during this call"))
            raise

    return bounded_step


def _unforeseen(cause: Exception) -> ShapeStoreError:
    error = ShapeStoreError(f"unforeseen {type(cause).__name__}: {cause}; please report it")
    error.__cause__ = cause
    return error
