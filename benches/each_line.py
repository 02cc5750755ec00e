"""A command for take_turns.py: starts it anew for every line on stdin, prints the seconds from start to exit. Standard library only.

    python3 benches/each_line.py COMMAND…
"""

import subprocess
import sys
import time

print(f"ready {' '.join(sys.argv[2:4])}", flush=True)
for _ in sys.stdin:
    began = time.perf_counter()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"{sys.argv[1]} ended with {done.returncode}")
    print(f"{time.perf_counter() - began:.6f}", flush=True)
