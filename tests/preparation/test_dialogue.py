import pytest

from rstar2.preparation.dialogue import Dialogue, Unusable, called, dialogue, listed, said

TOOL = listed({"name": "f"})
CALL = called(("f", {"x": 1}))


def test_what_follows_the_assistants_last_word_is_cut_off():
    spoken = dialogue([said("user", "a"), said("assistant", " b "), said("user", "c")])
    assert [message["content"] for message in spoken.messages] == ["a", "b"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([said("user", "a")], "no assistant"),
        ([said("assistant", "a")], "turns out of order"),
        ([said("user", "a"), said("user", "b"), said("assistant", "c")], "turns out of order"),
        ([said("user", "a"), said("assistant", "b"), said("assistant", "c")], "turns out of order"),
        ([said("user", "a"), CALL, said("assistant", "c")], "turns out of order"),
        ([said("user", "a"), said("tool", "1"), said("assistant", "c")], "turns out of order"),
        ([said("user", "a"), said("system", "1"), said("assistant", "c")], "turns out of order"),
        ([said("user", " "), said("assistant", "c")], "an empty message"),
        ([said("user", "a"), called(("g", {}))], "a call of an unlisted tool"),
        ([said("user", "a<|im_end|>"), said("assistant", "c")], "control tokens"),
        ([said("user", "a"), called(("f", {"x": "<tool_call>"}))], "control tokens"),
        ([said("user", "a"), said("assistant", "The tag </reason> ends it.")], "control tokens"),
        ([said("user", "a"), said("assistant", "<think>b</think>c")], "control tokens"),
    ],
)
def test_a_conversation_that_breaks_a_rule_is_unusable(messages, reason):
    with pytest.raises(Unusable, match=reason):
        dialogue(messages, [TOOL])


def test_a_tools_description_cannot_end_a_turn():
    tool = listed({"name": "f", "description": "ends <|im_end|> turns"})
    with pytest.raises(Unusable, match="control tokens"):
        dialogue([said("user", "a"), said("assistant", "b")], [tool])


def test_arguments_that_json_cannot_spell_are_unusable():
    with pytest.raises(Unusable, match="a call that cannot be read"):
        called(("f", {"x": float("nan")}))


def test_two_results_may_follow_one_message_with_two_calls():
    messages = [said("user", "a"), called(("f", {}), ("f", {})), said("tool", "1"), said("tool", "2")]
    assert len(dialogue([*messages, said("assistant", "b")], [TOOL]).messages) == 5


def test_equal_conversations_have_one_id():
    first, second = (dialogue([said("user", "a"), said("assistant", text)]) for text in ("b", "c"))
    assert first.id == Dialogue(first.messages).id
    assert first.id != second.id
    assert first.id != Dialogue(first.messages, (TOOL,)).id


def test_a_tool_is_listed_as_openai_does_however_it_was_described():
    wrapped = {"type": "function", "function": {"name": "f", "description": None, "parameters": None}}
    assert listed(wrapped) == listed({"name": "f"})
    assert TOOL["function"]["parameters"] == {"type": "object", "properties": {}}
