"""Spoiling the service: other calls, its resources, what stays behind."""

from rstar2.sandbox.probes.probe import probe
from rstar2.types import ToolStatus

_CROSS_CALL = (
    probe(
        "cross-call",
        "files",
        """
        for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run"):
            try: open(f"{folder}/left", "w").write("left")
            except OSError: pass
        """,
        """
        for folder in ("/tmp", "/dev/shm", "/var/tmp", "/run", "."):
            refused(folder, lambda: os.stat(f"{folder}/left"))
        """,
    ),
    probe(
        "cross-call",
        "times of the private folders",
        "for folder in ('.', '/dev/shm'): os.utime(folder, ns=(12345678, 12345678))",
        """
        for folder in (".", "/dev/shm"):
            facts = os.stat(folder)
            breaches += [folder] if 12345678 in (facts.st_atime_ns, facts.st_mtime_ns) else []
        """,
    ),
    probe(
        "cross-call",
        "shared memory and queues",
        """
        from multiprocessing import shared_memory
        shared_memory.SharedMemory("left", create=True, size=4096)
        refused("shmget", lambda: libc.shmget(7, 4096, 0o1666))
        refused("msgget", lambda: libc.msgget(7, 0o1666))
        refused("mq_open", lambda: libc.mq_open(b"/left", 0o102, 0o666, None))
        """,
        """
        from multiprocessing import shared_memory
        refused("shared memory", lambda: shared_memory.SharedMemory("left"))
        """,
    ),
    probe(
        "cross-call",
        "processes",
        """
        import time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                    signal.signal(number, signal.SIG_IGN)
                while True:
                    time.sleep(0.01)
                    open("alive", "w")
            os._exit(0)
        os.wait()
        """,
        """
        import time
        time.sleep(0.05)
        breaches += os.listdir(".")
        for pid in range(2, 32768):
            if pid != os.getpid():
                refused(f"process {pid}", lambda: os.kill(pid, 0))
        """,
    ),
    probe(
        "cross-call",
        "state of the interpreter",
        """
        import math, builtins
        builtins.left = math.left = sys.left = 1
        os.umask(0o777); os.chdir("/"); sys.setrecursionlimit(50)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        """,
        """
        import math, builtins
        breaches += [place.__name__ for place in (builtins, math, sys) if hasattr(place, "left")]
        breaches += [os.getcwd()] if os.getcwd() not in ("/tmp", "/scratch") else []
        breaches += ["umask"] if os.umask(0o22) == 0o777 else []
        breaches += ["handler"] if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL else []
        """,
    ),
    probe(
        "cross-call",
        "leftovers that come late",
        """
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.3)
            for folder in (".", "/dev/shm"): open(f"{folder}/late", "w").close()
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        """,
        """
        time.sleep(0.6)
        breaches += os.listdir(".") + os.listdir("/dev/shm")
        """,
    ),
    probe(
        "cross-call",
        "abstract local sockets",
        r"""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0left")
        listener.listen()
        if os.fork() == 0:
            os.setsid()
            time.sleep(30)
            os._exit(0)
        """,
        r"""
        refused("connect", lambda: socket.socket(socket.AF_UNIX).connect("\0left"))
        """,
    ),
)

_RESOURCES = (
    probe(
        "resources",
        "fork bomb",
        """
        import time
        children = []
        def bomb():
            while len(children) < 500:
                child = os.fork()
                if child == 0:
                    time.sleep(30)
                children.append(child)
        refused("processes", bomb)
        """,
    ),
    probe(
        "resources",
        "thread bomb",
        """
        import threading, time
        def bomb():
            for _ in range(500):
                threading.Thread(target=time.sleep, args=(0.1,)).start()
        refused("threads", bomb)
        """,
    ),
    probe(
        "resources",
        "disk",
        """
        def fill(folder):
            for n in range(100):
                with open(f"{folder}/{n}", "wb") as file:
                    for _ in range(15):
                        file.write(bytes(1 << 20))
        for folder in (".", "/dev/shm"):
            refused(folder, lambda: fill(folder))
        """,
    ),
    probe(
        "resources",
        "inodes",
        """
        def fill(folder):
            for n in range(10000):
                os.mkdir(f"{folder}/{n}")
        for folder in (".", "/dev/shm"):
            refused(folder, lambda: fill(folder))
        """,
    ),
    probe(
        "resources",
        "descriptors",
        """
        refused("descriptors", lambda: [os.dup(0) for _ in range(2000)])
        """,
    ),
    probe(
        "resources",
        "one large file",
        """
        refused("truncate", lambda: os.truncate(os.open("large", os.O_CREAT | os.O_RDWR), 1 << 30))
        refused("truncate stdout", lambda: os.truncate(1, 1 << 30))
        """,
    ),
    probe(
        "resources",
        "inherited pipes",
        """
        if os.fork() == 0:
            os.setsid()
            time.sleep(30)
        print("left"); os._exit(0)
        """,
        "",
        first_is_right=lambda result: result.status is ToolStatus.OK and result.stdout == "left\n",
    ),
    probe(
        "resources",
        "a flood of input",
        "print(len(sys.stdin.read(5))); os._exit(0)",
        "breaches += [] if len(sys.stdin.read()) == 4 << 20 else ['stdin is cut']",
        first_is_right=lambda result: result.status is ToolStatus.OK and result.stdout == "5\n",
        stdin="flood..\n" * (1 << 19),
    ),
    probe(
        "resources",
        "a flood of output",
        """
        while True:
            os.write(1, bytes(1 << 16))
        """,
        "",
        first_is_right=lambda result: (
            result.status is ToolStatus.OUTPUT_LIMIT and len(result.stdout) < 1 << 16
        ),
    ),
    probe(
        "resources",
        "memory",
        """
        hoard = []
        while True:
            hoard.append(bytes(1 << 24))
        """,
        "",
        first_is_right=lambda result: result.status is ToolStatus.MEMORY_LIMIT,
    ),
    probe(
        "resources",
        "a program that hears no signal",
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        for _ in range(4):
            os.fork()
        while True: pass
        """,
        "",
        first_is_right=lambda result: result.status is ToolStatus.TIME_LIMIT and result.wall_s < 3,
        time_limit_s=1.0,
    ),
)

_RESIDUE = (
    probe(
        "residue",
        "folders without rights",
        "os.makedirs('a/b/c'); os.chmod('a/b', 0); os.chmod('a', 0); os.chmod('/dev/shm', 0)",
        "breaches += os.listdir('.') + os.listdir('/dev/shm')",
    ),
    probe(
        "residue",
        "the private folder itself",
        "os.chmod('.', 0)",
        "breaches += os.listdir('.'); open('writable', 'w').close()",
    ),
    probe(
        "residue",
        "symbolic links",
        "os.symlink('/', 'root'); os.symlink(sys.prefix, 'prefix'); os.symlink('loop', 'loop')",
        "breaches += os.listdir('.'); os.stat(os.__file__); os.stat(sys.prefix)",
    ),
    probe(
        "residue",
        "a full disk",
        """
        try:
            while True:
                with open(os.urandom(8).hex(), "wb") as file: file.write(bytes(15 << 20))
        except OSError:
            pass
        """,
        "breaches += os.listdir('.'); open('fits', 'wb').write(bytes(8 << 20))",
    ),
    probe(
        "residue",
        "folders nested beyond the longest path, and odd names",
        """
        home = os.getcwd()
        for n in range(1500): os.mkdir("d"); os.chdir("d")
        os.chdir(home)
        for name in (b"\\xff\\xfe", b"new\\nline", b" ", b"-rf"): os.mkdir(name)
        """,
        "breaches += os.listdir('.')",
    ),
)

PROBES = _CROSS_CALL + _RESOURCES + _RESIDUE
