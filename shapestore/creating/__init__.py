"""How a missing shape is created: once, for all callers of all processes.

Callers who want the same key in one process share a `Flight`; the `Coalescer` is the table of flights, one a key. A
flight polls the key's rows and does what `decide` (locking/create_lock.py) makes of them:

    get_or_create                        +----------- poll again, after a pause -----------+
         |                               v                                                 |
    Coalescer.join ------------------> poll --> decide --+--> Follow       another store's attempt is in flight
         |                               ^               +--> Serve        the shape is there: answer the waiters
    Waiters.add: one future a caller     |               +--> Raise        its failure is the answer
                                         |               +--> ReleaseOwn   a lock row of ours without a flight
                                         |               +--> Lead         take a slot of `max_creating`, then
                                         |                     |
                                         |                     v
                                         |   CLAIMING --> CREATING --> LANDING --> ENDED             the Attempt
                                         |      |                         ^          |
                                         |      +---- given up meanwhile -+          +--> the shape, or the failure:
                                         |                                           |    answer the waiters
                                         +---- another was first, or superseded -----+

An `Attempt` has four phases:

- CLAIMING: its claim is in the writer's queue.
- CREATING: its lock row is committed. The creator runs (`CreatorRun`), on the event loop or in a thread, and its rows
  are sent in chunks.
- LANDING: its outcome is decided (publish, fail or abandon). It is sent until it is committed, or void because the
  fencing token no longer holds.
- ENDED: nothing more happens.

A creator may outlast its attempt, since a thread cannot be stopped. `RunningCreators` knows all that run; each holds
its slot until it has really ended.

What must hold:

- Flights and attempts are not tasks, which could be cancelled. They are steps, each called when something has happened
  (a timer, a free slot, an answer of the writer). No step waits. Only the creator is a task.
- A key has at most one flight in a store, and a flight at most one attempt. The attempt is there from before its lock
  row is written until after that is gone, so a lock row of ours without an attempt is an orphan and may be released.
- A caller who is cancelled, or whose time is up, leaves its flight and changes nothing else. A flight without callers
  ends at its next poll; an attempt goes on.
- Every waiter is answered once: by the shape, by an error of its own, or by its own deadline.
- An error in a step ends the flight and is raised to its callers (`error_boundary`). It never reaches the event loop
  or the writer, which called the step.
- An outcome that has been decided lands. It is sent again while the disk is full or the gate is held by another, until
  the store closes. The callers of the moment are told at once what is in the way.
- Everything is bounded: keys by `max_in_flight`, attempts and their creators by `max_creating`.

`Services` is what flights and attempts share: the reader, the writer, timers, slots. The attempt knows its flight only
as a `Leader`; the flight knows the coalescer only by the callable to which it reports its end.
"""
