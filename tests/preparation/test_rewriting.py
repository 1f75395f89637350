"""What a model wrote anew, in its place in the conversation."""

import pytest

from rstar2.preparation.dialogue import dialogue, said
from rstar2.preparation.rewriting import with_text

SPOKEN = dialogue([said("user", "Name a fruit."), said("assistant", "Apple.")])


@pytest.mark.parametrize("text", ["Pear.", "<think>\nApple is taken.\n</think>\n\nPear."])
def test_a_new_response_stands_in_place_of_the_last_without_its_thoughts(text):
    made = with_text(SPOKEN, "responses", text)
    assert made is not None
    assert [message["content"] for message in made.messages] == ["Name a fruit.", "Pear."]


@pytest.mark.parametrize(
    "text", ["", "<think>The user wants a fruit. Let me", "The user wants a fruit.</think>Pear."]
)
def test_a_text_that_nothing_can_be_learned_from_makes_no_conversation(text):
    assert with_text(SPOKEN, "responses", text) is None
    assert with_text(SPOKEN, "prompts", text) is None
