"""Writing results: for people without control sequences, for programs in forms that read back exactly.

    on a terminal   text; a control character in the data is shown as an escape, such as \\x1b
    in a pipe       fields separated by tabs; escapes as in Python: \\t, \\n, \\x1b, \\u2028, and \\\\ for a backslash
    --json          JSON, one object a line; in ASCII, where stdout is not UTF-8
    --csv           CSV; a character that stdout cannot represent is an error, since CSV has no escapes

The escapes cover whatever some reader takes for the end of a line, and whatever changes the order of what is shown.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

# Control characters (C0, DEL, C1), separators of lines and paragraphs, what reorders text, halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_OR_BACKSLASH = re.compile(rf"{_CONTROL.pattern}|\\")
_QUOTED_IN_CSV = re.compile(r'[",\r\n]|^\s|\s$|^$')


def make_streams_safe() -> None:
    """Replace missing streams, and let stdout escape what its encoding cannot represent instead of raising."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def is_terminal() -> bool:
    """Whether stdout is a terminal, where a person reads."""
    return sys.stdout.isatty()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - called where it is caught; rich would exit with 1


def console(width: int | None = None, *, stderr: bool = False) -> Console:
    return _Console(width=width, stderr=stderr, markup=False, emoji=False, highlight=False)


# --- for people


def say(message: str) -> None:
    """Write a message to stderr. Its further lines are indented, so that none passes for another message.

    A tab, as in the messages of PostgreSQL, is a space.
    """
    click.echo(visible(message.replace("\t", " "), keep="\n").replace("\n", "\n  "), err=True)


def visible(value: Any, *, keep: str = "") -> str:
    """A value as text without control characters, except those to ``keep``."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), plain(value))


def cell(value: Any) -> Text:
    """A value in a table or a line of a terminal."""
    return Text(visible(value))


def plain(value: Any) -> str:
    """A value as text: empty for None, JSON for everything that is neither text nor a number."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.json.encode(value).decode()


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


# --- for programs


def print_fields(values: Iterable[Any]) -> None:
    """Write a line of fields, separated by tabs."""
    fields = (_CONTROL_OR_BACKSLASH.sub(lambda match: _escape(match[0]), plain(value)) for value in values)
    line = "\t".join(fields)
    if not _is_carried(line):
        line = "".join(character if _is_carried(character) else _escape(character) for character in line)
    sys.stdout.write(f"{line}\n")


def print_json(value: object) -> None:
    """Write a line of JSON."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a path that is not UTF-8 holds half a surrogate pair for each such byte
        text = json.dumps(msgspec.to_builtins(value), separators=(",", ":"))
    print_json_text(f"{text}\n")


def print_json_text(text: str) -> None:
    """Write lines of JSON, so that any encoding of stdout carries them and no reader splits them elsewhere."""
    is_plain = text.isascii() and "\x7f" not in text
    if not _is_utf8():
        if not is_plain or not _is_carried(text):
            text = "".join(character if _is_carried_ascii(character) else _json_escape(character) for character in text)
    elif not is_plain:
        # Inside JSON the ends of lines are escaped already, so those that are here separate its texts.
        text = _CONTROL.sub(lambda match: match[0] if match[0] == "\n" else _json_escape(match[0]), text)
    sys.stdout.write(text)


def _is_utf8() -> bool:
    encoding = sys.stdout.encoding
    return encoding is None or codecs.lookup(encoding).name == "utf-8"


def _is_carried_ascii(character: str) -> bool:
    """A JSON reader takes bytes for UTF-8, whose ASCII most encodings share."""
    return character < "\x7f" and _is_carried(character)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))


def print_csv(values: Sequence[Any], what: str) -> None:
    """Write a line of CSV; ``what`` names it in an error. None is an empty field, an empty text is ``""``."""
    texts = [visible(value, keep="\t\n") for value in values] if is_terminal() else map(plain, values)
    fields = [text if value is None else _quoted(text) for value, text in zip(values, texts, strict=True)]
    line = '""' if fields == [""] else ",".join(fields)  # a reader skips an empty line
    if not _is_carried(line):
        character = next(character for character in line if not _is_carried(character))
        raise click.ClickException(
            f"{what} has the character {character!a}, which the encoding of stdout ({sys.stdout.encoding}) cannot "
            "represent, and CSV has no escapes: use --json, or set PYTHONIOENCODING=utf-8"
        )
    sys.stdout.write(f"{line}\n")


def _quoted(text: str) -> str:
    if not _QUOTED_IN_CSV.search(text):
        return text
    escaped = text.replace('"', '""')
    return f'"{escaped}"'


def _is_carried(text: str) -> bool:
    """Whether a reader of stdout, who knows its encoding, gets this text. Some encodings map two characters to one."""
    encoding = sys.stdout.encoding
    try:
        return encoding is None or text.encode(encoding).decode(encoding) == text
    except UnicodeError:
        return False
