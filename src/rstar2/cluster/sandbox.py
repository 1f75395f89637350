"""Sandbox nodes: servers on the cluster's machines, replaced when they die, behind one `ClusterSandbox`.

    node ready --> its server joins;  node lost --> its server leaves, and what ran there runs elsewhere

Calls are tried again by the client, whatever they were lost to; here it only learns which servers there are.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rstar2.cluster.keeper import Keeper, together
from rstar2.cluster.remote import Launch, Lost, Remote
from rstar2.cluster.sandbox_actor import ServerOrder
from rstar2.config import SandboxSection
from rstar2.sandbox.client import ClusterSandbox

_log = logging.getLogger(__name__)


class SandboxNode:
    """One node, from its start to its `close`."""

    def __init__(self, number: int, sandbox: ClusterSandbox, launch: Launch, order: ServerOrder) -> None:
        self._number = number
        self._sandbox = sandbox
        self._order = order
        self._keeper = Keeper(f"sandbox node {number}", launch, prepare=self._prepare, watch=self._watch)
        self.url = ""
        """Of its present server; empty while there is none."""

    @property
    def num_replacements(self) -> int:
        return self._keeper.num_replacements

    async def start(self) -> None:
        await self._keeper.start()

    async def close(self) -> None:
        await self._keeper.close()

    async def _prepare(self, remote: Remote) -> None:
        self.url = await remote.call("start", self._order)
        self._sandbox.add(self.url)

    async def _watch(self, remote: Remote) -> None:
        try:
            cause = f"its server ended with {await remote.call('ended')}"
        except Lost as loss:
            cause = str(loss)
        _log.warning("sandbox node %d is lost: %s", self._number, cause)
        url, self.url = self.url, ""
        await self._sandbox.remove(url)


@asynccontextmanager
async def sandbox_nodes(
    launches: Sequence[Launch], section: SandboxSection
) -> AsyncIterator[tuple[ClusterSandbox, list[SandboxNode]]]:
    """The sandbox and the nodes that it runs on; on leaving, no server is left."""
    isolation = None if section.isolation == "sealed" else section.isolation
    order = ServerOrder(token=secrets.token_urlsafe(32), num_workers=section.workers, isolation=isolation)
    async with ClusterSandbox((), token=order.token) as sandbox:
        nodes = [SandboxNode(number, sandbox, launch, order) for number, launch in enumerate(launches)]
        try:
            await together(node.start() for node in nodes)
            yield sandbox, nodes
        finally:
            await asyncio.gather(*(node.close() for node in nodes))
