import asyncio
import threading

import pytest

from rstar2.training.threads import in_thread


def test_the_event_loop_goes_on_while_a_thread_works() -> None:
    async def scenario() -> int:
        told = threading.Event()
        work = asyncio.create_task(in_thread(told.wait, 5))
        await asyncio.sleep(0)
        told.set()  # only the loop can end the thread's wait
        assert await work
        return await in_thread(int, "12", base=3)

    assert asyncio.run(scenario()) == 5


def test_a_failure_in_a_thread_is_the_callers() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(in_thread(int, "x"))


def test_a_cancelled_caller_ends_after_its_thread() -> None:
    async def scenario() -> None:
        told = threading.Event()
        work = asyncio.create_task(in_thread(told.wait, 5))
        await asyncio.sleep(0)
        work.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not work.done()
        told.set()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(scenario())
