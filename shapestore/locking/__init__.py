"""Who may write, who is alive, and who leads: kernel locks, and what a lock row means.

Three questions are answered here, none of them by a clock. Ages are needed elsewhere, and come from `boot_clock`.

- **Who may write?** The process that holds the gate (`gate`), a lock on the file PATH-gate. Every write transaction,
  checkpoint and migration of every process holds it, so they take turns, and no checkpoint runs beside a commit.
- **Who is alive?** An open store is an owner (`owner`). It holds one lock on its own file in PATH-owners, and one on a
  byte of the database's folder. Other processes probe both; the kernel releases them when the process ends in whatever
  way. A lock that is held, or cannot be probed, means alive.
- **Who leads?** The store whose attempt bears the handle that the lock row in the database bears (`create_lock`, which
  has the states and their rules). The handle (`handles`) is random and never used twice, and so is a fencing token.

`file_lock` and `folder_lock` are the two kinds of kernel locks. Both belong to a descriptor, not to a process, so two
stores in one process are as separate as two processes, and a forked child closes its copies at once.

Any program may have put files into a store's folder. A file is used as a lock only if it is a regular file; a link is
not followed; an owner file is removed only if its name and its content have our form, and its lock is free.

SQLite's own locks belong to a process, and it takes for granted that it still has them: so a forked child must not open
what its parent had open (`fork_guard`).
"""
