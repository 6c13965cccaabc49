"""A shape's rows and their log: how they are read, compared, appended to, compacted and deleted.

A handle names a log: first the rows of its first snapshot, at the positions 1 to ``snapshot``, then changes by key, at
the positions behind them. Rows are updated in place; a change keeps the row as it was before (an undo log). So the
present rows are one range of ids, and the rows as of an older position are the same range with old images put back.

    positions     public positions, and which of them are still accepted
    read          rows as of a position, and the log
    pages         the log as HTTP serves it: parts of the snapshot, then changes with what was before them
    chunks        what a creator gives, encoded and cut into transactions' worth; keys, what tells rows apart, as text
    difference    what a creator gives, compared with what is stored
    live/         live shapes: what they follow, and their refreshes beside rounds
    wanted        what shapes should hold under some keys, compared with what they hold, becomes a round of their logs
    rounds        the numbers of rounds; those of a source may go on for several transactions before they are visible
    compact       a prefix of the log is forgotten; what is pending deletion is deleted, in pieces
    queries       the statements of all of these; compact_queries those of compact, wanted_queries those of wanted and
                  rounds

Invariants: a log grows only at its end. A position that was given out never stands for anything else, not even after
an older copy of the file was put back. A reader sees one moment to its end.
"""
