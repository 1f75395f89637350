"""Which uids the slots of a pool get."""

from pathlib import Path

from rstar2.sandbox.jail import MOST_WORKERS, _own_uid
from rstar2.sandbox.wire import SlotOrder


def test_workers_and_sessions_of_the_largest_pool_have_uids_of_their_own() -> None:
    folder = Path("/tmp/rstar2-sandbox-abc")
    numbers = [0, 1, 1023, 1024, MOST_WORKERS - 1, MOST_WORKERS, 2 * MOST_WORKERS - 1]
    uids = {_own_uid(SlotOrder(number=number, home=folder / f"{number}")) for number in numbers}
    assert len(uids) == len(numbers)
    assert max(uids) < 1 << 31
