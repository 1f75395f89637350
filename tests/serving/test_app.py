"""Requests as clients send them, against a scripted engine."""

import asyncio
import json
from dataclasses import replace

import pytest

from rstar2.protocol.template import call_text

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "What is 2 times 3?"}]}
ANSWER = "</reason>It is 42 and no more."
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}},
}
CALL = '</reason>so <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
CALCULATOR_CALL = (
    '</reason><tool_call>{"name": "calculator", "arguments": {"expression": "6 * 7"}}</tool_call>'
)


def posted(scene, body, path="/v1/chat/completions"):
    """(status, JSON) of one request."""
    got = []

    async def visit(session):
        async with session.post(path, json=body) as response:
            got.append((response.status, await response.json()))

    scene.visited(visit)
    return got[0]


def events(scene, body, path="/v1/chat/completions"):
    """What a stream says, without its `[DONE]`."""
    texts = []

    async def visit(session):
        async with session.post(path, json=body | {"stream": True}) as response:
            assert response.content_type == "text/event-stream"
            texts.append(await response.text())

    scene.visited(visit)
    *lines, done, end = texts[0].split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_chat_is_answered_with_what_the_model_wrote(scene, tokenizer):
    here = scene(ANSWER)
    status, body = posted(here, HELLO)
    assert status == 200
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": ANSWER}
    assert choice["finish_reason"] == "stop"
    num_written = len(tokenizer.encode(ANSWER)) + 1
    num_prompt = len(here.engine.requests[0].token_ids)
    assert body["usage"] == {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_written,
        "total_tokens": num_prompt + num_written,
    }


def test_the_prompt_is_the_chat_template_of_the_conversation(scene, tokenizer):
    here = scene(ANSWER)
    conversation = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Two "}, {"type": "text", "text": "parts?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "2"},
    ]
    assert posted(here, HELLO | {"messages": conversation, "tools": [TOOL]})[0] == 200
    prompt = tokenizer.decode(here.engine.requests[0].token_ids)
    assert prompt.startswith("<|im_start|>system\nBe brief.\n\n# Tools")
    assert '"description": "Adds."' in prompt
    assert "<|im_start|>user\nTwo parts?<|im_end|>" in prompt
    assert '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>' in prompt
    assert prompt.endswith("<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n<reason>")


@pytest.mark.parametrize("body", [{}, {"stop": "42"}, {"max_tokens": 7}, {"tools": [TOOL]}, {"n": 3}])
@pytest.mark.parametrize("turn", [ANSWER, CALL, "</reason>\u20ac\u20ac\u20ac\u20ac <tool"])
def test_a_stream_adds_up_to_the_whole_answer(scene, body, turn):
    _, whole = posted(scene(turn), HELLO | body)
    said = [{"content": "", "tool_calls": []} for _ in whole["choices"]]
    for event in events(scene(turn), HELLO | body):
        (choice,) = event["choices"]
        total = said[choice["index"]]
        total["content"] += choice["delta"].get("content") or ""
        total["tool_calls"] += choice["delta"].get("tool_calls", [])
        total["finish_reason"] = choice["finish_reason"]
    for choice, total in zip(whole["choices"], said, strict=True):
        assert total["content"] == (choice["message"]["content"] or "")
        assert total["finish_reason"] == choice["finish_reason"]
        functions = [call["function"] for call in choice["message"].get("tool_calls", [])]
        assert [call["function"] for call in total["tool_calls"]] == functions


def test_a_stream_comes_in_pieces_and_ends_with_the_usage_if_asked(scene):
    got = events(scene(ANSWER), HELLO | {"stream_options": {"include_usage": True}})
    *pieces, last = got
    assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert sum(bool(piece["choices"][0]["delta"].get("content")) for piece in pieces) > 1
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 8
    assert len({event["id"] for event in got}) == 1


def test_a_call_of_a_client_s_tool_is_returned_to_it(scene):
    _, body = posted(scene(CALL), HELLO | {"tools": [TOOL]})
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "</reason>so "
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}


def test_a_call_that_the_token_limit_cuts_stays_text_with_all_before_it(scene, tokenizer):
    max_tokens = len(tokenizer.encode(CALL)) + 5
    _, body = posted(scene(CALL + CALL), HELLO | {"tools": [TOOL], "max_tokens": max_tokens})
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"] == tokenizer.decode(tokenizer.encode(CALL + CALL)[:max_tokens])


def test_a_client_that_wants_no_calls_gets_text_and_shows_no_tools(scene, tokenizer):
    here = scene(CALL)
    _, body = posted(here, HELLO | {"tools": [TOOL], "tool_choice": "none"})
    assert body["choices"][0]["message"]["content"] == CALL
    assert "# Tools" not in tokenizer.decode(here.engine.requests[0].token_ids)


def test_a_server_runs_no_tools_for_a_client_that_wants_no_calls(scene, tokenizer):
    here = scene(CALCULATOR_CALL, with_tools=True)
    _, body = posted(here, HELLO | {"tool_choice": "none"})
    assert body["choices"][0]["message"] == {"role": "assistant", "content": CALCULATOR_CALL}
    assert "# Tools" not in tokenizer.decode(here.engine.requests[0].token_ids)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_with_tools_of_its_own_the_server_runs_them(scene, is_streamed):
    here = scene(CALCULATOR_CALL, ANSWER, with_tools=True)
    if is_streamed:
        message = [event["choices"][0]["delta"] for event in events(here, HELLO)][-1]
    else:
        message = posted(here, HELLO)[1]["choices"][0]["message"]
    assert message["content"] == ANSWER
    (step,) = message["tool_steps"]
    assert step == {"content": CALCULATOR_CALL, "status": "ok", "response": "42"}
    assert "tool_calls" not in message


def test_a_loop_that_meets_its_turn_limit_ends_by_length(scene):
    here = scene(*[CALCULATOR_CALL] * 4, with_tools=True)
    _, body = posted(here, HELLO | {"max_tokens": 900, "logprobs": True})
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == CALCULATOR_CALL
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == CALCULATOR_CALL
    assert len(choice["message"]["tool_steps"]) == 3


def test_a_loop_without_room_for_its_last_tool_response_tells_of_it_all_the_same(scene, tokenizer):
    num_written = len(tokenizer.encode(CALCULATOR_CALL)) + 1
    _, body = posted(scene(CALCULATOR_CALL, with_tools=True), HELLO | {"max_tokens": num_written + 3})
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == CALCULATOR_CALL
    assert choice["message"]["tool_steps"] == [{"content": CALCULATOR_CALL, "status": "ok", "response": "42"}]
    assert body["usage"]["completion_tokens"] == num_written


def test_a_loop_cut_amid_its_last_turn_shows_all_tokens_of_it(scene, tokenizer):
    _, body = posted(scene(ANSWER, with_tools=True), HELLO | {"max_tokens": 3})
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == tokenizer.decode(tokenizer.encode(ANSWER)[:3])


def test_text_stops_before_a_stop_and_its_tokens_are_counted_up_to_it(scene, tokenizer):
    _, body = posted(scene(ANSWER), HELLO | {"stop": ["no more"]})
    (choice,) = body["choices"]
    assert choice["message"]["content"] == "</reason>It is 42 and "
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] <= len(tokenizer.encode(ANSWER))


def test_logprobs_are_those_of_the_sampled_tokens(scene, tokenizer):
    _, body = posted(scene(ANSWER), HELLO | {"logprobs": True})
    listed = body["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in listed) == ANSWER
    assert {entry["logprob"] for entry in listed} == {-1.0}
    assert bytes(listed[0]["bytes"]).decode() == listed[0]["token"]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_bytes_of_tokens_are_those_of_the_text_also_where_they_cut_characters(scene, tokenizer, is_streamed):
    turn = "</reason>5 \u20ac are \U0001f600 and more."
    asked = HELLO | {"logprobs": True}
    here = scene(turn)
    got = events(here, asked) if is_streamed else [posted(here, asked)[1]]
    logprobs = [choice["logprobs"] for body in got for choice in body["choices"] if choice.get("logprobs")]
    listed = [entry for part in logprobs for entry in part["content"]]
    assert any(entry["token"] == "\ufffd" for entry in listed)
    assert bytes(byte for entry in listed for byte in entry["bytes"]) == turn.encode()


def test_a_token_beyond_the_vocabulary_has_no_bytes(scene, tokenizer):
    here = scene(ANSWER)
    here.turns = [(len(tokenizer.hf) + 5, tokenizer.eos_token_id)]
    _, body = posted(here, HELLO | {"logprobs": True})
    (entry,) = body["choices"][0]["logprobs"]["content"]
    assert (entry["token"], entry["bytes"]) == ("", [])


@pytest.mark.parametrize("prompt", ["What", ["What", "is"], [5, 6], [[5], [6, 7]]])
def test_plain_completions_take_texts_and_tokens(scene, prompt):
    here = scene("42")
    _, body = posted(here, {"model": "tiny", "prompt": prompt, "n": 2, "logprobs": 0}, "/v1/completions")
    num_prompts = 1 if prompt in ("What", [5, 6]) else 2
    assert [choice["text"] for choice in body["choices"]] == ["42"] * 2 * num_prompts
    assert [choice["index"] for choice in body["choices"]] == list(range(2 * num_prompts))
    assert len(here.engine.requests) == 2 * num_prompts
    distinct = {request.group_id: request.token_ids for request in here.engine.requests}
    assert body["usage"]["prompt_tokens"] == sum(map(len, distinct.values()))
    assert "".join(body["choices"][0]["logprobs"]["tokens"]) == "42"


def test_a_seed_fixes_the_draws_and_choices_differ_in_theirs(scene):
    seeds = []
    for body in ({"seed": 5}, {"seed": 5}, {"seed": 6}, {}, {}):
        here = scene(ANSWER)
        posted(here, HELLO | body | {"n": 2})
        seeds.append(tuple(request.seed for request in here.engine.requests))
    assert seeds[0] == seeds[1]
    assert len({seed for pair in seeds[1:] for seed in pair}) == 8


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, None),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"stop": [""]}, None),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"repetition_penalty": 2.0}, "repetition_penalty"),
        ({"top_k": 1}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"min_tokens": 50}, "min_tokens"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"bad_words": ["no"]}, "bad_words"),
        ({"allowed_token_ids": [5]}, "allowed_token_ids"),
        ({"stop_token_ids": [5]}, "stop_token_ids"),
        ({"guided_json": {"type": "object"}}, "guided_json"),
        ({"guided_choice": ["yes", "no"]}, "guided_choice"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"functions": [{"name": "add"}]}, "functions"),
        ({"function_call": {"name": "add"}}, "function_call"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "browser"}]}, "tools.0.type"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(scene, change, param):
    status, body = posted(scene(ANSWER), HELLO | change)
    assert status == 400
    error = body["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert param is None or error["param"] == param


def test_nulls_and_fields_that_change_nothing_are_ignored(scene):
    body = {"user": "me", "metadata": {}, "temperature": None, "tools": None, "stop": None, "n": None}
    assert posted(scene(ANSWER), HELLO | body)[0] == 200


def test_what_asks_for_nothing_that_cannot_be_done_is_taken(scene, tokenizer):
    body = {
        "top_k": -1, "min_p": 0, "min_tokens": 0, "repetition_penalty": 1, "ignore_eos": False,
        "bad_words": [], "stop_token_ids": [tokenizer.eos_token_id], "guided_json": None, "functions": [],
    }  # fmt: skip
    assert posted(scene(ANSWER), HELLO | body)[0] == 200
    assert posted(scene(ANSWER), HELLO | {"top_k": 0})[0] == 200


@pytest.mark.parametrize("max_tokens", [3000, 10**9])
def test_what_can_never_fit_is_refused_as_a_context_that_is_too_long(scene, max_tokens):
    status, body = posted(scene(ANSWER), HELLO | {"max_tokens": max_tokens})
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    long = [{"role": "user", "content": "what " * 3000}]
    status, body = posted(scene(ANSWER), HELLO | {"messages": long})
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize("prompt", ["", [], [[]], [10**9], [-1], [[1], "a"], 5])
def test_prompts_that_are_none_are_refused(scene, prompt):
    assert posted(scene("42"), {"model": "tiny", "prompt": prompt}, "/v1/completions")[0] == 400


def test_another_model_is_not_found(scene):
    status, body = posted(scene(ANSWER), HELLO | {"model": "gpt"})
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert "'tiny'" in body["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model": NaN}', b"[" * 100_000, b'"\\ud800"'])
def test_bytes_that_are_no_request_are_refused(scene, body):
    async def visit(session):
        for path in ("/v1/chat/completions", "/v1/completions"):
            async with session.post(path, data=body) as response:
                assert response.status == 400
                assert "message" in (await response.json())["error"]

    scene(ANSWER).visited(visit)


def test_models_and_health_are_told_and_other_paths_are_not_found(scene):
    async def visit(session):
        async with session.get("/v1/models") as response:
            (card,) = (await response.json())["data"]
        assert (card["id"], card["max_model_len"]) == ("tiny", 3000)
        async with session.get("/v1/models/tiny") as response:
            assert await response.json() == card
        async with session.get("/v1/models/runs/other") as response:
            assert response.status == 404
        async with session.get("/health") as response:
            assert (await response.json())["running"] == 0
        async with session.get("/v1/chat/completions") as response:
            assert response.status == 405
            assert "error" in await response.json()

    scene(ANSWER).visited(visit)


def test_a_server_with_a_key_serves_only_those_who_have_it(scene):
    async def visit(session):
        for key, status in ((None, 401), ("Bearer no", 401), ("Bearer yes", 200)):
            headers = {} if key is None else {"Authorization": key}
            async with session.get("/v1/models", headers=headers) as response:
                assert response.status == status

    scene(ANSWER, token="yes").visited(visit)


def test_an_engine_that_died_is_a_503_and_not_the_client_s_fault(scene):
    here = scene(ANSWER)

    async def visit(session):
        await here.engine.close()
        async with session.post("/v1/chat/completions", json=HELLO) as response:
            assert response.status == 503
            assert (await response.json())["error"]["type"] == "server_error"
        async with session.get("/health") as response:
            assert response.status == 503
            assert "start the server anew" in (await response.json())["error"]["message"]

    here.visited(visit)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_failure_that_nobody_foresaw_is_told_in_the_body_that_has_begun(scene, caplog, is_streamed):
    async def broken(rollout_id, call):
        raise ValueError("a bug of ours")

    here = scene(CALCULATOR_CALL, with_tools=True)
    here.served = replace(here.served, agent=replace(here.served.agent, call_tool=broken))

    async def visit(session):
        async with session.post("/v1/chat/completions", json=HELLO | {"stream": is_streamed}) as response:
            assert response.status == (200 if is_streamed else 500)
            body = await response.text()
        *pieces, last = body.strip().split("\n\n")
        assert len(pieces) == is_streamed  # the one that opens the choice
        assert all(piece.startswith("data: ") for piece in pieces)
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
        assert here.engine.load().num_running == 0

    here.visited(visit)
    assert "a bug of ours" in caplog.text


def test_engines_that_write_and_have_a_queue_are_healthy(scene):
    here = scene(ANSWER, num_steps=10**9, kv_tokens=300)

    async def visit(session):
        body = {"model": "tiny", "prompt": "What", "max_tokens": 250, "n": 2}
        waiting = asyncio.create_task(session.post("/v1/completions", json=body))
        while here.engine.load().num_running == 0:
            await asyncio.sleep(0.01)
        async with session.get("/health") as response:
            assert (response.status, (await response.json())["running"]) == (200, 1)
        waiting.cancel()

    here.visited(visit)


def test_tools_of_the_client_s_are_refused_where_the_server_runs_its_own(scene):
    status, body = posted(scene(ANSWER, with_tools=True), HELLO | {"tools": [TOOL]})
    assert status == 400
    assert "--tools" in body["error"]["message"]


def test_many_requests_at_once_all_get_their_own_answer(scene):
    here = scene(ANSWER, num_steps=5)

    async def visit(session):
        async def one(number):
            body = HELLO | {"max_tokens": number}
            async with session.post("/v1/chat/completions", json=body) as response:
                return (await response.json())["usage"]["completion_tokens"]

        assert await asyncio.gather(*map(one, range(1, 9))) == list(range(1, 9))

    here.visited(visit)


def test_the_python_call_of_the_protocol_is_read_as_well(scene):
    _, body = posted(scene("</reason>" + call_text("print(1)")), HELLO | {"tools": [TOOL]})
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"code": "print(1)", "input": ""}


@pytest.mark.parametrize("options", [{"stream": True}, {"n": 3}, {"stop": "never"}])
def test_a_client_that_hangs_up_frees_its_rows(scene, options):
    here = scene(ANSWER, num_steps=10**9)

    async def visit(session):
        waiting = asyncio.create_task(session.post("/v1/chat/completions", json=HELLO | options))
        while here.engine.load().num_running < options.get("n", 1):
            await asyncio.sleep(0.01)
        if waiting.done():  # the headers of a stream are there
            (await waiting).close()
        waiting.cancel()
        async with asyncio.timeout(5):
            while here.engine.load().num_running:
                await asyncio.sleep(0.01)

    here.visited(visit)
