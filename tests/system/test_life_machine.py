"""Two stores on one file, whatever is asked of them in whatever order, against what a store of shapes must answer.

The model (``life_model.py``) knows of each key the stored handle with its moments, its age, the handles that are kept,
which attempt is in progress, whose failure is still shared, and who waits. ``life_world.py`` takes the steps.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from life_model import KEYS, Log, Rows
from life_world import World

from shapestore import Shape
from shapestore.freshness import background
from shapestore.storage import migrations

which_stores = st.sampled_from([0, 1])
keys = st.sampled_from(KEYS)


def rows(*numbers: int, changed: int = 0) -> Rows:
    """Rows with these keys; every third one has a value that can be changed."""
    return [{"row": number, "value": 0 if number % 3 else changed} for number in numbers]


THIRTY = rows(*range(30))
# Few enough that a refresh often gives what is stored; every difference between two of them is of another form.
contents = st.sampled_from([[], rows(0), THIRTY, rows(*range(30), changed=1), rows(*range(40, 0, -4))])


_empty_file: list[Path] = []


def an_empty_file(folder: str) -> str:
    if not _empty_file:
        path = Path(tempfile.mkdtemp()) / "shapes.db"
        migrations.upgrade(str(path))
        _empty_file.append(path)
    return str(shutil.copy(_empty_file[0], folder))


class LifeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.troubles: list[dict[str, Any]] = []
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(lambda _, context: self.troubles.append(context))
        self.world = World(an_empty_file(self.folder.name), ages=True)

    def run(self, step: Any) -> None:
        self.runner.run(step)
        assert self.troubles == []

    def teardown(self) -> None:
        try:
            self.run(self.world.end())
        finally:
            self.runner.close()
            self.folder.cleanup()

    # --- what there is, for the preconditions

    def in_progress(self) -> list[Shape]:
        return [shape for shape, key in self.world.keys.items() if key.in_progress]

    def stored(self) -> list[Shape]:
        return [shape for shape, key in self.world.keys.items() if key.stored]

    def readable(self) -> list[Log]:
        return [log for key in self.world.keys.values() for log in key.readable]

    def waiting(self) -> list[Shape]:
        return [shape for shape, key in self.world.keys.items() if key.waiting]

    def an_open_store(self, store: int) -> int:
        """This store, which is opened first, if it is closed."""
        if not self.world.open[store]:
            self.run(self.world.open_store(store))
        return store

    # --- the steps

    @initialize(made=st.sets(keys), ages=st.booleans())
    def open_both(self, made: set[Shape], ages: bool) -> None:
        self.world = World(self.world.path, ages=ages)
        for store in (0, 1):
            self.an_open_store(store)
        for shape in sorted(made, key=KEYS.index):
            self.make(0, shape, refresh=False, rows=THIRTY)

    @rule(store=which_stores, shape=keys, refresh=st.booleans())
    def ask(self, store: int, shape: Shape, refresh: bool) -> None:
        self.run(self.world.ask(self.an_open_store(store), shape, refresh=refresh))

    @rule(store=which_stores, shape=keys)
    def ask_any(self, store: int, shape: Shape) -> None:
        self.ask(store, shape, refresh=False)

    @rule(store=which_stores, shape=keys, refresh=st.booleans(), rows=contents)
    def make(self, store: int, shape: Shape, refresh: bool, rows: Rows) -> None:
        self.ask(store, shape, refresh)
        if shape in self.in_progress():
            self.run(self.world.end_well(shape, rows))

    @rule(store=which_stores, shape=keys, refresh=st.booleans(), steps=st.none() | st.integers(0, 12))
    def ask_and_leave(self, store: int, shape: Shape, refresh: bool, steps: int | None) -> None:
        self.run(self.world.ask_and_leave(self.an_open_store(store), shape, refresh=refresh, steps=steps))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), index=st.integers(0, 9))
    def leave(self, data: st.DataObject, index: int) -> None:
        self.run(self.world.leave(data.draw(st.sampled_from(self.waiting()), "key"), index))

    @precondition(lambda self: self.in_progress())
    @rule(data=st.data(), rows=st.none() | contents)
    def end(self, data: st.DataObject, rows: Rows | None) -> None:
        shape = data.draw(st.sampled_from(self.in_progress()), "key")
        if rows is None:
            self.run(self.world.end_badly(shape))
        else:
            self.run(self.world.end_well(shape, rows))

    @rule(store=which_stores, shape=keys, how=st.sampled_from(["delete", "invalidate", "release", "sweep"]))
    def interfere(self, store: int, shape: Shape, how: str) -> None:
        self.an_open_store(store)
        match how:
            case "delete":
                self.run(self.world.delete(store, shape))
            case "invalidate":
                self.run(self.world.invalidate(store, shape.table))
            case "release":
                self.run(self.world.release(store, shape))
            case "sweep":
                self.run(self.world.sweep(store))

    @precondition(lambda self: self.stored())
    @rule(store=which_stores, data=st.data())
    def grow_older(self, store: int, data: st.DataObject) -> None:
        """And ask once more, for else the next steps would seldom be about this shape."""
        shape = data.draw(st.sampled_from(self.stored()), "key")
        self.world.grow_older(shape)
        self.ask_any(store, shape)

    @precondition(lambda self: self.readable())
    @rule(store=which_stores, data=st.data())
    def begin_reading(self, store: int, data: st.DataObject) -> None:
        log = data.draw(st.sampled_from(self.readable()), "handle")
        moment = data.draw(st.none() | st.sampled_from(log.moments), "moment")
        self.run(self.world.begin_reading(self.an_open_store(store), log, moment))

    @precondition(lambda self: self.world.readings)
    @rule(index=st.integers(0, 9))
    def read_on(self, index: int) -> None:
        self.run(self.world.read_on(index))

    @precondition(lambda self: any(self.world.open))
    @rule(store=which_stores, luck=st.integers(0, 3))
    def close(self, store: int, luck: int) -> None:
        if self.world.open[store] and luck == 0:
            self.run(self.world.close_store(store))

    @invariant()
    def every_store_answers_as_the_model_does(self) -> None:
        self.run(self.world.check())


# Without shrinking, which would take minutes: the steps of a failure are few enough to be read as they are.
_SETTINGS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture(autouse=True)
def background_refreshes_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not up to a tenth of ``max_age`` later."""
    monkeypatch.setattr(background, "random", SimpleNamespace(uniform=lambda low, _: low))


def test_two_stores_answer_as_the_model_does_whatever_is_asked_of_them() -> None:
    run_state_machine_as_test(LifeMachine, settings=settings(_SETTINGS, max_examples=25, stateful_step_count=25))


@pytest.mark.slow
def test_two_stores_answer_as_the_model_does_for_long() -> None:
    run_state_machine_as_test(LifeMachine, settings=settings(_SETTINGS, max_examples=200, stateful_step_count=60))
