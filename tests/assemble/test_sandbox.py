"""Programs run where the config says, and nowhere else."""

import asyncio
from pathlib import Path

import pytest

from rstar2.assemble.sandbox import new_sandbox, new_sessions
from rstar2.config import SandboxSection, ToolsSection
from rstar2.errors import ConfigError
from rstar2.sandbox.client import ClusterSandbox


def test_named_servers_run_the_programs() -> None:
    section = SandboxSection(urls=("http://127.0.0.1:9", "http://127.0.0.1:10"))

    async def addresses() -> list[str]:
        async with new_sandbox(section) as sandbox:
            assert isinstance(sandbox, ClusterSandbox)
            return [node.url for node in sandbox.stats().nodes]

    assert asyncio.run(addresses()) == ["http://127.0.0.1:9", "http://127.0.0.1:10"]


def test_notebooks_live_where_programs_run() -> None:
    async def scenario() -> None:
        section = SandboxSection(urls=("http://127.0.0.1:9",))
        async with new_sandbox(section) as sandbox, new_sessions(sandbox, ToolsSection()) as sessions:
            assert isinstance(sandbox, ClusterSandbox)
            assert sessions is sandbox.sessions

    asyncio.run(scenario())


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    section = SandboxSection(urls=("http://node-1:8088",), token_file=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"token_file cannot be read .*nowhere"):
        new_sandbox(section)
