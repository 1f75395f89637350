"""What one accelerator holds, in bytes, item by item.

Formulas are for dense Llama-like models with flash attention, S learner shards (FSDP: parameters, gradients
and moments all sharded) and D devices per engine (tensor parallelism). Invariant: a budget's items add up to
what it needs. Not counted: fragmentation and the framework itself; an engine's memory share leaves them room.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rstar2.errors import ConfigError
from rstar2.profiles import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is needed, item by item, and what there is."""

    items: tuple[tuple[str, float], ...]
    """(name, bytes)."""
    available_bytes: float

    @property
    def needed_bytes(self) -> float:
        return sum(size for _, size in self.items)

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.available_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerShape:
    """How the learner is laid out."""

    model: ModelShape
    num_shards: int
    master_bytes: int
    """Per value of the weights that the optimizer moves."""
    compute_bytes: int
    """Per value in forward and backward."""
    micro_batch_tokens: int
    """Of one forward; never less than the longest sample."""
    logprob_chunk_tokens: int
    checkpoint_activations: bool
    offload_optimizer: bool
    num_adapter_parameters: int = 0
    """Of LoRA; with any, only they learn."""

    @property
    def num_frozen_parameters(self) -> int:
        return self.model.num_parameters if self.num_adapter_parameters else 0

    @property
    def num_trained_parameters(self) -> int:
        """Those with gradients and moments."""
        return self.num_adapter_parameters or self.model.num_parameters

    @property
    def resident_bytes(self) -> float:
        """Held also while engines generate: weights and, unless offloaded, the moments."""
        return sum(size for name, size in self.items() if name in ("weights", "moments"))

    def items(self) -> tuple[tuple[str, float], ...]:
        """Of one accelerator at the peak of a step.

        Weights, gradients and Adam's two moments in float32 are 16 bytes per value that learns, as in ZeRO
        (arXiv:1910.02054, section 3.1), and 4 per frozen one; S shards divide them.
        """
        trained = self.num_trained_parameters / self.num_shards
        trained_bytes = self._kept_bytes(self._trained_bytes) * trained
        frozen_bytes = self._kept_bytes(self.master_bytes) * self.num_frozen_parameters / self.num_shards
        return (
            ("weights", frozen_bytes + trained_bytes),
            ("gradients", trained_bytes),
            ("moments", 0.0 if self.offload_optimizer else 2 * self._trained_bytes * trained),
            ("computing copies", self._copies_bytes()),
            ("activations", self._activation_bytes()),
            ("log-probs", self._logprob_bytes()),
        )

    @property
    def host_bytes(self) -> float:
        """Offloaded: master weights, two moments, and gradients (ZeRO-Offload, arXiv:2101.06840)."""
        if not self.offload_optimizer:
            return 0.0
        learning_bytes = 4 * self._trained_bytes * self.num_trained_parameters
        return (learning_bytes + self.master_bytes * self.num_frozen_parameters) / self.num_shards

    @property
    def _trained_bytes(self) -> int:
        """Per value that learns: adapters are float32 whatever the weights are."""
        return 4 if self.num_adapter_parameters else self.master_bytes

    def _kept_bytes(self, master_bytes: int) -> int:
        """Per value on the accelerator: with an offloaded optimizer only the computing type stays there."""
        return self.compute_bytes if self.offload_optimizer else master_bytes

    def _copies_bytes(self) -> float:
        """Weights in the computing type, beside the shards.

        One shard: a cast copy of every weight that is multiplied, if the types differ (autocast keeps it
        until the pass ends). Several: the layer in use, the next on its way, and the output matrix, gathered.
        """
        model, adapters = self.model, self.num_adapter_parameters
        if self.num_shards == 1:
            return self.compute_bytes * (model.num_multiplied_parameters + adapters) if self._casts else 0.0
        output_matrix = model.vocab_size * model.hidden_size
        layer = model.parameters_per_layer + adapters / model.num_layers
        return self.compute_bytes * (2 * layer + output_matrix)

    @property
    def _casts(self) -> bool:
        """Whether autocast is at work: shards are cast when they are gathered, not in every product."""
        return self.num_shards == 1 and self._kept_bytes(self.master_bytes) != self.compute_bytes

    def _activation_bytes(self) -> float:
        """Stored between forward and backward, and the layer that is being worked on.

        Checkpointed: one input per layer; backward computes one layer again and holds what it saves, and as
        much of gradients. Otherwise: what every layer saves, and the gradients of one.
        """
        model, tokens = self.model, self.micro_batch_tokens
        layer = tokens * saved_bytes_per_layer(model, compute_bytes=self.compute_bytes, casts=self._casts)
        if not self.checkpoint_activations:
            return (model.num_layers + 1) * layer
        residual_bytes = self._kept_bytes(self.master_bytes) if self._casts else self.compute_bytes
        return tokens * model.num_layers * model.hidden_size * residual_bytes + 2 * layer

    def _logprob_bytes(self) -> float:
        """One chunk of logits and, unless it is frozen, the float32 gradient of the output matrix.

        Per logit three float32 values live at once: scaled, log-softmax, and their product for the entropy.
        """
        model = self.model
        chunk = min(self.logprob_chunk_tokens, self.micro_batch_tokens)
        gradient_bytes = 0 if self.num_frozen_parameters else 4 * model.vocab_size * model.hidden_size
        return 3 * 4 * chunk * model.vocab_size + gradient_bytes


def saved_bytes_per_layer(model: ModelShape, *, compute_bytes: int, casts: bool) -> int:
    """What one token leaves for backward in one layer of transformers' code, with flash attention.

    In float32: both norms' inputs and normalised values (4 hidden); queries normalised, rotated and attended
    (3 query widths), keys normalised and rotated, values (3 key widths). In the computing type: the norms'
    outputs (2 hidden), queries and keys as projected, attention's output, and gate, its activation, up and
    their product (4 MLP widths). Under autocast every product keeps a cast copy of its input for itself: 3
    hidden and 1 query width more.
    """
    query, key = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    hidden = model.hidden_size
    in_float32 = 4 * hidden + 3 * query + 3 * key
    computing = 2 * hidden + query + key + 4 * model.intermediate_size
    return 4 * in_float32 + compute_bytes * (computing + (3 * hidden + query if casts else 0))


def adapter_parameters(model: ModelShape, *, rank: int, targets: Sequence[str]) -> int:
    """Of LoRA over all layers: `rank` values per input and per output of each matrix that is a target.

    No targets mean all matrices; ConfigError if one is none of a layer's.
    """
    matrices = model.linear_layers
    names = {target.rpartition(".")[2] for target in targets} or set(matrices)
    if unknown := names - matrices.keys():
        raise ConfigError(
            f"learner.lora.targets: no layer has {', '.join(sorted(unknown))}; it has {', '.join(matrices)}"
        )
    return model.num_layers * rank * sum(sum(matrices[name]) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineShape:
    """How an engine is laid out."""

    model: ModelShape
    num_devices: int
    bytes_per_value: int
    """Of weights, keys and values."""
    kv_tokens: int
    max_running: int
    prefill_tokens: int = 4096
    """Of one forward."""
    positions_per_token: int = 1
    """For which memory is taken, of each of `kv_tokens`."""

    @property
    def weight_bytes(self) -> float:
        """Per device."""
        return self.bytes_per_value * self.model.num_parameters / self.num_devices

    @property
    def kv_bytes_per_token(self) -> float:
        """Per device, of `kv_tokens`. Keys and values are split by head, of which none is halved."""
        split = min(self.num_devices, self.model.num_kv_heads)
        return self.positions_per_token * self.model.kv_bytes_per_token(self.bytes_per_value) / split

    @property
    def working_bytes(self) -> float:
        """Of one forward: the widest layer's values (gate, up, product; two hidden), and float32 logits."""
        model = self.model
        values = self.prefill_tokens * (3 * model.intermediate_size + 2 * model.hidden_size)
        return (self.bytes_per_value * values + 4 * self.max_running * model.vocab_size) / self.num_devices

    def items(self) -> tuple[tuple[str, float], ...]:
        """Of one device while it generates."""
        return (
            ("engine weights", self.weight_bytes),
            ("keys and values", self.kv_bytes_per_token * self.kv_tokens),
            ("engine workspace", self.working_bytes),
        )

    def kv_room_tokens(self, available_bytes: float) -> int:
        """Most tokens whose keys and values fit into what is available to the engine on each device."""
        room = available_bytes - self.weight_bytes - self.working_bytes
        return max(0, int(room // self.kv_bytes_per_token))
