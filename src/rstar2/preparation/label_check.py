"""Labels that another model confirms: a problem stays if enough of its answers are the label.

The paper keeps what 2 of 16 answers of Qwen3-32B agree with (section 4.2, arXiv:2508.20722). They are asked
for a few at a time, until 2 agree or so many disagree that 2 no longer can: the outcome is that of all 16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rstar2.config import LabelCheckSection
from rstar2.integers import canonical_integer
from rstar2.preparation.served_model import Asked
from rstar2.protocol.answer import last_boxed
from rstar2.types import Problem


@dataclass(frozen=True, slots=True)
class Agreement:
    """How answers compare with one label."""

    num_answers: int
    num_agreeing: int

    def as_record(self) -> dict[str, int]:
        return {"answers": self.num_answers, "agreeing": self.num_agreeing}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Agreement":
        return cls(record["answers"], record["agreeing"])


async def agreement(model: Asked, problem: Problem, section: LabelCheckSection) -> Agreement | None:
    """Of as many answers as it takes; None if the model refuses the problem."""
    asked = [{"role": "user", "content": section.prompt.replace("{question}", problem.question)}]
    now = Agreement(0, 0)
    while not is_certain(now, section):
        count = min(section.answers_per_request, section.answers - now.num_answers)
        replies = await model.replies(asked, count=count)
        if replies is None:
            return None
        agreeing = sum(answered(reply) == problem.answer for reply in replies[:count])
        now = Agreement(now.num_answers + len(replies[:count]), now.num_agreeing + agreeing)
    return now


def is_certain(now: Agreement, section: LabelCheckSection) -> bool:
    """Whether further answers could not change the outcome."""
    num_left = section.answers - now.num_answers
    return now.num_agreeing >= section.min_agreeing or now.num_agreeing + num_left < section.min_agreeing


def is_confirmed(now: Agreement, section: LabelCheckSection) -> bool:
    return now.num_agreeing >= section.min_agreeing


def answered(reply: str) -> str | None:
    """The integer in the last box, in canonical spelling."""
    boxed = last_boxed(reply)
    return canonical_integer(boxed) if boxed else None
