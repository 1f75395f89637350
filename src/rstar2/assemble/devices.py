"""What a part computes on, as its section says."""

from typing import Literal

import torch

DeviceType = Literal["cpu", "cuda"]


def device_type(choice: Literal["auto", "cpu", "cuda"]) -> DeviceType:
    """`auto` is a GPU where there is one."""
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return choice
