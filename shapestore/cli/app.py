"""The group of all commands, and what an error becomes: a message on stderr and an exit status, never a traceback."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import click

from shapestore.cli.change import invalidate, rm, unlock
from shapestore.cli.follow import follow, unfollow
from shapestore.cli.get import get
from shapestore.cli.look import explain, history, locks, ls, rows, show
from shapestore.cli.printing.output import make_streams_safe, say
from shapestore.cli.refresh import refresh
from shapestore.cli.serve import serve
from shapestore.cli.upkeep import backup, doctor, migrate, vacuum
from shapestore.cli.watch import watch
from shapestore.errors import ShapeStoreError
from shapestore.shape.listing import shown

# What fails is printed by `run`. Without a handler Python would write the log to stderr as well, with its tracebacks.
logging.getLogger("shapestore").addHandler(logging.NullHandler())

_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports a program that Ctrl-C ended
_BROKEN_PIPE = 141  # 128 + SIGPIPE


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order below, the most used first

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])  # of click alone, newer versions would call it an error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
            return answer
        except BrokenPipeError:
            _discard_stdout()
            ctx.exit(_BROKEN_PIPE)
        except (ShapeStoreError, sqlite3.Error) as error:
            raise click.ClickException(str(error)) from error
        except UnicodeEncodeError as error:  # only an argument has halves of surrogate pairs, for bytes not in UTF-8
            raise click.UsageError(f"an argument is not UTF-8 text: {shown(error.object)}") from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("shapestore"), prog_name="shapestore")
def app() -> None:
    """Inspect and maintain a store of shapes, beside the processes that use it.

    On a terminal, results are tables. In a pipe they are lines of tab-separated fields; with --json, one JSON
    object a line. A handle may be shortened to its end or its beginning. PATH may be left out if the variable
    SHAPESTORE_PATH names the file.

    Exit status: 0 done, 1 failed or not found, 2 usage error, 130 interrupted.
    """


_READING = (ls, show, rows, get, serve, locks, history, explain, watch)
_CHANGING = (refresh, unlock, rm, invalidate)
_UPKEEP = (doctor, backup, vacuum, migrate)
_SOURCES = (follow, unfollow)

for command in (*_READING, *_CHANGING, *_UPKEEP, *_SOURCES):
    app.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    make_streams_safe()
    try:
        status = app.main(arguments, prog_name="shapestore", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            say(error.ctx.get_usage())
            say(f"Try '{error.ctx.command_path} -h' for help.")
            say("")
        say(f"Error: {error.format_message()}")  # by `say`, since click would write what it quotes as it is
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except OSError as error:
        _discard_stdout()
        say(f"Error: {_without_its_number(error)}")
        return 1
    return status if isinstance(status, int) else 0


def _without_its_number(error: OSError) -> str:
    what = error.strerror or str(error)
    return what if error.filename is None else f"{error.filename!r}: {what}"


def _discard_stdout() -> None:
    """Let nothing be written to stdout any more: its reader has gone, and Python would complain at its exit."""
    with contextlib.suppress(OSError, ValueError):  # it may not be a real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
