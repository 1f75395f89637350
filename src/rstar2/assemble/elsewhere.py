"""A run's config for the processes of a cluster, which stand in other folders, on machines of other kinds."""

from pathlib import Path
from typing import Literal

from rstar2.assemble.devices import DeviceType
from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.profiles import accelerator


def as_seen_elsewhere(config: RunConfig) -> RunConfig:
    """Nothing in it depends on where it is read any more.

    A model in a folder gets its absolute path. `device = "auto"` becomes what is booked: a process that has
    booked no GPU sees all of its machine's, and must not compute there. A learner without ranks stays here.
    """
    profile = config.cluster.accelerator
    booked: DeviceType = "cpu" if accelerator(profile).is_host else "cuda"
    engine = config.engine.model_copy(
        update={"device": _settled("engine", config.engine.device, booked, profile)}
    )
    learner = config.learner
    if learner.num_ranks:
        learner = learner.model_copy(update={"device": _settled("learner", learner.device, booked, profile)})
    model = config.model
    if model.base != "tiny" and Path(model.base).is_dir():
        model = model.model_copy(update={"base": str(Path(model.base).absolute())})
    return config.model_copy(update={"engine": engine, "learner": learner, "model": model})


def _settled(
    section: str, device: Literal["auto", "cpu", "cuda"], booked: DeviceType, profile: str
) -> DeviceType:
    if device not in ("auto", booked):
        raise ConfigError(
            f'{section}.device = "{device}", but cluster.accelerator = "{profile}" books for "{booked}": '
            "change one of them"
        )
    return booked
