"""What every test shares: the switch for the long forms, and hypothesis without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from processes import Workers

# A shared machine may be slow at any time, and that is no failure.
settings.register_profile("shapestore", deadline=None)
settings.load_profile("shapestore")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long forms of tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a store's file may be made."""
    return str(tmp_path / "shapes.db")


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Worker processes; none outlives the test."""
    with closing(Workers()) as workers:
        yield workers
