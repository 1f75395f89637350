"""How a policy is cut into shards, by PyTorch's FSDP2: one unit per layer, one for everything else.

The shards that a rank owns are the float32 master weights. A unit is gathered from all ranks just before it
computes, and dropped afterwards; its gradient is summed over the ranks and each keeps its own shard of it.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from rstar2.learner.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """Where the shards lie, and what is given up for memory."""

    mesh: DeviceMesh
    """One dimension: the ranks that the parameters are cut over."""
    checkpoint_activations: bool = False
    """Keep only the input of each layer, and compute the layer again in backward."""
    offload_optimizer: bool = False
    """Keep master weights, gradients and moments in host memory, and take the optimizer's step there.

    On GPUs the process group then needs a CPU backend, too: `cpu:gloo,cuda:nccl`.
    """

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        is_cpu = self.mesh.device_type == "cpu"
        return torch.device("cpu") if is_cpu else torch.device("cuda", torch.cuda.current_device())

    @property
    def home(self) -> torch.device:
        """Where this rank's shards lie between steps."""
        return torch.device("cpu") if self.offload_optimizer else self.device

    @property
    def group(self) -> dist.ProcessGroup:
        return self.mesh.get_group()

    @property
    def rank(self) -> int:
        return self.mesh.get_local_rank()

    @property
    def num_ranks(self) -> int:
        return self.mesh.size()


def shard(policy: Policy, sharding: Sharding, *, bf16: bool) -> None:
    """Cut the policy in place. With `bf16`, units are gathered and compute in bfloat16; sums stay float32."""
    policy.float()  # what is cut here is what the optimizer moves
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    is_gpu = sharding.device.type == "cuda"
    offload = CPUOffloadPolicy(pin_memory=is_gpu) if sharding.offload_optimizer else OffloadPolicy()
    for module in (*_layers(policy, sharding.checkpoint_activations), policy):
        # The root is resharded after forward, too, so that shards are what is registered between steps.
        unit = fully_shard(
            module,
            mesh=sharding.mesh,
            reshard_after_forward=True,
            mp_policy=precision,
            offload_policy=offload,
        )
        unit.set_gradient_divide_factor(1.0)  # the loss was divided by the whole step's denominator
        unit.set_force_sum_reduction_for_comms(True)


def _layers(policy: Policy, checkpoint_activations: bool) -> list[torch.nn.Module]:
    """What the model itself declares as its layers."""
    names = policy.model._no_split_modules or ()
    layers = [module for module in policy.model.modules() if type(module).__name__ in names]
    if checkpoint_activations:
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return layers
