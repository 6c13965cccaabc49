"""The command line: ``shapestore COMMAND PATH ...``. It needs click and rich, which the extra ``cli`` installs.

    app               the group of all commands; errors become a message and an exit status
    look              ls, show, rows, locks, history, explain: they only read
    watch             a live view
    get, refresh      rows from a source; counted_source counts them for the progress
    serve             a server until Ctrl-C; it needs what the extra ``serve`` installs
    change            unlock, rm, invalidate: each opens a store
    upkeep            doctor, backup, vacuum, migrate: about the file as a whole
    follow            follow, unfollow: about a SQLite source, not a store
    arguments         what several commands take (a path, a handle, a time), and its completion in a shell
    shape_arguments   the options that describe a shape, or some of the stored ones
    keeping           how long what was replaced is kept by a store that a command opens
    printing/         results for people and programs, and messages

What must hold:

- A command that only reads works on ``admin``'s read-only connection, and running processes do not notice it. One that
  changes something opens a store of its own, and so obeys the rules that every store obeys.
- Results go to stdout, messages to stderr. For programs, every result reads back exactly, whatever the encoding of
  stdout, or the command fails; it never prints something else with status 0.
- Nothing that comes from data (a name, a value, an error, an argument) is ever markup or a control sequence.
- A mistyped path, handle or name changes nothing and leaves nothing behind.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status: 0 done, 1 failed or not found, 2 usage error."""
    try:
        from shapestore.cli.app import run  # noqa: PLC0415 - without click and rich, the message below
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("click", "rich"):
            raise
        print(
            f"The command line needs {error.name}, which is not installed: pip install 'shapestore[cli]'",
            file=sys.stderr,
        )
        return 1
    return run(arguments)
