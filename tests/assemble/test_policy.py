"""An exported policy is an ordinary checkpoint."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rstar2.assemble import export
from rstar2.assemble.policy import load_policy
from rstar2.config import RunConfig, parse_config
from rstar2.engines.torch_engine import TorchEngine
from rstar2.errors import ConfigError
from rstar2.models.loading import build_tiny, load_model, save_model
from rstar2.protocol.template import PYTHON_TOOL, Template, chatml_template
from rstar2.protocol.tokenizer import load_tokenizer, train_tokenizer
from rstar2.types import GenerationRequest

QUESTION = "What is 12 * 34?"


def exported(folder: Path) -> Template:
    tokenizer = train_tokenizer([QUESTION] * 3, vocab_size=300, chat_template=chatml_template())
    model = build_tiny(
        vocab_size=len(tokenizer.hf),
        hidden_size=24,
        num_layers=4,
        num_heads=2,
        num_kv_heads=1,
        head_dim=12,
        mlp_size=40,
        max_positions=2048,
        seed=5,
        initial_std=2.0,
        eos_token_id=tokenizer.eos_token_id,
    )
    export(partial(save_model, model), tokenizer, folder)
    return Template(tokenizer, system="", user="{question}")


def test_an_exported_policy_is_an_ordinary_checkpoint_with_the_same_greedy_text(tmp_path: Path) -> None:
    template = exported(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tools=[PYTHON_TOOL.shown], add_generation_prompt=True
    )["input_ids"]
    assert tuple(ids) == template.prompt(QUESTION)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    theirs = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids)),
        max_new_tokens=23,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )[0, len(ids) :].tolist()

    async def ours() -> tuple[int, ...]:
        engine = TorchEngine(
            load_model(tmp_path), eos_token_id=tokenizer.eos_token_id, kv_tokens=4096, max_running=4
        )
        request = GenerationRequest(
            rollout_id="r",
            group_id="g",
            token_ids=tuple(ids),
            prompt_length=len(ids),
            max_new_tokens=23,
            max_total_tokens=len(ids) + 23,
            temperature=0.0,
            top_p=1.0,
            seed=0,
        )
        try:
            return (await engine.generate(request)).token_ids
        finally:
            await engine.close()

    written = asyncio.run(ours())
    assert list(written) == theirs[: len(written)]
    assert len(set(written)) > 2, "a text of one token would prove little"


def on(base: Path) -> RunConfig:
    return parse_config({"model": {"base": str(base)}})


def base_folder(folder: Path, *, num_rows: int) -> Path:
    """A base model that ends texts, not turns, as Qwen3's do; 300 tokens."""
    tokenizer = train_tokenizer([QUESTION] * 3, vocab_size=300, chat_template=chatml_template())
    tokenizer.hf.eos_token = "<|endoftext|>"
    model = build_tiny(
        vocab_size=num_rows, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=13, max_positions=17, seed=0, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    export(partial(save_model, model), tokenizer, folder)
    return folder


@pytest.mark.parametrize(("template", "end"), [("chatml", "<|im_end|>"), ("checkpoint", "<|endoftext|>")])
def test_an_exported_model_ends_where_its_tokenizer_does(template: str, end: str, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", num_rows=320)
    config = parse_config({"model": {"base": str(base)}, "protocol": {"template": template}})
    policy = load_policy(config)
    export(partial(save_model, policy.model), policy.tokenizer, tmp_path / "out")
    model, tokenizer = load_model(tmp_path / "out"), load_tokenizer(str(tmp_path / "out"))
    assert tokenizer.hf.eos_token == end
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_a_tokenizer_with_ids_beyond_the_model_is_refused(tmp_path: Path) -> None:
    num_tokens = len(load_policy(on(base_folder(tmp_path / "good", num_rows=300))).tokenizer.hf)
    assert (
        load_policy(on(base_folder(tmp_path / "exact", num_rows=num_tokens))).model.config.vocab_size
        == num_tokens
    )
    torn = load_policy(on(base_folder(tmp_path / "torn", num_rows=num_tokens - 1)))
    with pytest.raises(
        ConfigError, match=rf"ids up to {num_tokens - 1}, and its model embeds {num_tokens - 1} "
    ):
        assert torn.model
