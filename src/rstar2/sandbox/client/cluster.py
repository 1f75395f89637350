"""Many servers as one `Sandbox`: jobs wait here until a node has room, and are tried again when a node fails.

    run --> waiting (verification first) --> least loaded of two --> node --> answer
              ^------------- lost, refused, infrastructure -----------'

Only failures of the infrastructure are tried again. A job keeps its idempotency key from attempt to attempt,
so that a node that has already run it answers from memory. Invariant: each `run` gets one answer.
"""

import asyncio
import os
import random
import secrets
import socket
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox.client.balance import JobCosts, choose
from rstar2.sandbox.client.connection import Connection, Lost, Refused, new_session
from rstar2.sandbox.client.node import Node, Timing
from rstar2.sandbox.client.outbox import Call
from rstar2.sandbox.client.sessions import ClusterSessions
from rstar2.sandbox.client.stats import ClusterStats
from rstar2.sandbox.client.trial import NUM_ATTEMPTS, no_job_is_bad_input
from rstar2.sandbox.client.vitals import Health, Vitals
from rstar2.sandbox.schema import Outcome
from rstar2.types import JobKind, Program, ToolResult, ToolStatus

_BY_URGENCY = (JobKind.VERIFICATION, JobKind.TOOL)
"""A whole group waits for its last reward; and only so many verifications come of the tool calls."""


class ClusterSandbox:
    """A `Sandbox`; use as `async with ClusterSandbox(["http://10.0.0.1:8088", ...]) as sandbox`."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        token: str = "",
        client: str = "",
        timing: Timing | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`client` is the name by which servers share their time among clients; default: this process."""
        self._first_urls = tuple(urls)
        self._token = token
        self._client = client or f"{socket.gethostname()}-{os.getpid()}"
        self._timing = timing or Timing()
        self._rng = rng or random.Random()
        self._costs = JobCosts()
        self._nodes: dict[str, Node] = {}
        self.sessions = ClusterSessions(self._nodes, self._timing, self._rng)
        """Stateful programs, on the same servers."""
        self._waiting: dict[JobKind, deque[Call]] = {kind: deque() for kind in _BY_URGENCY}
        self._key_prefix, self._num_calls = secrets.token_hex(8), 0
        self._session: aiohttp.ClientSession | None = None
        self._pumping: asyncio.Handle | None = None
        self._losing_patience: asyncio.TimerHandle | None = None
        self._num_retries = 0
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._session = new_session()
        try:
            for url in self._first_urls:
                self.add(url)
        except InputError:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self, program: Program) -> ToolResult:
        """Run it on some node; SandboxError after several failures, InputError for what no server takes."""
        if self._is_closed:
            raise SandboxError("the connection to the sandbox servers is closed; open a new one")
        call = self._new_call(program)
        self._waiting[program.kind].append(call)
        self._wake()
        try:
            return await call.answer
        except asyncio.CancelledError:
            for node in self._nodes.values():
                node.drop(call)
            raise

    def _new_call(self, program: Program) -> Call:
        self._num_calls += 1
        key = f"{self._key_prefix}-{self._num_calls}"
        with no_job_is_bad_input():
            return Call(program, asyncio.get_running_loop().create_future(), key)

    def add(self, url: str) -> None:
        """Take a server in; it gets work as soon as it answers."""
        url = url.rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise InputError(f"'{url}' is no server's address: write it as http://HOST:PORT")
        if url in self._nodes:
            raise InputError(f"{url} is one of the servers already: remove it first")
        assert self._session is not None, "use as `async with ClusterSandbox(...)`"
        connection = Connection(self._session, url, token=self._token, client=self._client)
        self._nodes[url] = Node(
            connection, Vitals(self._rng), self._timing, settle=self._settle, wake=self._wake
        )

    async def remove(self, url: str) -> None:
        """Take a server out, when what runs there has ended; cancelled, what runs there moves to others."""
        node = self._nodes.get(url.rstrip("/"))
        if node is None or node.vitals.is_leaving:
            staying = [url for url, node in self._nodes.items() if not node.vitals.is_leaving]
            raise InputError(f"{url} is none of the servers: {', '.join(staying) or 'there are none'}")
        try:
            await node.finish()
        finally:
            del self._nodes[node.url]
            await node.close()
            self._wake()

    def down_s(self, url: str) -> float:
        """For how long this server, one of ours, has answered nothing; 0 unless it is down."""
        return self._nodes[url.rstrip("/")].down_s

    def stats(self) -> ClusterStats:
        return ClusterStats(
            nodes=tuple(node.stats() for node in self._nodes.values()),
            num_waiting=sum(map(len, self._waiting.values())),
            num_retries=self._num_retries,
        )

    async def close(self) -> None:
        """Hang up; calls that are not answered raise SandboxError."""
        self._is_closed = True
        self._fail_waiting("the connection to the sandbox servers was closed")
        self.sessions.close()
        for timer in (self._pumping, self._losing_patience):
            if timer is not None:
                timer.cancel()
        try:
            await asyncio.gather(*(node.close() for node in self._nodes.values()))
        finally:
            if self._session is not None:
                await self._session.close()

    # -- where to ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Look for nodes with room, once for all that happens in this turn of the loop."""
        if self._pumping is None and not self._is_closed:
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        self.sessions.wake()
        for kind in _BY_URGENCY:
            waiting, cost_s = self._waiting[kind], self._costs.expected_s(kind)
            while waiting:
                if waiting[0].answer.done():  # cancelled
                    waiting.popleft()
                elif (node := self._node_for(waiting[0], cost_s)) is not None:
                    node.send(waiting.popleft(), cost_s)
                else:
                    break
        self._mind_patience()

    def _node_for(self, call: Call, cost_s: float) -> Node | None:
        now_s = asyncio.get_running_loop().time()
        free = [
            node
            for node in self._nodes.values()
            if node.vitals.takes_jobs(now_s) and node.load.has_room(call.program.kind)
        ]
        others = [node for node in free if node.url != call.failed_at] or free
        index = choose([node.load for node in others], cost_s, self._rng)
        return None if index is None else others[index]

    # -- what became of it -------------------------------------------------------------------------

    def _settle(self, node: Node, call: Call, answer: Outcome | BaseException) -> None:
        self._wake()
        if call.answer.done():  # cancelled
            return
        if self._is_closed:
            call.answer.set_exception(SandboxError("the connection to the sandbox servers was closed"))
        elif isinstance(answer, Refused):
            self._wait_again(call, answer)
        elif isinstance(answer, Lost):
            self._try_again(node, call, str(answer))
        elif isinstance(answer, BaseException):
            call.answer.set_exception(answer)
        elif answer.status is ToolStatus.INFRASTRUCTURE:
            call.renew()
            self._try_again(node, call, answer.stderr)
        else:
            self._costs.learn(call.program.kind, answer.cpu_s)
            call.answer.set_result(answer.to_result())

    def _try_again(self, node: Node, call: Call, reason: str) -> None:
        call.num_failures += 1
        call.failed_at = node.url
        if call.num_failures == NUM_ATTEMPTS:
            call.answer.set_exception(
                SandboxError(f"the program could not be run in {NUM_ATTEMPTS} attempts; the last: {reason}")
            )
        else:
            self._num_retries += 1
            self._waiting[call.program.kind].appendleft(call)

    def _wait_again(self, call: Call, refusal: Refused) -> None:
        """A full server is no failure, but patience with it ends."""
        now_s = asyncio.get_running_loop().time()
        call.refused_since_s = call.refused_since_s or now_s
        if now_s - call.refused_since_s > self._timing.patience_s:
            text = f"no server had room for {self._timing.patience_s:g} s ({refusal}): add servers"
            call.answer.set_exception(SandboxError(text))
        else:
            self._waiting[call.program.kind].appendleft(call)

    def _mind_patience(self) -> None:
        """While calls wait and no node is up, time runs."""
        is_up = any(n.vitals.health is Health.UP and not n.vitals.is_leaving for n in self._nodes.values())
        if is_up or not any(self._waiting.values()):
            if self._losing_patience is not None:
                self._losing_patience.cancel()
                self._losing_patience = None
        elif self._losing_patience is None:
            loop = asyncio.get_running_loop()
            self._losing_patience = loop.call_later(self._timing.patience_s, self._lose_patience)

    def _lose_patience(self) -> None:
        self._losing_patience = None
        troubles = "; ".join(node.trouble for node in self._nodes.values()) or "there are none"
        self._fail_waiting(
            f"no sandbox server took jobs for {self._timing.patience_s:g} s ({troubles}): "
            "start one with `rstar2 sandbox serve`"
        )

    def _fail_waiting(self, reason: str) -> None:
        for waiting in self._waiting.values():
            for call in waiting:
                if not call.answer.done():
                    call.answer.set_exception(SandboxError(reason))
            waiting.clear()
