"""The parameters of a request, out of its query string and its JSON body, each as a text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import Message

from shapestore.http.response import invalid, refused
from shapestore.http.where.params import Values

MAX_PARAMS_LENGTH = 262_144
"""The most characters of all params together."""
MAX_BODY_BYTES = 1024 * 1024

_PARAM = re.compile(r"params\[(.*)\]", re.DOTALL)
_NUMBER = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_OF_SUBSET = ("where", "params", "limit", "offset", "order_by", "where_expr", "order_by_expr")


async def body_of(request: Request) -> bytes | None:
    """The body of a request; None if it is empty. Raises Refusal if it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise refused(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body) or None


def unread(request: Request, body: bytes | None) -> Request:
    """The request as if nothing of it was read yet, for a function of the application's that reads its body too."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body or b"", "more_body": False}

    return Request(request.scope, receive)


def subset_fields(query: Mapping[str, str], body: bytes | None) -> dict[str, Any]:
    """The fields of a subset, without the prefix that they have in a query string. Those of the body come first."""
    fields: dict[str, Any] = {name: query[f"subset__{name}"] for name in _OF_SUBSET if f"subset__{name}" in query}
    if body is None:
        return fields
    given = json_of(body, "body")
    if not isinstance(given, dict):
        invalid("body", "must be a JSON object")
    inner = given.get("subset", given)
    if not isinstance(inner, dict):
        invalid("subset", "must be a JSON object")
    return fields | {name: inner[name] for name in _OF_SUBSET if inner.get(name) is not None}


def params_of(query: Sequence[tuple[str, str]]) -> Values:
    """The params of the where: ``params[1]=..``, or ``params`` as one JSON object."""
    given: dict[str, Any] = {}
    for name, value in query:
        if name == "params":
            given |= _object(value, "params")
        elif match := _PARAM.fullmatch(name):
            given[match[1]] = value
    return values(given, "params")


def subset_params(fields: Mapping[str, Any]) -> Values:
    """The params of a subset's where: a JSON object, or one as text."""
    given = fields.get("params", {})
    return values(_object(given, "subset__params") if isinstance(given, str) else given, "subset__params")


def values(given: object, field: str) -> Values:
    """The params as texts by their numbers. A number is taken as it is written, a truth value as PostgreSQL's text."""
    if not isinstance(given, dict):
        invalid(field, "must be an object of values by their numbers")
    found: dict[int, str | None] = {}
    for name, value in given.items():
        if not _NUMBER.fullmatch(name):
            invalid(field, f'"{name:.50}" is not the number of a parameter: they are 1, 2, ...')
        if isinstance(value, (dict, list)):
            invalid(field, f'the value of "{name}" must be a string or a number; an array is written {{a,b}}')
        if isinstance(value, str) and "\0" in value:
            invalid(field, f'the value of "{name}" holds a NUL character, which no text of a database does')
        found[int(name)] = ("true" if value else "false") if isinstance(value, bool) else value
    if sum(map(len, filter(None, found.values()))) > MAX_PARAMS_LENGTH:
        invalid(field, f"too long: the limit is {MAX_PARAMS_LENGTH} characters for all values together")
    return found


def json_of(text: str | bytes, field: str) -> Any:
    """The value of a JSON text. Numbers are texts, so that no digit is lost.

    An escape such as ``\\ud800``, which alone is no character, is refused: no answer could repeat it.
    """
    try:
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        invalid(field, "must be valid JSON")
    return value


def _object(text: str, field: str) -> dict[str, Any]:
    found = json_of(text, field)
    if not isinstance(found, dict):
        invalid(field, "must be a JSON object")
    return found
