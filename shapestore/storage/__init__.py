"""The SQLite file: what lies beside it, how it is opened, read, written and migrated.

    path            the one true name of the file; what a store finds beside it, and refuses if it is not a store's
    migrations      the schema's revision, and the way to the newest one; alembic only where there is something to do
    connection      three connections: one that writes, one for point reads on the event loop's thread, one for pages
    writer          the only one that writes: a bounded queue of commands, whole batches, one transaction each
    wal             the write-ahead log: when it is synced, and copied into the database
    commands/       what can be asked of the writer, and what each does inside the batch's transaction
    transaction     BEGIN IMMEDIATE, the work, COMMIT; or nothing at all
    reader          point reads; page_reader, whatever takes longer, on a thread of its own
    from_row        what the columns of a row mean
    queries         every hot statement, by name; drop_queries, those about what goes and what is kept
    log/            the rows of each shape and their changes: chunks, difference, rounds, compaction, positions
    schema/         the tables, as alembic compares them with its revisions, and the views for people
    row_codec       rows as JSON
    readers         which shapes are read, for eviction; and what is kept for those who read or wait for long
    sqlite_errors   what an error of SQLite means to the caller of a store

What must hold:

- Only the writer writes, and only under the gate. SQLite's own locks stay on, for programs that are not ours.
- No connection makes a checkpoint by itself. The writer does, under the gate, or leaves it to Litestream.
- Everything that changes together is one transaction. A process killed at any point leaves all of it or nothing.
- The file is opened by SQLite alone. To open and close it, or its -shm, by other means in the same process would drop
  the locks that SQLite holds there.
- A file that is not a store's is refused before anything is changed, or made beside it.
- What is read was written by this library: where it makes no sense, the file is damaged, and that is said.
"""
