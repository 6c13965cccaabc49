"""Print the tracks of an album: a script beside the application, over the same file. Only a miss reads the database."""

import sys

from shapestore import Shape, SQLSource
from shapestore.sync import ShapeStore

with ShapeStore("shapes.db", create=SQLSource("sqlite:///music.db")) as store:
    for row in store.fetch(Shape("track", where="album = :album", params={"album": int(sys.argv[1])})):
        print(row["title"])
