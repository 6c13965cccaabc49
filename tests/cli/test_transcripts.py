"""Every command, on a terminal and in a pipe, says what was recorded of it."""

from __future__ import annotations

import json

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
    # `get` gives new handles each time, and has tests of its own.
    assert {command.split()[0] for command in recorded("in_a_pipe")} | {"get"} == set(app.commands)


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
    assert "\x1b[1m" in (screen := on_a_terminal(name, example, *rest).out) or "\x1b[33m" in screen
    piped = in_a_pipe(name, example, *rest).out
    assert "\x1b" not in piped.replace("\x1b[31mred\x1b[0m", "")  # a row's own text, which a pipe passes on
    assert not set(piped) & set("─━│┃")


def test_no_color_is_respected(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in on_a_terminal("doctor", example).out


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
    assert "3 shapes · 1 store open, 1 dead · " in screen
    assert "3 created, 1 failed, 1,004 followers served, 999 by one" in screen
    assert "Invoice where" in screen
    assert "claim over it" in screen


def test_doctor_says_on_a_terminal_what_to_do(example: str) -> None:
    ran = on_a_terminal("doctor", example)
    assert ran.status == 1
    assert "warning: dead-owner" in (screen := without_styles(ran.out))
    assert "-> Nothing, if a store is about to be opened" in screen
    assert f"{example} needs attention" in screen
