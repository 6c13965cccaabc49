from __future__ import annotations

import re

from shapestore.cli.printing.words import short
from shapestore.locking.handles import Handles


def test_no_handle_is_given_twice_whichever_store_gives_it() -> None:
    one, another = Handles(), Handles()
    handles = [each.new() for _ in range(50_000) for each in (one, another)]
    assert len(set(handles)) == 100_000
    assert all(re.fullmatch("[0-9a-f]{32}", handle) for handle in handles)


def test_what_is_made_together_lies_together() -> None:
    """A batch of handles is to lie in a few pages of an index, whatever is in it already."""
    handles = Handles()
    first = [handles.new() for _ in range(1_000)]
    while handles.new()[:12] <= max(first)[:12]:
        pass
    assert max(first) < min(handles.new() for _ in range(1_000))


def test_what_people_are_shown_of_a_handle_tells_it_from_those_made_beside_it() -> None:
    handles = Handles()
    assert len({short(handles.new()) for _ in range(1_000)}) == 1_000
