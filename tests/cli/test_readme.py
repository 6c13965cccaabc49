"""What the command line's README shows runs, in the order in which it stands, and it names every command."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from command_line import ROOT

from shapestore.cli.app import app
from shapestore.cli.arguments import PATH_VARIABLE

README = ROOT / "shapestore" / "cli" / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_its_commands_run_in_a_shell_one_after_another(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")  # which `follow` takes
        connection.execute("CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT, album INTEGER)")
        connection.execute("INSERT INTO track VALUES (1, 'So What', 1), (2, 'Blue in Green', 1), (3, 'Naima', 2)")
    lines = re.findall(r"^\$ (.*)$", "".join(blocks("console")), re.MULTILINE)
    runs_on = re.compile(r"shapestore serve ")  # test_serve.py runs that
    script = "\n".join(
        line for line in lines if re.search(r"\bshapestore |SHAPESTORE", line) and not runs_on.search(line)
    )
    ran = subprocess.run(
        ["bash", "-euc", script],  # without pipefail: `head` may end before the program that it reads
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != PATH_VARIABLE}
        | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "Error" in ran.stderr) == (0, False), (ran.stdout, ran.stderr)
    assert "the source was not asked" not in ran.stderr
    assert "id,title\n1,So What\n" in ran.stdout
    assert "dropped 1 shape of the table 'track'\n" in ran.stderr
    assert "copy.db is sound\n" in ran.stderr


def test_every_command_is_in_its_table() -> None:
    table = README.read_text().partition("| command |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition(" | ")[0])]
    assert sorted(named) == sorted(app.commands)
