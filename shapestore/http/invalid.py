"""What is wrong with a request, for its sender."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from shapestore.errors import InvalidShapeError
from shapestore.http.where.refusal import RefusedError


class InvalidRequest(Exception):  # noqa: N818 - what is answered, with status 400, not an error of the store
    """A request is not understood, or not accepted. No message says more than its sender may know."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__(f"invalid request: {errors}")
        self.errors = errors
        """What is wrong, by the field that it is wrong with."""


def invalid(field: str, why: str) -> NoReturn:
    """Raise an InvalidRequest for one reason."""
    raise InvalidRequest({field: [why]})


@contextmanager
def about(field: str) -> Iterator[None]:
    """What is refused within the block is wrong with this field."""
    try:
        yield
    except (RefusedError, InvalidShapeError) as error:
        raise InvalidRequest({field: [str(error)]}) from None
