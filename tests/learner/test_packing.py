import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.learner.packing import pack
from rstar2.types import TrainSample

VOCAB = 97


@st.composite
def samples(draw: st.DrawFn) -> list[TrainSample]:
    """Groups of rollouts with shared prompts, and supervised samples without, in any order."""
    token = st.integers(0, VOCAB - 1)
    result: list[TrainSample] = []
    for group_id in draw(st.lists(st.sampled_from(["", "a", "b", "c"]), unique=True, min_size=1)):
        prompt = draw(st.lists(token, min_size=1, max_size=7))
        for _ in range(draw(st.integers(1, 5))):
            response = draw(st.lists(token, min_size=1, max_size=11))
            mask = draw(st.lists(st.booleans(), min_size=len(response), max_size=len(response)))
            mask[-1] = True
            result.append(
                TrainSample(
                    token_ids=(*prompt, *response),
                    loss_mask=(*[False] * len(prompt), *mask),
                    logprobs=(*[0.0] * len(prompt), *[-t / VOCAB for t in response]),
                    advantage=draw(st.sampled_from([-1.5, 0.5, 2.0])),
                    prompt_length=len(prompt),
                    group_id=group_id,
                )
            )
    return draw(st.permutations(result))


@settings(max_examples=40)
@given(samples(), st.integers(1, 60))
def test_packing_then_unpacking_is_identity(batch: list[TrainSample], budget: int) -> None:
    seen = []
    for micro_batch in pack(batch, micro_batch_tokens=budget):
        targets = micro_batch.split(micro_batch.target_T)
        logprobs = micro_batch.split(micro_batch.sampled_logprobs_T)
        advantages = micro_batch.split(micro_batch.advantages_T)
        sources = micro_batch.split(micro_batch.source_T)
        for index in micro_batch.sample_indices:
            sample = batch[index]
            places = [t for t, is_target in enumerate(sample.loss_mask) if is_target]
            assert targets[index].tolist() == [sample.token_ids[t] for t in places]
            assert logprobs[index].tolist() == pytest.approx([sample.logprobs[t] for t in places])
            assert set(advantages[index].tolist()) == {sample.advantage}
            assert micro_batch.positions_N[sources[index]].tolist() == [t - 1 for t in places]
            assert micro_batch.token_ids_N[sources[index]].tolist() == [
                sample.token_ids[t - 1] for t in places
            ]
        seen += micro_batch.sample_indices
    assert sorted(seen) == list(range(len(batch)))


@settings(max_examples=40)
@given(samples(), st.integers(1, 60))
def test_the_layout_holds_every_sequence_whole(batch: list[TrainSample], budget: int) -> None:
    for micro_batch in pack(batch, micro_batch_tokens=budget):
        row, positions = micro_batch.token_ids_N.tolist(), micro_batch.positions_N.tolist()
        families = micro_batch.layout.families
        sequences = [(f.prompt, branch) for f in families for branch in f.branches]
        for index, (prompt, branch) in zip(micro_batch.sample_indices, sequences, strict=True):
            assert tuple(row[prompt] + row[branch]) == batch[index].token_ids
            assert positions[prompt] + positions[branch] == list(range(len(batch[index].token_ids)))
        tiles = [segment for f in families for segment in f.segments]
        assert [t.start for t in tiles] == [0, *(t.stop for t in tiles[:-1])]
        assert tiles[-1].stop == len(row)


@settings(max_examples=40)
@given(samples(), st.integers(1, 60))
def test_the_budget_holds_unless_one_sample_is_longer(batch: list[TrainSample], budget: int) -> None:
    for micro_batch in pack(batch, micro_batch_tokens=budget):
        assert len(micro_batch.token_ids_N) <= budget or len(micro_batch.sample_indices) == 1


def rollout(group_id: str, response: int) -> TrainSample:
    return TrainSample(
        token_ids=(1, 2, 3, 4, 5, *[6] * response),
        loss_mask=(*[False] * 5, *[True] * response),
        logprobs=(0.0,) * (5 + response),
        prompt_length=5,
        group_id=group_id,
    )


def test_a_shared_prompt_is_stored_once_and_groups_stay_together() -> None:
    batch = [rollout("a", 2), rollout("b", 3), rollout("a", 4), rollout("b", 1)]
    sizes = [len(m.token_ids_N) for m in pack(batch, micro_batch_tokens=12)]
    assert sizes == [5 + 2 + 4, 5 + 3 + 1]


def test_supervised_samples_share_nothing() -> None:
    (micro_batch,) = pack([rollout("", 2), rollout("", 2)], micro_batch_tokens=100)
    assert len(micro_batch.token_ids_N) == 14


def test_one_group_with_two_prompts_is_our_bug() -> None:
    other = TrainSample(
        token_ids=(9, 2, 3, 4, 5, 6), loss_mask=(False,) * 5 + (True,), logprobs=(0.0,) * 6,
        prompt_length=5, group_id="a",
    )  # fmt: skip
    with pytest.raises(AssertionError):
        list(pack([rollout("a", 1), other], micro_batch_tokens=100))
