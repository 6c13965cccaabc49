"""The command serve: a database's tables over HTTP, live, and a page that shows them."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from shapestore.cli.arguments import Seconds, path_argument
from shapestore.cli.counted_source import source_beside, source_option
from shapestore.cli.printing.output import say
from shapestore.errors import ShapeStoreError
from shapestore.options import origin
from shapestore.shape.listing import listed
from shapestore.shape.shape import Shape
from shapestore.source.sqlite_feed.installation import install
from shapestore.store import ShapeStore

if TYPE_CHECKING:
    from shapestore.source.sql_source import SQLSource

SECRET_VARIABLE = "SHAPESTORE_SECRET"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_BACKLOG = 2048
_GRACE_SECONDS = 10
"""For answers that are being sent when the command is told to end."""


@click.command()
@path_argument
@source_option
@click.option(
    "--table", "tables", multiple=True, required=True, metavar="NAME", help="A table to serve. Repeat it for more."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="The port, 0 for any free one."
)
@click.option(
    "--secret",
    envvar=SECRET_VARIABLE,
    metavar="TEXT",
    callback=lambda _context, _option, given: _checked_secret(given),
    help=f"The value that requests must give as the parameter secret. Safer in the variable {SECRET_VARIABLE}.",
)
@click.option(
    "--cors",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    callback=lambda _context, _option, given: _checked_origins(given),
    help="Let pages of this origin ask for tables and read them, as in http://a.test; * lets all.",
)
@click.option(
    "--poll",
    type=Seconds(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How old rows of a database that cannot be followed may get before they are read again.",
)
def serve(  # noqa: PLR0917 - one for each argument and option
    path: str,
    source: str,
    tables: tuple[str, ...],
    host: str,
    port: int,
    secret: str | None,
    origins: tuple[str, ...] | None,
    poll: float,
) -> None:
    """Serve tables of a database over HTTP, live, until Ctrl-C.

    Electric's clients find the API at /v1/shape. At / there is a page that shows what is stored, who waits for it, and
    the rows of a shape as they change.

    A SQLite database is followed by triggers, which this command puts into it, and `shapestore unfollow` removes: it
    must be in WAL mode. Other databases are read again every few seconds.

    Pages of other sites, open in a browser on this machine, are refused, unless --cors names their origin.

    Only programs on this machine can connect, unless --host names another address; then --secret is required, and the
    page is opened as http://ADDRESS:PORT/#secret=TEXT.
    """
    if not _is_loopback(host) and not secret:
        raise click.UsageError(f"--secret is required to listen on {host}: anyone who reaches it can read the tables")
    try:
        import uvicorn  # noqa: PLC0415 - of the extra serve

        from shapestore.http.page.app import page_app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed: pip install 'shapestore[serve]'") from error
    tables = tuple(dict.fromkeys(tables))
    creator = _checked_source(path, source, tables)
    store = ShapeStore(path, create=creator, max_age=poll)
    hosts = _names_of(host) if _is_loopback(host) else None
    app = page_app(store, tables, title=os.path.basename(path), hosts=hosts, secret=secret, origins=origins)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    with _listening(host, port) as listening:
        say(f"serving {listed(list(tables))} at {_url(listening)}; Ctrl-C ends it")
        uvicorn.Server(config).run(sockets=[listening])


def _checked_source(path: str, url: str, tables: tuple[str, ...]) -> SQLSource:
    """The source, which has all of the tables, with keys, and is followed if it is one of SQLite."""
    source = source_beside(path, url, follow=True)
    for table in tables:
        if not _has_key(source, table):
            raise click.ClickException(
                f'cannot serve the table "{table}": it has no primary key, by which clients tell rows apart. An '
                "application can serve its shapes, by ShapeApp(store, shape=...)"
            )
        if source.follow:
            install(source.source_path(), table)
    return source


def _has_key(source: SQLSource, table: str) -> bool:
    try:
        return bool(source.key_columns(Shape(table)))
    except (ShapeStoreError, OSError):
        raise
    except Exception as error:  # whatever the driver raises
        raise click.ClickException(f"the source could not be read: {error}") from error


def _checked_secret(given: str | None) -> str | None:
    """The secret; None if there is none, as where the variable is empty. No error shows it."""
    if given == "":
        raise click.UsageError("--secret is empty, so that every request would give it: leave it out to demand none")
    try:
        (given or "").encode()
    except UnicodeEncodeError:
        raise click.UsageError("the secret is not UTF-8 text") from None
    return given


def _checked_origins(given: tuple[str, ...]) -> tuple[str, ...] | None:
    """The origins of pages that may read what is served; None for all."""
    try:
        return None if "*" in given else tuple(origin("--cors", each) for each in given)
    except ValueError as error:
        raise click.UsageError(f"{error}; * lets the pages of all sites") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names_of(host: str) -> Collection[str]:
    """The names under which a loopback address may be asked for: no name that a server elsewhere could give it."""
    return _LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host}


def _listening(host: str, port: int) -> socket.socket:
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise click.ClickException(f"cannot listen on {host!a}: it is no name of a host") from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
