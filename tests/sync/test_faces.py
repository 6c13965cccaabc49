"""The two faces are held equal: each method of the asynchronous store has its like in the synchronous one."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from typing import Any, assert_type, get_args, get_origin, get_type_hints

import pytest

import shapestore.sync
from shapestore import Change, CreateLock, Explanation, Shape, Stats, StoredShape
from shapestore.store import ShapeStore as AsyncShapeStore
from shapestore.sync import ShapeStore


def public(face: type) -> list[str]:
    return [name for name in dir(face) if not name.startswith("_")]


def test_no_method_is_missing() -> None:
    missing = set(public(AsyncShapeStore)) - set(public(ShapeStore))
    assert not missing, (
        "add to shapestore/sync/store.py `NAME = waiting(AsyncShapeStore.NAME)`, or `iterating(...)` for an async "
        f"generator: {sorted(missing)}"
    )
    assert set(public(ShapeStore)) == set(public(AsyncShapeStore))


@pytest.mark.parametrize("name", ["__init__", *public(AsyncShapeStore)])
def test_a_method_takes_the_same_arguments_with_the_same_defaults(name: str) -> None:
    ours, theirs = getattr(ShapeStore, name), getattr(AsyncShapeStore, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property)
        return
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert without_async(get_type_hints(ours)) == without_async(get_type_hints(theirs))
    assert inspect.signature(ShapeStore).parameters == inspect.signature(AsyncShapeStore).parameters


@pytest.mark.parametrize("name", ["rows", "shapes", "stream_json", "changes"])
def test_an_iterator_is_shown_as_a_plain_one(name: str) -> None:
    method = getattr(ShapeStore, name)
    assert inspect.signature(method).return_annotation == get_type_hints(method)["return"]
    assert get_origin(get_type_hints(method)["return"]) is Generator


def without_async(hints: dict[str, Any]) -> dict[str, str]:
    """The types by what they mean to a caller who awaits what is to be awaited."""
    return {name: described(hint) for name, hint in hints.items()}


def described(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {AsyncIterator, AsyncGenerator, Generator}:
        return f"items: {described(arguments[0])}"
    if origin is Coroutine:
        return described(arguments[2])
    if origin is Callable:
        return f"{arguments[0]} -> {described(arguments[1])}"
    return repr(hint)


@pytest.mark.parametrize("name", public(AsyncShapeStore))
def test_a_method_has_the_same_name_and_docstring_without_await(name: str) -> None:
    ours, theirs = getattr(ShapeStore, name), getattr(AsyncShapeStore, name)
    assert ours.__doc__.splitlines()[0] == theirs.__doc__.splitlines()[0].replace("await ", "")
    assert not inspect.iscoroutinefunction(ours)
    assert not inspect.isasyncgenfunction(ours)
    if not isinstance(ours, property):
        assert "await " not in ours.__doc__
        assert not re.search("async (for|with)", ours.__doc__)
        assert (ours.__name__, ours.__qualname__) == (name, f"ShapeStore.{name}")


def test_the_module_exports_only_the_store() -> None:
    assert shapestore.sync.__all__ == ["ShapeStore"]
    assert ShapeStore.__module__.startswith("shapestore.sync")


def report(year: int, region: str = "south") -> list[dict[str, Any]]:
    return [{"year": year, "region": region}]


def the_types(store: ShapeStore, shape: Shape) -> None:
    """Never called: mypy reads it, and reports an ``ignore`` that hides no error."""
    assert_type(store.get_or_create(shape, timeout=1.0), StoredShape)
    assert_type(store.refresh(shape, lambda _: []), StoredShape)
    assert_type(store.get(shape), StoredShape | None)
    assert_type(store.fetch(shape, max_age=1.0), list[dict[str, Any]])
    assert_type(store.fetch_json(shape), bytes)
    assert_type(store.read_log("h", after=1), list[Change])
    assert_type(store.wait("h", 1, timeout=1.0), int)
    for change in store.changes("h", after=1):
        assert_type(change, Change)
    for piece in store.stream_json("h", lines=True):
        assert_type(piece, bytes)
    assert_type(store.cached("report")(report)(2024, region="north"), list[dict[str, Any]])
    store.cached("report")(report)("2024")  # type: ignore[arg-type]
    assert_type(store.count(), int)
    assert_type(store.delete("h"), bool)
    assert_type(store.locks(), list[CreateLock])
    assert_type(store.explain(shape), Explanation)
    assert_type(store.stats, Stats)
    for row in store.rows("h", after=1, batch_size=10):
        assert_type(row, dict[str, Any])
    for stored in store.shapes(table="Track"):
        assert_type(stored, StoredShape)
    with ShapeStore("path", wait_timeout=1.0, max_shapes=None) as opened:
        assert_type(opened, ShapeStore)
    ShapeStore("path", wait_timout=1.0)  # type: ignore[call-arg]
    store.get_or_create(shape, timout=1.0)  # type: ignore[call-arg]
    store.get_or_create("Track")  # type: ignore[arg-type]
