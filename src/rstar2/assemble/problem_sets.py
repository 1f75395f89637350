"""The problems of a run, from tasks or files, and those that it is measured on."""

from collections.abc import Callable, Sequence

from rstar2.config import FieldMap, HeldOut, ProblemsSection
from rstar2.errors import ConfigError, DataError
from rstar2.problems.filters import apply_filters, training_filters
from rstar2.problems.gym import Split, draw
from rstar2.problems.identity import question_hash
from rstar2.problems.load import Fields, load
from rstar2.problems.shares import fair_share
from rstar2.types import Problem

Say = Callable[[str], None]
"""Hears, a line each, how many problems of files are not used."""


def _unheard(line: str) -> None: ...


def problem_sets(
    section: ProblemsSection, *, split: HeldOut = "test", seed: int, say: Say = _unheard
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """(those to train on, those to measure on)."""
    if section.source == "gym":
        train = _made(section, "train", section.num_train, seed=seed)
    else:
        clean = _clean(section, _from_files(section.train_files, section.fields), say)
        train = _share(clean, section.num_train, key="num_train", seed=seed, say=say)
    return train, held_out_problems(section, split, say=say)


def held_out_problems(
    section: ProblemsSection, split: HeldOut, *, say: Say = _unheard
) -> tuple[Problem, ...]:
    """They depend on no run seed: all runs are measured on the same ones."""
    is_test = split == "test"
    size = section.num_test if is_test else section.num_validation
    if section.source == "gym":
        return _made(section, split, size, seed=0)
    files = section.test_files if is_test else section.validation_files
    if not files:
        raise ConfigError(f"problems.{split}_files is empty: name a file, or choose another evaluation.split")
    return _share(_from_files(files, section.fields), size, key=f"num_{split}", seed=0, say=say)


def _made(section: ProblemsSection, split: Split, size: int | None, *, seed: int) -> tuple[Problem, ...]:
    assert size is not None, "a section of the gym has all sizes"
    return draw(section.tasks, split=split, size=size, seed=seed)


def _share(
    problems: tuple[Problem, ...], size: int | None, *, key: str, seed: int, say: Say
) -> tuple[Problem, ...]:
    """All of them if no fewer are asked for."""
    if size is None or size >= len(problems):
        return problems
    say(f"problems: {size} of {len(problems)} used (problems.{key})")
    return fair_share(problems, size, seed=seed)


def _from_files(sources: Sequence[str], fields: FieldMap) -> tuple[Problem, ...]:
    """All of them; an id that stands for one question here and for another there is refused."""
    mapping = Fields(
        question=fields.question, answer=fields.answer, id=fields.id or "", task=fields.task or ""
    )
    loaded = [(source, problem) for source in sources for problem in load(source, fields=mapping).problems]
    first: dict[str, tuple[str, str]] = {}
    for source, problem in loaded:
        key = question_hash(problem.question)
        earlier, question = first.setdefault(problem.id, (source, key))
        if question != key:
            raise DataError(
                f"the id {problem.id!r} stands for one question in {earlier} and for another in {source}: "
                "make ids unique, or leave problems.fields.id out"
            )
    return tuple(problem for _, problem in loaded)


def _clean(section: ProblemsSection, problems: Sequence[Problem], say: Say) -> tuple[Problem, ...]:
    """Those fit to train on, none of which overlaps a benchmark."""
    benchmarks = [*section.decontaminate_against, *section.test_files, *section.validation_files]
    nameless = section.fields.model_copy(update={"id": None, "task": None})  # two benchmarks may count from 1
    questions = (problem.question for problem in _from_files(benchmarks, nameless))
    kept, counts = apply_filters(problems, training_filters(questions))
    if dropped := [str(count) for count in counts if count.num_after < count.num_before]:
        say(f"problems of problems.train_files: {'; '.join(dropped)}")
    return kept
