"""From a request that was read and checked to its answer.

    answers       a page at once, a page as soon as there is one, or a stream of events
    log_reader    the page of the log that a request asks for; or that its client has to begin again
    kept_pages    pages of snapshots in messages, kept for the clients that come after
    live          waiting for a client: it may go, the time may be up, the server may stop
    next_pages    the pages that live clients wait for, each read once for all who stand at one place
    subsets       some rows of a shape as they are now
    slow_clients  answers in pieces, which a client has to take in time
    stopping      the signal to stop, noticed before the server waits for its answers

A client that must begin again is answered 409 with a handle to begin by. Whether it must is decided by the log alone,
so any worker continues what another began.
"""
