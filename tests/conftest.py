"""For all tests: one torch thread, so that test processes side by side do not fight over the cores.

Properties are tried on fewer examples than hypothesis would by itself, so that the unit tests take a minute;
`--hypothesis-profile=thorough`, as in `make test`, tries many. How long an example takes decides nothing: on
a busy machine any of them can be slow.
"""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OMP_NUM_THREADS", "1")

_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=_UNTIMED, max_examples=25)
settings.register_profile("thorough", parent=_UNTIMED, max_examples=100)
settings.load_profile("quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests with vLLM run only where `-m` speaks of them: in the environment that has it (make test-vllm)."""
    if "vllm" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("vllm")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Libraries and tests stay to the end: to look through them for garbage again and again is in vain."""
    gc.collect()
    gc.freeze()
