"""The WHERE of a partial index, which SQLite's catalogue has only as part of the text that made the index."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|[\w$]+|.""",
    re.DOTALL,
)


def index_condition(create_index: str) -> str:
    """The condition of a partial index, without comments.

    >>> index_condition("CREATE UNIQUE INDEX i ON t(a, b) WHERE deleted_at IS NULL -- not yet")
    'deleted_at IS NULL'
    """
    condition: list[str] | None = None
    for token in _TOKEN.finditer(create_index):
        text = " " if token["comment"] else token[0]
        if condition is not None:
            condition.append(text)
        elif text.upper() == "WHERE":  # a name that is WHERE would stand in quotes
            condition = []
    return "".join(condition or ()).strip()
