"""The wheres of clients that speak PostgreSQL, read into wheres of shapes.

    lexer, reader   text -> tokens, one after another
    names           names -> the columns of the one table that may be named
    parser          tokens -> operands, by PostgreSQL's grammar and precedence; the grammar stands at its head
    builder         operators of PostgreSQL -> expressions of a shape's where; with casts and functions
    types, operand  families of types, texts -> values; what is known of an operand
    params, arrays  $1, $2: texts that take the type of what they stand beside; PostgreSQL's array literals
    translate       all of these together: a where and typed params, as a Shape takes them
    order           ORDER BY
    refusal         what is wrong, and where

One where, one shape. ``$1`` is ``:p1``, ``= ANY('{b,a}')`` is an IN whose items are sorted, and needless spelling is
gone; so a definition that comes over HTTP and the same one from Python are one shape. Operands keep their order.

Nothing is executed that is not an expression of a shape's where. A text that is not understood, names a column that is
not allowed, compares values of different types, or has a parameter whose type nothing tells, is refused; the message
says where and why. It names no column that may not be asked for.

A where means what the source makes of it. On SQLite LIKE ignores the case of ASCII letters, as ILIKE does. What
JavaScript writes for a Date (``2024-01-01T00:00:00.000Z``) is compared with a column of type timestamp as the texts
that SQLAlchemy, Django and SQLite itself hold for this moment, and with one of type date as its day; any other text is
compared as it is.
"""
