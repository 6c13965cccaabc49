"""Why a shape was created once more: its identity, and what sets it apart from the nearest that is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shapestore import InvalidShapeError, Shape, ShapeStore
from shapestore.shape.explain import Difference, differences

pytestmark = pytest.mark.usefixtures("untroubled")


def album(number: Any, **fields: Any) -> Shape:
    return Shape("Track", where="AlbumId = :album", params={"album": number}, **fields)


async def no_rows(shape: Shape) -> list[dict[str, Any]]:
    return []


@pytest.fixture
async def store(empty_path: str) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(empty_path, create=no_rows) as store:
        yield store


async def test_a_shape_that_is_stored_is_its_own_nearest_however_it_is_written(store: ShapeStore) -> None:
    await store.get_or_create(Shape("Track"))
    stored = await store.get_or_create(album(1))
    explanation = await store.explain(Shape("Track", where="( AlbumId  ==:album )", params={"album": 1}))
    assert explanation.comparable == stored.shape.comparable
    assert explanation.nearest == stored
    assert explanation.differences == ()


async def test_where_nothing_is_stored_nothing_is_near(store: ShapeStore) -> None:
    explanation = await store.explain(album(1))
    assert (explanation.comparable, explanation.nearest) == (album(1).comparable, None)
    assert explanation.differences == ()


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        (album(2), Difference("params.album", "2", "1")),
        (album(1.0), Difference("params.album", "1.0", "1")),
        (album("1"), Difference("params.album", "'1'", "1")),
        (album(True), Difference("params.album", "True", "1")),
        (album(None), Difference("params.album", "None", "1")),
        (album(1, columns=["Name"]), Difference("columns", "('Name',)", "None")),
        (
            Shape("Track", where="AlbumId <> :album", params={"album": 1}),
            Difference("where", "'\"AlbumId\" <> :album'", "'\"AlbumId\" = :album'"),
        ),
        (
            Shape("track", where="AlbumId = :album", params={"album": 1}),
            Difference("table", "'track'", "'Track'"),
        ),
    ],
)
async def test_the_one_field_that_differs_is_named_with_both_values(
    store: ShapeStore, asked: Shape, difference: Difference
) -> None:
    stored = await store.get_or_create(album(1))
    explanation = await store.explain(asked)
    assert explanation.nearest == stored
    assert explanation.differences == (difference,)
    assert explanation.comparable == asked.comparable


def test_the_order_of_columns_is_a_difference() -> None:
    assert differences(Shape("Track", columns=["a", "b"]), Shape("Track", columns=["b", "a"])) == (
        Difference("columns", "('a', 'b')", "('b', 'a')"),
    )


def test_a_parameter_that_only_one_has_is_a_difference_and_none_is_a_value() -> None:
    one = Shape("Track", where="a = :a", params={"a": None})
    other = Shape("Track", where="a = :b", params={"b": None})
    assert differences(one, other) == (
        Difference("where", "'\"a\" = :a'", "'\"a\" = :b'"),
        Difference("params.a", "None", "(not given)"),
        Difference("params.b", "(not given)", "None"),
    )


async def test_the_nearest_is_the_one_that_differs_in_the_fewest_fields(store: ShapeStore) -> None:
    for shape in (Shape("Track"), album(7, columns=["Name"]), Shape("Album"), album(7)):
        await store.get_or_create(shape)
    explanation = await store.explain(album(8))
    assert explanation.nearest is not None
    assert explanation.nearest.shape == album(7)
    explanation = await store.explain(album(8, columns=["Name"]))
    assert explanation.nearest is not None
    assert explanation.nearest.shape == album(7, columns=["Name"])


async def test_the_nearest_is_of_the_same_table_if_that_has_any(store: ShapeStore) -> None:
    await store.get_or_create(Shape("Album", where="AlbumId = :album", params={"album": 1}))
    far = await store.get_or_create(Shape("Track", where="a = 1 AND b = 2", columns=["c"]))
    explanation = await store.explain(album(1))
    assert explanation.nearest == far
    assert [difference.field for difference in explanation.differences] == ["where", "columns", "params.album"]


async def test_a_shape_that_another_store_has_made_is_seen(store: ShapeStore, empty_path: str) -> None:
    async with ShapeStore(empty_path) as other:
        stored = await store.get_or_create(album(1))
        assert (await other.explain(album(1))).nearest == stored
        await store.delete(stored.handle)
        assert (await other.explain(album(1))).nearest is None


async def test_explaining_neither_creates_nor_counts_as_reading(store: ShapeStore) -> None:
    await store.get_or_create(album(1))
    before = store.stats
    await store.explain(album(1))
    await store.explain(album(2))
    assert store.stats == before
    assert await store.count() == 1


async def test_only_a_shape_can_be_explained(store: ShapeStore) -> None:
    with pytest.raises(InvalidShapeError):
        await store.explain("Track")  # type: ignore[arg-type]
