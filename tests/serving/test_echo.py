"""Prompts read back, against a scripted engine and a reader that knows every token's place."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rstar2.serving import ReadToken

WRITTEN = "42 and no more."
ECHO = {"model": "tiny", "prompt": "What is 2 times 3?", "echo": True, "logprobs": 1, "max_tokens": 1}


@pytest.fixture
def asked(scene, tokenizer):
    """(status, JSON) of one completion of a server that reads prompts back."""

    async def read(token_ids: Sequence[int]) -> list[ReadToken]:
        """The place stands for the log-prob; every other token is the likeliest itself."""
        return [
            ReadToken(
                logprob=-float(n), likeliest_id=token_ids[n - n % 2], likeliest_logprob=-float(n - n % 2)
            )
            for n in range(1, len(token_ids))
        ]

    def ask(turn: str = WRITTEN, can_read: bool = True, **fields: object) -> tuple[int, dict]:
        here = scene(turn)
        here.served = replace(here.served, read=read if can_read else None)
        got = []

        async def visit(session):
            async with session.post("/v1/completions", json=ECHO | fields) as response:
                got.append((response.status, await response.json()))

        here.visited(visit)
        return got[0]

    return ask


def test_a_prompt_comes_back_with_what_follows_it(asked, tokenizer):
    status, body = asked(max_tokens=2)
    assert status == 200
    (choice,) = body["choices"]
    token_ids = tokenizer.encode(ECHO["prompt"]) + tokenizer.encode(WRITTEN)[:2]
    texts = [tokenizer.decode([token_id]) for token_id in token_ids]
    assert choice["text"] == "".join(texts)
    assert choice["finish_reason"] == "length"
    listed = choice["logprobs"]
    assert listed["tokens"] == texts
    assert listed["token_logprobs"] == [None, *(-float(n) for n in range(1, len(texts)))]
    assert [choice["text"][start:][:1] for start in listed["text_offset"]] == [text[0] for text in texts]
    assert listed["top_logprobs"][:3] == [None, {texts[0]: 0.0}, {texts[2]: -2.0}]
    assert body["usage"]["completion_tokens"] == 2


def test_the_token_that_ends_a_turn_is_counted_but_not_shown(asked, tokenizer):
    _, body = asked(turn="")
    (choice,) = body["choices"]
    assert choice["text"] == ECHO["prompt"]
    assert choice["finish_reason"] == "stop"
    num_prompt = len(tokenizer.encode(ECHO["prompt"]))
    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["top_logprobs"]) == num_prompt + 1


def test_a_prompt_can_be_read_without_going_on(asked, tokenizer):
    _, body = asked(max_tokens=0)
    assert body["choices"][0]["text"] == ECHO["prompt"]
    assert body["usage"]["completion_tokens"] == 0
    _, body = asked(prompt=[7], max_tokens=0)
    assert body["choices"][0]["logprobs"]["token_logprobs"] == [None]


def test_prompts_keep_their_order_and_log_probs_are_left_out_if_nobody_wants_them(asked):
    _, body = asked(prompt=["What", "3"], logprobs=None, max_tokens=0)
    assert [choice["text"] for choice in body["choices"]] == ["What", "3"]
    assert all(choice["logprobs"] is None for choice in body["choices"])


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"stop": "x"}, "echo goes without stop"),
        ({"echo": False, "logprobs": 0, "max_tokens": 0}, "max_tokens is at least 1"),
        ({"echo": False, "logprobs": 1}, "or 1 with echo"),
        ({"logprobs": 2}, "logprobs"),
    ],
)
def test_what_cannot_be_had_together_is_refused(asked, fields, complaint):
    status, body = asked(**fields)
    assert status == 400
    assert complaint in body["error"]["message"]


def test_a_server_that_does_not_read_says_how_it_would(asked):
    status, body = asked(can_read=False)
    assert (status, body["error"]["param"]) == (400, "echo")
    assert "--echo" in body["error"]["message"]
