"""The synchronous face: shapestore.sync.ShapeStore, for threads, Flask, Django, scripts and notebooks.

A caller's thread posts a coroutine to the loop of the store, and waits for its answer on a lock. Nothing else of a
store is ever touched by another thread: its connections and its state belong to the loop.

    caller's thread                          the loop's thread, one for each open store
    store.get_or_create(shape)
      post  --------------------------->     shapestore.ShapeStore.get_or_create(shape)
      wait on a lock (Ctrl-C ends it)          hit, creation, failure: as for every coroutine
      return or raise  <----------------     answer

Each store has a loop of its own, instead of one for the process: the loop ends with its store, and an async creator
that blocks the loop by mistake delays no other store.

What must hold:

- Every call is answered. A call that is posted while the loop ends is refused with StoreClosedError (loop_thread).
- An exception that a signal handler raises cancels the wait of the call that it interrupts, and nothing else.
- A finalizer may run on any thread, so those of the store and of its iterators only post to the loop.
- A forked child recognises itself by its process id before it touches a lock or the loop of its parent.
- A method is one line in store.py, made from the asynchronous method (delegation), so signatures and types cannot
  drift apart. An iterator reads ahead on the loop (read_ahead), so that not each item is a switch of threads.
"""

from shapestore.sync.store import ShapeStore

__all__ = ["ShapeStore"]
