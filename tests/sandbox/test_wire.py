"""Messages survive the way."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rstar2.sandbox.wire import INTERRUPT, Ending, Reply, Request, SlotOrder

_BYTES = st.integers(0, 1 << 50)
_SECONDS = st.floats(0, 1e9)


@given(_SECONDS, _BYTES, _BYTES)
def test_a_request_arrives_and_is_never_taken_for_an_interrupt(
    time_limit_s: float, memory_limit_bytes: int, file_limit_bytes: int
) -> None:
    request = Request(
        time_limit_s=time_limit_s,
        memory_limit_bytes=memory_limit_bytes,
        file_limit_bytes=file_limit_bytes,
    )
    assert Request.unpack(request.pack()) == request
    assert len(request.pack()) != len(INTERRUPT)


@given(st.sampled_from(Ending), st.booleans(), st.integers(-64, 255), _SECONDS, _SECONDS)
def test_a_reply_arrives(ending: Ending, reusable: bool, exit_code: int, wall_s: float, cpu_s: float) -> None:
    reply = Reply(ending=ending, reusable=reusable, exit_code=exit_code, wall_s=wall_s, cpu_s=cpu_s)
    assert Reply.unpack(reply.pack()) == reply


@given(st.integers(0, 10**6), st.from_regex(r"/[a-z \u00e9]+", fullmatch=True))
def test_an_order_arrives(number: int, home: str) -> None:
    order = SlotOrder(number=number, home=Path(home))
    assert SlotOrder.unpack(order.pack()) == order
