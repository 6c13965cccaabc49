"""Rows are cut into chunks, with their keys, and written in bulk as they are, whatever is in them."""

from __future__ import annotations

import json
import sqlite3
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import transact

from shapestore.errors import InvalidRowError
from shapestore.storage.commands.publication import FEW_ROWS, _add_rows
from shapestore.storage.log import chunks as module
from shapestore.storage.log.chunks import CHUNK_ROWS, Chunk, Encoder
from shapestore.storage.log.keys import encode_key

TEXTS = ["", "plain", '"quoted"', "back\\slash", "größe 形 🟦", "a\x00b", "\x1b\n\t", "[1,2]", '{"a":1}', "null", "'"]
NUMBERS: list[Any] = [0, -1, 2**63, 1.5, 1e300, 0.1 + 0.2, True, None, [1, {"x": None}], {"y": "é"}]


def encoded(rows: list[dict[str, Any]], key_columns: list[str] | None = None) -> tuple[Encoder, list[Chunk]]:
    encoder = Encoder("h1", key_columns)
    full = [chunk for chunk in map(encoder.add, rows) if chunk is not None]
    return encoder, [*full, encoder.rest()]


@pytest.mark.parametrize("count", [3, FEW_ROWS, FEW_ROWS + 1, 300])
@pytest.mark.parametrize("keyed", [False, True])
def test_a_chunk_of_any_size_is_written_as_it_is(connection: sqlite3.Connection, keyed: bool, count: int) -> None:
    """Small ones together, a large one by itself: by two ways, and both end in the same."""
    rows = [{"id": f"{n} {TEXTS[n % len(TEXTS)]}", "value": NUMBERS[n % len(NUMBERS)]} for n in range(count)]
    encoder, [chunk] = encoded(rows, ["id"] if keyed else None)
    another = Chunk("h2", 7, keyed=keyed)
    another.add("{}", 2, "[0]" if keyed else None)
    transact(connection, lambda tx: _add_rows(tx, [(5, chunk, None), (6, another, None)]))
    found = connection.execute("SELECT position, value, key FROM shape_rows WHERE shape = 5 ORDER BY id").fetchall()
    assert [position for position, _, _ in found] == list(range(1, count + 1))
    assert [json.loads(value) for _, value, _ in found] == rows
    assert [value for _, value, _ in found] == chunk.rows, "to the letter"
    assert [key for _, _, key in found] == ([encode_key((row["id"],)) for row in rows] if keyed else [None] * count)
    assert connection.execute("SELECT position, value FROM shape_rows WHERE shape = 6").fetchall() == [(7, "{}")]
    assert encoder.bytes == sum(len(value.encode()) for _, value, _ in found)


def test_positions_go_on_from_chunk_to_chunk_with_their_keys() -> None:
    encoder, made = encoded([{"id": n} for n in range(2 * CHUNK_ROWS + 5)], ["id"])
    assert [(chunk.first, len(chunk.rows)) for chunk in made] == [
        (1, CHUNK_ROWS),
        (CHUNK_ROWS + 1, CHUNK_ROWS),
        (2 * CHUNK_ROWS + 1, 5),
    ]
    assert [key for chunk in made for key in chunk.keys or ()] == [f"[{n}]" for n in range(2 * CHUNK_ROWS + 5)]
    assert encoder.row_count == 2 * CHUNK_ROWS + 5


def test_a_key_may_be_handed_over_beside_the_row() -> None:
    encoder = Encoder("h1", ["id"])
    encoder.add({"name": "one"}, (1,))
    encoder.add({"name": "two"}, [2])
    assert encoder.rest().keys == ["[1]", "[2]"]


def test_a_row_without_a_column_of_its_key_is_refused() -> None:
    with pytest.raises(InvalidRowError, match="row 2 lacks the key column 'id'"):
        encoded([{"id": 1}, {"name": "two"}], ["id"])


def test_what_is_wrong_with_a_key_is_said_with_its_row() -> None:
    with pytest.raises(InvalidRowError, match=r"row 2: a key cannot hold .*more than 64 bits"):
        encoded([{"id": 1}, {"id": 2**70}], ["id"])


def test_a_shape_has_no_more_rows_than_it_has_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind its last position lie the rows of the next shape."""
    monkeypatch.setattr(module, "MAX_POSITION", 3)
    encoded([{"id": n} for n in range(3)])
    with pytest.raises(InvalidRowError, match="3 rows at most"):
        encoded([{"id": n} for n in range(4)])


def test_rows_of_whose_keys_one_is_null_have_none() -> None:
    """To a database NULL is equal to nothing, and so it names no row."""
    encoder, [chunk] = encoded([{"id": 1}, {"id": None}, {"id": 3}], ["id"])
    assert (encoder.key_columns, chunk.keys, encoder.keys_grow) == (None, None, True)
    assert chunk.rows == ['{"id":1}', '{"id":null}', '{"id":3}']


@pytest.mark.parametrize(
    ("keys", "grow"),
    [
        ([], True),
        ([1], True),
        ([1, 2, 3], True),
        ([1, 3, 2], False),
        ([1, 1], False),
        ([1, 1.0], False),
        ([0.5, 1, 1.5], True),
        (["a", "b"], True),
        (["b", "a"], False),
        ([1, "a"], False),
        ([b"a", b"b"], True),
    ],
)
def test_it_is_known_whether_keys_grow_so_that_none_came_twice(keys: list[Any], grow: bool) -> None:
    encoder, _ = encoded([{"id": key} for key in keys if not isinstance(key, bytes)], ["id"])
    for key in keys:
        if isinstance(key, bytes):
            encoder.add({}, (key,))
    assert encoder.keys_grow is grow


@given(
    st.lists(st.integers(0, 5) | st.floats(0, 5) | st.sampled_from(["0", "1", "10", "9"]) | st.booleans(), max_size=8)
)
def test_keys_that_grow_are_all_different(keys: list[Any]) -> None:
    encoder, made = encoded([{"id": key} for key in keys], ["id"])
    texts = [key for chunk in made for key in chunk.keys or ()]
    if encoder.keys_grow:
        assert len(set(texts)) == len(texts)


def test_a_snapshot_is_served_in_parts_of_about_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 500)
    encoder, made = encoded([{"n": n % 10, "text": "x" * (200 if n == 7 else 12)} for n in range(20)])
    sizes = [len(row) + module.MESSAGE_BYTES for chunk in made for row in chunk.rows]
    ends = [0, *encoder.part_ends]
    parts = [sum(sizes[start:end]) for start, end in pairwise(ends)]
    assert all(500 <= part < 500 + 400 for part in parts)
    assert sum(sizes[ends[-1] :]) < 500
    assert encoder.part_ends == sorted(set(encoder.part_ends))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_an_attempt_of_few_rows_is_one_part_that_has_no_end_of_its_own(count: int) -> None:
    encoder, _ = encoded([{"n": n} for n in range(count)])
    assert encoder.part_ends == []
