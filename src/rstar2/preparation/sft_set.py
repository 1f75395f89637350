"""The SFT mixture: every source in a shard, then all conversations in one file, in a drawn order."""

import json
import random
from collections.abc import Iterator
from functools import partial
from typing import Literal

from rstar2.config import ConversationSource, RewritingSection
from rstar2.preparation.asking import ask_all
from rstar2.preparation.columns import rows_of
from rstar2.preparation.conversations import clean_conversations
from rstar2.preparation.dialogue import Dialogue
from rstar2.preparation.job import Job, skipped
from rstar2.preparation.journal import Journal
from rstar2.preparation.manifest import SourceCount, refusals
from rstar2.preparation.rewriting import rewritten, with_text
from rstar2.preparation.served_model import Asked
from rstar2.preparation.shards import Shard, fingerprint, write_unless_empty
from rstar2.problems.filters import FilterCount


async def make_conversations(job: Job) -> tuple[SourceCount, ...]:
    """Writes sft.jsonl, if there are any; one count per source."""
    counts: list[SourceCount] = []
    lines: list[str] = []
    for name, source in job.config.conversations.items():
        if source.skip:
            counts.append(skipped(name, source))
            continue
        count, found = _shard(job, name, source)
        if job.writer is not None and source.rewrite != "nothing":
            count, found = await _rewritten(job, job.writer, source.rewrite, count, list(found))
        counts.append(count)
        lines += [spoken.as_line(source=name) for spoken in found]
    random.Random(f"{job.config.seed}/order").shuffle(lines)
    write_unless_empty(job.folder / "sft.jsonl", lines)
    return tuple(counts)


def _shard(job: Job, name: str, source: ConversationSource) -> tuple[SourceCount, Iterator[Dialogue]]:
    shard = Shard(job.folder / "shards" / "sft" / f"{name}.jsonl")
    made_of = fingerprint(source, job.config.seed)
    if (count := shard.count(made_of)) is None:
        job.progress.begin(name, source.num_rows)
        found, count = clean_conversations(
            name, source, rows_of(source), seed=job.config.seed, on_row=job.progress.advance
        )
        shard.write((spoken.as_line() for spoken in found), count, made_of=made_of)
    return count, map(_dialogue, shard)


def _dialogue(line: str) -> Dialogue:
    record = json.loads(line)
    return Dialogue(tuple(record["messages"]), tuple(record["tools"]))


async def _rewritten(
    job: Job,
    writer: Asked,
    what: Literal["responses", "prompts"],
    count: SourceCount,
    found: list[Dialogue],
) -> tuple[SourceCount, Iterator[Dialogue]]:
    """The conversations with new parts; those that the model refused are dropped."""
    section = job.config.rewriting
    made_of = fingerprint(_what_matters(section), what)
    with Journal(job.folder / "asked" / f"{count.name}-{made_of}.jsonl") as journal:
        job.progress.begin(f"{count.name}: {what}", sum(spoken.id not in journal for spoken in found))
        await ask_all(
            ((spoken.id, spoken) for spoken in found),
            partial(_new_text, writer, what, section),
            journal,
            num_at_once=section.num_requests,
            on_answer=job.progress.advance,
        )
        texts = [(spoken, journal[spoken.id]["text"]) for spoken in found if spoken.id in journal]
    made = [with_text(spoken, what, text) for spoken, text in texts]
    usable = [spoken for spoken in made if spoken is not None]
    filtered = FilterCount(name="rewriting", num_before=len(made), num_after=len(usable))
    return count.filtered(refusals(len(found), len(made))).filtered(filtered), iter(usable)


async def _new_text(
    writer: Asked, what: Literal["responses", "prompts"], section: RewritingSection, spoken: Dialogue
) -> dict[str, str] | None:
    text = await rewritten(writer, spoken, what, section)
    return None if text is None else {"text": text}


def _what_matters(section: RewritingSection) -> str:
    """What the replies depend on: not where the model is served, nor how many requests run at once."""
    return section.model_dump_json(include={"model", "temperature", "top_p", "max_tokens", "prompt"})
