"""Memory by hand on a small shape, against what torch really holds, and for the cases people ask about."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rstar2.errors import ConfigError
from rstar2.learner.adapters import Lora
from rstar2.learner.learner import TorchLearner
from rstar2.models.loading import build_tiny
from rstar2.planning.memory import (
    Budget,
    EngineShape,
    LearnerShape,
    adapter_parameters,
    saved_bytes_per_layer,
)
from rstar2.ports import Objective
from rstar2.profiles import ModelShape, model_shape
from rstar2.types import TrainSample

SMALL = ModelShape(
    name="small",
    num_layers=3,
    hidden_size=96,
    num_heads=6,
    num_kv_heads=2,
    head_dim=16,
    intermediate_size=256,
    vocab_size=128,
    tied_embeddings=True,
    query_key_norms=True,
)
LEARNER = LearnerShape(
    model=SMALL,
    num_shards=1,
    master_bytes=4,
    compute_bytes=4,
    micro_batch_tokens=1000,
    logprob_chunk_tokens=100,
    checkpoint_activations=False,
    offload_optimizer=False,
)
ENGINE = EngineShape(model=SMALL, num_devices=1, bytes_per_value=2, kv_tokens=5000, max_running=7)


def small_learner(*, bf16: bool, micro_batch_tokens: int, lora: Lora | None = None) -> TorchLearner:
    model = build_tiny(
        vocab_size=128,
        hidden_size=96,
        num_layers=3,
        num_heads=6,
        num_kv_heads=2,
        head_dim=16,
        mlp_size=256,
        max_positions=micro_batch_tokens,
        seed=0,
    )
    return TorchLearner(model, micro_batch_tokens=micro_batch_tokens, bf16=bf16, lora=lora)


def sample(num_tokens: int) -> TrainSample:
    mask = (False, *[True] * (num_tokens - 1))
    ids = tuple(i % 128 for i in range(num_tokens))
    return TrainSample(token_ids=ids, loss_mask=mask, logprobs=(0.0,) * num_tokens, advantage=1.0)


@pytest.mark.parametrize("rank", [0, 5])
def test_weights_and_moments_are_those_that_torch_allocates(rank):
    lora = Lora(rank=rank, alpha=1) if rank else None
    learner = small_learner(bf16=False, micro_batch_tokens=16, lora=lora)
    parameters = list(learner.model.parameters())

    def gradient_bytes() -> int:
        return sum(p.grad.nbytes for p in parameters if p.grad is not None)

    at_peak: list[int] = []
    ((optimizer, _),) = learner._optimizer._parts
    optimizer.register_step_pre_hook(lambda *_: at_peak.append(gradient_bytes()))
    learner.step([sample(16)], objective=Objective.POLICY, lr=1e-3)
    num_adapter_parameters = adapter_parameters(SMALL, rank=rank, targets=())
    items = dict(replace(LEARNER, num_adapter_parameters=num_adapter_parameters).items())
    assert items["weights"] == sum(p.nbytes for p in parameters)
    assert [items["gradients"]] == at_peak
    assert gradient_bytes() == 0  # while engines generate
    moments = [
        value.nbytes
        for name, value in learner._optimizer.named_state(learner.model).items()
        if name.rpartition(".")[2].startswith("exp_avg")
    ]
    assert items["moments"] == sum(moments)


@pytest.mark.parametrize("lora", [None, Lora(rank=5, alpha=1)], ids=["weights", "adapters"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "autocast"])
def test_activations_are_about_those_that_autograd_saves(bf16, lora):
    """Without the weights, which are saved by reference or counted as copies; frozen norms save less."""
    num_tokens = 1024
    learner = small_learner(bf16=bf16, micro_batch_tokens=num_tokens, lora=lora)
    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if num_tokens in tensor.shape or num_tokens - 1 in tensor.shape:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        (batch,) = learner._micro_batches([sample(num_tokens)])
        kept = learner._policy(batch)
    assert kept[0].requires_grad
    expected = 3 * num_tokens * saved_bytes_per_layer(SMALL, compute_bytes=2 if bf16 else 4, casts=bf16)
    share = sum(saved.values()) / expected
    assert (0.9 if lora is None else 0.8) < share < (1.1 if lora is None else 1.0), share


def test_a_learner_is_counted_by_hand():
    items = dict(LEARNER.items())
    num_parameters = SMALL.num_parameters
    assert items["weights"] == items["gradients"] == 4 * num_parameters
    assert items["moments"] == 8 * num_parameters
    assert items["computing copies"] == 0
    # float32: 4*96 + 3*96 + 3*32 = 768, computing: 2*96 + 96 + 32 + 4*256 = 1344
    assert items["activations"] == 1000 * 4 * (768 + 1344) * 4
    assert items["log-probs"] == 12 * 100 * 128 + 4 * 128 * 96


def test_with_adapters_gradients_and_moments_are_theirs_alone():
    """3 layers x rank 5 x (q, o: 2 (96 + 96); k, v: 2 (96 + 32); gate, up, down: 3 (96 + 256))."""
    assert adapter_parameters(SMALL, rank=5, targets=()) == 3 * 5 * 1696 == 25_440
    learner = replace(LEARNER, master_bytes=2, compute_bytes=2, num_adapter_parameters=25_440, num_shards=3)
    items = dict(learner.items())
    assert items["weights"] == (2 * SMALL.num_parameters + 4 * 25_440) / 3
    assert items["gradients"] == 4 * 25_440 / 3
    assert items["moments"] == 8 * 25_440 / 3
    assert items["computing copies"] == 2 * (2 * (SMALL.parameters_per_layer + 8480) + 128 * 96)
    assert items["log-probs"] == 12 * 100 * 128, "the output matrix has no gradient"
    offloaded = replace(learner, offload_optimizer=True, num_shards=1)
    assert offloaded.host_bytes == 2 * SMALL.num_parameters + 16 * 25_440


def test_adapters_are_counted_where_they_are():
    """Of rank 2 on queries and keys alone: 3 layers x 2 x (96 + 96 + 96 + 32)."""
    assert adapter_parameters(SMALL, rank=2, targets=("self_attn.q_proj", "k_proj")) == 3 * 2 * 320
    with pytest.raises(ConfigError, match="no layer has fc1; it has q_proj, k_proj"):
        adapter_parameters(SMALL, rank=2, targets=("fc1",))


def test_checkpointing_keeps_one_input_per_layer_and_works_on_one_layer():
    learner = replace(LEARNER, checkpoint_activations=True)
    assert dict(learner.items())["activations"] == 1000 * (3 * 96 * 4 + 2 * 4 * (768 + 1344))


def test_shards_divide_what_is_kept_and_gather_two_layers_and_the_output():
    learner = replace(LEARNER, num_shards=4, compute_bytes=2)
    items = dict(learner.items())
    assert items["moments"] == 2 * SMALL.num_parameters
    assert items["computing copies"] == 2 * (2 * SMALL.parameters_per_layer + 128 * 96)


def test_offloading_moves_sixteen_bytes_per_parameter_to_the_host():
    learner = replace(LEARNER, offload_optimizer=True, compute_bytes=2)
    items = dict(learner.items())
    assert (items["weights"], items["moments"]) == (2 * SMALL.num_parameters, 0)
    assert learner.host_bytes == 16 * SMALL.num_parameters


def test_an_engine_is_counted_by_hand():
    items = dict(ENGINE.items())
    assert items["engine weights"] == 2 * SMALL.num_parameters
    assert items["keys and values"] == 5000 * 2 * 3 * 2 * 16 * 2
    assert items["engine workspace"] == 2 * 4096 * (3 * 256 + 2 * 96) + 4 * 7 * 128


@given(available=st.floats(1e6, 1e9), num_devices=st.sampled_from([1, 2, 4]))
def test_the_room_for_keys_and_values_is_filled_and_not_exceeded(available, num_devices):
    engine = replace(ENGINE, num_devices=num_devices)
    for extra, fits in ((0, True), (1, False)):
        room = engine.kv_room_tokens(available)
        items = replace(engine, kv_tokens=room + extra).items()
        assert room == 0 or Budget(items=items, available_bytes=available).fits is fits


def test_keys_and_values_are_split_by_head_and_no_further():
    assert replace(ENGINE, num_devices=4).kv_bytes_per_token == ENGINE.kv_bytes_per_token / 2


def test_7b_at_16k_tokens_fits_one_80_gb_accelerator_only_with_offload_and_checkpoints():
    learner = LearnerShape(
        model=model_shape("Qwen/Qwen2.5-7B"),
        num_shards=1,
        master_bytes=4,
        compute_bytes=2,
        micro_batch_tokens=16_384,
        logprob_chunk_tokens=2048,
        checkpoint_activations=True,
        offload_optimizer=True,
    )

    def fits(shape: LearnerShape) -> bool:
        return Budget(items=shape.items(), available_bytes=80e9).fits

    assert fits(learner)
    assert not fits(replace(learner, offload_optimizer=False))
    assert not fits(replace(learner, checkpoint_activations=False))
    assert learner.host_bytes == pytest.approx(16 * 7.6156e9, rel=1e-4)


def test_the_kv_room_of_14b_on_an_mi300x_is_that_of_the_papers_setting():
    """0.8 of 192 GB less 29.5 GB of weights is 757K tokens of 160 KiB; the workspace takes a little."""
    engine = EngineShape(
        model=model_shape("Qwen/Qwen3-14B"), num_devices=1, bytes_per_value=2, kv_tokens=1, max_running=256
    )
    room = engine.kv_room_tokens(0.8 * 192e9)
    assert room + engine.working_bytes / engine.kv_bytes_per_token == pytest.approx(757_224, abs=2)
