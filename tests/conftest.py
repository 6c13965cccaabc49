"""What every test shares: the switch for the long forms, and hypothesis without a clock."""

from __future__ import annotations

import pytest
from hypothesis import settings

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
