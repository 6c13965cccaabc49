"""How long an import takes, in milliseconds: ``python -m benchmark.importing MODULE``. Itself it imports nothing."""

import sys
import time

if __name__ == "__main__":
    begun = time.perf_counter()
    __import__(sys.argv[1])
    print((time.perf_counter() - begun) * 1e3, flush=True)
