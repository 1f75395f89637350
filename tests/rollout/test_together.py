import asyncio

import pytest

from rstar2.rollout.together import together


async def rounds(number: int) -> None:
    """Of the event loop, so that no clock has a say."""
    for _ in range(number):
        await asyncio.sleep(0)


async def work(number: int, ended: list[int], *, fails: bool = False, clean_up: int = 0) -> int:
    """Takes as many rounds as its number says, and then those of its clean-up."""
    try:
        if fails:
            raise ValueError(f"work {number}") from OSError("why")
        await rounds(number)
        return number
    finally:
        await rounds(clean_up)
        ended.append(number)


def test_results_come_in_the_order_of_the_works_not_of_their_ends() -> None:
    ended: list[int] = []
    assert asyncio.run(together(work(n, ended) for n in (30, 10, 20))) == [30, 10, 20]
    assert ended == [10, 20, 30]
    assert asyncio.run(together([])) == []


def test_when_one_fails_the_others_have_ended_before_its_own_error_is_raised() -> None:
    async def scenario() -> None:
        ended: list[int] = []
        works = [work(9000, ended, clean_up=50), work(9001, ended), work(0, ended, fails=True)]
        with pytest.raises(ValueError, match="work 0") as raised:
            await together(works)
        assert sorted(ended) == [0, 9000, 9001]
        assert isinstance(raised.value.__cause__, OSError)

    asyncio.run(scenario())


def test_a_cancellation_waits_for_all_and_breaks_no_clean_up_off() -> None:
    async def scenario() -> None:
        ended: list[int] = []
        inner = together([work(9000, ended, clean_up=50), work(9001, ended)])
        outer = asyncio.create_task(together([inner, together([work(9002, ended)])]))
        await rounds(5)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert sorted(ended) == [9000, 9001, 9002]

    asyncio.run(scenario())
