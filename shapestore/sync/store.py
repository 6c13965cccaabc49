"""The synchronous ShapeStore: the methods of the asynchronous one, run on a loop in a thread."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

from shapestore.errors import ForkedStoreError, StorageError, StoreClosedError
from shapestore.store import ShapeStore as AsyncShapeStore
from shapestore.sync.delegation import arguments_of, documented_as, iterating, waiting
from shapestore.sync.loop_thread import LoopThread
from shapestore.sync.read_ahead import ReadAhead
from shapestore.telemetry import Stats

P = ParamSpec("P")
T = TypeVar("T")


class ShapeStore:
    """A store of shapes for programs without an event loop: shapestore.ShapeStore, without ``await``.

    >>> with ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db")) as store:
    ...     stored = store.get_or_create(Shape("Track", where="AlbumId = :album", params={"album": 1}))
    ...     for row in store.rows(stored.handle):
    ...         print(row)

    It takes the same options and has the same methods, which raise the same errors. Any thread may call them. Each
    open store has one daemon thread, which runs its event loop.

    - A creator that is a plain function runs in a thread of its own, and may use this store.
    - A creator that is an async function runs on the loop, and must not block it. There ``close`` only begins the
      closing. The other methods raise RuntimeError, since their wait would never end.
    - ``on_event`` is called on the loop's thread. It may read ``stats``, but must not wait for the store.
    - In a coroutine of another event loop, for example in a notebook, a method blocks that loop until it returns.
    - An iterator reads a little ahead. To close or drop it half way waits for nothing.
    - KeyboardInterrupt ends the wait of the call that it interrupts, and nothing else: a creation or a closing goes on.
    - In a forked child, methods of a store that was open at the fork raise ForkedStoreError; ``close`` does nothing.
    - A store cannot be pickled: open one in each process.
    - When the interpreter exits, a store that is still open is closed, within a second. A store that is
      garbage-collected while it is open is closed with a ResourceWarning.
    """

    _thread: LoopThread | None = None

    @arguments_of(AsyncShapeStore.__init__)
    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        self._store = AsyncShapeStore(path, **options)
        self._path = os.fspath(path)
        # By process id: in a forked child the parent's lock may be held, by a thread that the child does not have.
        self._turns: dict[int, threading.RLock] = {}

    # --- opening and closing

    @documented_as(AsyncShapeStore.open)
    def open(self) -> None:
        if (thread := self._thread_here()) is not None:
            thread.refuse_its_own_thread()
        with self._turn():
            thread = self._thread_here()
            if thread is not None and thread.closing:
                thread.join()
                thread = None
            if thread is None:
                thread = LoopThread(f"shapestore loop {self._path}")
            try:
                self._open_on(thread)
            except BaseException:
                if not thread.opened:
                    thread.close_soon()
                raise

    def _open_on(self, thread: LoopThread) -> None:
        if self._thread is not thread:
            try:
                thread.start()
            except (OSError, RuntimeError) as error:
                raise StorageError(f"{self!r} cannot be opened: its event loop does not start: {error}") from error
            self._thread = thread
            thread.at_end = self._store.close
        thread.call(self._store.open)
        thread.opened = True

    @documented_as(AsyncShapeStore.close)
    def close(self) -> None:
        if self._thread is None or self._thread.pid != os.getpid():
            return
        if self._thread.is_current():
            self._thread.close_soon()
            return
        with self._turn():  # an opening that is in progress comes first
            thread = self._thread
            thread.close_soon()
            thread.join()
            if thread.error is not None:
                raise thread.error

    def _turn(self) -> threading.RLock:
        """The lock of opening and closing. It is reentrant, for a signal handler may close a store that is opening."""
        return self._turns.setdefault(os.getpid(), threading.RLock())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        thread = self._thread
        if thread is not None and not thread.closing and thread.pid == os.getpid():
            thread.close_soon()
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<shapestore.sync.ShapeStore {self._path!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled or copied: open a store in each process")

    # --- the methods of the asynchronous store

    get_or_create = waiting(AsyncShapeStore.get_or_create)
    refresh = waiting(AsyncShapeStore.refresh)
    get = waiting(AsyncShapeStore.get)
    get_by_handle = waiting(AsyncShapeStore.get_by_handle)
    fetch = waiting(AsyncShapeStore.fetch)
    fetch_json = waiting(AsyncShapeStore.fetch_json)
    rows = iterating(AsyncShapeStore.rows)
    stream_json = iterating(AsyncShapeStore.stream_json, ahead=1)
    read_log = waiting(AsyncShapeStore.read_log)
    wait = waiting(AsyncShapeStore.wait)
    changes = iterating(AsyncShapeStore.changes)
    shapes = iterating(AsyncShapeStore.shapes)
    count = waiting(AsyncShapeStore.count)
    explain = waiting(AsyncShapeStore.explain)
    delete = waiting(AsyncShapeStore.delete)
    invalidate = waiting(AsyncShapeStore.invalidate)
    followed = waiting(AsyncShapeStore.followed)
    touched = waiting(AsyncShapeStore.touched)
    locks = waiting(AsyncShapeStore.locks)
    release_lock = waiting(AsyncShapeStore.release_lock)

    def cached(
        self, table: str, *, max_age: float | None = None, timeout: float | None = None
    ) -> Callable[[Callable[P, Any]], Callable[P, list[dict[str, Any]]]]:
        """Make a function the creator of the shapes of ``table``: one for each set of its arguments.

        The decorated function returns the rows from the store. Its arguments are the params of the shape, so each is a
        None, bool, int, float or str. It may return rows or yield them, and may be async. Two functions with one
        ``table`` and the same arguments would be given each other's rows.

        >>> @store.cached(table="report", max_age=60)
        ... def report(year: int, region: str):
        ...     return slow_query(year, region)
        >>> rows = report(2024, region="north")
        """

        cached = self._store.cached(table, max_age=max_age, timeout=timeout)

        def decorate(function: Callable[P, Any]) -> Callable[P, list[dict[str, Any]]]:
            fetch = cached(function)

            @functools.wraps(function)
            def fetched(*args: P.args, **kwargs: P.kwargs) -> list[dict[str, Any]]:
                return self._wait(functools.partial(fetch, *args, **kwargs))

            return fetched

        return decorate

    @property
    @documented_as(AsyncShapeStore.stats)
    def stats(self) -> Stats:
        self._open_thread()
        return self._store.stats

    # --- what all of them need

    def _wait(self, method: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._open_thread().call(method)

    def _iterate(self, method: Callable[[], AsyncIterator[T]], ahead: int) -> Generator[T, None, None]:
        items = ReadAhead(method, ahead)
        thread = self._open_thread()
        try:
            while ready := self._wait(items.take):
                yield from ready
        finally:
            thread.post(items.close)

    def _open_thread(self) -> LoopThread:
        thread = self._thread_here()
        if thread is None or thread.closing or not thread.opened:
            raise StoreClosedError(f"{self!r} is not open: use `with ShapeStore(...)`, or call store.open() first")
        return thread

    def _thread_here(self) -> LoopThread | None:
        """The loop's thread, if there is one. Raises ForkedStoreError where it is the thread of a parent process."""
        thread = self._thread
        if thread is None or thread.ended:
            return None
        if thread.pid != os.getpid():
            raise ForkedStoreError(
                f"{self!r} was opened before a fork and is used in the child: open a store in each process"
            )
        return thread
