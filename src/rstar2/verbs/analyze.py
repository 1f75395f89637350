"""`rstar2 analyze`: how a policy behaves, from recorded rollouts and the policy's own entropies.

Writes analysis.json (all figures, and the tables) and entropies.jsonl (one rollout per line, token by
token), which the report shows.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rstar2.console import BarWatcher, console, plain_table, printable, progress_bar
from rstar2.errors import InputError
from rstar2.evaluation.behaviour.analysis import Behaviour, Played, behaviour
from rstar2.evaluation.behaviour.entropy import ScoredRollout, scored
from rstar2.evaluation.behaviour.recorded import Record, RecordedRollout
from rstar2.evaluation.behaviour.tables import TextTable, tables
from rstar2.telemetry import JsonLines, replace_text
from rstar2.verbs.checkpoint import playing_config

if TYPE_CHECKING:
    from rstar2.assemble.scoring import Scorer

_ENTROPIES = "entropies.jsonl"
_ROLLOUTS_AT_ONCE = 16
_WHICH_ROLLOUT = ("phase", "step", "problem", "occasion", "index")
"""What tells a rollout of a run from all others; transcripts of benchmarks have no phase and no step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Rollouts, and the checkpoint to be asked about them."""

    phase: str
    model: str
    records: Sequence[Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What is asked of every recording."""

    limit: int | None
    """At most so many rollouts, drawn at random; None for all."""
    temperature: float
    """Entropies are those of softmax(logits / temperature)."""
    seed: int
    """Of the draw and of the intervals."""


def recordings_of_run(run: Path) -> list[Recording]:
    """The recorded evaluation of every phase, with the phase's model, which played it."""
    lines = JsonLines(run / "rollouts.jsonl")
    evaluations = [record for record in lines if record.get("phase", "").startswith("evaluation/")]
    by_phase = groupby(evaluations, key=lambda record: record["phase"].partition("/")[2])
    found = [
        Recording(phase=phase, model=str(run / "models" / phase), records=list(records))
        for phase, records in by_phase
    ]
    if not found:
        raise InputError(
            f"'{run}' holds no evaluation yet: give the folder that `rstar2 train` wrote to, or the rollouts "
            "of `rstar2 eval` by --model and --rollouts"
        )
    return found


def recording(model: str, path: Path) -> Recording:
    """All rollouts of a file, or of the files of a folder of transcripts."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    files = [file for file in files if file.name != _ENTROPIES]  # an earlier analysis left it there
    records = [record for file in files for record in JsonLines(file)]
    if not records:
        raise InputError(f"'{path}' holds no rollouts: give a rollouts.jsonl, or the --folder of a benchmark")
    return Recording(phase=Path(model).resolve().name, model=model, records=records)


def analyze_recordings(recordings: Sequence[Recording], inquiry: Inquiry, *, folder: Path) -> Behaviour:
    """Ask every checkpoint about its rollouts, print what was found and write it into the folder."""
    if not folder.is_dir():
        raise InputError(f"the folder '{folder}' does not exist: make it or give another --out")
    entropies, aside = folder / _ENTROPIES, JsonLines(folder / f".{_ENTROPIES}.partial")
    aside.cut_back(0)
    phases = []
    with progress_bar() as watcher:
        for asked in recordings:
            records = _drawn(asked.records, inquiry)
            played = _played(asked, records, inquiry.temperature, watcher)
            phases.append(played)
            _write_entropies(aside, records, played.scored)
    found = behaviour(phases, seed=inquiry.seed)
    shown = tables(found)
    analysis = folder / "analysis.json"
    result = asdict(inquiry) | asdict(found) | {"tables": [asdict(table) for table in shown]}
    replace_text(analysis, json.dumps(result, indent=1) + "\n")
    aside.path.replace(entropies)
    for table in shown:
        _show(table)
    _warn(found)
    console.print(f"written to {analysis} and {entropies}", soft_wrap=True)
    return found


def _drawn(records: Sequence[Record], inquiry: Inquiry) -> Sequence[Record]:
    """A random sample in the order of the file."""
    if inquiry.limit is None or inquiry.limit >= len(records):
        return records
    chosen = sorted(random.Random(inquiry.seed).sample(range(len(records)), inquiry.limit))
    return [records[number] for number in chosen]


def _played(asked: Recording, records: Sequence[Record], temperature: float, watcher: BarWatcher) -> Played:
    watcher.begin(f"{asked.phase}: loading", 1)
    from rstar2.assemble.scoring import new_scorer  # torch takes seconds: what is mistyped is said before

    scorer = new_scorer(playing_config(asked.model, None, {}))
    rollouts = [RecordedRollout.of(record, scorer.tokenizer) for record in records]
    watcher.begin(f"{asked.phase}: entropies", len(rollouts))
    answers = _scored_rollouts(scorer, rollouts, temperature, watcher)
    return Played(phase=asked.phase, rollouts=rollouts, scored=list(answers))


def _scored_rollouts(
    scorer: "Scorer", rollouts: Sequence[RecordedRollout], temperature: float, watcher: BarWatcher
) -> Iterator[ScoredRollout]:
    for start in range(0, len(rollouts), _ROLLOUTS_AT_ONCE):
        some = rollouts[start : start + _ROLLOUTS_AT_ONCE]
        entropies = scorer.entropies_nats([r.token_ids for r in some], temperature=temperature)
        for rollout, of_tokens in zip(some, entropies, strict=True):
            yield scored(rollout, of_tokens, scorer.tokenizer)
            watcher.advance()


def _write_entropies(
    file: JsonLines, records: Sequence[Record], scored_rollouts: Sequence[ScoredRollout]
) -> None:
    for record, rollout in zip(records, scored_rollouts, strict=True):
        which = {key: record[key] for key in _WHICH_ROLLOUT if key in record}
        turns = [
            {
                "pieces": turn.pieces,
                "entropies_nats": [round(entropy, 4) for entropy in turn.entropies_nats],
                "kinds": turn.kinds,
            }
            for turn in rollout.turns
        ]
        file.append({**which, "turns": turns})


def _show(table: TextTable) -> None:
    drawn = plain_table()
    for column, *cells in zip(table.columns, *table.rows, strict=True):
        has_numbers = all(cell[:1].isdigit() or cell[:1] == "-" for cell in cells)
        drawn.add_column(column, justify="right" if has_numbers else "left")
    for row in table.rows:
        drawn.add_row(*map(printable, row))
    console.print(table.title, style="bold")
    console.print(drawn)
    console.print()


def _warn(found: Behaviour) -> None:
    anew = sum(phase.num_tokenized_anew for phase in found.phases)
    if anew:
        of_all = f"{anew} of {sum(phase.num_rollouts for phase in found.phases)} rollouts"
        console.print(f"{of_all} were recorded without their tokens: their text was tokenized anew")
