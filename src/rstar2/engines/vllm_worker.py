"""What runs inside vLLM's worker processes: new weights into the model, in place.

vLLM mixes `WeightReader` into its worker class (`worker_extension_cls`), and the engine calls it on every
worker. Not here: pausing, caches and versions, which are the engine's (vllm_engine.py).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rstar2.errors import EngineError
from rstar2.weights import BroadcastChannel, FolderChannel


class Worker(Protocol):
    """The part of vLLM's worker that is relied upon."""

    vllm_config: Any
    model_runner: Any
    device: torch.device


class WeightReader:
    """Methods that every worker gains; their names must not clash with vLLM's."""

    def read_published_weights(self: Worker, folder: str, version: int) -> str:
        """Load this version of a `FolderChannel`; the checksum of what was read."""
        channel = FolderChannel(Path(folder))
        load(self, channel.get(version).items())
        return channel.checksum(version)

    def receive_broadcast_weights(self: Worker, host: str, port: int, limit_s: float, version: int) -> str:
        """Load this version of a `BroadcastChannel`, as it arrives; the checksum of what did."""
        channel = BroadcastChannel(host=host, port=port, limit_s=limit_s)
        channel.receive(version, lambda weights: load(self, weights), device=self.device)
        return channel.checksum(version)


def load(worker: Worker, weights: Iterable[tuple[str, Tensor]]) -> None:
    """All of the model's weights.

    The steps are those of vLLM's own transfer of weights.
    """
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import (
        finalize_layerwise_reload,
        initialize_layerwise_reload,
    )

    model: nn.Module = worker.model_runner.get_model()
    names = {name for name, _ in model.named_parameters()}
    with set_current_vllm_config(worker.vllm_config):
        initialize_layerwise_reload(model)
        try:
            loaded = model.load_weights(iter(weights))  # type: ignore[operator]
        finally:  # else what was loaded in part would count when it is loaded anew
            finalize_layerwise_reload(model, worker.vllm_config.model_config)
        repack_tied_weights(model)
    if missing := sorted(names - loaded):  # vLLM keeps the old values of these, and only logs it
        raise EngineError(f"these weights are of another model: {missing[:3]} got none")


def repack_tied_weights(model: nn.Module) -> None:
    """Let every layer that shares another one's matrix prepare it again for its kernels.

    A reload prepares only layers that a weight was loaded for. On CPU the output layer keeps a packed copy of
    the matrix that it shares with the embedding: without this it would silently go on with the old one.
    """
    owners: set[int] = set()
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if id(weight) in owners:
            layer.quant_method.process_weights_after_loading(layer)  # type: ignore[union-attr, operator]
        elif isinstance(weight, nn.Parameter):
            owners.add(id(weight))
