"""A store's file from outside, for the people who operate it and their tools (the command line is one).

    inspector   reads: shapes, rows, locks, owners, outcomes, by one read-only connection
    statements  its SQL, by name
    records     what it returns; each record is built from one row
    sources     the SQLite sources of live shapes: how far they are followed
    doctor/     examines files, database and tables; each finding says what to do
    backup      copies the file while it is in use; the copy is checked before it gets its name
    vacuum      writes, alone, under the write gate: deletes rows of no shape, shrinks the file
    wording     phrases that messages share

What must hold:

- Inspecting changes nothing. It needs no write permission for the file, takes no lock that a store waits for, and
  works beside running, stopped and killed processes, and on a damaged file.
- It opens a database that may be open elsewhere only through SQLite: closing any other descriptor of it would drop
  the locks that SQLite holds on it for this process.
- The operating system tells whether an owner is alive. It is asked again before an owner is reported dead: a store
  may have been closed in between.
- A reader holds no transaction between two batches of rows, so checkpoints go on beside a slow one.
- Only ``statements`` and ``records`` know the tables' columns; ``doctor`` knows the invariants among them.
"""
