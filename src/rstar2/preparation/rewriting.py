"""Conversations of which another model has written a part anew: the last response, or the prompt.

The paper had o4-mini do this for its instruction and chat data and published neither; it is off unless a
model is given.
"""

from typing import Literal

from rstar2.config import RewritingSection
from rstar2.preparation.dialogue import Dialogue, Unusable, dialogue, said, without_thoughts
from rstar2.preparation.served_model import Asked


async def rewritten(
    model: Asked, spoken: Dialogue, what: Literal["responses", "prompts"], section: RewritingSection
) -> str | None:
    """The new text; None if the model refuses."""
    if what == "responses":
        asked = list(spoken.messages[:-1])
    else:
        prompt = spoken.messages[_prompt_place(spoken)]["content"]
        asked = [said("user", section.prompt.replace("{prompt}", prompt))]
    replies = await model.replies(asked, count=1)
    return replies[0].strip() if replies else None


def with_text(spoken: Dialogue, what: Literal["responses", "prompts"], text: str) -> Dialogue | None:
    """The conversation with the new text in its place; None if that cannot be learned from."""
    place = len(spoken.messages) - 1 if what == "responses" else _prompt_place(spoken)
    messages = list(spoken.messages)
    try:
        messages[place] = said(messages[place]["role"], without_thoughts(text))
        return dialogue(messages, spoken.tools)
    except Unusable:
        return None


def _prompt_place(spoken: Dialogue) -> int:
    return next(place for place, message in enumerate(spoken.messages) if message["role"] == "user")
