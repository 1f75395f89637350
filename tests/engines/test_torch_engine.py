"""TorchEngine against plain, uncached transformers models with random weights."""

import asyncio

import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from rstar2.engines.torch_engine import TorchEngine
from rstar2.types import FinishReason, Generation, GenerationRequest

EOS = 1
VOCABULARY = 89


def qwen() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=34, intermediate_size=53, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, head_dim=10, max_position_embeddings=512,
        tie_word_embeddings=True, eos_token_id=EOS, initializer_range=0.2,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def request(rollout_id: str, token_ids: tuple[int, ...], **changes: object) -> GenerationRequest:
    values = {
        "rollout_id": rollout_id, "group_id": rollout_id.split(".")[0], "token_ids": token_ids,
        "prompt_length": len(token_ids), "max_new_tokens": 17, "max_total_tokens": 300,
        "temperature": 1.0, "top_p": 1.0, "seed": sum(map(ord, rollout_id)),
    } | changes  # fmt: skip
    return GenerationRequest(**values)  # type: ignore[arg-type]


@torch.no_grad()
def uncached_logprobs(
    model: PreTrainedModel, token_ids: tuple[int, ...], generated: Generation
) -> torch.Tensor:
    logits = model(torch.tensor([[*token_ids, *generated.token_ids]])).logits[0].float()
    logprobs = logits.log_softmax(-1)[len(token_ids) - 1 : -1]
    return logprobs.gather(1, torch.tensor(generated.token_ids)[:, None])[:, 0]


async def play(engine: TorchEngine, model: PreTrainedModel, rollout_id: str, prompt: tuple[int, ...]) -> None:
    tokens = prompt
    for turn in range(3):
        made = await engine.generate(request(rollout_id, tokens, prompt_length=len(prompt)))
        assert made.finish is (FinishReason.STOP if made.token_ids[-1] == EOS else FinishReason.LENGTH)
        torch.testing.assert_close(
            torch.tensor(made.logprobs), uncached_logprobs(model, tokens, made), atol=1e-4, rtol=0
        )
        tokens = (*tokens, *made.token_ids, *range(20, 25 + turn))
    engine.release(rollout_id)


def test_logprobs_equal_an_uncached_forward_over_turns_groups_and_mixed_arrivals() -> None:
    async def scenario() -> None:
        engine = TorchEngine(qwen(), eos_token_id=EOS, kv_tokens=3000, max_running=7, max_prefill_tokens=64)
        reference = qwen()
        prompts = [tuple(range(3 + 7 * p, 3 + 7 * p + 11 + 5 * p)) for p in range(4)]
        await asyncio.gather(
            *(play(engine, reference, f"{p}.{i}", prompts[p]) for p in range(4) for i in range(5))
        )
        assert engine.load().kv_tokens_reserved == 0
        assert engine.stats.reused_tokens > 1000
        await engine.close()

    asyncio.run(scenario())
