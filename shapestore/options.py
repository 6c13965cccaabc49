"""The arguments of a ShapeStore, checked before anything is done."""

from __future__ import annotations

import inspect
import math
import re
import sys
from dataclasses import dataclass
from typing import TypeVar

from shapestore.shape.comparable import MAX_NAME_LENGTH, is_name
from shapestore.storage.connection import Durability

T = TypeVar("T")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII | re.IGNORECASE)
_TEN_YEARS = 10 * 365 * 86_400.0  # SQLite's integers end at some 300 million years


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The arguments of a ShapeStore that its parts need; see there."""

    create_timeout: float
    failure_grace: float
    max_creating: int
    max_in_flight: int
    max_shapes: int | None
    max_bytes: int | None
    keep_replaced: float
    namespace: str
    durability: Durability
    migrate: bool

    @property
    def keep_ms(self) -> int:
        """For how long what was replaced is kept, in milliseconds."""
        return round(min(self.keep_replaced, _TEN_YEARS) * 1000)


def check_listener(on_event: object) -> None:
    """Raise TypeError unless ``on_event`` is a plain callable: it is called where nothing can be awaited."""
    if not callable(on_event) or inspect.iscoroutinefunction(on_event):
        kind = "an async function" if callable(on_event) else type(on_event).__name__
        raise TypeError(f"on_event is a plain callable that takes an Event, not {kind}")


def seconds(name: str, value: float) -> float:
    """Return ``value``, a finite number of seconds. ValueError, which names the argument, if it is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{name} is a finite number of seconds >= 0, not {value!r}")
    return value


def age(name: str, value: float) -> float:
    """Seconds, of which there may be infinitely many."""
    return value if value == math.inf and not isinstance(value, bool) else seconds(name, value)


def namespace_name(value: str) -> str:
    """Return ``value``, the name of a namespace; "" is one. TypeError or ValueError if it cannot be one."""
    if text("namespace", value) and not is_name(value):
        raise ValueError(f"namespace is a str of at most {MAX_NAME_LENGTH} characters, without NUL; not {value!r:.100}")
    return value


def at_least_one(name: str, value: int) -> int:
    """Return ``value``, an int >= 1. ValueError if it is not."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is an int >= 1, not {value!r}")
    return value


def at_least_zero(name: str, value: int) -> int:
    """Return ``value``, an int >= 0. ValueError if it is not."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is an int >= 0, not {value!r}")
    return value


def text(name: str, value: str) -> str:
    """Return ``value``, a str that UTF-8 can encode. TypeError or ValueError if it is not."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {type(value).__name__}: {value!r:.100}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not valid Unicode text, it has half a surrogate pair: {value!r:.100}") from None
    return value


def origin(name: str, value: str) -> str:
    """Return ``value``, the origin of web pages as browsers send it. TypeError or ValueError if it is not.

    >>> origin("origins", "https://app.example:8443")
    'https://app.example:8443'
    """
    if text(name, value) != _nearest_origin(value) or not _ORIGIN.fullmatch(value):
        near = _nearest_origin(value)
        hint = f"; did you mean {near}?" if _ORIGIN.fullmatch(near) else ""
        raise ValueError(
            f"{name} takes the scheme, host and port of a page, as in https://app.example or http://localhost:5173; "
            f"not {value!r:.100}{hint}"
        )
    return value


def _nearest_origin(value: str) -> str:
    """In small letters, without a path, nor the port that a scheme has anyway: browsers send none."""
    host = re.sub(r"(://[^/]*)/.*", r"\1", value.strip().lower())
    return re.sub(r"^(http://.*):80$|^(https://.*):443$", r"\1\2", host)


def header_name(name: str, value: str) -> str:
    """Return ``value``, the name of a header. TypeError or ValueError if it is not."""
    if not _HEADER.fullmatch(text(name, value)):
        raise ValueError(f"{name} takes names of headers, as in cookie or authorization; not {value!r:.100}")
    return value


def one_of(name: str, value: T, allowed: tuple[T, ...]) -> T:
    """Return ``value``, one of those ``allowed``. ValueError if it is not."""
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value
