"""The secrets in a source's URL, kept out of everything that is shown, logged or stored.

A secret is the password, and any value of the query that is not known to be harmless: drivers take passwords, tokens
and whole connection strings there. The store publishes the error of a creator in a lock row, and drivers echo what they
connected with. So every error of a source passes through :func:`without_secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

from sqlalchemy import URL

from shapestore.errors import InvalidSourceError

HIDDEN = "***"

_HARMLESS_NAMES = """
    application_name autocommit cache cached_statements channel_binding charset check_same_thread client_encoding
    client_flag collation connect_timeout connection_timeout database db dbname detect_types driver encoding
    fallback_application_name gssencmode host hostaddr immutable init_command isolation_level keepalives
    keepalives_count keepalives_idle keepalives_interval load_balance_hosts local_infile mode modeof nolock port
    prepare_threshold psow read_timeout requiressl service sql_mode sslcompression sslmode ssl_check_hostname
    ssl_disabled ssl_mode target_session_attrs tcp_user_timeout timeout unix_socket uri use_unicode user vfs
    write_timeout
"""
_HARMLESS = frozenset(_HARMLESS_NAMES.split())
"""Names in a URL's query whose values may be shown."""

_TOO_COMMON = frozenset(("", "0", "1", "true", "false", "on", "off", "yes", "no", "none"))
"""Values that cannot be secrets: to hide them would only spoil messages."""


def shown(url: URL) -> str:
    """The URL without its secrets.

    >>> shown(make_url("postgresql://me:secret@host/shop?sslmode=require&sslpassword=secret"))
    'postgresql://me:***@host/shop?sslmode=require&sslpassword=***'
    """
    database, _, rest = (url.database or "").partition("?")  # `rest` of a URL that was put together from parts
    plain = url.set(query={}, database=database or None).render_as_string(hide_password=True)
    query = [f"{name}={value if name in _HARMLESS else HIDDEN}" for name, value in _query(url)]
    query += [HIDDEN] * bool(rest)
    return f"{plain}?{'&'.join(query)}" if query else plain


def secrets_of(url: URL) -> tuple[str, ...]:
    """The texts that stand for a secret of ``url``, in every spelling that a driver may echo, the longest first."""
    values = {value for name, value in _query(url) if name not in _HARMLESS}
    values.add((url.database or "").partition("?")[2])
    values |= {part for value in values for part in _parts(value)}
    values = {value for value in values if value.lower() not in _TOO_COMMON}
    values |= {str(url.password)} if url.password else set()
    return tuple(sorted({spelled for value in values for spelled in _spellings(value)}, key=len, reverse=True))


@contextmanager
def without_secrets(secrets: Sequence[str]) -> Iterator[None]:
    """Clean an error that leaves the block, and those that led to it, of ``secrets``."""
    try:
        yield
    except Exception as error:
        if not secrets or _cleaned(error, secrets):
            raise
        raise InvalidSourceError(f"{type(error).__name__}: {_hidden(_text(error), secrets)}") from None


def _query(url: URL) -> Iterator[tuple[str, str]]:
    for name, values in url.query.items():
        for value in (values,) if isinstance(values, str) else values:
            yield name, value


def _parts(value: str) -> Iterator[str]:
    """The values in a connection string or a list of options: ``-c token=x``, ``DRIVER={..};PWD=x``, ``?key=x``."""
    for part in re.split(r"[;&\s]", value):
        yield part.partition("=")[2].strip("{}'\"")


def _spellings(secret: str) -> set[str]:
    escaped = secret.replace("\\", "\\\\").replace("'", "\\'")  # as in a connection string of PostgreSQL
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], escaped}


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return "its message cannot be shown"


def _hidden(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _cleaned(error: BaseException, secrets: Sequence[str]) -> bool:
    """Hide the secrets in an error and in all that led to it. False if those of the error itself cannot be hidden."""
    chain = _chain(error)
    unclean = [other for other in chain if not _cleaned_alone(other, secrets)]
    for other in chain:
        if other.__cause__ in unclean or other.__context__ in unclean:
            other.__cause__ = other.__context__ = None
    return error not in unclean


def _chain(error: BaseException) -> list[BaseException]:
    """The error and all that led to it, once each: the error of a driver and that of SQLAlchemy name each other."""
    chain = [error]
    for other in chain:
        earlier = (other.__cause__, other.__context__)
        chain += [one for one in earlier if one is not None and not any(one is seen for seen in chain)]
    return chain


def _cleaned_alone(error: BaseException, secrets: Sequence[str]) -> bool:
    def is_clean() -> bool:
        text = f"{error.args!r}{error}{getattr(error, '__notes__', '')}"
        return not any(secret in text for secret in secrets)

    try:
        if not is_clean():
            error.args = tuple(_hidden(arg, secrets) if isinstance(arg, str) else arg for arg in error.args)
            if hasattr(error, "__notes__"):
                error.__notes__ = [_hidden(note, secrets) for note in error.__notes__]
        return is_clean()
    except Exception:  # the __str__ of an error may itself fail
        return False
