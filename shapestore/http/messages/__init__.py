"""Rows and changes of the store as the messages of Electric's clients.

    messages      the messages of one shape: rows, changes, and where the client stands
    values        a value as PostgreSQL's text
    row_pattern   many rows at once, without decoding them

Rows are stored as JSON, and are JSON in a message too. So nothing is decoded that need not be: a value is taken as the
bytes it is stored as. The quick way of row_pattern says byte for byte what the exact one of messages does.
"""
