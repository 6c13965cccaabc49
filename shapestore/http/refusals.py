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


def refusal_of(error: Exception) -> Refusal:
    """How the error that is being handled is told to a client: by no text that could say anything of the source."""
    match error:
        case Refusal():
            return error
        case HTTPException():  # raised by a function of the application's; its body is JSON as that of any other
            headers = {name.lower(): value for name, value in (error.headers or {}).items()}
            headers.pop("content-type", None)
            return Refusal(error.status_code, {"message": error.detail}, headers)
        case StoreBusyError():
            return refused(503, "the server is busy", retry_after=error.retry_after)
        case CreateFailedError():
            return refused(503, "the rows of this shape could not be read", retry_after=error.retry_after)
        case WaitTimeoutError():
            return refused(503, "the rows of this shape are not there yet", retry_after=1)
        case StoreClosedError() | ShapeGoneError():
            return refused(503, "the server is starting or stopping", retry_after=1)
        case ShapeStoreError() if not isinstance(error, InvalidShapeError):
            logger.error("a request of a client could not be answered: %s", error)
            return refused(503, "the server cannot read its store", retry_after=5)
    # A mistake of the application's, or of ours: also an InvalidShapeError, since the client's own were found before.
    logger.exception("unexpected error while a request of a client was answered")
    return refused(500, "internal error; see the log of the server")
