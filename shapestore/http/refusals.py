"""What an error of the store, or one that the application raises, means to a client."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from shapestore.errors import (
    CreateFailedError,
    InvalidShapeError,
    ShapeGoneError,
    ShapeStoreError,
    StoreBusyError,
    StoreClosedError,
    WaitTimeoutError,
)
from shapestore.http.response import Refusal, refused
from shapestore.logger import logger


def refusal_by(error: HTTPException) -> Refusal:
    """The refusal that a function of the application's has raised; its body is JSON as that of any other."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    headers.pop("content-type", None)
    return Refusal(error.status_code, {"message": error.detail}, headers)


def refusal_of(error: ShapeStoreError) -> Refusal:
    """How an error of the store is told to a client: by no text that could say anything of the source."""
    match error:
        case StoreBusyError():
            return refused(503, "the server is busy", retry_after=error.retry_after)
        case CreateFailedError():
            return refused(503, "the rows of this shape could not be read", retry_after=error.retry_after)
        case WaitTimeoutError():
            return refused(503, "the rows of this shape are not there yet", retry_after=1)
        case StoreClosedError() | ShapeGoneError():
            return refused(503, "the server is starting or stopping", retry_after=1)
        case InvalidShapeError():  # what is wrong with the client's own was found before
            return unexpected()
    logger.error("a request of a client could not be answered: %s", error)
    return refused(503, "the server cannot read its store", retry_after=5)


def unexpected() -> Refusal:
    """The refusal for the error that is being handled: a mistake of the application's, or of ours. Logs it."""
    logger.exception("unexpected error while a request of a client was answered")
    return refused(500, "internal error; see the log of the server")
