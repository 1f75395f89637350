"""Weights handed over within one process."""

from collections.abc import Mapping

from torch import Tensor

from rstar2.errors import CheckpointError


class MemoryChannel:
    """Keeps the latest `keep` versions in memory."""

    def __init__(self, *, keep: int = 1) -> None:
        self._keep = keep
        self._versions: dict[int, dict[str, Tensor]] = {}

    def put(self, version: int, weights: Mapping[str, Tensor]) -> None:
        # Copied, because the learner's next step writes into the same memory.
        self._versions[version] = {name: tensor.detach().clone() for name, tensor in weights.items()}
        for old in sorted(self._versions)[: -self._keep]:
            del self._versions[old]

    def get(self, version: int) -> Mapping[str, Tensor]:
        try:
            return self._versions[version]
        except KeyError:
            held = sorted(self._versions)
            raise CheckpointError(f"weights of version {version} are gone; adopt one of {held}") from None
