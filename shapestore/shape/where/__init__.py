"""The language of a where: one boolean expression over the columns of one table.

    lexer        text --> tokens
    parser       tokens --> tree; the grammar stands at its head
    nodes        the nodes of the tree, and how they are joined
    canonical    tree --> the one text that all spellings share
    limits       tree --> whether it can run, and computes a bounded amount
    render       tree --> SQL of a database, in the order written
    cache        the texts read last, in a bounded number of bytes
    where        all of these together: parse_where()

The language is the part of SQL that SQLite, PostgreSQL and MariaDB read alike: comparisons, IS, IN, BETWEEN, LIKE, AND,
OR, NOT, CASE WHEN, arithmetic, ||, and a dozen functions. Subqueries, comments, qualified names and statements are
refused by the lexer or the parser, at their character; so no text that gets through can be anything but an expression.

Soundness of the canonical text. It changes only what cannot change the meaning: white space, the case of keywords and
functions, quotes, parentheses that group nothing, ``==`` and ``!=``, a NOT before an operator with a NOT of its own,
the order and repetition of the operands of AND and OR and of the items of IN. It keeps everything else apart:
``a + b`` and ``b + a``, ``1`` and ``1.0``, ``"A"`` and ``"a"``. Property tests compare it with what SQLite makes of
the original. No simplification goes further. sqlglot's, for one, makes ``a = 2`` of ``1 + a = 3``, and in SQLite these
match different rows.
"""
