"""Shapes as plain values, and all that can be said of them without I/O.

    shape               Shape: a table, a where with its params, and the columns
    comparable          the text that is a shape's key, in a namespace or without
    where/              the language of a where: how it is read, bounded, compared and rendered
    stored_shape        StoredShape: a shape and what is stored for it
    change              Change: what happened to one row of a live shape
    column_description  ColumnDescription: what a source says of a column
    narrowed            narrowed(): fewer of a shape's rows, by a condition that learns nothing of the others
    order               Order: a column that rows are sorted by
    explain             in which fields a shape differs from those that are stored
    row_values          which values a row may hold, and their plain form
    listing             how messages show values and lists of names
    quoting             names and strings in quotes, as SQL spells them

A where has two texts, since a key must not depend on spelling, and what is executed must not depend on sorting:

    as written --> tree --+--> canonical text, sorted --> comparable   what the shape is: its key, compared and stored
                          +--> SQL, in the order written               what a source executes

What must hold:

- Two shapes that could have different rows never have the same key. Values of different types are different, and
  what databases do not read alike is refused.
- A key is the whole text, never a hash. Keys of different namespaces are never equal.
- What can never be executed, or is not bounded in what it may compute, is refused when the Shape is made, and never
  later by a database.
- A Shape, a StoredShape and a Change are immutable. A Shape is made for each request: the usual case takes 4 us.
- An error says which field is not acceptable, why, and what to write instead; it shows any value in one short line.
"""
