import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rstar2.errors import LearnerError
from rstar2.grpo.loss import policy_loss
from rstar2.learner.learner import TorchLearner
from rstar2.models.loading import build_tiny, load_model
from rstar2.models.packed_attention import use_packed_attention
from rstar2.ports import Objective, OptimizerKind
from rstar2.types import TrainSample
from rstar2.weights import MemoryChannel

VOCAB = 97


def learner(micro_batch_tokens: int = 1000, **options: object) -> TorchLearner:
    model = build_tiny(
        vocab_size=VOCAB, hidden_size=30, num_layers=2, num_heads=6, num_kv_heads=3,
        head_dim=10, mlp_size=53, max_positions=64, seed=0,
    )  # fmt: skip
    return TorchLearner(model, micro_batch_tokens=micro_batch_tokens, **options)  # type: ignore[arg-type]


def group(rng: random.Random, group_id: str, prompt_length: int, size: int) -> list[TrainSample]:
    prompt = [rng.randrange(VOCAB) for _ in range(prompt_length)]
    return [
        TrainSample(
            token_ids=(*prompt, *(rng.randrange(VOCAB) for _ in range(length))),
            loss_mask=(*[False] * prompt_length, *(i % 4 != 2 for i in range(length))),
            logprobs=(*[0.0] * prompt_length, *(0.0 if i % 4 == 2 else -4.5 for i in range(length))),
            advantage=rng.gauss(0.0, 1.0),
            prompt_length=prompt_length,
            group_id=group_id,
        )
        for length in (rng.randint(1, 9) for _ in range(size))
    ]


def batch() -> list[TrainSample]:
    rng = random.Random(0)
    return [*group(rng, "a", 7, 3), *group(rng, "b", 1, 2), *group(rng, "", 5, 2)]


def unshared(samples: list[TrainSample]) -> list[TrainSample]:
    return [replace(s, group_id="") for s in samples]


def gradient(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def gradients(learner: TorchLearner) -> list[Tensor]:
    """Grows with every step by the gradient that it moved by, which the learner itself drops."""
    seen: list[Tensor] = []
    ((optimizer, _),) = learner._optimizer._parts
    optimizer.register_step_pre_hook(lambda *_: seen.append(gradient(learner.model)))
    return seen


def weights(learner: TorchLearner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.model.parameters()])


def plain_logprobs(learner: TorchLearner, sample: TrainSample) -> Tensor:
    """Of every token but the first, by the model's own whole logits on this sequence alone."""
    learner.model.set_attn_implementation("sdpa")
    token_ids = torch.tensor(sample.token_ids)
    logits = learner.model(input_ids=token_ids[None]).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, token_ids[1:, None])[:, 0]


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("micro_batch_tokens", [1, 23, 1000])
@pytest.mark.parametrize("is_shared", [True, False])
def test_the_gradient_is_that_of_the_plain_model_however_it_is_packed(
    objective: Objective, micro_batch_tokens: int, is_shared: bool
) -> None:
    """With one update per batch the policy gradient is REINFORCE's: the gradient of -sum(A logp) / tokens."""
    samples = batch() if is_shared else unshared(batch())
    ours, plain = learner(micro_batch_tokens, grad_clip=float("inf")), learner()
    found = gradients(ours)
    report = ours.step(samples, objective=objective, lr=0.0)
    num_targets = sum(sum(s.loss_mask) for s in samples)
    total = torch.zeros(())
    for sample in samples:
        weight = sample.advantage if objective is Objective.POLICY else 1.0
        total = total - weight * plain_logprobs(plain, sample)[torch.tensor(sample.loss_mask[1:])].sum()
    (total / num_targets).backward()
    expected = gradient(plain.model)
    torch.testing.assert_close(found, [expected], atol=1e-6, rtol=1e-5)
    assert report["grad_norm"] == pytest.approx(expected.norm().item(), rel=1e-5)
    if objective is Objective.LIKELIHOOD:
        assert report["loss"] == pytest.approx(total.item() / num_targets, rel=1e-5)
    else:
        assert (report["ratio"], report["clip_fraction"]) == (pytest.approx(1.0), 0.0)


def test_sharing_computes_each_prompt_once() -> None:
    samples = batch()
    shared = learner().step(samples, objective=Objective.POLICY, lr=0.0)
    alone = learner().step(unshared(samples), objective=Objective.POLICY, lr=0.0)
    assert alone["num_packed_tokens"] == sum(len(s.token_ids) for s in samples)
    assert shared["num_packed_tokens"] == alone["num_packed_tokens"] - 2 * 7 - 1 * 1


SHARES = batch()[:3], batch()[3:]


def target_logprobs(learner: TorchLearner, samples: list[TrainSample], temperature: float) -> Tensor:
    scores = learner.score([s.token_ids for s in samples], temperature=temperature)
    pairs = [(t.logprob, m) for s, score in zip(samples, scores, strict=True)
             for t, m in zip(score, s.loss_mask[1:], strict=True)]  # fmt: skip
    return torch.tensor([logprob for logprob, is_target in pairs if is_target])


@pytest.mark.parametrize("micro_batch_tokens", [1, 1000])
def test_the_old_policy_of_later_updates_is_the_one_before_the_first(micro_batch_tokens: int) -> None:
    """Ratios compare with it, not with the sampler, and the capped weight corrects the sampler to it."""
    whole, halves = (learner(micro_batch_tokens, importance_cap=1.1) for _ in range(2))
    first, second = SHARES
    old_T = target_logprobs(halves, second, 0.7)
    reports = [halves.step(first, objective=Objective.POLICY, lr=1e-2, temperature=0.7)]
    terms = policy_loss(
        target_logprobs(halves, second, 0.7),
        old_T,
        torch.full_like(old_T, -4.5),
        torch.tensor([s.advantage for s in second for _ in range(sum(s.loss_mask))]),
        denominator=len(old_T), clip_low=0.2, clip_high=0.28, importance_cap=1.1,
    )  # fmt: skip
    report = whole.step(first, second, objective=Objective.POLICY, lr=1e-2, temperature=0.7)
    expected = {"loss": terms.loss} | terms.shares
    assert 0.0 < expected["clip_fraction"] < 1.0
    assert 0.0 < expected["capped_fraction"] < 1.0
    for name, value in expected.items():
        mean = (reports[0][name] + value.item()) / 2
        assert report[name] == pytest.approx(mean, rel=1e-4, abs=1e-6), name
    assert report["num_target_tokens"] == sum(sum(s.loss_mask) for s in batch()) / 2


def test_updates_that_move_nothing_have_a_ratio_of_one() -> None:
    report = learner(23).step(*SHARES, objective=Objective.POLICY, lr=0.0)
    assert (report["ratio"], report["clip_fraction"]) == (pytest.approx(1.0, abs=1e-6), 0.0)


def test_a_share_without_targets_is_no_update() -> None:
    ours, theirs = learner(), learner()
    masked = [replace(s, loss_mask=(False,) * len(s.token_ids)) for s in batch()]
    report = ours.step(masked, batch(), [], objective=Objective.POLICY, lr=1e-2)
    assert report == theirs.step(batch(), objective=Objective.POLICY, lr=1e-2)
    assert torch.equal(weights(ours), weights(theirs))


def test_no_target_is_an_explicit_no_op() -> None:
    policy = learner()
    before = weights(policy)
    masked = [replace(s, loss_mask=(False,) * len(s.token_ids)) for s in batch()]
    for samples in ([], masked):
        report = policy.step(samples, objective=Objective.POLICY, lr=1.0)
        assert report["num_target_tokens"] == 0
    assert torch.equal(weights(policy), before)


@pytest.mark.parametrize("advantage", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(advantage: float) -> None:
    policy = learner()
    before = weights(policy)
    samples = [*batch(), replace(batch()[0], advantage=advantage)]
    with pytest.raises(LearnerError, match="no step was taken"):
        policy.step(samples, objective=Objective.POLICY, lr=1e-2)
    assert torch.equal(weights(policy), before)
    assert policy.step(batch(), objective=Objective.POLICY, lr=1e-2)["grad_norm"] > 0


def test_likelihood_steps_learn_the_sequences() -> None:
    policy = learner()
    losses = [policy.step(batch(), objective=Objective.LIKELIHOOD, lr=1e-2)["loss"] for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]


def test_bfloat16_finds_nearly_the_same_gradient_and_keeps_float32_weights() -> None:
    half, full = learner(bf16=True), learner()
    of_half, of_full = gradients(half), gradients(full)
    for policy in (half, full):
        policy.step(batch(), objective=Objective.LIKELIHOOD, lr=1e-3)
    assert weights(half).dtype == torch.float32
    (rough,), (exact,) = of_half, of_full
    assert torch.cosine_similarity(rough, exact, dim=0) > 0.999
    assert not torch.equal(rough, exact)


@pytest.mark.parametrize("kind", OptimizerKind)
def test_gradients_are_gone_after_the_step(kind: OptimizerKind) -> None:
    """What follows are engines, on the same accelerator: nothing is kept that the next step would not use."""
    policy = learner()
    policy.reset_optimizer(kind)
    assert policy.step(batch(), objective=Objective.POLICY, lr=1e-3)["grad_norm"] > 0
    assert all(p.grad is None for p in policy.model.parameters())


def test_weight_decay_shrinks_matrices_and_leaves_norms_alone() -> None:
    policy = learner(weight_decay=0.1)
    zero = [replace(s, advantage=0.0) for s in batch()]
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    policy.step(zero, objective=Objective.POLICY, lr=0.5)
    for name, parameter in policy.model.named_parameters():
        kept = 1 - 0.5 * 0.1 if parameter.ndim >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept)


def test_scores_are_log_probs_and_entropies_of_the_plain_model() -> None:
    samples = batch()
    scores = learner(micro_batch_tokens=20).score([s.token_ids for s in samples])
    for sample, score in zip(samples, scores, strict=True):
        expected = plain_logprobs(learner(), sample).tolist()
        assert [s.logprob for s in score] == pytest.approx(expected, abs=1e-5)
        assert all(0.0 < s.entropy_nats <= torch.tensor(float(VOCAB)).log() + 1e-5 for s in score)


def test_entropies_are_those_of_a_plain_forward_at_the_temperature_that_was_asked_for() -> None:
    sample = batch()[0]
    for temperature in (1.0, 0.6):
        (score,) = learner().score([sample.token_ids], temperature=temperature)
        plain = learner().model
        plain.set_attn_implementation("sdpa")
        logits = plain(input_ids=torch.tensor([sample.token_ids])).logits[0, :-1]
        expected = torch.distributions.Categorical(logits=logits / temperature).entropy().tolist()
        assert [s.entropy_nats for s in score] == pytest.approx(expected, abs=1e-4)


def test_published_weights_do_not_change_with_the_next_step() -> None:
    policy, channel = learner(), MemoryChannel()
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    policy.publish(channel, 4)
    policy.step(batch(), objective=Objective.POLICY, lr=1e-2)
    published = channel.get(4)
    assert set(published) == set(dict(policy.model.named_parameters()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in published.items())


@pytest.mark.parametrize("kind", list(OptimizerKind))
def test_a_restored_learner_goes_on_bit_for_bit(kind: OptimizerKind, tmp_path: Path) -> None:
    whole, resumed = learner(), learner()
    for policy in (whole, resumed):
        policy.reset_optimizer(kind)
        for _ in range(2):
            policy.step(batch(), objective=Objective.POLICY, lr=1e-2)
    resumed.save(tmp_path)
    resumed = learner()
    resumed.restore(tmp_path)
    for policy in (whole, resumed):
        policy.step(batch(), objective=Objective.POLICY, lr=1e-2)
    assert torch.equal(weights(whole), weights(resumed))
    assert "attn" not in json.dumps(json.loads((tmp_path / "config.json").read_text())).replace(
        "attention", ""
    ), "an exported model must not ask for our attention"


def test_saved_weights_can_be_loaded_as_a_model(tmp_path: Path) -> None:
    policy = learner()
    policy.save(tmp_path)
    model = load_model(tmp_path)
    assert torch.equal(torch.cat([p.flatten() for p in model.parameters()]), weights(policy))


def test_a_reset_optimizer_forgets_its_moments() -> None:
    fresh, used = learner(weight_decay=0.0), learner(weight_decay=0.0)
    used.step(batch(), objective=Objective.POLICY, lr=0.0)
    used.reset_optimizer()
    for policy in (fresh, used):
        policy.step(batch()[:3], objective=Objective.POLICY, lr=1e-2)
    assert torch.equal(weights(fresh), weights(used))


def test_log_probs_are_those_of_the_sampling_temperature() -> None:
    policy = learner()
    sample = batch()[0]
    policy.model.set_attn_implementation("sdpa")
    logits = policy.model(input_ids=torch.tensor(sample.token_ids)[None]).logits[0, :-1]
    tempered = (logits / 0.5).log_softmax(-1)
    exact = (0.0, *tempered.gather(1, torch.tensor(sample.token_ids)[1:, None])[:, 0].tolist())
    use_packed_attention(policy.model)
    sampled = replace(sample, logprobs=exact)
    right = policy.step([sampled], objective=Objective.POLICY, lr=0.0, temperature=0.5)
    wrong = policy.step([sampled], objective=Objective.POLICY, lr=0.0)
    assert right["mismatch_max"] < 1e-4 < 1e-3 < wrong["mismatch_max"]
