"""For all tests: one torch thread, so that test processes side by side do not fight over the cores."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
