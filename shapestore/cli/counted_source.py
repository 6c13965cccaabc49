"""The source of the commands that create: a database by its URL, whose rows are counted for the progress."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import click

from shapestore.cli.arguments import Seconds
from shapestore.errors import InvalidSourceError
from shapestore.shape.shape import Shape
from shapestore.source.keyed import KeyedRows

if TYPE_CHECKING:
    from shapestore.source.sql_source import SQLSource

source_option = click.option(
    "--source", required=True, metavar="URL", help="The database, as an SQLAlchemy URL: sqlite:///chinook.db."
)
timeout_option = click.option(
    "--timeout",
    type=Seconds(min=0, max=10 * 365 * 86_400, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="The seconds that a creation may take.",
)


def source_beside(path: str, url: str, *, follow: bool = False) -> SQLSource:
    """The source at ``url``, which must not be the store at ``path`` itself. ``follow``: if it is one of SQLite."""
    from sqlalchemy import make_url  # noqa: PLC0415 - SQLAlchemy takes 140 ms to load

    from shapestore.source.sql_source import SQLSource  # noqa: PLC0415

    try:
        SQLSource(url)  # for its errors
        is_sqlite = make_url(url).get_backend_name() == "sqlite"
        source = SQLSource(url, follow=follow and is_sqlite)
    except InvalidSourceError as error:
        raise click.BadParameter(str(error), param_hint="--source") from error
    named = source.named_path()
    if named is not None and _is_same_file(named, path):
        raise click.BadParameter(f"{path!r} is the store itself, not a source for it", param_hint="--source")
    return source


def _is_same_file(one: str, other: str) -> bool:
    """Whether two paths, by whatever links, lead to one file; or will, once it is there."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)


class CountedSource:
    """A SQLSource that counts the rows it gives."""

    def __init__(self, source: SQLSource) -> None:
        self._source = source
        self.rows = 0
        self.began_at: float | None = None
        self.seconds = 0.0

    @classmethod
    def beside(cls, path: str, url: str) -> Self:
        """The source at ``url``, which must not be the store at ``path`` itself."""
        return cls(source_beside(path, url))

    def __call__(self, shape: Shape) -> Iterator[dict[str, Any]]:
        return (row for _, row in self.keyed_rows(shape))

    def keyed_rows(self, shape: Shape) -> KeyedRows:
        """The rows of ``shape`` with their keys, so that a refresh changes only those that differ."""
        return KeyedRows(self._counted(self._source.keyed_rows(shape)))

    def _counted(self, rows: KeyedRows) -> Iterator[Any]:
        with closing(rows):
            yield rows.key_columns, rows.moment, rows.description
            self.began_at = time.monotonic()
            for pair in rows:
                self.rows += 1
                yield pair
            self.seconds = time.monotonic() - self.began_at
