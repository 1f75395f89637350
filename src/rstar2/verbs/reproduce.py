"""`rstar2 reproduce`: run every arm for every seed, then write what came of it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

from rstar2.config import RunConfig, dump_config, load_config
from rstar2.console import console, progress_bar
from rstar2.errors import InputError
from rstar2.reproduction import Arm, Trial, arms_of, chosen, read_outcome, run_missing, trials_of, write_page
from rstar2.reproduction.arms import BASELINE
from rstar2.verbs.alone import alone_in
from rstar2.verbs.output_file import check_writable


def reproduce(
    config: RunConfig,
    *,
    root: Path,
    page: Path,
    names: Sequence[str],
    num_seeds: int,
    num_at_once: int,
    command: str,
) -> None:
    """Run what is missing below `root`; first, and after each trial, write `page`, its numbers and pictures.

    No names are all arms. A `root` that holds another config's trials is refused, or where another process
    runs some; one in which all are done may be one that can only be read.
    """
    if not config.stages:
        raise InputError("there are no RL stages to compare: give a config that has some")
    if find_spec("matplotlib") is None:  # said now, not after hours
        raise InputError("the pictures need matplotlib: pip install 'rstar2[plots]'")
    if page.suffix == ".json":
        raise InputError(
            f"the page's numbers would take the place of '{page}': give a --page that ends in .md"
        )
    arms = arms_of(config)
    arms = chosen(arms, names or [arm.name for arm in arms])
    trials = trials_of(arms, range(num_seeds))
    path = root / "config.toml"
    is_finished = _holds(path, config) and all(trial.is_done(root) for trial in trials)
    with nullcontext() if is_finished else alone_in(root, deed="reproduces in", option="--to"):
        check_writable(page, option="--page")
        if not path.exists():
            _save(config, path)
        _run(trials, path, root, num_at_once, on_new=lambda: _write(page, arms, trials, root, command))
    console.print(f"{page} is written, its numbers and pictures beside it", soft_wrap=True)


def _run(
    trials: Sequence[Trial], config: Path, root: Path, num_at_once: int, *, on_new: Callable[[], None]
) -> None:
    """`on_new` is called first, and after each trial that was not done before."""
    old = [trial for trial in trials if trial.is_done(root)]
    on_new()
    with progress_bar() as watcher:
        watcher.begin("trials", len(trials))

        def end(trial: Trial) -> None:
            watcher.line(f"{trial.folder(root)} is done")
            watcher.advance()
            if trial not in old:
                on_new()

        run_missing(trials, config=config, root=root, num_at_once=num_at_once, on_done=end)


def _write(page: Path, arms: Sequence[Arm], trials: Sequence[Trial], root: Path, command: str) -> None:
    """What can be said so far: of the arms that have a trial, once the baseline is among them."""
    from rstar2.reproduction.pictures import draw_curves

    done = [trial for trial in trials if trial.is_done(root)]
    by_arm = {arm: [read_outcome(trial, root) for trial in done if trial.arm == arm] for arm in arms}
    outcomes = {arm.name: found for arm, found in by_arm.items() if found}
    if BASELINE in outcomes:
        titles = {arm.name: arm.title for arm in arms if arm.name in outcomes}
        pictures = draw_curves(outcomes, titles, page)
        write_page(page, outcomes, titles, command=command, pictures=pictures)


def _holds(path: Path, config: RunConfig) -> bool:
    """Whether trials of this config were begun there; InputError if they are another one's."""
    if not path.exists():
        return False
    if load_config(path) != config:
        raise InputError(f"'{path.parent}' holds trials of another config: give another --to, or delete it")
    return True


def _save(config: RunConfig, path: Path) -> None:
    """Where each of the trials finds it."""
    try:
        path.write_text(dump_config(config), encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{path.parent}' cannot be written ({error}): give another --to") from error
