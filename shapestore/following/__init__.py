"""Live shapes: what any program writes to a SQLite source appears in the shapes that are made of it.

A thread for each source makes rounds. A round reads the keys that were written since the round before, asks the source
which shapes their rows match now, and appends to the logs of these shapes what is different:

    followers        the followers of one open store
    follower         one source's: a thread; when it looks; a source that cannot be read
    leadership       who of several processes makes the rounds of a source
    rounds           a round: a look at the source, and a command to the writer
    store_side       what a follower reads of the store's file, and has written to it
    alarm            what wakes it: on Linux inotify, when the source is written; elsewhere it looks now and then
    source_path      where its file is, also once a link to it was switched
    registry         the live shapes of the source, read from the store's file
    source_look      one look at the source, in one transaction; which shapes cannot be followed any further
    source_table     what is to be known of a table there
    routing          which shapes a changed row is of
    template         the where of a shape, parted into form and values, so that one statement serves many shapes
    round_contents   the rows, as the shapes hold them

    registry.load --> BEGIN on the source; P = its newest change; check what was followed, and the triggers
                      keys in (the last round's P, P]; routing; rows; COMMIT
                  --> FollowRound, in one transaction of the store's writer: compare and set; append; or nothing at all

Why it is exact:

- The registry is loaded before the source's transaction begins. So what was published by then was read before, and is
  asked for from the change on as of which it was read. What is published later is left alone, by the transaction that
  writes the round; the next round reaches it.
- A round is written only if no other was since the registry was loaded. So two followers do no harm, and a killed one
  loses nothing: the next one goes on from the file.
- Keys only say what to ask about. A key too much does no harm.
- A refresh and a round that cross each other: see storage/log/live/refreshed.
- The row of the last change that was followed must still be there, with its nonce, and the table with its triggers as
  it was when a shape was read. Else the shape is dropped, and made again by who asks for it.
- A follower has connections of its own, without the collations and functions that the application gives to its own.
  A shape whose where needs one is not followed, also where the application has put it in the place of SQLite's own
  function; one whose rows need one ends; and the others of the source go on.

Everything is bounded: changes and matches of a round, templates, the ring of keys. A round that stops early goes on in
the next one, and is not visible until it is finished.
"""
