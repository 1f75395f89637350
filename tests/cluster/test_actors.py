import pytest

pytest.importorskip("ray")

from ray.exceptions import RayActorError, RayTaskError

from rstar2.cluster.actors import first_line


def raised(cause: Exception) -> RayTaskError:
    """By a call of an actor."""
    return RayTaskError(  # type: ignore[no-untyped-call]
        "RankActor.call", "Traceback ...", cause, proctitle="ray::RankActor", pid=7, ip="127.0.0.1"
    )


def test_an_error_of_a_call_is_told_by_what_it_was_and_one_of_ray_by_its_first_line() -> None:
    full = MemoryError("CUDA out of memory.\nTried to allocate 3 GiB")
    assert first_line(raised(full)) == "MemoryError: CUDA out of memory."
    assert first_line(raised(AssertionError())) == "AssertionError: AssertionError"
    assert first_line(RayActorError(error_msg="it died\nof this")) == "it died"
