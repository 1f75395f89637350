"""What runs inside vLLM's worker processes: new weights from a folder into the model, in place.

vLLM mixes `WeightReader` into its worker class (`worker_extension_cls`), and the engine calls it on every
worker. Not here: pausing, caches and versions, which are the engine's (vllm_engine.py).
"""

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from rstar2.errors import EngineError
from rstar2.weights import FolderChannel


class Worker(Protocol):
    """The part of vLLM's worker that is relied upon."""

    vllm_config: Any
    model_runner: Any


class WeightReader:
    """Methods that every worker gains; their names must not clash with vLLM's."""

    def read_published_weights(self: Worker, folder: str, version: int) -> str:
        """Load this version of a `FolderChannel`; the checksum of what was read.

        The steps are those of vLLM's own transfer of weights, whose back ends read from GPUs only.
        """
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload import (
            finalize_layerwise_reload,
            initialize_layerwise_reload,
        )

        channel = FolderChannel(Path(folder))
        weights = channel.get(version)
        model: nn.Module = self.model_runner.get_model()
        names = {name for name, _ in model.named_parameters()}
        with set_current_vllm_config(self.vllm_config):
            initialize_layerwise_reload(model)
            loaded = model.load_weights(iter(weights.items()))  # type: ignore[operator]
            finalize_layerwise_reload(model, self.vllm_config.model_config)
            repack_tied_weights(model)
        if missing := sorted(names - loaded):  # vLLM keeps the old values of these, and only logs it
            raise EngineError(f"these weights are of another model: {missing[:3]} got none")
        return channel.checksum(version)


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
