"""The commands about a SQLite source: follow and unfollow put change capture into it, and remove it."""

from __future__ import annotations

import time

import click

from shapestore.cli.arguments import json_option
from shapestore.cli.printing.output import print_json, say
from shapestore.errors import InvalidSourceError
from shapestore.shape.listing import listed
from shapestore.source.sqlite_feed.changes import has_changes
from shapestore.source.sqlite_feed.file import opened
from shapestore.source.sqlite_feed.installation import install, uninstall

PUT_BACK_SECONDS = 0.5
"""For so long unfollow looks whether what it has removed is put back."""

url_argument = click.argument("url", metavar="URL")


@click.command()
@url_argument
@click.argument("tables", metavar="TABLE...", nargs=-1, required=True)
@json_option
def follow(url: str, tables: tuple[str, ...], as_json: bool) -> None:
    """Log the keys of rows that change in a SQLite source.

    URL names the database, as in sqlite:///app.db. Triggers and two small tables are put into it, for live shapes of
    these tables. A store with SQLSource(URL, follow=True) does the same when it needs it. If all of it is there
    already, nothing is changed.
    """
    installed = install(_path(url), *tables)
    if as_json:
        print_json({"followed": list(dict.fromkeys(tables)), "installed": installed})
        return
    for table in dict.fromkeys(tables):
        say(
            f"{table}: changes are logged from now on" if table in installed else f"{table}: changes are logged already"
        )


@click.command()
@url_argument
@json_option
def unfollow(url: str, as_json: bool) -> None:
    """Remove from a SQLite source what follow has put into it.

    Its schema is then exactly as it was. Close the stores that follow it first: they would put it back. If one has done
    so within half a second, that is an error.
    """
    path = _path(url)
    tables = uninstall(path)
    if tables and _is_put_back(path):
        raise click.ClickException(
            f"{path}: a store that is open with follow=True has put its triggers back, and changes are logged again; "
            "close that store, then run this command once more"
        )
    if as_json:
        print_json({"unfollowed": tables})
    else:
        say(f"changes of {listed(tables, most=40)} are no longer logged" if tables else "no changes were logged")


def _is_put_back(path: str) -> bool:
    """Whether changes are logged again within a moment, in which a store that follows the source would see to it."""
    until = time.monotonic() + PUT_BACK_SECONDS
    with opened(path) as connection:
        while not has_changes(connection):
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
    return True


def _path(url: str) -> str:
    """The file that ``url`` names."""
    from shapestore.source.sql_source import SQLSource  # noqa: PLC0415 - SQLAlchemy takes 140 ms to load

    try:
        return SQLSource(url, follow=True).source_path()
    except InvalidSourceError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
