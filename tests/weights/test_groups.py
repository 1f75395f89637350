import pytest
import torch

from rstar2.weights.groups import backend_for, gpu_of, own_address


@pytest.mark.parametrize(
    ("gpus", "backend"),
    [
        (["GPU-a", "GPU-b", "GPU-c"], "nccl"),
        (["GPU-a", "GPU-b", "GPU-a"], "gloo"),
        (["GPU-a", ""], "gloo"),
        (["", ""], "gloo"),
    ],
)
def test_nccl_is_taken_where_each_has_a_gpu_of_its_own(gpus: list[str], backend: str) -> None:
    assert backend_for(gpus) == backend


def test_host_memory_is_no_gpu() -> None:
    assert gpu_of(torch.device("cpu")) == ""


def test_the_address_towards_this_machine_is_the_loopback() -> None:
    assert own_address("127.0.0.1", 80) == "127.0.0.1"
