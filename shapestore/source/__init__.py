"""Where rows come from: SQLSource, which reads a shape from any database that SQLAlchemy connects to.

One shape is read so:

    sql_engine     URL or Engine -> the Engine; what is wrong with it is said at once, quoting no part of a URL
    snapshot       -> a connection in a transaction that sees one moment and changes nothing
    table          the shape's table -> its place, columns and key, out of the database's own catalogue (catalogue/)
    predicate/     the shape's where -> SQL that means the same in every database, or an error
    query          -> the one statement, every name in it quoted, every column qualified and labelled
    values         the driver's values -> values that a row can hold
    keyed          -> rows, or rows with their keys
    driver_errors  the driver's error in place of SQLAlchemy's, in plain words
    secrets        around all of it: no error leaves with a secret of the URL
    sql_source     all of these together: SQLSource

What always holds:

1. The names of a row are those of the catalogue, never those of a result: drivers and PRAGMAs change the latter.
2. A where selects the same rows in SQLite, PostgreSQL and MariaDB, or is refused; :mod:`predicate` lists what is left
   to the database. What is executed is the where as written, its operands in their order.
3. An Engine's options are honoured, or refused. The one connection of a StaticPool is never used.
4. The source is never written to, and no file is created.
5. No message, repr, log or row has a secret of the URL in it, wherever in the URL it stands.
6. Rows are fetched in batches; closing the iterator ends the transaction and gives the connection back.

Creators of another kind have two modules here: :mod:`creator` says what a creator is, and how the store learns more
from it than rows; :func:`keyed` names the key of its rows. SQLAlchemy is imported with the first use of SQLSource, not
with shapestore. Beside these, :mod:`column_type` is what a where needs to know of a column, :mod:`suggest` finds names
like a mistyped one, and ``sqlite_feed/`` tells which rows of a SQLite source were written.
"""
