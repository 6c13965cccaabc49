"""The source of the commands that create: a database by its URL, whose rows are counted for the progress."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import click

from shapestore.cli.arguments import Seconds
from shapestore.errors import InvalidSourceError
from shapestore.shape.shape import Shape
from shapestore.source.keyed import Key, KeyedRows

source_option = click.option(
    "--source", required=True, metavar="URL", help="The database, as in: sqlite:///chinook.db."
)
timeout_option = click.option(
    "--timeout",
    type=Seconds(min=0, max=10 * 365 * 86_400, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="The longest that a creation may take.",
)


class CountedSource:
    """A SQLSource that counts the rows it gives."""

    def __init__(self, url: str) -> None:
        from sqlalchemy import make_url  # noqa: PLC0415 - SQLAlchemy takes 140 ms to load

        from shapestore.source.sql_source import SQLSource  # noqa: PLC0415

        try:
            self._source = SQLSource(url)
        except InvalidSourceError as error:
            raise click.BadParameter(str(error), param_hint="--source") from error
        self._url = make_url(url)
        self.rows = 0
        self.began_at: float | None = None
        self.seconds = 0.0

    @classmethod
    def beside(cls, path: str, url: str) -> Self:
        """The source at ``url``, which must not be the store at ``path`` itself."""
        source = cls(url)
        database = source._url.database if source._url.get_backend_name() == "sqlite" else None
        if database is not None and os.path.realpath(database) == os.path.realpath(path):
            raise click.BadParameter(f"{path!r} is the store itself, not a source for it", param_hint="--source")
        return source

    def __call__(self, shape: Shape) -> Iterator[dict[str, Any]]:
        return (row for _, row in self.keyed_rows(shape))

    def keyed_rows(self, shape: Shape) -> CountedRows:
        """The rows of ``shape`` with their keys, so that a refresh changes only those that differ."""
        return CountedRows(self, self._source.keyed_rows(shape))


class CountedRows:
    """Rows on their way from a CountedSource."""

    def __init__(self, source: CountedSource, rows: KeyedRows) -> None:
        self._counted = source
        self._rows = rows
        self.key_columns: Sequence[str] | None = rows.key_columns
        self.description = rows.description
        self.source, self.seq, self.nonce, self.signature = rows.source, rows.seq, rows.nonce, rows.signature

    def __iter__(self) -> Iterator[tuple[Key | None, dict[str, Any]]]:
        source = self._counted
        source.began_at = time.monotonic()
        for pair in self._rows:
            source.rows += 1
            yield pair
        source.seconds = time.monotonic() - source.began_at

    def close(self) -> None:
        self._rows.close()
