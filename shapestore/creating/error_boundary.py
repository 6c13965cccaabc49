"""The boundary for errors in steps, which the event loop or the writer calls: they must reach the callers instead."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from shapestore.errors import ShapeStoreError, StoreClosedError
from shapestore.logger import logger


class HasSteps(Protocol):
    """A flight, or its attempt."""

    def end_by(self, error: ShapeStoreError) -> None:
        """End the flight and raise the error to its callers."""


S = TypeVar("S", bound=HasSteps)
Facts = TypeVarTuple("Facts")


def error_boundary(step: Callable[[S, *Facts], None]) -> Callable[[S, *Facts], None]:
    """Make any exception of this step end the flight and be raised to its callers."""

    @functools.wraps(step)
    def bounded_step(self: S, /, *facts: *Facts) -> None:
        try:
            step(self, *facts)
        except ShapeStoreError as error:
            self.end_by(error)
        except Exception as error:
            logger.exception("unexpected error while creating a shape; reported to its callers")
            self.end_by(_unexpected(error))
        except BaseException:  # the program ends; but first its store is closed, which waits for the flights
            self.end_by(StoreClosedError("the program was ended during this call"))
            raise

    return bounded_step


def _unexpected(cause: Exception) -> ShapeStoreError:
    error = ShapeStoreError(f"unexpected {type(cause).__name__}: {cause}; please report it")
    error.__cause__ = cause
    return error
