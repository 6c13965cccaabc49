"""Wheres at random, against SQLite itself: what is read here must be what SQLite reads."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from where_texts import Plain, Speller, Tree, database, mutated, selected, trees

from shapestore.errors import InvalidShapeError
from shapestore.shape.where.where import parse_where

chances = st.integers(0, 2**32).map(random.Random)

# Spelled so that in random order they often make a where that is accepted, or nearly.
SOUP = """
number words "real" nocase anything :one :none 0 1 1.0 'a' '' 'it''s' NULL TRUE false ( ( ) ) , = == <> < >= + - * / %
|| - AND and OR NOT not IN BETWEEN LIKE ESCAPE IS ISNULL NOTNULL lower( coalesce( nullif( CASE WHEN THEN ELSE END -- ;
. SELECT [ 0x1
"""


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    connection = database()
    yield connection
    connection.close()


@given(trees, chances)
def test_the_canonical_text_means_to_sqlite_what_the_original_meant(
    table: sqlite3.Connection, tree: Tree, chance: random.Random
) -> None:
    text = Speller(chance).spell(tree)
    canonical = parse_where(text).canonical
    assert _selected_or_skip(table, canonical) == _selected_or_skip(table, text)


@given(trees, chances, chances)
def test_spellings_of_one_where_share_their_canonical_text(
    tree: Tree, first: random.Random, second: random.Random
) -> None:
    one, other = Speller(first).spell(tree), Speller(second).spell(tree)
    assert parse_where(one).canonical == parse_where(other).canonical
    assert parse_where(one).params == parse_where(other).params


@given(trees, chances)
def test_the_canonical_text_is_its_own(tree: Tree, chance: random.Random) -> None:
    where = parse_where(Speller(chance).spell(tree))
    again = parse_where(where.canonical)
    assert (again.canonical, again.params) == (where.canonical, where.params)


@given(trees, chances)
def test_wheres_that_select_different_rows_differ(table: sqlite3.Connection, tree: Tree, chance: random.Random) -> None:
    first, second = Speller(chance).spell(tree), Speller(chance).spell(mutated(tree, chance))
    if _selected_or_skip(table, first) != _selected_or_skip(table, second):
        assert parse_where(first).canonical != parse_where(second).canonical


@given(st.lists(st.sampled_from(SOUP.split()), min_size=1, max_size=12).map(" ".join))
@example("number = 1 = 1")
@example("number < 2 = 1")
@example("words || 1 + 1")
@example("NOT number IS NULL")
@example("number NOT NULL")
@example("- number || 1")
def test_what_is_accepted_sqlite_accepts_too_and_reads_alike(table: sqlite3.Connection, soup: str) -> None:
    try:
        canonical = parse_where(soup).canonical
    except InvalidShapeError:
        return
    assert _selected_or_skip(table, canonical) == _selected_or_skip(table, soup)


@given(st.text(max_size=40) | st.text("()'\"[]`:;,.-/*%=<>|! \t\n0aA_\0\ud800é", max_size=40))
def test_any_text_at_all_is_accepted_or_refused_as_invalid(text: str) -> None:
    try:
        canonical = parse_where(text).canonical
    except InvalidShapeError:
        return
    assert parse_where(canonical).canonical == canonical


@given(trees, chances)
def test_a_rendered_where_means_what_was_written(table: sqlite3.Connection, tree: Tree, chance: random.Random) -> None:
    text = Speller(chance).spell(tree)
    rendered = Plain("[{}]".format, parameter="@{}".format).where(text)
    assert '"' not in rendered.replace('[odd "name"]', "")
    assert _selected_or_skip(table, rendered) == _selected_or_skip(table, text)


def _selected_or_skip(table: sqlite3.Connection, text: str) -> list[object]:
    """What SQLite makes of it; an example at which SQLite stops half way (an overflow in abs, say) is left out."""
    try:
        return selected(table, text)
    except sqlite3.OperationalError as error:
        if "syntax error" in str(error) or "no such" in str(error):
            raise
        assume(False)
        raise
