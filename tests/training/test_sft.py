from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rstar2.errors import DataError
from rstar2.protocol.template import Template, call_text, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer
from rstar2.training.conversations import Conversation
from rstar2.training.sft import conversation_sample, dialogue_sample, text_sample, with_shared_opening
from rstar2.types import TrainSample

TURNS = (
    {"role": "assistant", "content": "hm</reason>" + call_text("print(2 * 3)")},
    {"role": "tool", "content": "6"},
    {"role": "assistant", "content": "</reason><answer>\\boxed{6}</answer>"},
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def targets(template: Template, sample: TrainSample) -> str:
    return template.tokenizer.decode(list(compress(sample.token_ids, sample.loss_mask)))


def test_the_targets_are_what_the_assistant_writes_each_turn_with_its_end(template: Template) -> None:
    sample = dialogue_sample(template, "What is 2 times 3?", TURNS)
    assert targets(template, sample) == f"{TURNS[0]['content']}<|im_end|>{TURNS[2]['content']}<|im_end|>"
    assert sample.token_ids[-1] == template.tokenizer.eos_token_id
    assert set(sample.logprobs) == {0.0}
    assert sample.advantage == 1.0


def test_a_sample_is_the_rendered_conversation_up_to_the_last_end_of_turn(template: Template) -> None:
    sample = dialogue_sample(template, "What is 2 times 3?", TURNS)
    rendered = template.render([*template.opening("What is 2 times 3?"), *TURNS])
    assert template.tokenizer.decode(sample.token_ids) == rendered.removesuffix("\n")


@example(question="q", thought="t", shown="<tool_call> and <|im_end|>", answer="a")
@given(question=TEXT, thought=TEXT, shown=TEXT, answer=TEXT)
def test_a_dialogue_and_the_same_conversation_make_the_same_sample(
    template: Template, question: str, thought: str, shown: str, answer: str
) -> None:
    turns: Sequence[Mapping[str, Any]] = (
        {"role": "assistant", "content": f" {thought}</reason>"},
        {"role": "tool", "content": shown},
        {"role": "assistant", "content": f" {answer}</reason>"},
    )
    dialogue = dialogue_sample(template, question, turns)
    assert conversation_sample(template, Conversation((*template.opening(question), *turns))) == dialogue


def test_calls_in_the_usual_message_form_are_learned_as_the_text_of_a_call(template: Template) -> None:
    function = {"name": "execute_python_code_with_standard_io", "arguments": {"code": "1", "input": ""}}
    turn = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    sample = conversation_sample(template, Conversation((*template.opening("q"), turn)))
    assert targets(template, sample) == f"</reason>{call_text('1')}<|im_end|>"


def test_a_conversation_with_tools_of_its_own_lists_those_and_no_others(template: Template) -> None:
    turn = {"role": "assistant", "content": "7"}
    tool = {"type": "function", "function": {"name": "add_numbers", "parameters": {}}}
    texts = [
        template.tokenizer.decode(
            conversation_sample(template, Conversation((*template.opening("q"), turn), tools)).token_ids
        )
        for tools in (None, (tool,), ())
    ]
    assert ["execute_python" in text for text in texts] == [True, False, False]
    assert ["add_numbers" in text for text in texts] == [False, True, False]
    assert "# Tools" not in texts[2]


def test_earlier_turns_without_the_assistant_are_never_targets(template: Template) -> None:
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "a</reason>1"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "b</reason>2"},
        {"role": "user", "content": "three"},
    ]
    sample = conversation_sample(template, Conversation(tuple(messages)))
    assert targets(template, sample) == "a</reason>1<|im_end|>b</reason>2<|im_end|>"
    assert "three" not in template.tokenizer.decode(sample.token_ids)


def test_a_conversation_that_the_template_renders_anew_at_every_turn_is_refused() -> None:
    """`Template` cannot know: the instability shows with two questions in one conversation only."""
    unstable = "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}" + chatml_template()
    tokenizer = train_tokenizer([], vocab_size=300, chat_template=unstable)
    messages = [
        {"role": role, "content": "</reason>x"} for role in ("user", "assistant", "user", "assistant")
    ]
    with pytest.raises(DataError, match="re-renders earlier turns"):
        conversation_sample(Template(tokenizer, system="", user="{question}"), Conversation(tuple(messages)))


def test_every_token_of_a_text_but_the_first_is_a_target() -> None:
    sample = text_sample([5, 6, 7])
    assert (sample.token_ids, sample.loss_mask) == ((5, 6, 7), (False, True, True))


def sample(token_ids: Sequence[int], num_prompt: int) -> TrainSample:
    mask = (False,) * num_prompt + (True,) * (len(token_ids) - num_prompt)
    return TrainSample(token_ids=tuple(token_ids), loss_mask=mask, logprobs=(0.0,) * len(mask))


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=5))
def test_samples_share_exactly_the_tokens_that_all_begin_with(tails: list[list[int]]) -> None:
    samples = [sample([7, 8, 9, *tail, 5], 3 + len(tail)) for tail in tails]
    marked = with_shared_opening(samples)
    length = marked[0].prompt_length
    assert {s.prompt_length for s in marked} == {length}
    assert len({s.token_ids[:length] for s in marked}) == 1
    longer = {s.token_ids[: length + 1] for s in samples}
    assert len(longer) > 1 or any(len(ids) == length + 1 for ids in (s.token_ids for s in samples))
    assert [s.token_ids for s in marked] == [s.token_ids for s in samples]


def test_samples_that_share_nothing_or_a_target_stay_as_they_are() -> None:
    for samples in (
        [sample([1, 2, 3], 2), sample([4, 5, 6], 2)],
        [sample([1, 2, 3], 1), sample([1, 2, 4], 2)],
    ):
        assert with_shared_opening(samples) == samples
