"""VllmEngine on CPU: a real vLLM, started once for all tests, against plain transformers models.

Run by `make test-vllm`, as vLLM wants an environment of its own. The last test kills the engine.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import PreTrainedModel

from rstar2.engines.torch_engine import TorchEngine
from rstar2.engines.vllm_core import VllmOptions
from rstar2.engines.vllm_engine import VllmEngine
from rstar2.errors import CapacityError, CheckpointError, EngineError
from rstar2.learner.learner import TorchLearner
from rstar2.models.loading import build_tiny
from rstar2.ports import WeightChannel
from rstar2.types import FinishReason, Generation, GenerationRequest
from rstar2.weights import FolderChannel, MemoryChannel, broadcasting
from rstar2.weights.groups import Group, GroupBroken
from rstar2.weights.sender import Sender

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

EOS = 1
KV_TOKENS = 8192
BLOCK_TOKENS = 32
MAX_POSITIONS = 1024
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def tiny(seed: int, *, num_layers: int = 2) -> PreTrainedModel:
    """Heads of 32: the smallest that vLLM's attention on CPU takes."""
    return build_tiny(
        vocab_size=97, hidden_size=64, num_layers=num_layers, num_heads=4, num_kv_heads=2, head_dim=32,
        mlp_size=96, max_positions=MAX_POSITIONS, seed=seed, initial_std=0.2, eos_token_id=EOS,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """One event loop for all: vLLM belongs to the loop that it was first used in."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def engine(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmEngine]:
    folder = tmp_path_factory.mktemp("model")
    tiny(0).save_pretrained(folder)
    options = VllmOptions(
        model=str(folder), kv_tokens=KV_TOKENS, max_running=64, block_tokens=BLOCK_TOKENS, eager=True
    )
    engine = run(VllmEngine.start(options, eos_token_id=EOS))
    yield engine
    run(engine.close())


@pytest.fixture
def fresh(run: Run, engine: VllmEngine) -> VllmEngine:
    """The engine with the weights of `tiny(0)` and an empty cache."""
    adopt(run, engine, tiny(0))
    return engine


def adopt(run: Run, engine: VllmEngine, model: PreTrainedModel, version: int = 0) -> None:
    channel = MemoryChannel()
    channel.put(version, dict(model.named_parameters()))
    run(engine.adopt(channel, version))


def request(rollout_id: str, token_ids: tuple[int, ...], **changes: object) -> GenerationRequest:
    values = {
        "rollout_id": rollout_id, "group_id": rollout_id, "token_ids": token_ids,
        "prompt_length": len(token_ids), "max_new_tokens": 17, "max_total_tokens": MAX_POSITIONS,
        "temperature": 1.0, "top_p": 1.0, "seed": sum(map(ord, rollout_id)),
    } | changes  # fmt: skip
    return GenerationRequest(**values)  # type: ignore[arg-type]


@torch.no_grad()
def reference_logprobs(
    model: PreTrainedModel, asked: GenerationRequest, made: Generation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of what was written, and of the likeliest token at each of its places."""
    logits = model(torch.tensor([[*asked.token_ids, *made.token_ids]])).logits[0]
    logprobs = (logits / (asked.temperature or 1.0)).log_softmax(-1)[len(asked.token_ids) - 1 : -1]
    return logprobs.gather(1, torch.tensor(made.token_ids)[:, None])[:, 0], logprobs.amax(dim=-1)


PROMPT = tuple(range(5, 75))
ENDLESS = {"max_new_tokens": 600, "temperature": 1.0}


def unending(engine: VllmEngine, rollout_id: str) -> Coroutine[Any, Any, Generation]:
    """A turn that is still running when the test does something to it: seeds that end early are avoided."""
    return engine.generate(request(rollout_id, PROMPT, max_new_tokens=900, seed=7))


async def until_written(engine: VllmEngine, num_steps: int) -> None:
    begin = engine.stats.decode_steps
    while engine.stats.decode_steps < begin + num_steps:
        await asyncio.sleep(0.01)


def test_greedy_turns_are_those_of_the_torch_engine(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        ours = TorchEngine(tiny(0), eos_token_id=EOS, kv_tokens=KV_TOKENS, max_running=64)
        for number in range(5):
            asked = request(f"r{number}", PROMPT[number:], temperature=0.0, max_new_tokens=40)
            theirs, expected = await asyncio.gather(fresh.generate(asked), ours.generate(asked))
            assert theirs.token_ids == expected.token_ids
            assert theirs.finish is expected.finish
            torch.testing.assert_close(theirs.logprobs, expected.logprobs, atol=1e-4, rtol=0)
        await ours.close()

    run(scenario())


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
def test_logprobs_are_of_the_distribution_at_the_temperature(
    run: Run, fresh: VllmEngine, temperature: float
) -> None:
    async def scenario() -> None:
        # In one batch with other temperatures, where greedy rows must be told apart.
        others = [request(f"other{i}", PROMPT, temperature=0.5 * i) for i in range(3)]
        asked = request("r", PROMPT, temperature=temperature, max_new_tokens=60)
        made, *_ = await asyncio.gather(*(fresh.generate(r) for r in [asked, *others]))
        expected, likeliest = reference_logprobs(tiny(0), asked, made)
        torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-3, rtol=0)
        assert torch.equal(expected, likeliest) == (temperature == 0)

    run(scenario())


def test_a_turn_is_drawn_alike_alone_and_among_others_and_otherwise_with_another_seed(
    run: Run, fresh: VllmEngine
) -> None:
    async def scenario() -> None:
        asked = request("r", PROMPT, max_new_tokens=30)
        alone = await fresh.generate(asked)
        others = [request(f"other{i}", PROMPT[i:], max_new_tokens=30) for i in range(20)]
        among, *_ = await asyncio.gather(*(fresh.generate(r) for r in [asked, *others]))
        assert among.token_ids == alone.token_ids
        assert (await fresh.generate(replace(asked, seed=asked.seed + 1))).token_ids != alone.token_ids

    run(scenario())


def test_a_turn_ends_with_the_stop_token_or_at_its_length(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        asked = [request(f"r{i}", PROMPT[i:], max_new_tokens=120) for i in range(40)]
        made = await asyncio.gather(*map(fresh.generate, asked))
        stopped = [m for m in made if m.finish is FinishReason.STOP]
        cut = [m for m in made if m.finish is FinishReason.LENGTH]
        assert len(stopped) + len(cut) == 40
        assert stopped
        assert cut
        assert all(m.token_ids[-1] == EOS and EOS not in m.token_ids[:-1] for m in stopped)
        assert all(len(m.token_ids) == 120 and EOS not in m.token_ids for m in cut)
        assert all(len(m.token_ids) == len(m.logprobs) for m in made)

    run(scenario())


def test_the_next_turn_and_the_group_reuse_whole_blocks(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        before = fresh.stats
        first = await fresh.generate(request("a", PROMPT, temperature=0.0, max_new_tokens=40))
        assert len(first.token_ids) == 40
        assert fresh.stats.reused_tokens == before.reused_tokens
        later = (*PROMPT, *first.token_ids, *range(20, 25))
        await fresh.generate(request("a", later, max_new_tokens=1))
        kept = (len(PROMPT) + 40 - 1) // BLOCK_TOKENS * BLOCK_TOKENS  # the last token drawn has no keys
        assert fresh.stats.reused_tokens - before.reused_tokens == kept
        assert fresh.stats.prefill_tokens - before.prefill_tokens == len(PROMPT) + len(later) - kept
        await fresh.generate(request("b", PROMPT, max_new_tokens=1))
        shared = len(PROMPT) // BLOCK_TOKENS * BLOCK_TOKENS
        assert fresh.stats.reused_tokens - before.reused_tokens == kept + shared

    run(scenario())


def test_a_released_turn_ends_with_what_it_has_and_can_go_on(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        turn = asyncio.create_task(unending(fresh, "r"))
        await until_written(fresh, 20)
        fresh.release("r")
        assert fresh.load().num_running == 0
        part = await turn
        assert part.finish is FinishReason.RELEASED
        assert 20 <= len(part.token_ids) < 900
        expected, _ = reference_logprobs(tiny(0), request("r", PROMPT), part)
        torch.testing.assert_close(torch.tensor(part.logprobs), expected, atol=1e-3, rtol=0)
        rest = await fresh.generate(request("r", PROMPT + part.token_ids, max_new_tokens=5))
        assert rest.finish is not FinishReason.RELEASED
        fresh.release("nobody")

    run(scenario())


def test_a_turn_released_in_its_first_breath_ends_too(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        turn = asyncio.create_task(unending(fresh, "r"))
        await asyncio.sleep(0)
        fresh.release("r")
        part = await asyncio.wait_for(turn, 60)
        assert part.finish is FinishReason.RELEASED

    run(scenario())


def test_a_cancelled_turn_leaves_the_engine(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        turn = asyncio.create_task(unending(fresh, "r"))
        await until_written(fresh, 3)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert fresh.load().num_running + fresh.load().num_waiting == 0
        steps = fresh.stats.decode_steps
        await asyncio.sleep(0.5)
        assert fresh.stats.decode_steps - steps < 10

    run(scenario())


def test_what_can_never_fit_is_refused(run: Run, fresh: VllmEngine) -> None:
    assert fresh.load().kv_tokens_total == KV_TOKENS
    with pytest.raises(CapacityError, match="exceed max_total_tokens 80"):
        run(fresh.generate(request("r", PROMPT, max_total_tokens=80)))
    with pytest.raises(CapacityError, match=f"exceeds the {MAX_POSITIONS}"):
        run(fresh.generate(request("r", PROMPT, max_total_tokens=MAX_POSITIONS + 1)))


def test_two_hundred_turns_at_once_and_the_load_tells_of_them(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        asked = [request(f"r{i}", PROMPT[: 5 + i % 60], max_new_tokens=12) for i in range(200)]
        turns = [asyncio.create_task(fresh.generate(r)) for r in asked]
        loads = []
        while not all(turn.done() for turn in turns):
            await asyncio.sleep(0.01)
            loads.append(fresh.load())
            left = sum(not turn.done() for turn in turns)
            assert loads[-1].num_running + loads[-1].num_waiting == left
        assert 32 <= fresh.stats.peak_running <= 64
        assert max(load.num_waiting for load in loads) >= 100
        assert all(0 <= load.kv_tokens_used <= load.kv_tokens_total == KV_TOKENS for load in loads)
        assert max(load.kv_tokens_used for load in loads) >= 16 * BLOCK_TOKENS
        assert fresh.load() == replace(
            loads[0], num_running=0, num_waiting=0, kv_tokens_used=0, kv_tokens_reserved=0,
            num_steps=fresh.load().num_steps,
        )  # fmt: skip
        assert fresh.load().num_steps >= 12
        assert [len(turn.result().token_ids) <= 12 for turn in turns] == [True] * 200

    run(scenario())


def test_prompts_that_do_not_fit_into_one_forward_together_are_all_answered(
    run: Run, fresh: VllmEngine
) -> None:
    async def scenario() -> None:
        prompts = [tuple(5 + (i + j * (i + 1)) % 90 for j in range(150)) for i in range(64)]  # 9,600 tokens
        asked = [request(f"r{i}", prompt, max_new_tokens=4) for i, prompt in enumerate(prompts)]
        written = await asyncio.gather(*map(fresh.generate, asked))
        assert all(1 <= len(turn.token_ids) <= 4 for turn in written)

    run(scenario())


@pytest.fixture(params=["memory", "folder", "broadcast"])
def channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WeightChannel]:
    if request.param == "broadcast":
        with broadcasting(bucket_bytes=32_768) as channel:  # several buckets
            yield channel
    else:
        yield MemoryChannel() if request.param == "memory" else FolderChannel(tmp_path / "weights")


def test_after_an_adoption_logprobs_are_the_learners_and_no_prefix_survives(
    run: Run, fresh: VllmEngine, channel: WeightChannel
) -> None:
    async def scenario() -> None:
        asked = request("r", PROMPT, max_new_tokens=50)
        before = await fresh.generate(asked)
        learner = TorchLearner(tiny(5), micro_batch_tokens=2048)
        learner.publish(channel, 3)
        reused_tokens = fresh.stats.reused_tokens
        await fresh.adopt(channel, 3)
        assert fresh.load().version == 3
        assert fresh.load().num_steps == 0

        made = await fresh.generate(asked)
        assert made.version == 3
        assert fresh.stats.reused_tokens == reused_tokens
        scores = learner.score([[*PROMPT, *made.token_ids]])[0][len(PROMPT) - 1 :]
        expected = torch.tensor([score.logprob for score in scores])
        torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-3, rtol=0)
        assert made.token_ids != before.token_ids

        text = tuple(range(90, 20, -3))
        of_text = torch.tensor([score.logprob for score in learner.score([text])[0]])
        torch.testing.assert_close(await prompt_logprobs(fresh, text), of_text, atol=1e-3, rtol=0)

    run(scenario())


async def prompt_logprobs(engine: VllmEngine, text: tuple[int, ...]) -> torch.Tensor:
    """Of every token but the first, straight from vLLM."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input

    sampling = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    async for output in engine._llm.generate(tokens_input(list(text)), sampling, "text"):
        found = output.prompt_logprobs
    return torch.tensor([found[i][token].logprob for i, token in enumerate(text) if i])


def test_weights_are_not_swapped_under_a_running_turn(run: Run, fresh: VllmEngine) -> None:
    async def scenario() -> None:
        channel = MemoryChannel()
        channel.put(1, dict(tiny(1).named_parameters()))
        turn = asyncio.create_task(unending(fresh, "r"))
        await until_written(fresh, 2)
        with pytest.raises(EngineError, match="1 turns are running"):
            await fresh.adopt(channel, 1)
        fresh.release("r")
        await fresh.adopt(channel, 1)  # at once, while vLLM may still be at it
        assert (await turn).version == 0
        asked = request("r", PROMPT)
        made = await fresh.generate(asked)
        expected, _ = reference_logprobs(tiny(1), asked, made)
        torch.testing.assert_close(torch.tensor(made.logprobs), expected, atol=1e-3, rtol=0)

    run(scenario())


def test_an_engine_is_stale_until_weights_are_whole(run: Run, fresh: VllmEngine, tmp_path: Path) -> None:
    async def scenario() -> None:
        channel = FolderChannel(tmp_path / "weights")
        channel.put(1, dict(tiny(1).named_parameters()))
        (file,) = channel.folder.glob("*/*.safetensors")
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(EngineError, match="damaged"):
            await fresh.adopt(channel, 1)
        with pytest.raises(EngineError, match="waits for new weights"):
            await fresh.generate(request("r", PROMPT))
        with pytest.raises(CheckpointError, match="gone"):
            await fresh.adopt(channel, 2)
        channel.put(3, dict(tiny(1, num_layers=1).named_parameters()))
        with pytest.raises(EngineError, match="another model"):
            await fresh.adopt(channel, 3)
        assert fresh.load().version == 0
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(whole)
        await fresh.adopt(channel, 1)
        asked = request("r", PROMPT, temperature=0.0)
        expected, likeliest = reference_logprobs(tiny(1), asked, await fresh.generate(asked))
        assert torch.equal(expected, likeliest)

    run(scenario())


def test_an_engine_is_stale_until_a_broadcast_is_whole(
    run: Run, fresh: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_broadcasts = count()
    broadcast = Group.broadcast

    def broken_once(group: Group, bucket: torch.Tensor) -> None:
        if next(num_broadcasts) == 2:
            raise GroupBroken("somebody is lost")
        broadcast(group, bucket)

    async def scenario() -> None:
        with broadcasting(limit_s=10.0, bucket_bytes=32_768) as channel:
            channel.put(1, dict(tiny(1).named_parameters()))
            await asyncio.to_thread(channel.checksum, 1)
            (sender,) = [thread for thread in threading.enumerate() if isinstance(thread, Sender)]
            _, bucket = sender._buckets[2]
            bucket[0] ^= 1
            with pytest.raises(EngineError, match="did not arrive as it was sent"):
                await fresh.adopt(channel, 1)
            with pytest.raises(EngineError, match="waits for new weights"):
                await fresh.generate(request("r", PROMPT))
            with pytest.raises(CheckpointError, match="gone"):
                await fresh.adopt(channel, 2)
            bucket[0] ^= 1
            monkeypatch.setattr(Group, "broadcast", broken_once)
            await fresh.adopt(channel, 1)  # from its beginning, though a part is in the model
            assert next(num_broadcasts) > 2 + len(sender._buckets), "it had been broken off"
        asked = request("r", PROMPT, temperature=0.0)
        expected, likeliest = reference_logprobs(tiny(1), asked, await fresh.generate(asked))
        assert torch.equal(expected, likeliest)

    run(scenario())


def test_an_engine_without_a_gpu_does_not_sleep(run: Run, fresh: VllmEngine) -> None:
    with pytest.raises(EngineError, match="cannot sleep"):
        run(fresh.sleep(keep_weights=True))


def test_every_turn_of_a_killed_core_hears_of_it(run: Run, fresh: VllmEngine) -> None:
    """The last test: nothing comes after it."""

    async def scenario() -> None:
        turns = [asyncio.create_task(unending(fresh, f"r{i}")) for i in range(5)]
        await until_written(fresh, 3)
        children = psutil.Process().children(recursive=True)
        (core,) = [child for child in children if "EngineCore" in " ".join(child.cmdline())]
        os.kill(core.pid, signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*turns, return_exceptions=True), 60)
        assert [type(outcome) for outcome in outcomes] == [EngineError] * 5
        with pytest.raises(EngineError, match="start a new one"):
            await fresh.generate(request("r", PROMPT))
        with pytest.raises(EngineError, match="start a new one"):
            await fresh.adopt(MemoryChannel(), 0)
        fresh.release("r0")

    run(scenario())
