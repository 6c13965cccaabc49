"""Handles and offsets, as clients see them.

A client's handle is ``H~s``: H names the stored shape, and s begins with the floor that its snapshot is as of, so that
parts of a snapshot that were made before a compaction and after it are never mixed. What follows a dot in s is free:
so a handle can be unlike another one, though both name the same.

An offset is ``0_i`` behind part i of the snapshot, ``0_inf`` behind the last; ``L_p`` behind position p, which was
logged in round L, and ``L_0``, as ``L_inf``, behind all of that round. ``-1`` is the beginning, and ``now`` the end.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

from shapestore.storage.log.pages import BEGINNING, LAST, End, Part, Place
from shapestore.storage.log.positions import MAX_POSITION, pack, unpack

# What may be repeated in a header.
_FORM = re.compile(r"[\w~.]{1,100}", re.ASCII)
_OFFSET = re.compile(r"([0-9]{1,19})_([0-9]{1,19}|inf)", re.ASCII)
_WORDS: dict[str, Place] = {"-1": BEGINNING, "now": End.NOW}

# Where no page of any log begins.
_NOWHERE = Part(0, -1)


class ClientHandle(NamedTuple):
    """A handle as a client sends it."""

    handle: str
    """Of the stored shape."""
    floor: int | None
    """The public position of the floor; None if it names none."""


def parse_handle(text: str) -> ClientHandle:
    """What a client's handle says. Any text is a handle, if perhaps of nothing.

    >>> parse_handle("019d~0"), parse_handle("019d~7_120.a1").floor == pack(7, 120)
    (ClientHandle(handle='019d', floor=0), True)
    """
    handle, _, rest = text.partition("~")
    return ClientHandle(handle, _parse_floor(rest.partition(".")[0]))


def handle_text(handle: str, floor: int, *, asked: str | None = None, unlike: str | None = None) -> str:
    """A handle for a client: the one that it ``asked`` with, if that names the same; but never ``unlike``."""
    name = f"{handle}~{offset_text(floor) if floor else '0'}"
    text = asked if asked is not None and _FORM.fullmatch(asked) and parse_handle(asked) == (handle, floor) else name
    if text != unlike:
        return text
    return name if name != unlike else f"{name}.1"


def another_handle(handle: str, asked: str, *, unlike: str | None = None) -> str:
    """A handle of the stored shape ``handle`` that is not the one ``asked`` with, nor ``unlike``: to begin again by.

    For a shape that is still stored it is another one each time, so that no cache answers as it did an earlier time.
    """
    name = f"{handle}~0"
    return f"{handle}~.{secrets.token_hex(4)}" if parse_handle(asked).handle == handle or name == unlike else name


def place_of(offset: str, handle: str | None) -> Place | None:
    """The place that an offset names in the log of which a client has this handle; None if it is not an offset.

    >>> place_of("7_3", "019d~0") == pack(7, 3), place_of("0_1", "019d~0")
    (True, Part(number=1, floor=0))
    """
    if offset in _WORDS:
        return _WORDS[offset]
    match = _OFFSET.fullmatch(offset)
    if match is None:
        return None
    round_, position = int(match[1]), match[2]
    if round_ == 0:
        floor = None if handle is None else parse_handle(handle).floor
        return _NOWHERE if floor is None else Part(LAST if position == "inf" else int(position), floor)
    last = 0 if position == "inf" else int(position)
    return pack(round_, last) if last <= MAX_POSITION else _NOWHERE


def offset_text(end: Part | int) -> str:
    """The offset of a place in a log."""
    if isinstance(end, Part):
        return f"0_{end.number}"
    round_, position = unpack(end)
    return f"{round_}_{position}"


def _parse_floor(text: str) -> int | None:
    if text == "0":
        return 0
    round_, _, position = text.partition("_")
    if not (_is_number(round_) and _is_number(position)):
        return None
    return pack(int(round_), int(position))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
