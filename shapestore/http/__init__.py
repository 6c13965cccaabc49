"""Shapes over HTTP, for Electric's own clients.

request     a query string and a JSON body -> what is asked for, checked
parameters  the forms in which parameters come
tables      names of tables and columns -> those that may be asked for
offset      the place in a log from which a client reads on
where/      the where of a client that speaks PostgreSQL -> the where of a shape
invalid     what is answered to a request that is not accepted
"""
