"""How ranks find each other: one process group, before any of them has a model."""

from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

DeviceType = Literal["cpu", "cuda"]


def join(address: str, *, rank: int, num_ranks: int, device_type: DeviceType, hang_limit_s: float) -> None:
    """Meet the others at `tcp://HOST:PORT` of the first rank, or at `file:///PATH` of one machine.

    No collective waits longer than `hang_limit_s`. A rank takes the GPU of its number among those that it
    sees. Beside NCCL it needs gloo, for what stays in host memory.
    """
    if device_type == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    dist.init_process_group(
        "gloo" if device_type == "cpu" else "cpu:gloo,cuda:nccl",
        init_method=address,
        rank=rank,
        world_size=num_ranks,
        timeout=timedelta(seconds=hang_limit_s),
    )
