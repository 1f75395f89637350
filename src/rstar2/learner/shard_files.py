"""The optimizer's state on disk, written and read by all ranks at once, each its own shards.

    folder/optimizer.json     format, kind of optimizer, whether it has stepped
    folder/optimizer/         one file per process that wrote, and an index (torch.distributed.checkpoint);
                              absent before the first step, which makes the state

Shards are read by their place in the whole tensor, so that any number of ranks can go on from what any other
number wrote; so can a process without ranks, whose group is None.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from transformers import PreTrainedModel

from rstar2.errors import CheckpointError
from rstar2.ports import OptimizerKind

HEADER_FILE = "optimizer.json"
SHARDS_FOLDER = "optimizer"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What must be known before any shard can be read."""

    kind: OptimizerKind
    has_state: bool
    """Whether the optimizer had stepped; if it had not, there are no shards."""


def write_header(folder: Path, header: Header) -> None:
    (folder / HEADER_FILE).write_text(json.dumps({"format": FORMAT, **asdict(header)}))


def read_header(folder: Path) -> Header:
    try:
        values = json.loads((folder / HEADER_FILE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / HEADER_FILE} cannot be read; use another checkpoint") from error
    if values["format"] != FORMAT:
        raise CheckpointError(
            f"{folder} has format {values['format']}, this version reads {FORMAT}; save it anew"
        )
    return Header(kind=OptimizerKind(values["kind"]), has_state=values["has_state"])


def write_shards(folder: Path, state: dict[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Collective; `state` is what `Optimizers.named_state` gives."""
    try:
        with _without_warning():
            save(state, checkpoint_id=folder / SHARDS_FOLDER, process_group=group, no_dist=group is None)
    except CheckpointException as error:
        raise CheckpointError(
            f"{folder / SHARDS_FOLDER} could not be written ({error}); check space and rights"
        ) from error


def read_shards(folder: Path, model: PreTrainedModel, group: dist.ProcessGroup | None) -> dict[str, Tensor]:
    """Collective; the state, cut as the model is now."""
    try:
        index = FileSystemReader(folder / SHARDS_FOLDER).read_metadata().state_dict_metadata
        state = {key: _room(key, entry, model) for key, entry in index.items()}
        with _without_warning():
            load(state, checkpoint_id=folder / SHARDS_FOLDER, process_group=group, no_dist=group is None)
    except (CheckpointException, OSError) as error:
        raise CheckpointError(f"{folder / SHARDS_FOLDER} cannot be read; use another checkpoint") from error
    return state


@contextmanager
def _without_warning() -> Iterator[None]:
    """Of what a process without ranks asks for: to save and load alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _room(key: str, entry: object, model: PreTrainedModel) -> Tensor:
    """A tensor to read into: cut like its parameter if it has its shape, whole if it is a counter."""
    assert isinstance(entry, TensorStorageMetadata)
    parameter = model.get_parameter(key.rpartition(".")[0])
    if entry.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=entry.properties.dtype, requires_grad=False)
    return torch.zeros(entry.size, dtype=entry.properties.dtype, device=parameter.device)
