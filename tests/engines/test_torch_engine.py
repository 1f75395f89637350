"""TorchEngine against plain, uncached transformers models with random weights."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from rstar2.engines.torch_engine import TorchEngine
from rstar2.errors import CapacityError, EngineError
from rstar2.models.row_cache import RowCache
from rstar2.ports import Engine
from rstar2.types import FinishReason, Generation, GenerationRequest

EOS = 1
SHAPE = {
    "vocab_size": 89, "hidden_size": 42, "intermediate_size": 53, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 512,
    "eos_token_id": EOS, "bos_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip
Scenario = Callable[[], Awaitable[None]]


def qwen(seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(Qwen3Config(**SHAPE, tie_word_embeddings=True)).eval()


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True)).eval()


def sliding() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen3Config(**SHAPE, use_sliding_window=True, sliding_window=13, max_window_layers=1)
    return Qwen3ForCausalLM(config).eval()


def engine_of(model: PreTrainedModel, **changes: object) -> TorchEngine:
    values = {"eos_token_id": EOS, "kv_tokens": 3000, "max_running": 7} | changes
    return TorchEngine(model, **values)  # type: ignore[arg-type]


def request(rollout_id: str, token_ids: tuple[int, ...], **changes: object) -> GenerationRequest:
    """The group is what precedes the dot in the id; the seed follows from the id."""
    values = {
        "rollout_id": rollout_id, "group_id": rollout_id.split(".")[0], "token_ids": token_ids,
        "prompt_length": len(token_ids), "max_new_tokens": 17, "max_total_tokens": 300,
        "temperature": 1.0, "top_p": 1.0, "seed": sum(map(ord, rollout_id)),
    } | changes  # fmt: skip
    return GenerationRequest(**values)  # type: ignore[arg-type]


@torch.no_grad()
def uncached_logprobs(model: PreTrainedModel, token_ids: tuple[int, ...], made: Generation) -> Tensor:
    logits = model(torch.tensor([[*token_ids, *made.token_ids]])).logits[0]
    logprobs = logits.log_softmax(-1)[len(token_ids) - 1 : -1]
    return logprobs.gather(1, torch.tensor(made.token_ids)[:, None])[:, 0]


async def play(
    engine: Engine, rollout_id: str, prompt: tuple[int, ...], *, is_reserved: bool = False
) -> list[tuple[tuple[int, ...], Generation]]:
    """Three turns with a tool response after each; what was asked and what was written."""
    turns = []
    tokens = prompt
    for turn in range(3):
        made = await engine.generate(
            request(rollout_id, tokens, prompt_length=len(prompt), is_reserved=is_reserved)
        )
        turns.append((tokens, made))
        tokens = (*tokens, *made.token_ids, *range(20, 25 + turn))
    engine.release(rollout_id)
    return turns


PROMPTS = [tuple(range(3 + 7 * p, 14 + 12 * p)) for p in range(4)]


async def play_groups(
    engine: Engine, *, is_reserved: bool = False
) -> list[list[tuple[tuple[int, ...], Generation]]]:
    """Four groups of five rollouts, more than there are rows, so that arrivals mix with running rows."""
    return await asyncio.gather(
        *(play(engine, f"{p}.{i}", PROMPTS[p], is_reserved=is_reserved) for p in range(4) for i in range(5))
    )


def resident_tokens(engine: TorchEngine) -> int:
    """Whose keys and values the engine really has, between two iterations."""
    batch = engine._batch
    prompts = {id(row.prompt): row.prompt for row in batch.rows}
    kept = batch.prefixes._turns.values()
    prompts |= {id(turn.prompt): turn.prompt for turn in kept}
    return (
        sum(row.num_cached for row in batch.rows)
        + sum(turn.tensors[0][0].shape[-1] for turn in kept)
        + sum(len(prompt.token_ids) for prompt in prompts.values() if prompt.slot is not None)
    )


@pytest.mark.parametrize(
    ("build", "threaded"), [(qwen, False), (qwen, True), (llama, False), (sliding, False)]
)
def test_logprobs_equal_an_uncached_forward_over_turns_groups_and_mixed_arrivals(
    build: Callable[[], PreTrainedModel], threaded: bool
) -> None:
    async def scenario() -> None:
        engine = engine_of(build(), max_prefill_tokens=64, threaded=threaded)
        reference = build()
        for turns in await play_groups(engine):
            for token_ids, made in turns:
                expected = uncached_logprobs(reference, token_ids, made)
                torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-4, rtol=0)
                assert made.finish is (
                    FinishReason.STOP if made.token_ids[-1] == EOS else FinishReason.LENGTH
                )
                assert EOS not in made.token_ids[:-1]
        assert engine.load().kv_tokens_used == 0
        await engine.close()

    asyncio.run(scenario())


def test_only_new_tokens_are_computed() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen())
        groups = await play_groups(engine)
        prompts = (
            sum(len(prompt) for prompt in PROMPTS) + 4 * 4
        )  # once per group; one token for each other member
        later_turns = sum(
            len(token_ids)
            - len(turns[i][0])
            - len(turns[i][1].token_ids)
            + 1  # the last token drawn had no keys
            for turns in groups
            for i, (token_ids, _) in enumerate(turns[1:])
        )
        assert engine.stats.prefill_tokens == prompts + later_turns
        assert engine.stats.decode_tokens == sum(len(made.token_ids) for turns in groups for _, made in turns)
        assert engine.stats.peak_running == 7
        await engine.close()

    asyncio.run(scenario())


def test_greedy_text_equals_generate_of_transformers() -> None:
    prompt = tuple(range(30, 43))
    expected = qwen().generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False, pad_token_id=0)

    async def scenario() -> None:
        engine = engine_of(qwen())
        made = await engine.generate(request("a", prompt, temperature=0.0, max_new_tokens=40))
        assert [*prompt, *made.token_ids] == expected[0].tolist()
        await engine.close()

    asyncio.run(scenario())


def test_tokens_do_not_depend_on_who_else_runs() -> None:
    async def alone(rollout_id: str, prompt: tuple[int, ...]) -> list[tuple[tuple[int, ...], Generation]]:
        engine = engine_of(qwen())
        turns = await play(engine, rollout_id, prompt)
        await engine.close()
        return turns

    async def scenario() -> None:
        engine = engine_of(qwen())
        crowd = await play_groups(engine)
        await engine.close()
        for index in (0, 8, 19):
            single = await alone(f"{index // 5}.{index % 5}", PROMPTS[index // 5])
            assert [made.token_ids for _, made in single] == [made.token_ids for _, made in crowd[index]]

    asyncio.run(scenario())


def test_paced_runs_with_the_same_submissions_are_the_same_bits() -> None:
    async def run() -> tuple[list[list[tuple[tuple[int, ...], Generation]]], list[bool]]:
        paced: list[bool] = []

        async def pace(is_busy: bool) -> None:
            paced.append(is_busy)
            await asyncio.sleep(0)

        engine = engine_of(qwen(), pace=pace)
        groups = await play_groups(engine)
        await engine.close()
        return groups, paced

    first, second = asyncio.run(run()), asyncio.run(run())
    assert first == second
    assert True in first[1]


def test_pace_is_asked_before_the_engine_sleeps_and_may_bring_work() -> None:
    async def scenario() -> None:
        answered: list[Generation] = []
        followers: list[asyncio.Task[None]] = []

        async def follow() -> None:
            answered.append(await engine.generate(request("b", (5, 6), max_new_tokens=2)))

        async def pace(is_busy: bool) -> None:
            if not is_busy and not followers:
                followers.append(asyncio.create_task(follow()))
                await asyncio.sleep(0)

        engine = engine_of(qwen(), pace=pace)
        await engine.generate(request("a", (5, 6), max_new_tokens=2))
        async with asyncio.timeout(5):
            while not answered:
                await asyncio.sleep(0)
        await engine.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("threaded", [False, True])
def test_a_cancelled_turn_frees_its_room_whether_it_waits_or_runs(threaded: bool) -> None:
    async def scenario() -> None:
        engine = engine_of(qwen(), eos_token_id=-1, kv_tokens=250, threaded=threaded)
        long = {"max_new_tokens": 180, "max_total_tokens": 200}
        running = asyncio.create_task(engine.generate(request("running", (5, 6), **long)))
        waiting = asyncio.create_task(engine.generate(request("waiting", (5, 6), **long)))
        follower = asyncio.create_task(engine.generate(request("follower", (7, 8), **long)))
        while engine.stats.decode_tokens < 3:
            await asyncio.sleep(0)
        load = engine.load()
        assert load.kv_tokens_used == 2 + engine.stats.decode_tokens
        assert (load.num_running, load.num_waiting) == (1, 2)
        waiting.cancel()
        running.cancel()
        assert len((await follower).token_ids) == 180
        assert running.cancelled()
        assert waiting.cancelled()
        engine.release("follower")
        load = engine.load()
        assert (load.kv_tokens_used, load.num_running, load.num_waiting) == (0, 0, 0)
        await engine.close()

    asyncio.run(scenario())


def test_a_turn_asked_for_again_right_after_its_cancellation_is_written() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen(), max_running=1)
        for _ in range(2):
            task = asyncio.create_task(engine.generate(request("a", (5, 6))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert engine.load().num_running == 1
            task.cancel()
            await asyncio.wait([task])
        async with asyncio.timeout(5):
            assert (await engine.generate(request("a", (5, 6)))).token_ids
        engine.release("a")
        assert engine.load().kv_tokens_used == 0
        await engine.close()

    asyncio.run(scenario())


def test_a_turn_released_again_and_again_before_its_row_is_gone_may_be_asked_for_again() -> None:
    async def scenario() -> None:
        is_due = asyncio.Event()
        is_due.set()

        async def pace(is_busy: bool) -> None:
            await is_due.wait()

        engine = engine_of(qwen(), eos_token_id=-1, pace=pace)
        task = asyncio.create_task(engine.generate(request("a", (5, 6))))
        while not engine.stats.decode_tokens:
            await asyncio.sleep(0)
        is_due.clear()
        for _ in range(3):
            engine.release("a")
            assert (await task).finish is FinishReason.RELEASED
            task = asyncio.create_task(engine.generate(request("a", (5, 6))))
            await asyncio.sleep(0)
        is_due.set()
        async with asyncio.timeout(5):
            assert len((await task).token_ids) == 17
        engine.release("a")
        assert (engine.load().kv_tokens_used, engine.load().num_waiting) == (0, 0)
        await engine.close()

    asyncio.run(scenario())


def test_a_turn_cancelled_in_the_instant_of_its_end_gives_back_its_room() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen())
        task = asyncio.create_task(engine.generate(request("a", (5, 6), max_new_tokens=1)))
        while not engine.stats.decode_tokens:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert engine.load().kv_tokens_used == 0
        await engine.close()

    asyncio.run(scenario())


def test_a_turn_cancelled_in_the_round_that_ends_it_does_not_stop_the_engine() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen())
        for num_rounds in range(12):  # one of these is the one
            task = asyncio.create_task(engine.generate(request("a", (5, 6), max_new_tokens=2)))
            for _ in range(num_rounds):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():  # it had ended before: its prefix is kept
                engine.release("a")
            async with asyncio.timeout(5):
                await engine.generate(request("b", (5, 6), max_new_tokens=1))
            engine.release("b")
        assert engine.load().kv_tokens_used == 0
        await engine.close()

    asyncio.run(scenario())


def test_an_event_during_the_pace_is_not_slept_over() -> None:
    async def scenario() -> None:
        asked = 0

        async def pace(is_busy: bool) -> None:
            nonlocal asked
            asked += not is_busy
            if asked == 1:
                engine.wake()

        engine = engine_of(qwen(), pace=pace)
        await engine.generate(request("a", (5, 6), max_new_tokens=1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert asked == 2
        await engine.close()

    asyncio.run(scenario())


def test_the_prefix_of_an_idle_rollout_makes_room_and_is_computed_again_when_it_comes_back() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen(), eos_token_id=-1, kv_tokens=300)
        long = {"max_new_tokens": 200}
        made = await engine.generate(request("a", (5, 6), **long))
        assert len((await engine.generate(request("b", (7, 8), **long))).token_ids) == 200
        assert engine.stats.evicted_tokens == 201  # all but the part of the prompt that a group would share
        engine.release("b")
        tokens = (5, 6, *made.token_ids, 9)
        again = await engine.generate(request("a", tokens, prompt_length=2))
        expected = uncached_logprobs(qwen(), tokens, again)
        torch.testing.assert_close(torch.tensor(again.logprobs), expected, atol=1e-4, rtol=0)
        assert engine.stats.recomputed_tokens == 201
        assert engine.stats.peak_kv_tokens <= 300
        await engine.close()

    asyncio.run(scenario())


def test_turns_that_pause_for_room_write_what_they_would_have_written_alone() -> None:
    """Twenty reserved rollouts of three turns each, of which a fifth would fit."""

    async def run(kv_tokens: int) -> tuple[list[list[tuple[tuple[int, ...], Generation]]], TorchEngine]:
        used_tokens: list[int] = []

        async def pace(is_busy: bool) -> None:
            used_tokens.append(resident_tokens(engine))
            await asyncio.sleep(0)

        engine = engine_of(qwen(), kv_tokens=kv_tokens, max_running=20, pace=pace)
        groups = await play_groups(engine, is_reserved=True)
        await engine.close()
        assert max(used_tokens) <= engine.stats.peak_kv_tokens <= kv_tokens
        assert engine.load().kv_tokens_used == 0
        return groups, engine

    async def scenario() -> None:
        (roomy, at_ease), (tight, pressed) = await run(3000), await run(300)
        assert at_ease.stats.pauses == at_ease.stats.evicted_tokens == 0
        assert pressed.stats.pauses > 0
        assert 0 < pressed.stats.recomputed_tokens <= pressed.stats.evicted_tokens
        assert [[made.token_ids for _, made in turns] for turns in tight] == [
            [made.token_ids for _, made in turns] for turns in roomy
        ]
        reference = qwen()
        for token_ids, made in tight[0]:
            expected = uncached_logprobs(reference, token_ids, made)
            torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-4, rtol=0)

    asyncio.run(scenario())


def allocated_tokens(cache: RowCache) -> float:
    """Positions that there is memory for in all layers, the spare included."""
    tensors = [tensor for layer in cache._layers.values() for tensor in layer]
    num_tensors, spares = len(tensors), [spare for spare in [cache._spare] if spare is not None]
    num_bytes = sum(tensor.untyped_storage().nbytes() for tensor in tensors + spares)
    return num_bytes / (num_tensors * 2 * 10 * 4 or 1)


def test_a_long_turn_beside_short_ones_allocates_no_more_than_the_room_and_all_write_as_alone() -> None:
    """Rows are as long as the longest: for all 61 of up to 250 own tokens they would take 15,000."""

    async def run(kv_tokens: int) -> tuple[list[tuple[int, ...]], TorchEngine, float]:
        engine = engine_of(qwen(), eos_token_id=-1, kv_tokens=kv_tokens, max_running=61)
        made = await asyncio.gather(
            *(
                engine.generate(
                    request(str(i), tuple(range(5, 30 + i % 3)), max_new_tokens=length, is_reserved=True)
                )
                for i, length in enumerate([250, *range(20, 80)])
            )
        )
        allocated = max(
            allocated_tokens(cache) for cache in (engine._batch._row_cache, engine._batch._prompt_cache)
        )
        await engine.close()
        return [one.token_ids for one in made], engine, allocated

    async def scenario() -> None:
        (roomy, _, most), (tight, pressed, allocated) = await run(30_000), await run(2500)
        assert allocated <= 2500 * 7 / 6 < most  # three layers have six tensors, and one is spare
        assert pressed.stats.pauses > 0
        assert tight == roomy

    asyncio.run(scenario())


def test_a_released_turn_ends_with_what_it_has_and_goes_on_elsewhere_as_if_nothing_had_been() -> None:
    async def scenario() -> None:
        whole = await engine_of(qwen(), eos_token_id=-1).generate(request("a", (5, 6)))
        first, second = (engine_of(qwen(), eos_token_id=-1) for _ in range(2))
        running = asyncio.create_task(first.generate(request("a", (5, 6))))
        while first.stats.decode_tokens < 5:
            await asyncio.sleep(0)
        first.release("a")
        first.release("unknown")
        head = await running
        assert (len(head.token_ids), head.finish) == (5, FinishReason.RELEASED)
        await asyncio.sleep(0)
        assert first.load().kv_tokens_used == 0
        rest = request("a", (5, 6, *head.token_ids), prompt_length=2, max_new_tokens=12)
        tail = await second.generate(rest)
        assert head.token_ids + tail.token_ids == whole.token_ids
        torch.testing.assert_close(
            torch.tensor(head.logprobs + tail.logprobs), torch.tensor(whole.logprobs), atol=1e-4, rtol=0
        )
        await first.close()
        await second.close()

    asyncio.run(scenario())


def test_what_can_never_fit_is_refused_at_once() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen(), kv_tokens=299)
        with pytest.raises(CapacityError, match="KV budget"):
            await engine.generate(request("a", (5, 6)))
        assert engine.load().num_waiting == 0

    asyncio.run(scenario())


class Weights:
    """A channel with one version."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def put(self, version: int, weights: Mapping[str, Tensor]) -> None:
        raise AssertionError("engines only read")

    def get(self, version: int) -> Mapping[str, Tensor]:
        return self._weights


def test_adopt_swaps_weights_and_drops_every_prefix_of_the_old_ones() -> None:
    async def scenario() -> None:
        engine, new = engine_of(qwen(seed=0), version=4), qwen(seed=1)
        first = await engine.generate(request("a.0", PROMPTS[2], prompt_length=len(PROMPTS[2])))
        weights = dict(new.state_dict())
        del weights["lm_head.weight"]  # tied
        await engine.adopt(Weights(weights), 5)
        token_ids = (*PROMPTS[2], *first.token_ids, 33)
        reused = engine.stats.reused_tokens
        for rollout_id in ("a.0", "a.1"):
            made = await engine.generate(request(rollout_id, token_ids, prompt_length=len(PROMPTS[2])))
            assert made.version == 5
            expected = uncached_logprobs(new, token_ids, made)
            torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-4, rtol=0)
            if rollout_id == "a.0":
                assert engine.stats.reused_tokens == reused
        assert (first.version, engine.load().version) == (4, 5)
        await engine.close()

    asyncio.run(scenario())


def test_weights_of_another_model_or_under_a_running_turn_are_refused() -> None:
    async def scenario() -> None:
        engine = engine_of(qwen())
        weights = dict(qwen().state_dict())
        weights["model.layers.9.weight"] = weights.pop("model.norm.weight")
        with pytest.raises(EngineError, match="another model"):
            await engine.adopt(Weights(weights), 1)
        task = asyncio.create_task(engine.generate(request("a", (5, 6), max_new_tokens=200)))
        while not engine.load().num_running:
            await asyncio.sleep(0)
        with pytest.raises(EngineError, match="running"):
            await engine.adopt(Weights(qwen().state_dict()), 1)
        await engine.close()
        with pytest.raises(EngineError):
            await task

    asyncio.run(scenario())


@pytest.mark.parametrize("threaded", [False, True])
def test_weights_are_taken_right_after_all_turns_were_given_up(threaded: bool) -> None:
    async def scenario() -> None:
        engine = engine_of(qwen(), eos_token_id=-1, threaded=threaded)
        tasks = [asyncio.create_task(engine.generate(request(str(i), (5, 6)))) for i in range(3)]
        while engine.stats.decode_tokens < 5:
            await asyncio.sleep(0)
        for i in range(3):
            engine.release(str(i))
        assert engine.load().num_running
        async with asyncio.timeout(5):
            await engine.adopt(Weights(qwen(seed=1).state_dict()), 1)
        assert (engine.load().num_running, engine.load().kv_tokens_used) == (0, 0)
        assert (await engine.generate(request("a", (5, 6)))).version == 1
        await asyncio.gather(*tasks)
        await engine.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("threaded", [False, True])
def test_closing_fails_who_waits_and_who_runs_and_who_comes_later(threaded: bool) -> None:
    async def scenario() -> None:
        engine = engine_of(qwen(), eos_token_id=-1, max_running=2, threaded=threaded)
        tasks = [asyncio.create_task(engine.generate(request(str(i), (5, 6)))) for i in range(4)]
        while engine.stats.decode_tokens < 3:
            await asyncio.sleep(0)
        await engine.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [EngineError] * 4
        with pytest.raises(EngineError, match="stopped"):
            await engine.generate(request("late", (5, 6)))
        await engine.close()

    asyncio.run(scenario())


def test_an_exception_in_the_loop_reaches_everyone_with_its_cause() -> None:
    async def scenario() -> None:
        model = qwen()
        engine = engine_of(model, eos_token_id=-1, max_running=1)
        tasks = [asyncio.create_task(engine.generate(request(str(i), (5, 6)))) for i in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        model.register_forward_pre_hook(_explode)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, EngineError)
            assert isinstance(outcome.__cause__, ZeroDivisionError)
        with pytest.raises(EngineError, match="stopped"):
            await engine.generate(request("late", (5, 6)))
        await engine.close()

    asyncio.run(scenario())


def _explode(*_: object) -> None:
    raise ZeroDivisionError


def test_every_request_has_one_outcome_under_random_cancellations_and_releases() -> None:
    async def rollout(engine: TorchEngine, index: int, rng: random.Random) -> None:
        prompt = PROMPTS[index % 4]
        task = asyncio.create_task(
            engine.generate(request(f"{index % 4}.{index}", prompt, max_total_tokens=rng.choice([80, 150])))
        )
        for _ in range(rng.randrange(60)):
            await asyncio.sleep(0)
            load = engine.load()
            assert load.kv_tokens_used <= load.kv_tokens_total
            assert load.num_running <= 7
        if rng.random() < 0.5:
            task.cancel()
        await asyncio.wait([task])
        engine.release(f"{index % 4}.{index}")

    async def scenario() -> None:
        engine = engine_of(qwen(), kv_tokens=400)
        rng = random.Random(5)
        async with asyncio.timeout(20):
            await asyncio.gather(*(rollout(engine, i, random.Random(rng.random())) for i in range(40)))
            while engine.load().num_running:
                await asyncio.sleep(0)
        load = engine.load()
        assert (load.kv_tokens_used, load.num_waiting) == (0, 0)
        await engine.close()

    asyncio.run(scenario())
