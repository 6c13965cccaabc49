"""What a column of SQLite is declared as, by PostgreSQL's name for it.

SQLite takes any words for a type, and goes by parts of them. A type of PostgreSQL's is taken at its word, in any of its
spellings; any other says no more than what SQLite makes of it.
"""

from __future__ import annotations

import re

from shapestore.shape.column_description import SPELLINGS, ColumnDescription

# Possessive quantifiers, since spaces could be parted in many ways.
_DECLARED = re.compile(
    r"""
    (?P<name> [^(\[]*+ )
    (?: \( \s*+ (?P<first> \d++ ) \s*+ (?: , \s*+ (?P<second> \d++ ) \s*+ )?+ \) )?+
    (?P<rest> [^(\[]*+ )
    (?P<dims> (?: \[\d*+\] \s*+ )*+ )
    """,
    re.VERBOSE,
)
_NAMES = """
    bit bool bpchar bytea cidr citext date float4 float8 inet int2 int4 int8 interval json jsonb macaddr numeric oid
    text time timestamp timestamptz timetz uuid varchar xml
"""
_SPELLINGS = {
    **{name: name for name in _NAMES.split()},
    **SPELLINGS,
    "datetime": "timestamp",  # as frameworks declare it that speak to many databases
}
_LONGEST_DECLARATION = 200
_OF_PRECISION = frozenset(("numeric", "time", "timetz", "timestamp", "timestamptz"))


def declared(text: str) -> ColumnDescription:
    """The type of a column that is declared so.

    >>> declared("VARCHAR(20)"), declared("MEDIUMINT").type, declared("int8[]"), declared("").type
    (ColumnDescription(type='varchar', max_length=20), 'int8', ColumnDescription(type='int8', dims=1), 'unknown')
    """
    match = _DECLARED.fullmatch(text) if len(text) <= _LONGEST_DECLARATION else None
    if match is None:
        return ColumnDescription(_by_affinity(text.lower()))
    spelled = " ".join(f"{match['name']} {match['rest']}".lower().split())
    dims = match["dims"].count("[")
    name = _SPELLINGS.get(spelled)
    if name is None:
        return ColumnDescription(spelled, dims) if dims else ColumnDescription(_by_affinity(spelled))
    first, second = (None if match[group] is None else int(match[group]) for group in ("first", "second"))
    if name == "varchar":
        return ColumnDescription(name, dims, max_length=first)
    if name in ("bpchar", "bit"):
        return ColumnDescription(name, dims, length=first)
    if name in _OF_PRECISION:
        return ColumnDescription(name, dims, precision=first, scale=second)
    return ColumnDescription(name, dims)


def _by_affinity(spelled: str) -> str:
    """By the rules of SQLite, in their order; text for what has the affinity NUMERIC by no word for a number."""
    if spelled in ("", "any"):
        return "unknown"
    if "int" in spelled:
        return "int8"
    if "char" in spelled or "clob" in spelled or "text" in spelled:
        return "text"
    if "blob" in spelled:
        return "bytea"
    if "real" in spelled or "floa" in spelled or "doub" in spelled:
        return "float8"
    return "numeric" if re.search("num|dec|money|currency", spelled) else "text"
