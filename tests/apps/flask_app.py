"""The tracks of an album over HTTP, from Flask: threads of all processes ask, and the slow database is read once.

Run it with ``gunicorn --workers 3 --threads 8 flask_app:app``, or with ``flask --app flask_app run``.
"""

import math

from flask import Flask, Response, request

from shapestore import InvalidShapeError, Shape, ShapeStoreError, SQLSource
from shapestore.sync import ShapeStore

app = Flask(__name__)

# Open in each worker process, after its fork: gunicorn's --preload would open it before. Closed when the process exits.
store = ShapeStore("shapes.db", create=SQLSource("sqlite:///music.db"))
store.open()


@app.get("/albums/<int:album>/tracks")
def tracks(album: int) -> Response:
    stored = store.get_or_create(Shape("track", where="album = :album", params={"album": album}))
    known = request.if_none_match.contains(stored.etag)
    response = Response(status=304) if known else Response(store.stream_json(stored), mimetype="application/json")
    response.set_etag(stored.etag)
    return response


@app.errorhandler(InvalidShapeError)
def not_understood(error: InvalidShapeError) -> tuple[dict[str, str], int]:
    """There is no such shape, say for an album's number beyond 64 bits: asking again does not help."""
    return {"error": str(error)}, 422


@app.errorhandler(ShapeStoreError)
def unavailable(error: ShapeStoreError) -> tuple[dict[str, str], int, dict[str, str]]:
    """The database is down or too slow: say so, and when to ask again."""
    retry_after = math.ceil(getattr(error, "retry_after", 1.0))
    return {"error": str(error)}, 503, {"Retry-After": str(retry_after)}
