"""Waiting for a log to grow: callers who have read a log to its end are told when more is there, or when it is gone.

    waits           the waiters of one open store: which are woken, by what, and how long they wait
    watched_log     the waiters for one log, in groups behind the same position
    looks           when the file is looked at for commits of other processes
    followed        waiting until live shapes hold what is in their sources now
    newest_changes  what that is, as far as the shapes can still follow it

Two things wake. A commit of this store names the shapes whose logs it has changed: only these are looked at, a turn of
the event loop later. A commit of another process shows in ``PRAGMA data_version``. It is read while a caller waits, and
never else: on Linux when inotify tells that the file is being written, elsewhere every few milliseconds. One statement
then says where the logs end that are waited for.

Invariants: nothing that wakes is an answer: a log is looked at before its waiters are told. Between a look and the
waiting for what comes after it, nothing is awaited, or every log is looked at once more. What waits in any process is
evicted last. Waiters are bounded, and each ends: by an answer, its deadline, its cancellation, ShapeGoneError, or
StoreClosedError.
"""
