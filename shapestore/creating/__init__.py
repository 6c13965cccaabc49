"""How a missing shape is created: once, for all callers of all processes.

    coalescer         the table of flights, one a key
    flight            the way of one key to its answer; poll_batch reads for many of them at once
    waiters           the callers who wait on a flight
    attempt           one try: the claim, the creator, an outcome that lands; phase has its transitions
    leader            what an attempt knows of the flight that leads by it
    creator_run       the creator of an attempt is called, and its rows are iterated
    row_sink          where these rows go
    failure           a creator's failure, as it is published, logged and remembered
    slots, timers     the slots of max_creating; the timers of a store
    services          what the flights and attempts of a store share
    error_boundary    an error in a step is raised to the callers

Callers who want the same key in one process share a `Flight`; the `Coalescer` is the table of flights, one a key. A
flight polls the key's rows, in one read of one moment, and does what `decide` (locking/create_lock.py) makes of them:

    get_or_create --> Coalescer.join --> Flight.poll --> decide       by the first line that is true:
                          |                  ^
                      Waiters.add            |      a shape, not the one to be refreshed         Serve
                      (a future and a        |      the attempt that was followed has failed     Raise
                      timer a caller)        |      no lock row                                  Lead
                                             |      in_progress, of this store                   ReleaseOwn
                                             |      in_progress, its owner is alive / dead       Follow / Lead
                                             |      failed, within its TTL / past it, or dead    Raise / Lead
                                             |
       after a pause, or once something has happened: Follow, ReleaseOwn, and Lead while no slot is free

Serve and Raise answer the waiters and end the flight. Lead, with a slot, or once one is granted, makes an `Attempt`.
It has four phases:

    CLAIMING --- claimed ---> CREATING --- ended, timed out, given up ---> LANDING --- committed, void ---> ENDED
     |    |                                                                  ^                                ^
     |    +--- claimed, but given up meanwhile ------------------------------+                                |
     +-------- another attempt was first, or the claim was refused -------------------------------------------+

- CLAIMING: its claim is in the writer's queue.
- CREATING: its lock row is committed. The creator runs (`CreatorRun`), on the event loop or in a thread, and its rows
  are sent to the writer in chunks; those of a refresh are compared with the stored ones first (`RowSink`).
- LANDING: its outcome is decided (publish, publish a difference, fail or abandon). It is sent until it is committed, or
  void because the fencing token no longer holds.
- ENDED: the flight has ended with the answer; or, if there is none, it polls again.

A creator may outlast its attempt, since a thread cannot be stopped. `RunningCreators` knows all that run; each holds
its slot until it has really ended.

What must hold:

- Flights and attempts are not tasks, which could be cancelled. They are steps, each called when something has happened
  (a timer, a granted slot, an answer of the writer). No step waits. Only the creator is a task.
- A key has at most one flight in a store, and a flight at most one attempt. The attempt is there from before its lock
  row is written until after that is gone, so a lock row of ours without an attempt is an orphan and may be released.
- A caller who is cancelled, or whose time is up, leaves its flight and changes nothing else. A flight without callers
  ends at its next poll; an attempt goes on.
- Every waiter is answered once: by the shape, by an error of its own, or by its own deadline.
- A publication ends its flight while the writer still holds the gate. A moment later another process may drop the
  shape, and a caller who comes after that must not be given it.
- An error in a step ends the flight and is raised to its callers (`error_boundary`). It never reaches the event loop
  or the writer, which called the step.
- An outcome that has been decided lands. It is sent again while the disk is full or the gate is held by another, until
  the store closes. The callers of the moment are told at once what is in the way.
- Everything is bounded: keys by `max_in_flight`, attempts and their creators by `max_creating`.

An attempt knows its flight only as a `Leader`; a flight knows the coalescer only by the callable to which it reports
its end.
"""
