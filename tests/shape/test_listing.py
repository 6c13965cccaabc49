"""What messages show of names and values: short, in one line, and without control characters, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest

from shapestore.shape.listing import described, listed, printable, shown, type_name


@pytest.mark.parametrize(
    ("things", "options", "text"),
    [
        ([], {}, ""),
        (["a"], {}, "a"),
        (list("abcde"), {}, "a, b, c, d, e"),
        (list("abcdefg"), {}, "a, b, c, d, e, and 2 more"),
        (list("abc"), {"comma": "; ", "most": 1}, "a; and 2 more"),
        ({"a": 1}.keys(), {}, "a"),
    ],
)
def test_the_first_things_are_listed_and_the_others_counted(things: Any, options: dict[str, Any], text: str) -> None:
    assert listed(things, **options) == text


class Hostile(Exception):
    """Fails at whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


class Meta(type):
    """A metaclass that hides the name of its classes."""

    __name__ = property(Hostile.__repr__)


class Nameless(metaclass=Meta):
    pass


class Shouting:
    def __repr__(self) -> str:
        return "\x1b[31m\n" * 10_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1 (int)"),
        ("a\x1b[31m\n", r"'a\x1b[31m\n' (str)"),
        (["a"] * 100, "['a', 'a', 'a', 'a', 'a', 'a', ...] (list)"),
        (10**5_000, "(int)"),
        (Hostile(), "(Hostile)"),
        (Nameless(), "(Nameless)"),
        (Shouting(), "(Shouting)"),
    ],
    ids=["number", "text", "list", "long number", "hostile", "nameless", "shouting"],
)
def test_a_value_is_shown_in_one_short_line(value: object, text: str) -> None:
    assert shown(value).endswith(text)
    assert shown(value).isprintable()
    assert len(shown(value)) < 500


def test_an_error_is_described_in_one_short_line() -> None:
    assert described(ValueError("no\n" + "x" * 1_000)).startswith(r"ValueError: no\nxxx")
    assert len(described(ValueError("x" * 1_000))) < 300
    assert described(ValueError()) == "ValueError"
    assert described(Hostile()) == "Hostile: its message cannot be shown"


def test_names_of_types_and_texts_are_printable() -> None:
    assert type_name(type("a\x1b" + "b" * 1_000, (), {})()).startswith(r"a\x1bbbb")
    assert printable("é\U0001f600 \x00\x1b\u2028\ud800") == "é\U0001f600 " + r"\x00\x1b\u2028\ud800"
