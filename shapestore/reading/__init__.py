"""How rows get out of the store: all of one moment, in batches, as Python values or as the JSON that is stored.

    row_batches     the rows of a handle, batch by batch
    json_text       the same as bytes of JSON, not decoded
    recent_texts    what was fetched last, kept as text
    log_pages       pages of logs, read once for all who ask for them
    cached          store.cached: a function as the creator of its own shapes

A small shape is read with its key, in one statement on the event loop's thread (Reader.fetch_small). Whatever is larger
is read batch by batch on the reader's thread, as of a position that is fixed at the first batch: refreshes,
deletions and evictions meanwhile change nothing about it. Between batches no transaction is open. What a reader still
needs is kept for it: a handle that goes stays readable for ``keep_replaced`` seconds, and a reader that takes longer is
registered in the file (storage/readers.py), so that other processes know of it too.

A fetch of what is kept as text reads one row of the file, that of the shape, which says whether the text is still its
own.
"""
