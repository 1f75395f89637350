"""Ranks of a sharded learner against the learner in one process.

The first half runs on a single rank in this process. The second starts ranks as processes, lets 1, 2 and 4 of
them train the same five steps, and compares what they report.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from transformers import GraniteConfig, GraniteForCausalLM

from rstar2.errors import CheckpointError, ConfigError
from rstar2.learner.crew import CrewLearner
from rstar2.learner.fsdp import FsdpLearner
from rstar2.learner.learner import TorchLearner
from rstar2.learner.processes import ProcessCrew
from rstar2.learner.shard_files import Header, write_header
from rstar2.learner.sharding import Sharding
from rstar2.models.loading import build_tiny, load_model
from rstar2.ports import Objective, OptimizerKind
from rstar2.types import TrainSample
from rstar2.weights import FolderChannel, MemoryChannel

VOCAB = 97
LR = 1e-3
NUM_STEPS = 5
CAP = 1.05
"""Of importance weights, so that what the sampler said counts: some are cut."""

BOUND = 1e-6
"""Of weights after five steps, which move them by 5 LR, and of metrics on the way: absolute below 1, relative
above. It is eight times the rounding of float32."""
MUON_BOUND = 0.2 * LR
"""Muon's own iteration is in bfloat16, where the last bit of a gradient may decide a rounding: here weights
move by 6 LR, and one process with other micro-batches differs from itself by 0.06 LR."""


def tiny() -> torch.nn.Module:
    """Shapes that four ranks cannot cut evenly."""
    return build_tiny(
        vocab_size=VOCAB, hidden_size=30, num_layers=2, num_heads=6, num_kv_heads=3,
        head_dim=10, mlp_size=53, max_positions=64, seed=0,
    )  # fmt: skip


def local() -> TorchLearner:
    return TorchLearner(tiny(), micro_batch_tokens=24, importance_cap=CAP)


def sharded(
    mesh: DeviceMesh,
    *,
    micro_batch_tokens: int = 24,
    bf16: bool = False,
    checkpoint_dtype: torch.dtype = torch.float32,
    **memory: bool,
) -> FsdpLearner:
    """Only the first rank has a model; that of others has no weights."""
    sharding = Sharding(mesh=mesh, **memory)
    with torch.device("cpu" if mesh.get_local_rank() == 0 else "meta"):
        model = tiny()
    if mesh.get_local_rank() == 0:
        model = model.to(checkpoint_dtype)
    return FsdpLearner(model, sharding, micro_batch_tokens=micro_batch_tokens, bf16=bf16, importance_cap=CAP)


def group(rng: random.Random, group_id: str, prompt_length: int, size: int) -> list[TrainSample]:
    prompt = [rng.randrange(VOCAB) for _ in range(prompt_length)]
    return [
        TrainSample(
            token_ids=(*prompt, *(rng.randrange(VOCAB) for _ in range(length))),
            loss_mask=(*[False] * prompt_length, *(i % 4 != 2 for i in range(length))),
            logprobs=(*[0.0] * prompt_length, *(0.0 if i % 4 == 2 else -4.6 for i in range(length))),
            advantage=rng.gauss(0.0, 1.0),
            prompt_length=prompt_length,
            group_id=group_id,
        )
        for length in (rng.randint(1, 9) for _ in range(size))
    ]


def rollouts(step: int, *, is_shared: bool = True) -> list[TrainSample]:
    rng = random.Random(step)
    samples = [*group(rng, "a", 7, 4), *group(rng, "b", 3, 3), *group(rng, "", 5, 2)]
    return samples if is_shared else [replace(s, group_id="") for s in samples]


def steps(
    learner: TorchLearner | CrewLearner,
    numbers: Sequence[int],
    *,
    is_shared: bool = True,
    num_updates: int = 1,
) -> list[dict[str, float]]:
    """Metrics of each step."""
    batches = [rollouts(number, is_shared=is_shared) for number in numbers]
    shares = [[batch[n::num_updates] for n in range(num_updates)] for batch in batches]
    return [dict(learner.step(*s, objective=Objective.POLICY, lr=LR).metrics) for s in shares]


def weights(learner: TorchLearner) -> dict[str, Tensor]:
    """Whole, by name, as engines get them; empty but on the first rank."""
    channel = MemoryChannel()
    learner.publish(channel, 0)
    return dict(channel.get(0)) if channel._versions else {}


def logprobs(learner: TorchLearner | CrewLearner) -> list[float]:
    """Of all tokens of the first step's rollouts."""
    return [t.logprob for scores in learner.score([s.token_ids for s in rollouts(0)]) for t in scores]


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest difference of any weight."""
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


# -- one rank, in this process ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceMesh]:
    """A process group of one."""
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield DeviceMesh("cpu", [0])
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "options", [{}, {"checkpoint_activations": True}, {"offload_optimizer": True}], ids=str
)
def test_one_rank_is_the_learner_in_one_process(alone: DeviceMesh, options: dict[str, object]) -> None:
    ours, theirs = sharded(alone, **options), local()
    for mine, other in zip(steps(ours, [0, 1]), steps(theirs, [0, 1]), strict=True):
        assert mine == pytest.approx(other, rel=1e-5, abs=1e-6)
    assert distance(weights(ours), weights(theirs)) < BOUND


def test_checkpointed_layers_keep_only_their_inputs(alone: DeviceMesh) -> None:
    kept = {}
    for is_on in (False, True):
        sizes: list[int] = []
        learner = sharded(alone, checkpoint_activations=is_on)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, to=sizes: to.append(t.nbytes) or t, lambda t: t
        ):
            steps(learner, [0])
        kept[is_on] = sum(sizes)
    assert kept[True] < 0.5 * kept[False]


def test_scoring_leaves_only_shards(alone: DeviceMesh) -> None:
    ours = sharded(alone)
    assert logprobs(ours) == pytest.approx(logprobs(local()), abs=1e-5)
    assert all(isinstance(p, DTensor) for p in ours.model.parameters())


def test_bfloat16_computes_nearly_the_same_on_float32_masters(alone: DeviceMesh) -> None:
    half, full = sharded(alone, bf16=True), sharded(alone)
    gradients: list[Tensor] = []
    for learner in (half, full):
        ((optimizer, _),) = learner._optimizer._parts
        optimizer.register_step_pre_hook(
            lambda *_, of=learner.model: gradients.append(
                torch.cat([p.grad.full_tensor().flatten() for p in of.parameters()])
            )
        )
    (rough,), (exact,) = steps(half, [0]), steps(full, [0])
    assert rough["grad_norm"] == pytest.approx(exact["grad_norm"], rel=0.02)
    assert rough["grad_norm"] != exact["grad_norm"]
    assert {t.dtype for t in weights(half).values()} == {torch.float32}
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999


@pytest.mark.parametrize("kind", list(OptimizerKind))
@pytest.mark.parametrize("num_before", [0, 2])
def test_a_restored_rank_goes_on_bit_for_bit(
    alone: DeviceMesh, kind: OptimizerKind, num_before: int, tmp_path: Path
) -> None:
    whole, saved = sharded(alone), sharded(alone)
    for learner in (whole, saved):
        learner.reset_optimizer(kind)
        steps(learner, range(num_before))
    saved.save(tmp_path)
    resumed = sharded(alone)
    steps(resumed, [9])  # what it held before is gone
    resumed.restore(tmp_path)
    for learner in (whole, resumed):
        steps(learner, [3, 4])
    assert distance(weights(whole), weights(resumed)) == 0.0


@pytest.mark.parametrize("kind", list(OptimizerKind))
@pytest.mark.parametrize("saved_by", ["rank", "process"])
def test_a_rank_goes_on_from_what_one_process_saved_and_the_reverse(
    alone: DeviceMesh, kind: OptimizerKind, saved_by: str, tmp_path: Path
) -> None:
    saving, going_on = (sharded(alone), local()) if saved_by == "rank" else (local(), sharded(alone))
    saving.reset_optimizer(kind)
    steps(saving, [0, 1])
    saving.save(tmp_path)
    going_on.restore(tmp_path)
    bound = MUON_BOUND if kind is OptimizerKind.MUON else BOUND
    assert_same_losses(steps(going_on, [2, 3]), steps(saving, [2, 3]), bound)
    assert distance(weights(going_on), weights(saving)) < bound


def test_what_is_saved_is_an_ordinary_model(alone: DeviceMesh, tmp_path: Path) -> None:
    ours = sharded(alone)
    steps(ours, [0])
    ours.save(tmp_path)
    assert distance(weights(ours), {n: p.detach() for n, p in load_model(tmp_path).named_parameters()}) == 0.0


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no header": lambda folder: (folder / "optimizer.json").unlink(),
    "format": lambda folder: (folder / "optimizer.json").write_text('{"format": 0, "kind": "adamw"}'),
    "no shards": lambda folder: shutil.rmtree(folder / "optimizer"),
    "no index": lambda folder: (folder / "optimizer/.metadata").unlink(),
    "torn shard": lambda folder: os.truncate(folder / "optimizer/__0_0.distcp", 100),
    "no model": lambda folder: (folder / "config.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("is_rank", [True, False], ids=["rank", "process"])
def test_a_broken_checkpoint_is_refused(
    alone: DeviceMesh, damage: Callable[[Path], object], is_rank: bool, tmp_path: Path
) -> None:
    ours, theirs = sharded(alone), sharded(alone) if is_rank else local()
    steps(ours, [0])
    ours.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError):
        theirs.restore(tmp_path)


# -- many ranks, in processes of their own ---------------------------------------------------------

NUM_RANKS = 4
CASES: dict[str, tuple[int, dict[str, object]]] = {
    "4 ranks, every sample alone": (4, {"micro_batch_tokens": 1}),
    "4 ranks, one round": (4, {"micro_batch_tokens": 1000}),
    "2 ranks, unshared prompts": (2, {"is_shared": False}),
    "2 ranks, less memory": (2, {"checkpoint_activations": True, "offload_optimizer": True}),
    "4 ranks, muon": (4, {"kind": OptimizerKind.MUON}),
    "4 ranks, updates of fewer samples": (4, {"num_updates": 3}),
}
"""Number of ranks, and what is unusual."""


@dataclass
class Trained:
    """What a learner has to say."""

    reports: list[dict[str, float]]
    weights: dict[str, Tensor]


GRANITE = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "logits_scaling": 8.0, "initializer_range": 0.3,
}  # fmt: skip


class Member:
    """One of four ranks, of which so many take part in a case as it says."""

    def __init__(self, rank: int, num_ranks: int) -> None:
        torch.set_num_threads(1)
        self.rank = rank
        self.meshes = {size: DeviceMesh("cpu", list(range(size))) for size in (1, 2, num_ranks)}

    def train(self, case: str) -> Trained | None:
        size, options = CASES[case]
        return train(self.meshes[size], **options) if self.rank < size else None

    def save_midway(self, folder: Path) -> Trained | None:
        """Two ranks save after three of the five steps, and go on."""
        if self.rank >= 2:
            return None
        learner = sharded(self.meshes[2])
        reports = steps(learner, range(3))
        learner.save(folder)
        return Trained(reports + steps(learner, range(3, NUM_STEPS)), weights(learner))

    def resume(self, folder: Path, size: int) -> Trained | None:
        if self.rank >= size:
            return None
        learner = sharded(self.meshes[size])
        learner.restore(folder)
        return Trained(steps(learner, range(3, NUM_STEPS)), weights(learner))

    def score(self) -> list[float]:
        return logprobs(sharded(self.meshes[NUM_RANKS]))

    def train_another_model(self) -> None:
        """Only the first rank can tell."""
        with torch.device("cpu" if self.rank == 0 else "meta"):
            granite = GraniteForCausalLM(GraniteConfig(**GRANITE))
        FsdpLearner(granite, Sharding(mesh=self.meshes[NUM_RANKS]), micro_batch_tokens=24)

    def take_bfloat16(self) -> dict[str, Tensor]:
        return weights(sharded(self.meshes[NUM_RANKS], checkpoint_dtype=torch.bfloat16))

    def restore(self, folder: Path) -> None:
        sharded(self.meshes[NUM_RANKS]).restore(folder)


def train(
    mesh: DeviceMesh,
    *,
    kind: OptimizerKind = OptimizerKind.ADAMW,
    is_shared: bool = True,
    num_updates: int = 1,
    **options: object,
) -> Trained:
    learner = sharded(mesh, **options)
    learner.reset_optimizer(kind)
    reports = steps(learner, range(NUM_STEPS), is_shared=is_shared, num_updates=num_updates)
    return Trained(reports, weights(learner))


def rank_of_all(rank: int, num_ranks: int) -> FsdpLearner:
    torch.set_num_threads(1)
    return sharded(DeviceMesh("cpu", list(range(num_ranks))))


@pytest.fixture(scope="module")
def importable() -> Iterator[None]:
    """Ranks import this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))
        yield


@pytest.fixture(scope="module")
def members(importable: None) -> Iterator[ProcessCrew]:
    with closing(ProcessCrew(Member, NUM_RANKS, hang_limit_s=600)) as crew:
        yield crew


@cache
def reference(kind: OptimizerKind, is_shared: bool, num_updates: int = 1) -> Trained:
    """The same steps by the learner in one process."""
    learner = local()
    learner.reset_optimizer(kind)
    reports = steps(learner, range(NUM_STEPS), is_shared=is_shared, num_updates=num_updates)
    return Trained(reports, weights(learner))


def assert_same_losses(ours: list[dict[str, float]], theirs: list[dict[str, float]], bound: float) -> None:
    for name in ("loss", "entropy_nats", "ratio", "mismatch", "grad_norm"):
        expected = pytest.approx([r[name] for r in theirs], rel=bound, abs=bound)
        assert [r[name] for r in ours] == expected, name


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_any_number_of_ranks_behind_the_port_trains_as_one_process_does(
    num_ranks: int, tmp_path: Path
) -> None:
    channel = FolderChannel(tmp_path / "weights")
    with closing(CrewLearner(ProcessCrew(rank_of_all, num_ranks, hang_limit_s=600))) as learner:
        reports = steps(learner, range(NUM_STEPS))
        learner.publish(channel, 7)
        scores = logprobs(learner)
        learner.export(tmp_path / "model")
    theirs = reference(OptimizerKind.ADAMW, True)
    assert_same_losses(reports, theirs.reports, BOUND)
    assert distance(dict(channel.get(7)), theirs.weights) < BOUND
    exported = {n: p.detach() for n, p in load_model(tmp_path / "model").named_parameters()}
    assert distance(exported, dict(channel.get(7))) == 0.0
    assert len(scores) == sum(len(s.token_ids) - 1 for s in rollouts(0))
    imbalances = [report.get("rank_imbalance", 1.0) for report in reports]
    assert all(1.0 <= imbalance < 1.5 for imbalance in imbalances)
    assert (set(imbalances) == {1.0}) == (num_ranks == 1)


@pytest.mark.integration
@pytest.mark.parametrize("case", CASES)
def test_whatever_is_unusual_ranks_train_as_one_process_does(members: ProcessCrew, case: str) -> None:
    options = CASES[case][1]
    kind = OptimizerKind(options.get("kind", OptimizerKind.ADAMW))
    num_updates = int(options.get("num_updates", 1))
    theirs = reference(kind, bool(options.get("is_shared", True)), num_updates)
    ours = members.call("train", case)[0]
    bound = MUON_BOUND if kind is OptimizerKind.MUON else BOUND * num_updates
    assert_same_losses(ours.reports, theirs.reports, bound)
    assert distance(ours.weights, theirs.weights) < bound


@pytest.mark.integration
def test_other_numbers_of_ranks_go_on_from_what_two_saved(members: ProcessCrew, tmp_path: Path) -> None:
    whole = members.call("save_midway", tmp_path)[0]
    for num_ranks in (4, 1):
        resumed = members.call("resume", tmp_path, num_ranks)[0]
        assert_same_losses(resumed.reports, whole.reports[3:], BOUND)
        assert distance(resumed.weights, whole.weights) < BOUND


@pytest.mark.integration
def test_ranks_share_the_scoring(members: ProcessCrew) -> None:
    for scores in members.call("score"):
        assert scores == pytest.approx(logprobs(local()), abs=1e-5)


@pytest.mark.integration
def test_ranks_take_a_bfloat16_checkpoint_as_it_is(members: ProcessCrew) -> None:
    rounded = {name: p.detach().bfloat16().float() for name, p in tiny().named_parameters()}
    assert distance(members.call("take_bfloat16")[0], rounded) == 0.0


@pytest.mark.integration
def test_a_model_that_the_first_rank_refuses_is_refused_by_all(members: ProcessCrew) -> None:
    with pytest.raises(ConfigError, match="GraniteForCausalLM: log-probs differ"):
        members.call("train_another_model")
    assert len(members.call("score")) == NUM_RANKS


@pytest.mark.integration
def test_a_model_that_only_the_first_rank_misses_is_refused_by_all(
    members: ProcessCrew, tmp_path: Path
) -> None:
    write_header(tmp_path, Header(kind=OptimizerKind.ADAMW, has_state=False))
    with pytest.raises(CheckpointError, match="no causal language model"):
        members.call("restore", tmp_path)
    assert len(members.call("score")) == NUM_RANKS
