"""What the commands print: results for people and for programs, and messages.

output   the streams: escapes, JSON, CSV, tab-separated fields
tables   records as tables, on a terminal fitted into its width
words    the phrases that describe records, and the columns of their tables
rows     the rows of a shape, streamed in any form
"""
