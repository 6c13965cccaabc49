"""How old an answer may be, and what is done about one that is too old.

    requests      a caller's request: served from what is stored, or by a flight of its key (creating/)
    policy        an age is judged: fresh, stale or expired (pure)
    background    what was served stale is refreshed once, for all processes, without a caller waiting for it
    polling       what is waited for is refreshed so as soon as it is stale
    touched       an application says which rows of its source may have changed

Invariants: an age counts from the claim of the attempt that confirmed the rows, since the source was read after it. No
wall clock decides within one start of the machine. A caller who has waited for an attempt gets its result, whatever
its age. Which attempt has confirmed the rows is what tells refreshes apart: the handle stays.
"""
