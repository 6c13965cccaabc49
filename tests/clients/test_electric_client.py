"""@electric-sql/client, as it is published: first rows, live changes, refetches, subsets, and going on where it was."""

from __future__ import annotations

from typing import Any

import pytest
from node import Node
from served import Served

TABLE = {"table": "todo"}


@pytest.fixture(params=[False, True], ids=["long-poll", "sse"])
def sse(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def insert(served: Served, number: int, title: str = "a", done: int = 0) -> None:
    served.sql("INSERT INTO todo VALUES (?, ?, ?)", number, title, done)


def shape(node: Node, served: Served, name: str = "shape", do: str = "shape", **asked: Any) -> None:
    node.call(do, name, **{"url": f"{served.url}/v1/shape", "params": TABLE} | asked)


def test_the_first_rows_and_then_each_change(node: Node, served: Served, sse: bool) -> None:
    insert(served, 1, 'a "quoted" título\n', 1)
    shape(node, served, liveSse=sse)
    node.call("until", "shape", rows=served.todos())
    insert(served, 2)
    node.call("until", "shape", rows=served.todos())
    served.sql("UPDATE todo SET title = 'b' WHERE id = 1")
    node.call("until", "shape", rows=served.todos())
    served.sql("DELETE FROM todo WHERE id = 2")
    node.call("until", "shape", rows=served.todos())
    told = node.call("tell", "shape")
    assert told["errors"] == []
    assert {request["status"] for request in told["requests"]} == {200}
    live = [request for request in told["requests"] if request["asked"].get("live")]
    assert {request["type"].partition(";")[0] == "text/event-stream" for request in live} == {sse}


def test_rows_move_in_and_out_of_a_where_with_params(node: Node, served: Served, sse: bool) -> None:
    for number in range(1, 6):
        insert(served, number, done=number % 2)
    shape(node, served, params=TABLE | {"where": "done = $1", "params": {"1": "1"}}, liveSse=sse)
    node.call("until", "shape", rows=served.todos("done = 1"))
    served.sql("UPDATE todo SET done = 1 - done")
    node.call("until", "shape", rows=served.todos("done = 1"))
    assert node.call("tell", "shape")["errors"] == []


def test_one_transaction_is_seen_whole(node: Node, served: Served, sse: bool) -> None:
    insert(served, 1)
    shape(node, served, liveSse=sse)
    node.call("until", "shape", rows=served.todos())
    served.sql("INSERT INTO todo SELECT value, 'many', 0 FROM json_each('[2,3,4,5,6,7,8,9,10]')")
    node.call("until", "shape", rows=served.todos())
    changes = batches(node.call("tell", "shape")["log"])[-1]
    assert len(changes) == 9
    assert [change["headers"].get("last", False) for change in changes] == [False] * 8 + [True]


def batches(log: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The changes between one up-to-date and the next, without the rows of the snapshot that may come before them."""
    found: list[list[dict[str, Any]]] = [[]]
    for message in log:
        if message["headers"].get("control") == "up-to-date":
            found.append([])
        elif "lsn" in message["headers"]:
            found[-1].append(message)
    return [batch for batch in found if batch]


def test_replica_full_brings_whole_rows_and_what_they_were(node: Node, served: Served) -> None:
    insert(served, 1, "before")
    shape(node, served, params=TABLE | {"replica": "full"})
    node.call("until", "shape", rows=served.todos())
    served.sql("UPDATE todo SET title = 'after'")
    node.call("until", "shape", rows=served.todos())
    served.sql("DELETE FROM todo")
    node.call("until", "shape", rows=[])
    update, delete = (message for message in node.call("tell", "shape")["log"] if "lsn" in message["headers"])
    assert update["value"] == {"id": 1, "title": "after", "done": 0}
    assert update["old_value"] == {"title": "before"}
    assert delete["value"] == {"id": 1, "title": "after", "done": 0}


def test_a_client_whose_shape_was_dropped_begins_again_by_itself(node: Node, served: Served, sse: bool) -> None:
    insert(served, 1)
    shape(node, served, liveSse=sse)
    node.call("until", "shape", rows=served.todos())
    handle = node.call("tell", "shape")["handle"]
    # A store whose file is lost knows none of the handles it gave out.
    served.stop()
    for file in served.path.parent.glob("shapes.db*"):
        if file.is_file():
            file.unlink()
    insert(served, 2)
    served.start()
    node.call("until", "shape", rows=served.todos())
    told = node.call("tell", "shape")
    assert told["handle"] != handle
    assert 409 in {request["status"] for request in told["requests"]}
    assert told["errors"] == []


def test_a_client_that_comes_back_gets_what_it_missed_and_no_row_twice(node: Node, served: Served) -> None:
    for number in range(1, 4):
        insert(served, number)
    shape(node, served, do="stream")
    node.call("until", "shape", rows=served.todos())
    served.sql("UPDATE todo SET title = 'seen' WHERE id = 1")
    node.call("until", "shape", rows=served.todos())
    left = node.call("tell", "shape")
    node.call("close", "shape")

    served.sql("UPDATE todo SET title = 'missed' WHERE id = 2")
    served.sql("DELETE FROM todo WHERE id = 3")
    insert(served, 4)
    served.stop()
    served.start()
    shape(node, served, "back", "stream", **{name: left[name] for name in ("offset", "handle", "saved")})
    node.call("until", "back", rows=served.todos())
    told = node.call("tell", "back")
    assert {request["status"] for request in told["requests"]} == {200}
    changed = [message["value"]["id"] for message in told["log"] if "operation" in message["headers"]]
    assert sorted(changed) == [2, 3, 4]


def test_subsets_are_loaded_on_demand_and_then_followed(node: Node, served: Served) -> None:
    for number in range(1, 30):
        insert(served, number, f"title {number}", number % 2)
    shape(node, served, "full", log="changes_only", do="stream", offset="now")
    found = node.call(
        "subset", "full", where="done = $1", params={"1": "1"}, orderBy="id ASC", limit=5, offset=2, method="POST"
    )
    assert [row["id"] for row in found] == [5, 7, 9, 11, 13]
    served.sql("UPDATE todo SET title = 'later' WHERE id = 7")
    expected = [row for row in served.todos() if row["id"] in (5, 7, 9, 11, 13)]
    node.call("until", "full", rows=expected)


def test_what_is_not_understood_is_an_error_that_says_so(node: Node, served: Served) -> None:
    shape(node, served, params=TABLE | {"where": "frobnicate(title)"})
    node.call("shape", "other", url=f"{served.url}/v1/shape", params={"table": "secrets"})
    for name, word in (("shape", "frobnicate"), ("other", "secrets")):
        error = node.call("failed", name)
        assert "400" in error
        assert word in error


def test_a_value_that_its_column_does_not_promise_ends_no_client(node: Node, served: Served) -> None:
    """SQLite keeps any value; of an integer of 64 bits that is none, the client made an error and read no further."""
    for column in ("big BIGINT", "doc JSON", '"sizes" "int8[]"'):
        served.sql(f"ALTER TABLE todo ADD COLUMN {column}")
    served.sql("INSERT INTO todo VALUES (1, 'a', 0, 1.5, 'no JSON', 'none')")
    shape(node, served)
    odd = {"title": "a", "done": 0, "big": None, "doc": "no JSON", "sizes": [None]}
    node.call("until", "shape", rows=[{"id": 1, **odd}])
    served.sql("INSERT INTO todo VALUES (2, 'a', 0, 'many', 'no JSON', '{x}')")
    node.call("until", "shape", rows=[{"id": 1, **odd}, {"id": 2, **odd}])
    assert node.call("tell", "shape")["errors"] == []
