"""Change capture in a SQLite source: triggers that log the keys of the rows that any program writes.

    file            the source's file: its resolved path, connections and transactions of our own; what LIKE and
                    functions mean on those of the application
    columns         columns and unique indexes, as the catalogue tells them
    index_condition the WHERE of a partial index, out of its text
    followed_table  a table as capture sees it: its key, and the unique indexes by which REPLACE removes rows
    refusals        why a table cannot be followed
    changes         the change table: its newest row, and the keys in a part of it
    triggers        the texts of a table's triggers
    installation    install, signature, uninstall
    moment          as of which row of the change table a source was read, for SQLSource

What is put into the source, each part in one transaction::

    shapestore_changes(seq, nonce, tab, k0, k1, k2, k3)   one row for each row that was written: the key, never the row
    shapestore_tables(number, name)                       what ``tab`` stands for; 0 is a marker of the application's
    shapestore_ring                                       a trigger that keeps the last 1,000,000 rows
    shapestore_TOKEN_...                                  the triggers of a table, with one random token an installation

Why it is made so:

1. **Only keys.** A trigger that makes JSON of a row fails on blobs and over 63 columns, and so makes the application's
   write fail. One that names a column which is not of a key makes ``DROP COLUMN`` fail. So no column is named that is
   not of the primary key or of a unique index. ``ADD``, ``DROP``, ``RENAME COLUMN`` and ``RENAME TABLE`` work.
2. **A key too much does no harm**, since a follower compares rows. A key too few is a row that stays wrong. Each
   trigger logs more where it cannot be exact.
3. **REPLACE fires no delete trigger.** So before each insert, and each update that changes a column of a unique index,
   the key of the row that holds the new values is logged: under the index's collation, within its condition, and with
   the column's default for a NULL, which REPLACE puts in its place. The rowid counts as a unique index. The primary
   key's own index needs it too, unless values that it takes for equal are the same: 'A' replaced by 'a' under NOCASE is
   another key.
4. **A changed key is two keys.** What counts is the stored value with its type, not the column's collation; and not
   ``UPDATE OF``, which does not fire for ``SET rowid = ...``.
5. **Old keys are logged before the row changes, new ones after it.** The new key is known only then: the rowid, and
   what defaults and other triggers made of it. But where foreign keys are enforced, and a column with a numeric type
   refers to a text like '007', SQLite leaves the number 7 in ``old`` and ``new`` of an AFTER trigger. So a text in a
   new key is read back from the row, by its rowid; and without one it is logged before the write too.
6. **The signature tells.** It stands for the text of the table and the exact texts of its triggers, which name its
   unique indexes. A rebuild of the table, as Django and alembic do it, drops triggers silently, and another process may
   put them back: the token is another one then, and so is the signature. A shape that was read under one signature is
   right as long as the table has it. The number in ``tab`` is another one too: a table that was renamed takes its
   triggers with it, and its keys are not those of the table in its place.
7. **The ring** needs no register of those who read it. One that fell more than 1,000,000 rows behind begins again. The
   newest row is never deleted, so ``seq`` only grows; a ``nonce`` tells a restored file from one that went on.

What triggers do not see: incremental blob writes (``sqlite3_blob_write``), writes of connections that disable triggers,
triggers that were dropped and put back with the same texts, and a row that REPLACE removes since it put a default in
the place of a NULL, if that default is random, or a unique generated column is made of it.

Where the presence of triggers changes what SQLite does, all found by running random statements with and without them:

- ``sqlite3_total_changes`` counts the rows that triggers write.
- ``INSERT OR REPLACE`` into a table with a foreign key to itself that is ``ON DELETE SET NULL``: SQLite overlooks that
  this key must exist, but for tables with an update trigger.
- Under ``PRAGMA recursive_triggers``, and if the table has a delete trigger, REPLACE checks the constraints once more.
  An UPDATE OR REPLACE that has removed a row then fails in some cases, mostly where foreign keys or other triggers
  write to the same table meanwhile.
- A statement that fails half way, not on a constraint but as by a datatype mismatch, is undone as a whole.
- Where only ``shapestore_changes`` was dropped, writes to followed tables fail: ``shapestore unfollow URL`` removes all
  parts. Run it also before a migration that drops a unique index and its column, or that renames a table under ``PRAGMA
  legacy_alter_table``, which does not rewrite triggers.
"""
