"""What people would use instead, each as its documentation says, with its own protection against herds.

They keep a value for a key. None of them keeps rows, or knows whether a creator in another process still lives.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HOUR = 3600

AsyncGet = Callable[[str], Awaitable[Any]]
ThreadGet = Callable[[str, Callable[[], Any]], Any]


def async_lru(create: AsyncGet) -> AsyncGet:
    """In the memory of one process."""
    from async_lru import alru_cache  # noqa: PLC0415 - each work loads what it needs, and no more

    get: AsyncGet = alru_cache(maxsize=None)(create)
    return get


def aiocache(create: AsyncGet) -> AsyncGet:
    """In the memory of one process, under its RedLock."""
    from aiocache import cached_stampede  # noqa: PLC0415

    get: AsyncGet = cached_stampede(lease=60, key_builder=lambda _, key: key)(create)
    return get


def cashews(create: AsyncGet, url: str = "mem://?size=100000") -> AsyncGet:
    """In memory, or by ``disk://?directory=...`` in diskcache's files."""
    from cashews import Cache  # noqa: PLC0415

    cache = Cache()
    cache.setup(url)
    get: AsyncGet = cache(ttl=HOUR, key="{key}", lock=True)(create)
    return get


def dogpile(path: Path | None = None) -> ThreadGet:
    """In memory, or in a dbm file with a lock file, for threads."""
    from dogpile.cache import make_region  # noqa: PLC0415

    region = make_region()
    if path is None:
        region.configure("dogpile.cache.memory")
    else:
        region.configure("dogpile.cache.dbm", arguments={"filename": str(path)})
        # The first dbm.open of a process finds out which kinds there are, and must not be made by two threads at once.
        region.get("no key")
    get: ThreadGet = region.get_or_create
    return get


def new_dogpile_dbm(folder: Path) -> ThreadGet:
    """In a dbm file of its own: it slows down with every key in it, so that a file kept would measure the benchmark."""
    return dogpile(Path(tempfile.mkdtemp(dir=folder)) / "dogpile")


def diskcache(folder: Path) -> ThreadGet:
    """In SQLite, under diskcache's Lock (which polls every millisecond), for threads."""
    from diskcache import Cache, Lock  # noqa: PLC0415

    cache = Cache(str(folder))

    def get(key: str, create: Callable[[], Any]) -> Any:
        value = cache.get(key)
        if value is None:
            with Lock(cache, f"lock of {key}"):
                value = cache.get(key)
                if value is None:
                    value = create()
                    cache.set(key, value)
        return value

    return get
