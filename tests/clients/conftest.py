"""A served source, and the published clients on node; skipped, with the reason, where there is no node or registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from node import Node, node_modules
from served import Served


@pytest.fixture(scope="session")
def modules(request: pytest.FixtureRequest) -> Path:
    """The installed clients, kept in pytest's cache."""
    cache = request.config.cache
    assert cache is not None
    return node_modules(cache.mkdir("clients"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """One process that serves the table ``todo``; nothing is in it."""
    served = Served(tmp_path)
    served.start()
    yield served
    assert "Traceback" not in served.close()


@pytest.fixture(scope="session")
def only_node(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(modules, tmp_path_factory.mktemp("node"))
    yield node
    node.close()


@pytest.fixture
def node(only_node: Node) -> Iterator[Node]:
    """The clients, none of which is left of another test."""
    yield only_node
    only_node.call("closeAll")
