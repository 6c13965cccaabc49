"""Shapes over HTTP, for Electric's own clients: :class:`ShapeApp` is an ASGI application over a store.

A request goes down this list, and its answer comes from the end of it:

    app           routes, what every request passes and every answer carries (CORS, errors)
    access        whether a request bears the secret, and what its sender may have (authorize)
    request       a query string and a JSON body -> what is asked for, checked
    parameters    the forms in which parameters come; structured: a where and an order as JSON
    tables        names of tables and columns -> those that may be asked for
    descriptions  what the source says of its tables, asked for once a while
    where/        the where of a client that speaks PostgreSQL -> the where of a shape
    handles       the handles that clients see, and the places in a log from which they read on
    serving/      the page of a log, at once, or as soon as there is one, or a stream of events
    messages/     rows and changes -> messages
    refusals      what an error of the store means to a client
    response      headers: caching, CORS, what a client must know
    txid          the number by which a client knows a write of its own again

A client holds a shape's rows and an offset: a place in the shape's log. From ``-1`` it is given the snapshot in parts,
then the changes, then ``up-to-date``; after that it is live, and asks for what comes behind its offset, which is
answered once there is something. All state is in the store's file, so any worker continues what another began.

What must hold:

- A client that is told that it is up to date holds the rows that the shape's query gave at one moment.
- An offset stands for one place of one log for ever; where it is not known (any more), the answer is 409, and the
  client begins again. It does so too after an older copy of the store's file was put back.
- The first answer is the first part of the snapshot and nothing else, so that caches may keep it while the log grows.
- Nothing can be asked for that is not allowed: tables and columns by ``tables``, rows by ``authorize``. What a client
  adds can only leave rows out, and no message tells about what is not allowed.
- Whatever a client can make the server keep or compute has a limit. Clients that are slow, or gone, hold nothing back.
"""

try:
    import starlette as _starlette  # noqa: F401 - only to say clearly what its absence means
except ImportError:
    raise ImportError("shapestore.http needs Starlette: pip install 'shapestore[http]'", name="starlette") from None

from shapestore.http.app import ShapeApp
from shapestore.http.txid import txid

__all__ = ["ShapeApp", "txid"]
