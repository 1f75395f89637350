"""From the config's section to trackers; whatever is missing is said before the run begins."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rstar2.config.tracking import TrackerName, TrackingSection
from rstar2.errors import ConfigError
from rstar2.telemetry.trackers import Open, Sink, Trackers


def new_trackers(section: TrackingSection, folder: Path) -> Trackers:
    """The trackers that the section names, for the run in `folder`; nothing is written yet."""
    return Trackers({name: _OPENERS[name](section, folder) for name in map(_installed, section.sinks)})


def _installed(name: TrackerName) -> TrackerName:
    if find_spec(name) is None:
        raise ConfigError(
            f"tracking.sinks names {name}, which is not installed: pip install 'rstar2[{name}]'"
        )
    return name


def _tensorboard(section: TrackingSection, folder: Path) -> Open:
    def open_sink(num_steps: int) -> Sink:
        from rstar2.telemetry.tensorboard_sink import TensorBoardSink

        return TensorBoardSink(folder, num_steps)

    return open_sink


def _wandb(section: TrackingSection, folder: Path) -> Open:
    from rstar2.telemetry.wandb_sink import WandbSink, has_credentials

    if section.wandb_mode == "online" and not has_credentials():
        raise ConfigError(
            "Weights & Biases does not know who you are: run `wandb login`, "
            'or set tracking.wandb_mode = "offline"'
        )
    sink = partial(WandbSink, folder, project=section.wandb_project, mode=section.wandb_mode)
    return lambda _: sink()


_OPENERS: dict[TrackerName, Callable[[TrackingSection, Path], Open]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}
