"""Is shapestore faster than what people would use instead? Run by ``scripts/bench``.

Every module of ``WORKS`` does one kind of work, by shapestore and by its peers, in turns: A B C A B C. So what slows
the machine down for a while slows all of them down, and a figure is a ratio of medians. Each runs in a process of its
own, so that none inherits another's threads, caches or memory.
"""
