"""@tanstack/electric-db-collection, as it is published: optimistic writes awaited by txid, and subsets on demand."""

from __future__ import annotations

from typing import Any

import pytest
from node import Node
from served import Served


def collection(node: Node, served: Served, name: str = "todos", **asked: Any) -> None:
    shape = {"url": f"{served.url}/v1/shape", "params": {"table": "todo"}, "writes": f"{served.url}/writes"}
    node.call("collection", name, **shape | asked)


@pytest.mark.parametrize("sse", [False, True], ids=["long-poll", "sse"])
def test_a_write_is_seen_at_once_and_stays_when_its_txid_has_come_back(node: Node, served: Served, sse: bool) -> None:
    served.sql("INSERT INTO todo VALUES (1, 'first', 0)")
    collection(node, served, liveSse=sse)
    node.call("until", "todos", rows=served.todos())
    rows = {1: {"id": 1, "title": "first", "done": 0}, 2: {"id": 2, "title": "mine", "done": 0}}
    assert node.call("write", "todos", type="insert", row=rows[2]) == both([rows[1], rows[2]])
    rows[1]["done"] = 1
    assert node.call("write", "todos", type="update", row=rows[1]) == both([rows[1], rows[2]])
    assert node.call("write", "todos", type="delete", row=rows[2]) == both([rows[1]])
    assert served.todos() == [rows[1]]
    assert node.call("tell", "todos")["errors"] == []


def both(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"atOnce": rows, "then": rows}


def test_a_write_of_one_client_shows_in_another(node: Node, served: Served) -> None:
    collection(node, served, "mine")
    collection(node, served, "yours")
    node.call("write", "mine", type="insert", row={"id": 1, "title": "hello", "done": 0})
    node.call("until", "yours", rows=served.todos())
    node.call("write", "yours", type="update", row={"id": 1, "title": "hello yourself", "done": 1})
    node.call("until", "mine", rows=served.todos())


def test_many_writes_at_once_all_come_back(node: Node, served: Served) -> None:
    collection(node, served)
    node.call("until", "todos", rows=[])
    rows = [{"id": number, "title": f"title {number}", "done": 0} for number in range(1, 31)]
    for answer in [node.send("write", "todos", type="insert", row=row) for row in rows]:
        answer.result(90)
    node.call("until", "todos", rows=rows)
    assert served.todos() == rows


def test_a_query_on_demand_loads_its_subset_and_no_more(node: Node, served: Served) -> None:
    for number in range(1, 21):
        served.sql("INSERT INTO todo VALUES (?, ?, ?)", number, f"title {number:02}", number % 4)
    collection(node, served, syncMode="on-demand")
    node.call("query", "some", of="todos", where={"done": 3})
    node.call("until", "some", rows=served.todos("done = 3"))
    assert {row["done"] for row in node.call("rows", "todos")} == {3}
    served.sql("UPDATE todo SET title = 'later' WHERE id = 3")
    node.call("until", "some", rows=served.todos("done = 3"))
    node.call("query", "first", of="todos", where={"done": 2}, orderBy="title", limit=2)
    node.call("until", "first", rows=served.todos("done = 2 AND id <= 6"))
    assert node.call("tell", "todos")["errors"] == []


def test_progressive_sync_ends_with_all_rows(node: Node, served: Served) -> None:
    for number in range(1, 21):
        served.sql("INSERT INTO todo VALUES (?, 'a', ?)", number, number % 4)
    collection(node, served, syncMode="progressive")
    node.call("until", "todos", rows=served.todos())
    served.sql("DELETE FROM todo WHERE done = 1")
    node.call("until", "todos", rows=served.todos())
