"""For all tests: one torch thread, so that test processes side by side do not fight over the cores."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
