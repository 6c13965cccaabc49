"""Live shapes in the store's file: which they are, and how a refresh of one is appended beside its rounds.

followed    what makes a shape live: its source, as of when it was read, and which of its rows has which key
refreshed   a refresh, and the rounds that have gone on meanwhile
queries     the statements of these, and of those who follow a source
"""
