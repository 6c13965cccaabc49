"""What each command prints about the example store: as recorded in tests/cli, and now.

``python tests/support/transcripts.py`` records it again. Read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).resolve().parents[1] / "cli"
sys.path[:0] = [str(Path(__file__).resolve().parent)]

from command_line import Ran, in_a_pipe, on_a_terminal, without_styles  # noqa: E402
from example_store import NOW, example_store  # noqa: E402

from shapestore.storage import migrations  # noqa: E402

RUNS: dict[str, Callable[..., Ran]] = {"on_a_terminal": on_a_terminal, "in_a_pipe": in_a_pipe}


def recorded(where: str) -> dict[str, str]:
    """What was said, by command."""
    text = (FOLDER / f"{where}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^\$ shapestore (.*)\n", f"{text}\n", flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.removesuffix("\n") for part in parts[2::2]), strict=True))


def said(where: str, command: str) -> str:
    """What a command says now; what depends on the machine is left out."""
    # This machine's SQLite may have the bug that doctor notes, or not.
    with mock.patch("shapestore.admin.doctor.database.has_wal_reset_bug", return_value=False):
        ran = RUNS[where](*shlex.split(command))
    text = without_styles(ran.out) + ran.err + (f"(status {ran.status})\n" if ran.status else "")
    text = text.replace(os.path.realpath(os.curdir), "/srv")
    return re.sub(r'\d+ kB|(?<="file_bytes":)\d+', "…", text)


def _record(where: str, empty_store: Path) -> None:
    texts = []
    for command in recorded(where):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            with example_store(empty_store, "shapes.db"), mock.patch("time.time", return_value=NOW):
                texts.append(f"$ shapestore {command}\n{said(where, command)}")
            os.chdir(FOLDER)
    (FOLDER / f"{where}.txt").write_text("\n".join(texts), encoding="utf-8")


if __name__ == "__main__":
    os.environ |= {"COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        empty_store = Path(folder, "empty.db")
        migrations.upgrade(str(empty_store))
        for where in RUNS:
            _record(where, empty_store)
