"""How long an iteration of an engine takes: the larger of reading and multiplying, and an overhead.

    step = overhead + max(weights + kv * context,  token * (rows + prefill) + pair * prefill pairs)

`context` is the sum of the rows' tokens, all of whose keys and values are read; a decoding row is one token
to multiply. While n rows decode, context grows by n a step, so times of many steps have a closed form.
Where nothing overlaps, as on a CPU, the larger of the two becomes their sum.
"""

import math
from dataclasses import dataclass

from rstar2.errors import ConfigError
from rstar2.profiles import Accelerator, ModelShape
from rstar2.rollout.placement.learned import EngineCosts

_BYTES_PER_WEIGHT = 2
"""bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Costs of one engine, seconds."""

    overhead_s: float
    """Per iteration."""
    weights_s: float
    """To read all weights once."""
    kv_s: float
    """To read the keys and values of one token."""
    token_s: float
    """To multiply one token with the weights."""
    pair_s: float = 0.0
    """Attention of one prefilled token to one token before it."""
    overlaps: bool = True
    """Whether reading goes on while multiplying."""

    def step_s(self, *, num_rows: int, context_tokens: int, prefill_tokens: int, prefill_pairs: int) -> float:
        """One iteration that decodes `num_rows` rows and prefills some tokens."""
        compute_s = self.token_s * (num_rows + prefill_tokens) + self.pair_s * prefill_pairs
        read_s = self.weights_s + self.kv_s * context_tokens
        return self.overhead_s + (max(read_s, compute_s) if self.overlaps else read_s + compute_s)

    def decode_s(self, num_steps: int, *, num_rows: int, context_tokens: int) -> float:
        """`num_steps` iterations of the same rows, without prefill.

        Compute bounds the first b of them, reading the others, as context only grows:
        b * token * n + sum over i = b..k-1 of (weights + kv * (context + n * i)).
        """
        num_bound = self._num_compute_bound(num_steps, num_rows, context_tokens)
        num_read = num_steps - num_bound
        read_s = num_read * (
            self.weights_s + self.kv_s * (context_tokens + num_rows * (num_bound + num_steps - 1) / 2)
        )
        return num_steps * self._fixed_s(num_rows) + num_bound * self.token_s * num_rows + read_s

    def steps_begun(self, elapsed_s: float, num_steps: int, *, num_rows: int, context_tokens: int) -> int:
        """Of `num_steps` iterations, those that have begun after `elapsed_s`, at least one.

        Solves decode_s(k) = elapsed for k in the part that it lies in, and rounds up.
        """
        num_bound = self._num_compute_bound(num_steps, num_rows, context_tokens)
        bound_step_s = self._fixed_s(num_rows) + self.token_s * num_rows
        if elapsed_s <= num_bound * bound_step_s:
            return max(1, math.ceil(elapsed_s / bound_step_s - 1e-9))
        # x further steps take slope / 2 * x^2 + first * x seconds
        slope_s = self.kv_s * num_rows
        first_s = (
            self._fixed_s(num_rows)
            + self.weights_s
            + self.kv_s * (context_tokens + num_rows * num_bound)
            - slope_s / 2
        )
        rest_s = elapsed_s - num_bound * bound_step_s
        root = math.sqrt(first_s * first_s + 2 * slope_s * rest_s)
        further = 2 * rest_s / (first_s + root)
        return min(num_steps, max(1, num_bound + math.ceil(further - 1e-9)))

    def _fixed_s(self, num_rows: int) -> float:
        """Of a step, what comes on top of the larger of the two."""
        return self.overhead_s + (0.0 if self.overlaps else self.token_s * num_rows)

    def _num_compute_bound(self, num_steps: int, num_rows: int, context_tokens: int) -> int:
        """How many of the first steps take longer to multiply than to read, where that matters."""
        if not self.overlaps:
            return 0
        spare_s = self.token_s * num_rows - self.weights_s - self.kv_s * context_tokens
        if spare_s <= 0:
            return 0
        per_step_s = self.kv_s * num_rows
        return num_steps if per_step_s == 0 else min(num_steps, math.ceil(spare_s / per_step_s))


def step_times(model: ModelShape, accelerator: Accelerator, *, num_devices: int = 1) -> StepTimes:
    """Of an engine that splits every matrix over `num_devices` (tensor parallelism).

    Each layer then adds up two activations over the devices: 2 (d - 1) / d of their bytes cross the link;
    ConfigError if there is none.
    """
    if num_devices > 1 and not accelerator.link_bytes_per_s:
        raise ConfigError(
            f"{accelerator.name} has no link to others of its kind: an engine cannot take {num_devices} of it"
        )
    bandwidth = accelerator.bandwidth_bytes_per_s * num_devices
    flops_per_s = accelerator.flops_per_s * num_devices
    exchanged_bytes = (
        2 * model.num_layers * model.hidden_size * _BYTES_PER_WEIGHT * 2 * (num_devices - 1) / num_devices
    )
    exchange_s = exchanged_bytes / accelerator.link_bytes_per_s if num_devices > 1 else 0.0
    token_flops = model.forward_flops(1, 0)
    return StepTimes(
        overhead_s=accelerator.step_overhead_s,
        weights_s=_BYTES_PER_WEIGHT * model.num_multiplied_parameters / bandwidth,
        kv_s=model.kv_bytes_per_token() / bandwidth,
        token_s=token_flops / flops_per_s + exchange_s,
        pair_s=(model.forward_flops(1, 1) - token_flops) / flops_per_s,
    )


def engine_costs(times: StepTimes) -> EngineCosts:
    """The same as a policy sees them, which has no clock."""
    return EngineCosts(
        step_reads=(times.overhead_s + times.weights_s) / times.kv_s,
        prefill_reads=times.token_s / times.kv_s,
    )


def kv_capacity_tokens(
    model: ModelShape, accelerator: Accelerator, *, num_devices: int = 1, memory_share: float = 0.8
) -> int:
    """Tokens whose keys and values fit beside the weights, in the share of memory that an engine may use."""
    memory_bytes = memory_share * accelerator.memory_bytes * num_devices
    left_bytes = memory_bytes - _BYTES_PER_WEIGHT * model.num_parameters
    return max(0, int(left_bytes // model.kv_bytes_per_token()))
