import asyncio

import pytest

from rstar2.rollout.together import together


async def work(number: int, ended: list[int], *, fails: bool = False, clean_up_s: float = 0.0) -> int:
    try:
        if fails:
            raise ValueError(f"work {number}") from OSError("why")
        await asyncio.sleep(0.001 * number)
        return number
    finally:
        await asyncio.sleep(clean_up_s)
        ended.append(number)


def test_results_come_in_the_order_of_the_works_not_of_their_ends() -> None:
    ended: list[int] = []
    assert asyncio.run(together(work(n, ended) for n in (3, 1, 2))) == [3, 1, 2]
    assert ended == [1, 2, 3]
    assert asyncio.run(together([])) == []


def test_when_one_fails_the_others_have_ended_before_its_own_error_is_raised() -> None:
    ended: list[int] = []
    works = [work(9000, ended, clean_up_s=0.02), work(9001, ended), work(0, ended, fails=True)]
    with pytest.raises(ValueError, match="work 0") as raised:
        asyncio.run(together(works))
    assert sorted(ended) == [0, 9000, 9001]
    assert isinstance(raised.value.__cause__, OSError)


def test_a_cancellation_waits_for_all_and_breaks_no_clean_up_off() -> None:
    async def scenario() -> None:
        ended: list[int] = []
        inner = together([work(9000, ended, clean_up_s=0.02), work(9001, ended)])
        outer = asyncio.create_task(together([inner, together([work(9002, ended)])]))
        await asyncio.sleep(0.005)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert sorted(ended) == [9000, 9001, 9002]

    asyncio.run(scenario())
