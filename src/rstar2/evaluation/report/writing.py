"""The page itself: one file that needs nothing else, or the same page with a server behind it.

Data goes in as JSON and the page's script draws it; no text of a model ever becomes markup. A written page
forbids itself the network, a live one all but its own server.
"""

import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from rstar2.errors import DataError
from rstar2.evaluation.headline import COLUMNS
from rstar2.evaluation.report.differences import differences
from rstar2.evaluation.report.run_parts import MAX_BYTES, RunParts, json_text

SCRIPTS = (
    "elements.js",
    "numbers.js",
    "tables.js",
    "curves.js",
    "anatomy.js",
    "course.js",
    "groups.js",
    "rollouts.js",
    "conversation.js",
    "page.js",
)
"""In the order in which they are read; `page.js` draws."""


def write_report(folder: Path, *, compare: Sequence[Path] = ()) -> Path:
    """Write `folder`/report.html from what the run has left there so far; also while it runs.

    `compare` names other runs that are shown beside it.
    """
    runs = [RunParts(path, max_bytes=MAX_BYTES // (1 + len(compare))) for path in (folder, *compare)]
    page = render([_begun(run) for run in runs], configs=[run.config for run in runs], title=_name(folder))
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def render(
    runs: Sequence[Mapping[str, str]], *, title: str, configs: Sequence[str] = (), is_live: bool = False
) -> str:
    """The page of some runs, each as the parts that `RunParts.read` gives."""
    head = {
        "columns": [{"title": column.title, "meaning": column.meaning} for column in COLUMNS],
        "differences": differences(configs),
        "live": is_live,
    }
    data = f'{{"head":{json_text(head)},"runs":[{",".join(map(json_object, runs))}]}}'
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        style=_file("page.css"),
        script="\n".join(map(_file, SCRIPTS)),
        data=data,
        connect="'self'" if is_live else "'none'",
    )


def _begun(run: RunParts) -> dict[str, str]:
    parts = run.read()
    if not parts:
        raise DataError(
            f"'{run.folder}' holds no run that has begun: give the folder that `rstar2 train` wrote to"
        )
    return parts


def _name(folder: Path) -> str:
    return folder.resolve().name


def json_object(parts: Mapping[str, str]) -> str:
    """Of texts that `json_text` made."""
    return "{" + ",".join(f"{json_text(name)}:{text}" for name, text in parts.items()) + "}"


def _file(name: str) -> str:
    return resources.files("rstar2.evaluation.report").joinpath("page", name).read_text(encoding="utf-8")
