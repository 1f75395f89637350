r"""The answer in what a model wrote: the last `\boxed{...}` inside the last closed `<answer>` block.

The caller gives model-written text only, so that a tool's output can never be an answer. Whether the
answer is right is not decided here. Both scans are linear in the text, whatever a policy learns to write.
"""

import re

_ANSWER_BLOCK = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_BRACE = re.compile(r"(?P<box>\\boxed\s*\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)


def extract_answer(model_text: str) -> tuple[str | None, int]:
    """(answer or None, closed answer blocks in the text).

    None if no block is closed, or if the last closed one holds no box or an empty one: an earlier block
    or a box outside is never used instead, since the model's last word is its answer.
    """
    blocks = _ANSWER_BLOCK.findall(model_text)
    return (last_boxed(blocks[-1]) if blocks else None), len(blocks)


def last_boxed(text: str) -> str | None:
    r"""Inside of the last `\boxed{...}` with balanced braces, stripped; None if there is none or it is empty.

    "Last" is the box that opens last, so of nested boxes the innermost counts.
    """
    starts: list[int | None] = []  # of the boxes open here; None for any other brace
    last = (-1, -1)
    for brace in _BRACE.finditer(text):
        if brace["close"]:
            start = starts.pop() if starts else None
            if start is not None:
                last = max(last, (start, brace.start()))
        elif brace["box"] or brace["open"]:
            starts.append(brace.end() if brace["box"] else None)
    return text[last[0] : last[1]].strip() or None if last[0] >= 0 else None
