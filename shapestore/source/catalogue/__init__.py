"""What tables, columns and primary keys a source has: asked of the database's own catalogue.

    catalogue    the questions
    sqlite       its answers; declared has the types that its columns are declared with
    postgresql, mariadb, other

Names come from the catalogue alone, never from what a driver calls the columns of a
result: drivers cut and change these. Types are read as far as a where needs them, and nothing is reflected: reflection
warns of types that SQLAlchemy does not know.
"""
