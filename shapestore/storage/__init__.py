"""The SQLite file: how it is opened, read, written and migrated."""
