"""Sixty clients on two processes see what the query gives, whatever becomes of the processes and of their store."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from node import Node
from served import Served

from shapestore.sync import ShapeStore

CLIENTS = 60
WHERES: list[tuple[str, list[str], str]] = [
    # as a client writes it, its params, and as the source understands it
    ("", [], "1"),
    ("done = $1", ["1"], "done = 1"),
    ("id > $1 AND done <> $2", ["20", "1"], "id > 20 AND done <> 1"),
    ("title LIKE $1", ["%7%"], "title LIKE '%7%'"),
    ("id = ANY($1)", ["{1,2,3,5,8,13,21,34}"], "id IN (1, 2, 3, 5, 8, 13, 21, 34)"),
]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, workers=2)
    served.start()
    yield served
    served.close()


def follow(node: Node, served: Served, *, may_be_cut: bool = False) -> None:
    """Have all clients follow their shapes, every second one by server-sent events."""
    for number in range(CLIENTS):
        where, values, _ = WHERES[number % len(WHERES)]
        params = {"table": "todo"} | ({"where": where} if where else {})
        params |= {f"params[{place}]": value for place, value in enumerate(values, 1)}
        asked = {"url": f"{served.url}/v1/shape", "params": params, "liveSse": number % 2 == 0}
        node.send("shape", str(number), **asked, mayBeCut=may_be_cut)


def assert_converge(node: Node, served: Served, clients: Iterable[int] = range(CLIENTS)) -> None:
    wanted = [served.todos(where) for _, _, where in WHERES]
    answers = [node.send("until", str(number), rows=wanted[number % len(WHERES)]) for number in clients]
    for answer in answers:
        answer.result(90)
    for number in clients:
        assert node.call("tell", str(number))["errors"] == []


def write(served: Served, choose: random.Random) -> None:
    """One transaction of the application's."""
    number, other, done = choose.randint(1, 40), choose.randint(1, 40), choose.randint(0, 2)
    title = f"title {choose.randint(1, 99)}"
    statements = [
        ("INSERT OR REPLACE INTO todo VALUES (?, ?, ?)", (number, title, done)),
        ("INSERT INTO todo VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET title = excluded.title", (number, title, done)),
        ("UPDATE todo SET done = ?, title = ? WHERE id = ?", (done, title, number)),
        ("UPDATE todo SET done = ? WHERE id BETWEEN ? AND ?", (done, number, other)),
        ("UPDATE OR REPLACE todo SET id = ? WHERE id = ?", (other, number)),
        ("DELETE FROM todo WHERE id = ?", (number,)),
        ("DELETE FROM todo WHERE id % 5 = ?", (done,)),
    ]
    statement, values = choose.choices(statements, weights=[8, 4, 6, 2, 2, 3, 1])[0]
    served.sql(statement, *values)


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_clients_converge_though_both_processes_are_killed(node: Node, two: Served, kills: int) -> None:
    choose = random.Random(kills)
    for _ in range(20):
        write(two, choose)
    follow(node, two, may_be_cut=True)
    for _ in range(kills):
        for _ in range(30):
            write(two, choose)
        two.kill()
        for _ in range(5):
            write(two, choose)
        two.start()
        assert_converge(node, two, choose.sample(range(CLIENTS), 5))  # so that what is killed next has served
    assert_converge(node, two)


def test_clients_converge_though_their_shapes_are_dropped_again_and_again(node: Node, two: Served) -> None:
    choose = random.Random(3)
    follow(node, two)
    assert_converge(node, two)
    with closing(ShapeStore(str(two.path))) as store:
        store.open()
        for _ in range(5):
            for _ in range(20):
                write(two, choose)
            store.invalidate("todo")
    assert_converge(node, two)


def test_an_older_file_that_is_put_back_is_noticed_by_every_client(node: Node, two: Served, tmp_path: Path) -> None:
    choose = random.Random(4)
    for _ in range(20):
        write(two, choose)
    follow(node, two)
    assert_converge(node, two)
    two.stop()
    shutil.copy(two.path, tmp_path / "older.db")
    two.start()
    for _ in range(20):
        write(two, choose)
    assert_converge(node, two)
    two.stop()
    shutil.copy(tmp_path / "older.db", two.path)
    for _ in range(20):
        write(two, choose)
    two.start()
    assert_converge(node, two)
    write(two, choose)
    assert_converge(node, two)
