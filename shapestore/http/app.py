"""The ASGI application: its routes, and what every request passes and every answer carries."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shapestore.errors import StoreClosedError
from shapestore.http import response
from shapestore.http.access import Authorize, ShapeOfRequest, has_secret, permitted, shape_by
from shapestore.http.descriptions import Descriptions
from shapestore.http.handles import parse_handle
from shapestore.http.parameters import body_of, unread
from shapestore.http.refusals import refusal_of
from shapestore.http.request import ShapeRequest, parse
from shapestore.http.response import Caching, Cors, Refusal, refused, vary_on
from shapestore.http.serving.answers import Durations, LogAnswers
from shapestore.http.serving.live import LiveClients
from shapestore.http.serving.log_reader import LogReader
from shapestore.http.serving.slow_clients import GoneError, in_pieces
from shapestore.http.serving.subsets import Subsets
from shapestore.http.tables import Tables
from shapestore.logger import logger
from shapestore.options import at_least_one, at_least_zero, header_name, origin, seconds, text
from shapestore.shape.stored_shape import StoredShape
from shapestore.store import ShapeStore


class ShapeApp:
    """Serves the shapes of ``store`` to Electric's clients, at ``/v1/shape`` below where it is mounted.

    >>> app.mount("/sync", ShapeApp(store, tables={"Track": None, "Customer": ["CustomerId", "FirstName"]}))

    What may be asked for is said in one of two ways:

    ``tables``: the tables that clients may name, each with its columns that they may see, or None for all. Clients send
    a where of their own. The store's creator has to describe its tables, as SQLSource does.
    ``shape``: a function of the application's own, which maps a request to a Shape. Clients send no table and no where.

    ``authorize``: called with each request and the shape that it asks for, also while the client is live. It returns
    the Shape whose rows this client may see, made of the application's own conditions alone: those of the client are
    added behind a guard, and only narrow it. Or it raises Starlette's HTTPException (401, 403). A client whose rights
    are withdrawn is out after one ``long_poll`` or ``sse_length``. It may be async, as ``shape`` may.
    ``vary``: the names of the request headers by which ``authorize`` or ``shape`` decide, for caches. With either of
    them, answers are private: browsers keep them, and ask each time whether they still may.
    ``origins``: the origins of pages that may read answers, with credentials, as in ``https://app.example``. What pages
    of any other origin than its own ask for is refused (403), if their browsers tell it. None: all pages may read
    answers, without credentials.
    ``secret``: what clients have to send as the parameter ``secret``.
    ``allow_delete``: whether clients may drop shapes.

    ``max_live``: clients that are served live at once; more are told to try again (503). ``max_shapes``: how many
    shapes there may be in the store for clients to have one more created (429 beyond). ``max_subset_rows``: how many
    rows a subset may have. ``chunk_bytes``: the size of an answer, about; each is held in memory while it is sent.
    ``kept_bytes``: how many bytes of snapshot pages are kept in memory as they were sent, the last requested ones;
    later clients are sent the same bytes. 0 keeps none.
    ``max_age``, ``stale_age``: seconds for which caches may serve pages that are neither the first nor live, and go on
    doing so while they fetch them again.
    ``long_poll``: seconds after which a live request without a change is answered. ``sse_length``: seconds after which
    a stream of events ends; ``keep_alive``: seconds of silence in it, before a sign of life.

    Once the process is told to stop (SIGTERM, SIGINT), live answers end at once, so that a server such as uvicorn does
    not wait for them; clients continue with another worker. A server that runs in another thread than the main one, or
    whose signals are not Python's, calls ``stop()``.
    """

    def __init__(
        self,
        store: ShapeStore,
        *,
        tables: Tables | None = None,
        shape: ShapeOfRequest | None = None,
        authorize: Authorize | None = None,
        vary: Sequence[str] = (),
        origins: Sequence[str] | None = None,
        secret: str | None = None,
        allow_delete: bool = False,
        max_live: int = 10_000,
        max_shapes: int | None = 10_000,
        max_subset_rows: int = 10_000,
        chunk_bytes: int = 4 * 1024 * 1024,
        kept_bytes: int = 64 * 1024 * 1024,
        max_age: float = 60,
        stale_age: float = 300,
        long_poll: float = 20.0,
        sse_length: float = 60.0,
        keep_alive: float = 21.0,
    ) -> None:
        if not isinstance(store, ShapeStore):
            raise TypeError(f"ShapeApp takes a shapestore.ShapeStore, not {store!r:.100}")
        for option, function in (("shape", shape), ("authorize", authorize)):
            if function is not None and not callable(function):
                raise TypeError(f"{option} is a function, not {function!r:.100}")
        if (tables is None) == (shape is None):
            raise TypeError("ShapeApp takes either tables=, which clients may name, or shape=, a function of requests")
        self._store = store
        self._tables = {} if tables is None else _checked_tables(store, tables)
        self._shape_of = shape
        self._authorize = authorize
        self._secret = None if secret is None else _checked_secret(secret)
        self._allow_delete = allow_delete
        methods = "GET, POST, HEAD, DELETE, OPTIONS" if allow_delete else "GET, POST, HEAD, OPTIONS"
        self._cors = Cors(None if origins is None else _each("origins", origins, origin), methods)
        is_private = authorize is not None or shape is not None
        caching = Caching(
            seconds("max_age", max_age), seconds("stale_age", stale_age), is_private, _each("vary", vary, header_name)
        )
        self._vary = vary_on((*caching.vary, *self._cors.vary))
        self._descriptions = Descriptions(store, self._tables)
        self._clients = LiveClients(at_least_one("max_live", max_live))
        reader = LogReader(
            store,
            chunk_bytes=at_least_one("chunk_bytes", chunk_bytes),
            kept_bytes=at_least_zero("kept_bytes", kept_bytes),
            most_shapes=None if max_shapes is None else at_least_one("max_shapes", max_shapes),
            caching=caching,
        )
        if keep_alive == 0:
            raise ValueError(
                "keep_alive is the number of seconds, more than 0, after which a silent stream of events is sent a "
                "sign of life"
            )
        subsets = Subsets(reader, at_least_one("max_subset_rows", max_subset_rows))
        durations = Durations(
            seconds("long_poll", long_poll), seconds("sse_length", sse_length), seconds("keep_alive", keep_alive)
        )
        self._answers = LogAnswers(reader, subsets, self._clients, caching, durations)
        self._has_told_why = False

    def stop(self) -> None:
        """Have all live answers end at once, now and from now on; for servers whose signals are not noticed."""
        self._clients.stopping.begin()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive)
        self._clients.stopping.watch()
        answer = await self._answer(request)
        shared = (*self._cors.headers(request), *self._vary)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *shared]
            await send_piece(message)

        send_piece = in_pieces(send)
        with contextlib.suppress(GoneError):
            try:
                await answer(scope, receive, send_with_headers)
            except Refusal as refusal:  # one live client too many: nothing was sent yet
                await refusal.response()(scope, receive, send_with_headers)

    async def _answer(self, request: Request) -> ASGIApp:
        """The answer to a request; errors are answers too."""
        try:
            return await self._route(request)
        except ClientDisconnect:
            return Response(status_code=204)
        except Exception as error:
            if isinstance(error, StoreClosedError):
                self._tell_why(error)
            return refusal_of(error).response()

    def _tell_why(self, error: StoreClosedError) -> None:
        """Log, once, what the application has forgotten; nothing, if the process was told to stop."""
        if not self._has_told_why and not self._clients.stopping.begun:
            self._has_told_why = True
            logger.warning("clients are answered 503: %s", error)

    async def _route(self, request: Request) -> ASGIApp:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path == "/v1/health":
            return await self._health()
        if path != "/v1/shape":
            raise refused(404, "Not found")
        match request.method:
            case "OPTIONS":
                return self._cors.preflight(request)
            case "GET" | "HEAD" | "POST":
                return await self._get(request)
            case "DELETE":
                return await self._delete(request)
        raise self._refused_method("Method not allowed")

    async def _health(self) -> Response:
        try:
            await self._store.count()
        except StoreClosedError:
            return _json(202, {"status": "starting"})
        return _json(200, {"status": "active"})

    async def _get(self, request: Request) -> ASGIApp:
        self._admit(request)
        return await self._answers.answer(await self._asked(request), request)

    async def _delete(self, request: Request) -> Response:
        self._admit(request)
        if not self._allow_delete:
            raise self._refused_method("DELETE not allowed")
        stored = await self._named(request)
        if stored is None or not await self._store.delete(stored):
            raise refused(404, "Shape not found")
        return Response(status_code=202, headers={"content-type": response.JSON, "cache-control": response.NO_STORE})

    async def _named(self, request: Request) -> StoredShape | None:
        """The stored shape that a request names by its definition, by its handle, or by both.

        A handle alone does not say whether its sender may see all of the shape, so it is enough only where all may.
        """
        given = request.query_params.get("handle")
        handle = None if given is None else parse_handle(given).handle
        is_for_all = self._authorize is None and self._shape_of is None
        if handle is not None and "table" not in request.query_params and is_for_all:
            stored = await self._store.get_by_handle(handle)
            return stored if stored is not None and stored.shape.table in self._tables else None
        asked = await self._asked(request, ("offset", "-1"))
        stored = await self._store.get(asked.shape)
        return stored if stored is not None and handle in (None, stored.handle) else None

    async def _asked(self, request: Request, *more: tuple[str, str]) -> ShapeRequest:
        """What a request asks for, narrowed to what its client may see."""
        query = [*QueryParams(request.scope["query_string"]).multi_items(), *more]  # which the request does not keep
        body = None
        if request.method == "POST":
            body = await body_of(request)
            request = unread(request, body)
        given = None if self._shape_of is None else await shape_by(self._shape_of, request)
        asked = await parse(query, body, self._tables, self._descriptions.of, given)
        return asked if self._authorize is None else await permitted(self._authorize, request, asked)

    def _refused_method(self, message: str) -> Refusal:
        return Refusal(405, {"message": message}, {"allow": self._cors.methods})

    def _admit(self, request: Request) -> None:
        """Raise Refusal if its page may not ask, or the secret is missing."""
        self._cors.refuse_other_pages(request)
        if not has_secret(request, self._secret):
            raise refused(401, "Unauthorized: the secret is missing or wrong")


def _checked_tables(store: ShapeStore, tables: Tables) -> Tables:
    """The tables, each with a list of columns. Raises TypeError."""
    if not isinstance(tables, Mapping):
        raise TypeError(f"tables is a mapping of names of tables to lists of columns, or None; not {tables!r:.100}")
    for table, columns in tables.items():
        if isinstance(columns, str):
            raise TypeError(f"tables[{table!r}] is a list of columns, or None for all of them; not {columns!r:.100}")
    if not store._can_ask_source("describe"):
        raise TypeError(
            "tables= needs a store whose creator describes its tables, as SQLSource does: ShapeStore(..., "
            "create=SQLSource(url)); for any other creator map requests to shapes, by shape="
        )
    return {table: None if columns is None else list(columns) for table, columns in tables.items()}


def _checked_secret(secret: str) -> str:
    """The secret. Raises TypeError and ValueError."""
    if not text("secret", secret):
        raise ValueError("secret is empty, so that every request would give it: name one, or None to demand none")
    return secret


def _each(option: str, given: Sequence[str], checked: Callable[[str, str], str]) -> tuple[str, ...]:
    """What an option lists, each checked. Raises TypeError and ValueError."""
    if isinstance(given, str):
        raise TypeError(f"{option} is a list, as in [{given!r:.100}]; not {given!r:.100}")
    return tuple(checked(option, one) for one in given)


def _json(status: int, body: object) -> Response:
    headers = {"content-type": response.JSON, "cache-control": response.NO_STORE}
    return Response(msgspec.json.encode(body), status, headers)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
