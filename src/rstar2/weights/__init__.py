"""How one version of the policy's weights gets from the learner to the engines.

    MemoryChannel     copies, within a process
    FolderChannel     a safetensors file, on a file system that both sides see

Weights are tensors by parameter name. What was put cannot change afterwards, and a version that is gone or
torn is an error, never another version.
"""

from rstar2.weights.folder import FolderChannel
from rstar2.weights.memory import MemoryChannel

__all__ = ["FolderChannel", "MemoryChannel"]
