"""Handles and offsets as clients see them."""

from __future__ import annotations

import pytest

from shapestore.http.handles import another_handle, handle_text, offset_text, parse_handle
from shapestore.storage.log.pages import Part
from shapestore.storage.log.positions import pack


@pytest.mark.parametrize("floor", [0, pack(2, 1), pack(2**40, 2**28 - 1)])
def test_a_handle_names_the_shape_and_the_floor_of_its_snapshot(floor: int) -> None:
    text = handle_text("019d", floor)
    assert parse_handle(text) == ("019d", floor)
    assert parse_handle(f"{text}.x7") == ("019d", floor)


@pytest.mark.parametrize(
    "text", ["", "019d", "019d~", "019d~x", "019d~7", "019d~7_x", "019d~.a1", "019d~٣_1", "019d~1_2_3"]
)
def test_any_other_text_names_no_floor(text: str) -> None:
    assert parse_handle(text).floor is None


@pytest.mark.parametrize(
    ("asked", "unlike", "given"),
    [
        (None, None, "019d~0"),
        ("019d~0.a1", None, "019d~0.a1"),
        ("019d~0.a1", "019d~0.a1", "019d~0"),
        ("019d~0", "019d~0", "019d~0.1"),
        (None, "019d~0", "019d~0.1"),
        ("019d~5_5", None, "019d~0"),
        ("other~0", None, "019d~0"),
        ("019d~0.a\r\nx: y", None, "019d~0"),
        ("019d~0." + "a" * 200, None, "019d~0"),
    ],
)
def test_a_client_keeps_its_handle_while_it_means_the_same(asked: str | None, unlike: str | None, given: str) -> None:
    assert handle_text("019d", 0, asked=asked, unlike=unlike) == given


def test_who_has_to_begin_again_is_given_another_handle_each_time() -> None:
    handles = {another_handle("019d", "019d~0") for _ in range(3)}
    assert len(handles) == 3
    assert {parse_handle(handle) for handle in handles} == {("019d", None)}
    assert another_handle("019d", "gone~0") == "019d~0"
    assert another_handle("019d", "gone~0", unlike="019d~0") != "019d~0"


def test_offsets_of_the_snapshot_begin_with_0_and_others_with_their_round() -> None:
    assert offset_text(Part(3, pack(5, 6))) == "0_3"
    assert offset_text(pack(7, 12)) == "7_12"
