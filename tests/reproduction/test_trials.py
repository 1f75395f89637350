"""A trial begins after what it starts from, and only once."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rstar2.reproduction.arms import FOUNDATION, LARGE_FOUNDATION, Arm
from rstar2.reproduction.trials import Trial, ready, trials_of

ROC = Arm(name="topk", title="RoC", overrides=("roc.mode=topk",), foundation=FOUNDATION)
RAW = Arm(name="no_sft", title="no SFT", start="base", foundation=FOUNDATION)
LARGE = Arm(name="large", title="large", start="base", has_own_sft=True, foundation=LARGE_FOUNDATION)
TRIALS = trials_of([ROC, RAW], range(3))


def test_each_seed_has_a_foundation_and_its_arms_in_order() -> None:
    assert [(t.seed, t.arm.name) for t in TRIALS[:4]] == [
        (0, "foundation"),
        (0, "topk"),
        (0, "no_sft"),
        (1, "foundation"),
    ]
    assert len(TRIALS) == 9


def test_foundations_are_laid_only_for_arms_that_stand_on_them() -> None:
    assert [t.arm.name for t in trials_of([LARGE], [0])] == ["large_foundation", "large"]
    assert [t.arm.name for t in trials_of([ROC, LARGE], [0])] == [
        "foundation",
        "large_foundation",
        "topk",
        "large",
    ]


def test_an_arm_with_an_sft_of_its_own_has_one() -> None:
    words = Trial(arm=LARGE, seed=1).arguments(Path("c.toml"), Path("runs"))
    assert set(words[5::2]) == {
        "run.seed=1",
        "run.threads=1",
        "model.base=runs/seed-1/large_foundation/models/base",
    }


@given(st.sets(st.sampled_from(TRIALS)), st.sets(st.sampled_from(TRIALS)))
def test_what_may_begin_is_neither_done_nor_begun_and_stands_on_something(
    done: set[Trial], begun: set[Trial]
) -> None:
    for trial in ready(TRIALS, done=done, begun=begun):
        assert trial not in done | begun
        assert trial.foundation is None or trial.foundation in done


@given(st.randoms(use_true_random=False))
def test_whatever_ends_first_all_trials_come_to_their_turn(random) -> None:
    done: set[Trial] = set()
    while len(done) < len(TRIALS):
        done.add(random.choice(ready(TRIALS, done=done, begun=())))
    assert ready(TRIALS, done=done, begun=()) == []


def test_an_arm_starts_from_the_model_of_its_seed_and_trains_nothing_before() -> None:
    words = Trial(arm=RAW, seed=2).arguments(Path("c.toml"), Path("runs"))
    assert words[:4] == ("train", "c.toml", "--run", "runs/seed-2/no_sft")
    overrides = set(words[5::2])
    assert overrides == {
        "run.seed=2",
        "run.threads=1",
        "model.base=runs/seed-2/foundation/models/base",
        "sft.steps=0",
    }


def test_a_foundation_has_a_base_of_its_own_and_no_stages() -> None:
    overrides = Trial(arm=FOUNDATION, seed=2).arguments(Path("c.toml"), Path("runs"))[5::2]
    assert {"stages=[]", "pretraining.seed=2", "run.seed=2"} <= set(overrides)
    assert not any(override.startswith("model.base") for override in overrides)
