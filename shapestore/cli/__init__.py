"""The command line: ``shapestore COMMAND PATH ...``. It needs click and rich, which the extra ``cli`` brings."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the status to exit with: 0 done, 1 failed or not found, 2 wrongly used."""
    try:
        from shapestore.cli.app import run  # noqa: PLC0415 - whoever has no click and rich is told what to do
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("click", "rich"):
            raise
        print(
            f"The command line needs {error.name}, which is not installed: pip install 'shapestore[cli]'",
            file=sys.stderr,
        )
        return 1
    return run(arguments)
