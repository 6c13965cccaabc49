"""Every command, on a terminal and in a pipe, says what was recorded of it."""

from __future__ import annotations

import json
import os
import re

import pytest
from command_line import in_a_pipe, on_a_terminal, without_styles
from transcripts import recorded, said

from shapestore.cli.app import app


@pytest.mark.parametrize("command", recorded("on_a_terminal"))
def test_on_a_terminal_a_command_says_what_was_recorded(example: str, command: str) -> None:
    assert said("on_a_terminal", command) == recorded("on_a_terminal")[command]


@pytest.mark.parametrize("command", recorded("in_a_pipe"))
def test_in_a_pipe_a_command_says_what_was_recorded(example: str, command: str) -> None:
    assert said("in_a_pipe", command) == recorded("in_a_pipe")[command]


def test_every_command_has_its_transcript() -> None:
    # The others need a source, and have tests of their own.
    with_a_source = {"get", "refresh", "serve", "follow", "unfollow"}
    assert {command.split()[0] for command in recorded("in_a_pipe")} | with_a_source == set(app.commands)


@pytest.mark.parametrize("command", sorted(app.commands))
def test_every_command_explains_itself(command: str) -> None:
    ran = in_a_pipe(command, "-h")
    assert (ran.status, ran.err) == (0, "")
    assert f"Usage: shapestore {command}" in ran.out


def test_the_commands_are_listed_with_a_whole_sentence_each() -> None:
    ran = in_a_pipe("--help")
    assert ran.status == 0
    listed = ran.out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(app.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize(
    "command", [("ls",), ("locks",), ("history",), ("rows", "b2"), ("doctor",), ("watch", "-n", "1")]
)
def test_only_a_terminal_is_sent_styles(example: str, command: tuple[str, ...]) -> None:
    name, *rest = command
    assert re.search("\x1b\\[[0-9;]*m", on_a_terminal(name, example, *rest).out)
    piped = in_a_pipe(name, example, *rest).out
    assert "\x1b" not in piped.replace("\x1b[31mred\x1b[0m", "")  # a row's own text, which a pipe passes on
    assert not set(piped) & set("─━│┃")


def test_no_color_is_respected(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(example, 0o644)
    assert "\x1b[33m" in on_a_terminal("doctor", example).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in on_a_terminal("doctor", example).out


LOCKS_IN_60_COLUMNS = """\
handle        shape          state          callers
e6e6e6e6e6e6  Playlist       creating       take over
c4c4c4c4c4c4  Invoice where  creating       wait
              "Total" > 5
d5d5d5d5d5d5  MediaType      failed:        get this error,
                             OSError: gone  25 s more
no room for: since, rows, owner, is
"""

HISTORY_IN_60_COLUMNS = """\
finished   outcome  shape                took  error
5 s ago    failed   MediaType        4,000 ms  OSError: gone
5 min ago  created  Genre (GenreId,      5 ms
                    Name)
no room for: rows, followers, handle
"""


@pytest.mark.parametrize(
    ("command", "screen"), [(["locks"], LOCKS_IN_60_COLUMNS), (["history", "-n", "2"], HISTORY_IN_60_COLUMNS)]
)
def test_a_narrow_terminal_has_what_matters_most_and_says_what_it_lacks(
    example: str, monkeypatch: pytest.MonkeyPatch, command: list[str], screen: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    name, *rest = command
    assert without_styles(on_a_terminal(name, example, *rest).out) == screen


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ls", "handle shape rows a1a1a1a1a1a1 Track (TrackId, where"),
        ("locks", "shape state callers Playlist creating take over MediaType OSError:"),
        ("history", "outcome shape error MediaType failed created OSError:"),
        ("watch -n 1", "Playlist creating take over MediaType OSError:"),
    ],
)
@pytest.mark.parametrize("columns", ["40", "60", "79"])
def test_on_a_narrow_terminal_no_word_is_cut_in_two(
    example: str, monkeypatch: pytest.MonkeyPatch, columns: str, command: str, words: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name, *rest = command.split()
    screen = without_styles(on_a_terminal(name, example, *rest).out)
    assert max(len(line) for line in screen.splitlines() if not line.startswith("no room for: ")) <= int(columns)
    assert set(words.split()) <= set(screen.split())


@pytest.mark.parametrize(
    "command",
    ["ls", "show a1", "rows a1", "locks", "history", "explain --table Track", "watch -n 2 -i 0.05", "doctor"],
)
def test_with_json_every_line_is_an_object(example: str, command: str) -> None:
    name, *rest = command.split()
    lines = in_a_pipe(name, example, *rest, "--json").out.splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_watch_shows_locks_herds_and_the_file_on_a_terminal(example: str) -> None:
    ran = on_a_terminal("watch", example, "-n", "3", "-i", "0.05")
    assert ran.status == 0
    screen = without_styles(ran.out)
    assert "3 shapes · 1 store open, 1 crashed · " in screen
    assert "3 created, 1 failed, 1,004 followers served, 999 by one" in screen
    assert "Invoice where" in screen
    assert "take over" in screen


def test_doctor_says_on_a_terminal_what_to_do(example: str) -> None:
    ran = on_a_terminal("doctor", example)
    assert ran.status == 0
    assert "note: dead-owner" in (screen := without_styles(ran.out))
    assert "-> Nothing: the next store that opens the file clears this away" in screen
    assert f"{example} is sound" in screen
    os.chmod(example, 0o644)
    ran = on_a_terminal("doctor", example)
    assert ran.status == 1
    assert "warning: permissions" in (screen := without_styles(ran.out))
    assert "-> chmod o=" in screen
    assert f"{example} needs attention" in screen
