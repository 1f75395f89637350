"""Attacks on sessions by their own cells: on the line to the pool, on other sessions, on what comes after.

While one session attacks, another one that minds its own business must not notice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from uuid import uuid4

from rstar2.ports import Sessions
from rstar2.sandbox.probes.probe import AFTER, BEFORE, HELD, complaint
from rstar2.types import Program, ToolResult, ToolStatus

_LINE = """
import struct
line = socket.socket(fileno=os.dup(8))
def say(number, exit_code=0, cpu_us=0):
    line.send(struct.pack("=IBQ", number, exit_code, cpu_us))
"""
_ATTACKER, _OTHER, _BYSTANDER = "attacker", "other", "bystander"
_TIME_LIMIT_S = 0.6


NOT_FOR_CELLS = frozenset(
    {
        "inherited descriptors",  # a session has a line to the pool and files of its own,
        "answers on every descriptor",  # on which it may lie about itself;
        "a value that cannot be written",  # and it has no end at which exit handlers would run
    }
)
"""Names of the probes that prove nothing in a cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionProbe:
    """One attack."""

    kind: str
    """Its class, as of other probes."""
    name: str
    cells: tuple[tuple[str, str], ...]
    """(session, code), run one after the other; the verdict is the last one's stdout."""
    attack_is_answered: Callable[[ToolResult], bool]
    """What the service must say of the last but one."""


def _attack(
    kind: str,
    name: str,
    *bodies: str,
    then: str = "",
    seen_by: str = _ATTACKER,
    answered: Callable[[ToolResult], bool] = lambda result: True,
) -> SessionProbe:
    """The attacker's cells, and what is looked for afterwards, by itself or by another session."""
    attacks = tuple((_ATTACKER, BEFORE + _LINE + dedent(body)) for body in bodies)
    return SessionProbe(
        kind=kind,
        name=name,
        cells=(*attacks, (seen_by, BEFORE + dedent(then) + AFTER)),
        attack_is_answered=answered,
    )


def _is(*statuses: ToolStatus) -> Callable[[ToolResult], bool]:
    return lambda result: result.status in statuses


SESSION_PROBES = (
    _attack(
        "cross-call",
        "files of another session",
        "for folder in (os.getcwd(), '/dev/shm'): open(f'{folder}/secret', 'w').write('canary')",
        then="breaches += os.listdir() + os.listdir('/dev/shm')",
        seen_by=_OTHER,
    ),
    _attack(
        "cross-call",
        "processes of another session",
        "if os.fork() == 0: time.sleep(60)",
        then="for pid in {*range(2, 400)} - {os.getpid()}: refused(f'{pid}', lambda: os.kill(pid, 0))",
        seen_by=_OTHER,
    ),
    _attack(
        "cross-call",
        "sockets of another session",
        "server = socket.socket(socket.AF_UNIX); server.bind('\\0name'); server.listen()",
        then="refused('connect', lambda: socket.socket(socket.AF_UNIX).connect('\\0name'))",
        seen_by=_OTHER,
    ),
    _attack(
        "cross-call",
        "names and memory of another session",
        "secret = 'a canary ' * 50",
        then="""
        import gc
        refused("name", lambda: secret) if "secret" in globals() else None
        texts = [value for thing in gc.get_objects() if isinstance(thing, dict) for value in thing.values()]
        breaches += [text[:20] for text in texts if type(text) is str and text.startswith("a canary " * 40)]
        """,
        seen_by=_OTHER,
    ),
    _attack(
        "cross-call",
        "killing everybody",
        """
        if os.fork() == 0: time.sleep(60)
        for number in (signal.SIGSTOP, signal.SIGKILL): os.kill(-1, number)
        """,
        answered=_is(ToolStatus.OK),
    ),
    _attack("forgery", "garbage on the line", "line.send(b'garbage')", answered=_is(ToolStatus.EXCEPTION)),
    _attack(
        "forgery",
        "a flood on the line",
        "line.setblocking(False)\nwhile True: line.send(bytes(9999))",
        answered=_is(ToolStatus.EXCEPTION),
    ),
    _attack("forgery", "a closed line", "os.close(8); line.close()", answered=_is(ToolStatus.EXCEPTION)),
    _attack(
        "forgery",
        "a descendant speaks",
        "if os.fork() == 0: say(7); time.sleep(60)\ntime.sleep(0.1)",
        answered=_is(ToolStatus.EXCEPTION),
    ),
    _attack("forgery", "an answer before the end", "say(1)\ntime.sleep(60)", "1", seen_by=_OTHER),
    _attack("forgery", "two answers", "say(1)", "'late'", seen_by=_OTHER),
    _attack("forgery", "the next cell's answer", "say(2)", seen_by=_OTHER),
    _attack(
        "forgery",
        "absurd times",
        "say(1, 0, 2**64 - 1)\ntime.sleep(60)",
        answered=lambda result: result.cpu_s < 60,
        seen_by=_OTHER,
    ),
    _attack(
        "forgery",
        "descriptors of the next cell",
        """
        if os.fork() == 0:
            while True:
                for fd in (3, 4, 6, 7):
                    os.pwrite(fd, b"\\xff" * 4096, 0)
                    os.ftruncate(fd, 99)
        """,
        "os._exit(0)",
        seen_by=_OTHER,
    ),
    _attack(
        "forgery",
        "seals on what the next cell writes to",
        "import fcntl",
        then="""
        for fd in range(9):
            refused(f"seal {fd}", lambda: fcntl.fcntl(fd, 1033, 0xF))
        """,
    ),
    _attack(
        "escape",
        "a handle on the process behind the line",
        "line.getpeername()",
        then="""
        refused("its pidfd", lambda: line.getsockopt(1, 77))
        refused("pidfds of those who write", lambda: line.setsockopt(1, 76, 1))
        """,
    ),
    _attack(
        "resources",
        "all signals ignored",
        """
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True: time.sleep(60)
        """,
        answered=_is(ToolStatus.TIME_LIMIT),
    ),
    _attack(
        "resources",
        "interrupts that are caught",
        """
        while True:
            try: time.sleep(60)
            except BaseException: pass
        """,
        answered=_is(ToolStatus.TIME_LIMIT),
    ),
    _attack(
        "resources",
        "stopping oneself",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        answered=_is(ToolStatus.TIME_LIMIT),
    ),
    _attack(
        "resources",
        "a fork bomb",
        """
        while True:
            try: os.fork()
            except OSError: pass
        """,
        answered=_is(ToolStatus.TIME_LIMIT, ToolStatus.EXCEPTION),
    ),
    _attack(
        "resources",
        "a flood of output",
        "while True: os.write(1, bytes(1 << 16))",
        answered=lambda result: result.status is ToolStatus.OUTPUT_LIMIT and len(result.stdout) < 1 << 16,
    ),
    _attack(
        "resources",
        "memory",
        "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))",
        "hoard = None",
        answered=_is(ToolStatus.OK),
    ),
    _attack(
        "residue",
        "full folders",
        """
        for folder in (os.getcwd(), "/dev/shm"):
            try:
                for n in range(9999): open(f"{folder}/{n}", "wb").write(bytes(1 << 20))
            except OSError: pass
            os.chmod(folder, 0)
        """,
        then="for folder in (os.getcwd(), '/dev/shm'): open(f'{folder}/x', 'wb').write(bytes(1 << 20))",
        seen_by=_OTHER,
    ),
)


class EachInItsOwn:
    """A sandbox that runs each program as the first cell of a session of its own."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def run(self, program: Program) -> ToolResult:
        session = uuid4().hex
        try:
            return await self._sessions.run_cell(session, program)
        finally:
            await self._sessions.end(session)

    async def close(self) -> None: ...


async def try_session_probe(sessions: Sessions, probe: SessionProbe) -> str:
    """HELD, or what came instead."""
    own = uuid4().hex

    async def run(session: str, code: str) -> ToolResult:
        program = Program(code=code, time_limit_s=_TIME_LIMIT_S, memory_limit_mb=128)
        return await sessions.run_cell(f"{session}-{own}", program)

    try:
        await run(_BYSTANDER, "x = 41")
        *_, attack, verdict = [await run(session, code) for session, code in probe.cells]
        unmoved = await run(_BYSTANDER, "x + 1")
    finally:
        for session in (_ATTACKER, _OTHER, _BYSTANDER):
            await sessions.end(f"{session}-{own}")
    if not probe.attack_is_answered(attack):
        return complaint(attack)
    if verdict.stdout.strip() != HELD:
        return complaint(verdict)
    return HELD if unmoved.value == "42" else complaint(unmoved)
