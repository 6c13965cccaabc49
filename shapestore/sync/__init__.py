"""The synchronous face: shapestore.sync.ShapeStore, for threads, Flask, Django, scripts and notebooks.

A caller's thread posts a coroutine to the loop of the store, and waits for its answer on a lock. Nothing else of a
store is ever touched by another thread: its connections and its state belong to the loop.

    caller's thread                          the loop's thread, one for each open store
    store.get_or_create(shape)
      post  --------------------------->     shapestore.ShapeStore.get_or_create(shape)
      wait on a lock (Ctrl-C ends it)          hit, creation, failure: as for every coroutine
      return or raise  <----------------     answer

A loop for each store, and not one for the process: it ends with its store, and an async creator that blocks the loop
by mistake holds up no other store.

What must hold:

- Every call is answered. A call that is posted while the loop ends is refused with StoreClosedError (loop_thread).
- A caller that goes away, by an exception of a signal's handler, cancels its own wait and nothing else.
- Closing, and leaving an iterator half way, only post to the loop: a finalizer may do both, on whatever thread.
- A forked child recognises itself by its process id before it touches a lock or the loop of its parent.
- A method is one line in store.py, made from the asynchronous method, so signatures and types cannot drift apart.
"""

from shapestore.sync.store import ShapeStore

__all__ = ["ShapeStore"]
