"""How one version of the policy's weights gets from the learner to the engines.

    MemoryChannel     copies, within a process
    FolderChannel     a safetensors file, on a file system that both sides see
    BroadcastChannel  a collective among the learner and the engines, over NCCL or gloo; nothing on disk

Weights are tensors by parameter name. What was put cannot change afterwards, and a version that is gone or
torn is an error, never another version.
"""

from rstar2.weights.broadcast import BroadcastChannel, broadcasting
from rstar2.weights.folder import FolderChannel, passing_through
from rstar2.weights.memory import MemoryChannel

__all__ = ["BroadcastChannel", "FolderChannel", "MemoryChannel", "broadcasting", "passing_through"]
