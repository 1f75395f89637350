"""Ranks of a sharded learner against the learner in one process.

The first half runs on a single rank in this process. The second starts four ranks once, lets 1, 2 and 4 of
them train the same five steps, and compares what they report.
"""

import multiprocessing
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.multiprocessing import start_processes

from rstar2.errors import CheckpointError
from rstar2.learner.fsdp import FsdpLearner
from rstar2.learner.learner import TorchLearner
from rstar2.learner.shard_files import Header, write_header
from rstar2.learner.sharding import Sharding
from rstar2.models.loading import build_tiny, load_model
from rstar2.ports import Objective, OptimizerKind
from rstar2.types import TrainSample
from rstar2.weights import MemoryChannel

VOCAB = 97
LR = 1e-3
NUM_STEPS = 5

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
    return TorchLearner(tiny(), micro_batch_tokens=24, old_logprobs="sampled")


def sharded(
    mesh: DeviceMesh, *, micro_batch_tokens: int = 24, bf16: bool = False, **memory: bool
) -> FsdpLearner:
    sharding = Sharding(mesh=mesh, **memory)
    return FsdpLearner(
        tiny(), sharding, micro_batch_tokens=micro_batch_tokens, bf16=bf16, old_logprobs="sampled"
    )


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


def steps(learner: TorchLearner, numbers: Sequence[int], **options: bool) -> list[dict[str, float]]:
    """Metrics of each step."""
    batches = [rollouts(number, **options) for number in numbers]
    return [dict(learner.step(b, objective=Objective.POLICY, lr=LR).metrics) for b in batches]


def weights(learner: TorchLearner) -> dict[str, Tensor]:
    """Whole, by name, as engines get them; empty but on the first rank."""
    channel = MemoryChannel()
    learner.publish(channel, 0)
    return dict(channel.get(0)) if channel._versions else {}


def logprobs(learner: TorchLearner) -> list[float]:
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
    (rough,), (exact,) = steps(half, [0]), steps(full, [0])
    assert rough["grad_norm"] == pytest.approx(exact["grad_norm"], rel=0.02)
    assert rough["grad_norm"] != exact["grad_norm"]
    assert {t.dtype for t in weights(half).values()} == {torch.float32}
    gradients = [
        torch.cat([p.grad.full_tensor().flatten() for p in x.model.parameters()]) for x in (half, full)
    ]
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
    "1 rank": (1, {}),
    "2 ranks": (2, {}),
    "4 ranks": (4, {}),
    "4 ranks, every sample alone": (4, {"micro_batch_tokens": 1}),
    "4 ranks, one round": (4, {"micro_batch_tokens": 1000}),
    "2 ranks, unshared prompts": (2, {"is_shared": False}),
    "2 ranks, less memory": (2, {"checkpoint_activations": True, "offload_optimizer": True}),
    "4 ranks, muon": (4, {"kind": OptimizerKind.MUON}),
}
"""Number of ranks, and what is unusual."""

RESUMED = (4, 1)
"""Numbers of ranks that go on from what two ranks saved."""


@dataclass
class Trained:
    """What the first rank has to say."""

    reports: list[dict[str, float]]
    weights: dict[str, Tensor]


@dataclass
class Results:
    """What four processes found out."""

    trained: dict[str, Trained]
    """By the name of the case."""
    scores: list[float]
    """By four ranks, of the first step's rollouts."""


def train(
    mesh: DeviceMesh, *, kind: OptimizerKind = OptimizerKind.ADAMW, is_shared: bool = True, **options: object
) -> Trained:
    learner = sharded(mesh, **options)
    learner.reset_optimizer(kind)
    return Trained(steps(learner, range(NUM_STEPS), is_shared=is_shared), weights(learner))


def save_midway(mesh: DeviceMesh, folder: Path) -> Trained:
    """Save after three of the five steps, and go on."""
    learner = sharded(mesh)
    reports = steps(learner, range(3))
    learner.save(folder)
    return Trained(reports + steps(learner, range(3, NUM_STEPS)), weights(learner))


def resume(mesh: DeviceMesh, folder: Path) -> Trained:
    learner = sharded(mesh)
    learner.restore(folder)
    return Trained(steps(learner, range(3, NUM_STEPS)), weights(learner))


def as_rank(rank: int, folder: Path) -> None:
    """One of four processes: takes part in the cases that have so many, and the first writes them down."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), NUM_RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=NUM_RANKS)
    meshes = {size: DeviceMesh("cpu", list(range(size))) for size in (1, 2, 4)}
    jobs = {name: (size, partial(train, **options)) for name, (size, options) in CASES.items()}
    jobs["saved"] = (2, partial(save_midway, folder=folder / "checkpoint"))
    jobs |= {f"resumed on {size}": (size, partial(resume, folder=folder / "checkpoint")) for size in RESUMED}
    trained = {}
    for name, (size, work) in jobs.items():
        if rank < size:
            trained[name] = work(meshes[size])
        dist.barrier()
    scores = logprobs(sharded(meshes[4]))
    with pytest.raises(CheckpointError):  # on every rank, or the others would wait for the first
        sharded(meshes[4]).restore(folder / "without model")
    if rank == 0:
        with (folder / "results.pickle").open("wb") as file:
            pickle.dump(Results(trained, scores), file)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "checkpoint").mkdir()
    (folder / "without model").mkdir()
    write_header(folder / "without model", Header(kind=OptimizerKind.ADAMW, has_state=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))  # so that children can import this module
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        multiprocessing.set_forkserver_preload(["rstar2.learner.fsdp"])  # torch is imported once for all
        start_processes(as_rank, (folder,), nprocs=NUM_RANKS, start_method="forkserver")
    with (folder / "results.pickle").open("rb") as file:
        return pickle.load(file)


@cache
def reference(kind: OptimizerKind, is_shared: bool) -> Trained:
    """The same steps by the learner in one process."""
    learner = local()
    learner.reset_optimizer(kind)
    return Trained(steps(learner, range(NUM_STEPS), is_shared=is_shared), weights(learner))


def assert_same_losses(ours: list[dict[str, float]], theirs: list[dict[str, float]], bound: float) -> None:
    for name in ("loss", "entropy_nats", "ratio", "mismatch", "grad_norm"):
        expected = pytest.approx([r[name] for r in theirs], rel=bound, abs=bound)
        assert [r[name] for r in ours] == expected, name


@pytest.mark.integration
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_ranks_trains_as_one_process_does(results: Results, case: str) -> None:
    options = CASES[case][1]
    kind = OptimizerKind(options.get("kind", OptimizerKind.ADAMW))
    theirs, ours = reference(kind, bool(options.get("is_shared", True))), results.trained[case]
    bound = MUON_BOUND if kind is OptimizerKind.MUON else BOUND
    assert_same_losses(ours.reports, theirs.reports, bound)
    assert distance(ours.weights, theirs.weights) < bound


@pytest.mark.integration
@pytest.mark.parametrize("num_ranks", RESUMED)
def test_other_numbers_of_ranks_go_on_from_what_two_saved(results: Results, num_ranks: int) -> None:
    whole, resumed = results.trained["saved"], results.trained[f"resumed on {num_ranks}"]
    assert_same_losses(resumed.reports, whole.reports[3:], BOUND)
    assert distance(resumed.weights, whole.weights) < BOUND


@pytest.mark.integration
def test_ranks_share_the_scoring_and_say_how_evenly_they_were_loaded(results: Results) -> None:
    assert results.scores == pytest.approx(logprobs(local()), abs=1e-5)
    many, one = results.trained["2 ranks"].reports, results.trained["1 rank"].reports
    assert all(1.0 <= report["rank_imbalance"] < 1.5 for report in many)
    assert not any("rank_imbalance" in report for report in one)
