"""Where a run's numbers go besides metrics.jsonl."""

from typing import Literal

from rstar2.config.section import Section

TrackerName = Literal["tensorboard", "wandb"]


class TrackingSection(Section):
    sinks: tuple[TrackerName, ...] = ()
    """Each needs its package: `pip install 'rstar2[tensorboard]'`, `pip install 'rstar2[wandb]'`."""
    wandb_project: str = "rstar2"
    wandb_mode: Literal["online", "offline"] = "online"
    """`offline` writes to RUN/wandb alone; `wandb sync` sends it later."""
