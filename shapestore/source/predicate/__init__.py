"""From a shape's where to the predicate that a database executes, with one meaning in all of them.

    as_written            for SQLite
    translated            for databases with typed columns; with functions, substr, pattern (of LIKE) and conversions
    postgresql, mariadb   what a translated where is in each of them; dialect says what that has to tell
    standard              for any other database
    operand, bindings     SQL with what is known of its values; the values that a statement binds

A where means what SQLite makes of it. SQLite itself gets it as written. Other databases give other meanings to the same
text, or none: ``a || b`` is OR on MariaDB, ``7 / 2`` is 3.5 there, ``n IS 7`` is a syntax error outside of SQLite, and
a division by zero is an error of PostgreSQL. So for these the where is translated, operator by operator. For that the
kinds of all values are known: those of columns from the catalogue, those of parameters from their values. Where a
translation is not possible, the where is refused with an InvalidShapeError that says what to write.

================  ==================================================================================================
``a || b``        of text, integers and truth values; of other numbers refused: each database writes them its own way
``a IS b``        PostgreSQL: IS NOT DISTINCT FROM; MariaDB: <=>
``/``             of two integers an integer, towards zero; else of floating-point numbers; by zero NULL
``%``             of two integers, with the sign of the first; else refused; by zero NULL
``+ - *``         of two integers an integer of 64 bits, whose overflow is an error; else floating-point numbers
``LIKE``          without ESCAPE no character escapes; a pattern that ends with its ESCAPE is refused
``length``        in characters
``round``         half away from zero, always a floating-point number; less than 0 digits are 0
``substr``        a start of 0 or less, and a length below 0, as in SQLite; both are literals or parameters
``coalesce``      its arguments are of one kind, as are both of ``nullif`` and what is compared
32 bits           a floating-point number of so many is what it reads as: 0.1 is 0.1, and not 0.10000000149
``'5'``           is a number beside a column that holds numbers; else text
TRUE, FALSE       are 1 and 0 beside a number; a number that stands as a condition is true unless it is 0
================  ==================================================================================================

What stays different, since it is part of how a column is declared:

- Text is compared, and ordered, by the collation of its column: NOCASE in SQLite; ``_ci`` and padding in MariaDB;
  citext and the locale in PostgreSQL. Text that comes from no column is compared by its bytes.
- LIKE ignores the case of ASCII letters in SQLite, and that of all letters in MariaDB under a ``_ci`` collation; it
  minds the case of all letters in PostgreSQL. ``lower`` and ``upper`` change ASCII letters alone in SQLite.
- Decimal numbers are exact, where SQLite has floating-point numbers. Beyond 2^53 a floating-point number and an integer
  are compared as two of the former. A half that a floating-point number cannot hold (2.675) is rounded by its shortest
  decimal digits.
- In SQLite each value has a type of its own, so that a NUMERIC column with 12 in it divides as an integer does.
- Other types (dates, UUIDs, bytes, ...) have none in SQLite: they are compared with a string that spells one.
- A number that is too large is an error, where SQLite has Infinity; NaN equals itself in PostgreSQL.

MySQL is taken for MariaDB. For any other database the where must be of what means the same everywhere
(:mod:`standard`); that is not tested on them.
"""
