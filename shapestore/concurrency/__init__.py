"""What the other rooms need of tasks, threads and processes, and neither asyncio nor Python offers.

- `uncancelled`: work that a cancellation must not leave half done.
- `worker_threads`: threads for calls that block, kept for the next one.
- `futures`: resolve a future whose waiter may have gone.
- `interrupts`: an interrupt of the program that is not to end the store's own work.
- `at_fork`: what a forked child must let go of.
- `descriptor`: a file descriptor that is closed once, and in a forked child at once.
- `file_watch`: being told when a file is written.
"""
