"""The commands together, and what an error comes to: a line on stderr and a status, never a traceback."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import click

from shapestore.cli.change import invalidate, migrate, rm, unlock, vacuum
from shapestore.cli.doctor import doctor
from shapestore.cli.get import get
from shapestore.cli.look import explain, history, locks, ls, rows, show
from shapestore.cli.watch import watch
from shapestore.errors import ShapeStoreError

_INTERRUPTED = 130  # as a shell counts a death by SIGINT
_BROKEN_PIPE = 141  # and by SIGPIPE


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as they stand below: first what is wanted first

    def invoke(self, ctx: click.Context) -> Any:
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
            return answer
        except BrokenPipeError:
            _say_no_more()
            ctx.exit(_BROKEN_PIPE)
        except (ShapeStoreError, sqlite3.Error) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            _say_no_more()
            raise click.ClickException(_in_words(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("shapestore"), prog_name="shapestore")
def app() -> None:
    """See and keep a store of shapes, beside the processes that use it.

    On a terminal, tables are for people. In a pipe they are lines of fields, parted by tabs; with --json there is one
    JSON object a line. A handle may be shortened to its end or its beginning.

    Status: 0 done, 1 failed or not found, 2 wrongly used.
    """


for command in (ls, show, rows, get, locks, unlock, rm, invalidate, history, explain, watch, doctor, vacuum, migrate):
    app.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the status to exit with."""
    _make_streams_safe()
    try:
        status = app.main(arguments, prog_name="shapestore", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    return status if isinstance(status, int) else 0


def _make_streams_safe() -> None:
    """There may be none, and stdout may not know every character."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _in_words(error: OSError) -> str:
    """Without its number."""
    what = error.strerror or str(error)
    return what if error.filename is None else f"{error.filename!r}: {what}"


def _say_no_more() -> None:
    """Nobody reads stdout any more; Python would complain when it flushes at the end."""
    with contextlib.suppress(OSError, ValueError):  # it may be no real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
