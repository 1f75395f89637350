"""Where programs run, as `[sandbox]` and `[tools]` say."""

from contextlib import AbstractAsyncContextManager, nullcontext

from rstar2.bearer_token import read_token
from rstar2.config import SandboxSection, ToolsSection
from rstar2.ports import Sessions
from rstar2.sandbox.client import ClusterSandbox
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.pool import WorkerPool
from rstar2.sandbox.sessions import SessionPool
from rstar2.tools.python_code import ProgramLimits


def new_sandbox(section: SandboxSection) -> WorkerPool | ClusterSandbox:
    """The servers that are named, or one in this process at the configured level; never at a weaker one."""
    if section.urls:
        file = section.token_file
        token = read_token(file, setting="sandbox.token_file") if file else ""
        return ClusterSandbox(section.urls, token=token)
    isolation = None if section.isolation == "sealed" else Isolation(section.isolation)
    return WorkerPool(num_workers=section.workers, isolation=isolation)


def new_sessions(
    sandbox: WorkerPool | ClusterSandbox, section: ToolsSection
) -> AbstractAsyncContextManager[Sessions]:
    """Where the programs run, too."""
    if isinstance(sandbox, WorkerPool):
        return SessionPool(sandbox, max_live=section.live_sessions)
    return nullcontext(sandbox.sessions)


def program_limits(section: SandboxSection) -> ProgramLimits:
    return ProgramLimits(
        time_limit_s=section.time_limit_s,
        memory_limit_mb=section.memory_limit_mb,
        output_limit_chars=section.output_limit_chars,
    )
