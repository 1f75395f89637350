"""Sandbox nodes: servers on the machines of a cluster, replaced when lost, behind one `ClusterSandbox`.

    node ready --> its server joins;  node lost --> its server leaves, and what ran there runs elsewhere

A node is lost when its server has ended, or hangs: answers neither checks nor jobs for a while.
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

HANG_LIMIT_S = 30.0
"""Ten checks in a row of the client's: a server that is merely busy answers one of them, or a job."""
_LOOK_EVERY_S = 1.0
_KILL_LIMIT_S = 5.0


class SandboxNode:
    """One node, from its start to its `close`."""

    def __init__(
        self, number: int, sandbox: ClusterSandbox, launch: Launch, order: ServerOrder, *, hang_limit_s: float
    ) -> None:
        """A server that answers nothing for `hang_limit_s` is taken for dead."""
        self._number = number
        self._hang_limit_s = hang_limit_s
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
        ended = asyncio.ensure_future(remote.call("ended"))
        try:
            while not ended.done() and self._sandbox.down_s(self.url) < self._hang_limit_s:
                await asyncio.wait([ended], timeout=_LOOK_EVERY_S)
            if not ended.done():
                _log.warning("sandbox node %d hangs: its server is killed", self._number)
                await asyncio.wait_for(remote.call("kill"), _KILL_LIMIT_S)
            cause = f"its server ended with {await ended}"
        except (Lost, TimeoutError) as loss:
            cause = str(loss) or "its machine does not answer"
        finally:
            ended.cancel()
        _log.warning("sandbox node %d is lost: %s", self._number, cause)
        url, self.url = self.url, ""
        await self._sandbox.remove(url)


@asynccontextmanager
async def sandbox_nodes(
    launches: Sequence[Launch], section: SandboxSection, *, hang_limit_s: float = HANG_LIMIT_S
) -> AsyncIterator[tuple[ClusterSandbox, list[SandboxNode]]]:
    """The sandbox and the nodes that it runs on; on leaving, no server is left."""
    isolation = None if section.isolation == "sealed" else section.isolation
    order = ServerOrder(token=secrets.token_urlsafe(32), num_workers=section.workers, isolation=isolation)
    async with ClusterSandbox((), token=order.token) as sandbox:
        nodes = [
            SandboxNode(number, sandbox, launch, order, hang_limit_s=hang_limit_s)
            for number, launch in enumerate(launches)
        ]
        try:
            await together(node.start() for node in nodes)
            yield sandbox, nodes
        finally:
            await asyncio.gather(*(node.close() for node in nodes))
