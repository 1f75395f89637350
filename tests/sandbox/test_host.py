"""The probe of the host tells the truth: what it promises is what a pool finds."""

import asyncio

from rstar2.errors import SandboxError
from rstar2.sandbox import WorkerPool, host


def test_the_default_level_can_be_had_exactly_where_the_probe_says_so(runner: asyncio.Runner) -> None:
    features = host.probe_host()
    assert len({feature.name for feature in features}) == len(features) == 5
    is_promised = all(feature.is_available for feature in features if feature.is_required)

    async def starts() -> bool:
        try:
            async with WorkerPool(num_workers=1, libraries=()):
                return True
        except SandboxError:
            return False

    assert runner.run(starts()) == is_promised


def test_every_lack_comes_with_a_remedy() -> None:
    assert all(feature.remedy for feature in host.probe_host())
