"""Which configuration a checkpoint is played with: the one it was trained with, if that can be found."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rstar2.config import RunConfig, apply_overrides, load_config, parse_config
from rstar2.errors import InputError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def playing_config(
    model: str, config: Path | None, options: Mapping[str, object], overrides: Sequence[str] = ()
) -> RunConfig:
    """The config to play `model` (a checkpoint folder or a Hub id) with.

    `config` if given; else that of the run which the checkpoint is part of; else the defaults, with the
    checkpoint's own chat template. Of a run's vLLM engines, each of which has a GPU of its own, one plays:
    they would be in one process here. `options` maps dotted keys to values; None leaves a key as it is. The
    `overrides` (`section.key=value`) come last.
    """
    path = config or _config_of_run(Path(model))
    found = load_config(path) if path else parse_config({"protocol": {"template": "checkpoint"}})
    data = found.model_dump(mode="json", exclude_none=True)
    if found.engine.kind == "vllm":
        data["engine"]["num_engines"] = 1
    for key, value in {**options, "model.base": model}.items():
        if value is not None:
            section, name = key.split(".")
            data[section][name] = value
    apply_overrides(data, overrides)
    resolved = parse_config(data, origin="options")
    _check(model, has_weights=resolved.engine.kind != "remote")
    return resolved


def _config_of_run(model: Path) -> Path | None:
    """RUN/config.toml of RUN/models/PHASE."""
    path = model.resolve().parents[1] / "config.toml" if len(model.resolve().parents) > 1 else None
    return path if path and path.exists() else None


def _check(model: str, *, has_weights: bool) -> None:
    """Find what is wrong with a local checkpoint before anything heavy is loaded."""
    folder = Path(model)
    if not folder.exists():
        if _HUB_ID.fullmatch(model) and not folder.parent.exists():
            return
        raise InputError(f"there is no checkpoint '{model}': give a folder such as runs/demo/models/rl3")
    if not (folder / "config.json").exists():
        raise InputError(f"'{model}' has no config.json: give a folder that `rstar2 train` wrote to models/")
    if not any(folder.glob("tokenizer*")):
        raise InputError(f"'{model}' has no tokenizer: copy its tokenizer files next to config.json")
    if has_weights and not any(folder.glob("*.safetensors")):
        raise InputError(f"'{model}' has no weights: give a folder with *.safetensors")
