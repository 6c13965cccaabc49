"""Random statements on random tables: no changed key is missed, and no write has another outcome because of us.

The keys of the rows that differ, before and after each transaction, must all be among those that were logged. And each
statement has the same outcome on a twin of the database that has no triggers of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from followed_source import Source
from followed_tables import Followed, outcome, rows
from random_writes import Statements


class WithTwin(Followed):
    """The same with a twin that is not followed."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.twin = Source(folder / f"{seed}-twin.db")
        self.sources.append(self.twin)

    def go(self, statement: str) -> None:
        self.said.append(statement)
        followed, twin = outcome(self.followed, statement), outcome(self.twin, statement)
        assert followed == twin, (followed, twin, self.story())
        if twin[0] == "failed" and "constraint" not in twin[1] and self.twin.connection.in_transaction:
            # Where no trigger is, SQLite may keep what such a statement wrote before it failed.
            self.on_all("ROLLBACK")
        for table in self.tables:
            assert rows(self.followed, table) == rows(self.twin, table), self.story()
        self.check()


def no_changed_key_is_missed(folder: Path, seed: int, statements: int) -> None:
    with closing(Followed(folder, seed)) as world:
        setting = world.rnd.choice(("foreign_keys", "recursive_triggers", "count_changes"))
        world.make(setting, triggers=world.rnd.choice((0, 0, 1, 2)))
        for statement in islice(Statements(world.rnd, world.tables, one_row=False), statements):
            world.go(statement)


def no_write_has_another_outcome(folder: Path, seed: int, statements: int) -> None:
    with closing(WithTwin(folder, seed)) as world:
        # Not under recursive triggers, with which REPLACE checks a table once more if it has a delete trigger.
        world.make(world.rnd.choice(("foreign_keys", "count_changes")), triggers=world.rnd.choice((0, 0, 1, 2)))
        for statement in islice(Statements(world.rnd, world.tables, one_row=True), statements):
            world.go(statement)


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("promise", [no_changed_key_is_missed, no_write_has_another_outcome])
def test_at_random(tmp_path: Path, promise: Callable[[Path, int, int], None], part: int) -> None:
    for seed in range(part * 8, part * 8 + 8):
        promise(tmp_path, seed, 40)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
@pytest.mark.parametrize("promise", [no_changed_key_is_missed, no_write_has_another_outcome])
def test_at_random_for_long(tmp_path: Path, promise: Callable[[Path, int, int], None], part: int) -> None:
    for seed in range(1000 + part * 100, 1100 + part * 100):
        promise(tmp_path, seed, 150)
