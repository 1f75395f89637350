import json

from rstar2.protocol.template import Template, call_text
from rstar2.rollout.transcript import as_text, readable
from rstar2.types import (
    Ending,
    GradedRollout,
    MalformedCall,
    Problem,
    Rollout,
    Segment,
    Source,
    ToolCall,
    ToolResult,
    ToolStatus,
    Turn,
)

PROBLEM = Problem(id="p", question="What is 2 times 3?\n", answer="6", task="products")


def graded(template: Template, reward: float) -> GradedRollout:
    encode = template.tokenizer.encode
    written = encode("</reason>" + call_text("print(6)"))
    segments = (
        Segment(source=Source.PROMPT, token_ids=template.prompt(PROBLEM.question)),
        Segment(source=Source.MODEL, token_ids=tuple(written), logprobs=(-1.0,) * len(written), version=0),
        Segment(source=Source.ENVIRONMENT, token_ids=template.bridge("6")),
    )
    turns = (
        Turn(
            text="",
            call=ToolCall.of("python", {"code": "print(6)"}),
            result=ToolResult(status=ToolStatus.OK, stdout="6"),
        ),
        Turn(text="", call=MalformedCall(status=ToolStatus.UNKNOWN_TOOL, reason="no such tool")),
        Turn(text=""),
    )
    rollout = Rollout(
        problem_id="p",
        index=3,
        segments=segments,
        turns=turns,
        ending=Ending.FINISHED,
        answer="6",
        num_answers=1,
    )
    return GradedRollout(rollout=rollout, reward=reward)


def test_a_record_is_json_with_everything_that_a_reader_asks(template: Template) -> None:
    record = json.loads(json.dumps(readable(template.tokenizer, PROBLEM, graded(template, 1.0))))
    segments = record.pop("segments")
    tokens = record.pop("tokens")
    assert record == {
        "problem": "p",
        "task": "products",
        "question": "What is 2 times 3?\n",
        "expected": "6",
        "answer": "6",
        "index": 3,
        "reward": 1.0,
        "ending": "finished",
        "statuses": ["ok", "unknown_tool"],
        "calls": ["print(6)", "no such tool", None],
    }
    assert [segment["source"] for segment in segments] == ["prompt", "model", "environment"]
    assert segments[1]["text"] == "</reason>" + call_text("print(6)")
    assert segments[1]["token_ids"] == template.tokenizer.encode(segments[1]["text"])
    assert tokens == sum(len(template.tokenizer.encode(segment["text"])) for segment in segments[1:])


def test_as_text_says_what_was_asked_and_whether_it_was_right_and_hides_the_prompt(
    template: Template,
) -> None:
    texts = [as_text(readable(template.tokenizer, PROBLEM, graded(template, r))) for r in (1.0, 0.0)]
    assert texts[0].startswith(
        "products: What is 2 times 3?\nexpected 6, got 6 (right)\n</reason><tool_call>"
    )
    assert "(wrong)" in texts[1]
    assert "<|im_start|>system" not in texts[0]
    assert "<tool_response>\n6\n</tool_response>" in texts[0]
