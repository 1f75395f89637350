"""The filter, run by an interpreter of its instructions: every call number gets the answer of the table."""

import ctypes
import ctypes.util
import errno
import struct

import pytest

from rstar2.sandbox import seccomp

_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_X86_64, _AARCH64 = 0xC000003E, 0xC00000B7


def _verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Classic BPF by the book: load, compare and jump forward, return."""
    known = {"x86_64": _X86_64, "aarch64": _AARCH64}
    words = (list(arguments) + [0] * 6)[:6]
    data = struct.pack("=iIQ6Q", number, architecture or known[machine], 0, *words)
    instructions = list(struct.iter_unpack("=HBBI", seccomp.filter_program(machine)))
    position, loaded = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[position]
        position += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return operand
        else:
            test = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
            position += if_true if test else if_false


def _refused(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize(
    ("number", "arguments", "verdict"),
    [
        (0, (), _ALLOW),  # read
        (1, (), _ALLOW),  # write
        (59, (), _ALLOW),  # execve
        (165, (), _refused(errno.ENOSYS)),  # mount
        (101, (), _refused(errno.ENOSYS)),  # ptrace
        (272, (), _refused(errno.ENOSYS)),  # unshare
        (435, (), _refused(errno.ENOSYS)),  # clone3
        (425, (), _refused(errno.ENOSYS)),  # io_uring_setup
        (9999, (), _refused(errno.ENOSYS)),
        (0x40000000, (), _refused(errno.ENOSYS)),  # read, by the x32 convention
        (56, (17,), _ALLOW),  # clone as fork
        (56, (0x3D0F00,), _ALLOW),  # clone as pthread_create
        (56, (0x10000000 | 17,), _refused(errno.EPERM)),  # clone into a user namespace
        (41, (1, 1), _ALLOW),  # socket, AF_UNIX
        (41, (2, 1), _refused(errno.EAFNOSUPPORT)),  # socket, AF_INET
        (41, (40, 1), _refused(errno.EAFNOSUPPORT)),  # socket, AF_VSOCK
        (55, (8, 1, 17), _ALLOW),  # getsockopt SO_PEERCRED
        (55, (8, 1, 77), _refused(errno.ENOPROTOOPT)),  # getsockopt SO_PEERPIDFD
        (54, (8, 1, 76, 1), _refused(errno.ENOPROTOOPT)),  # setsockopt SO_PASSPIDFD
        (16, (1, 0x5401), _ALLOW),  # ioctl TCGETS
        (16, (0, 0x5412), _refused(errno.ENOTTY)),  # ioctl TIOCSTI
        (222, (), _refused(errno.ENOSYS)),  # timer_create
        (72, (1, 1030), _ALLOW),  # fcntl F_DUPFD_CLOEXEC
        (72, (1, 5), _ALLOW),  # fcntl F_GETLK
        (72, (1, 6), _refused(0)),  # fcntl F_SETLK, which succeeds by this and does nothing
        (72, (1, 38), _refused(0)),  # fcntl F_OFD_SETLKW
        (72, (1, 10), _refused(errno.EINVAL)),  # fcntl F_SETSIG
        (72, (1, 1024), _refused(errno.EINVAL)),  # fcntl F_SETLEASE
        (302, (0, 7), _ALLOW),  # prlimit64 on oneself
        (302, (1, 7), _refused(errno.EPERM)),  # prlimit64 on the supervisor
        (157, (15,), _ALLOW),  # prctl PR_SET_NAME
        (157, (4, 1), _refused(errno.EPERM)),  # prctl PR_SET_DUMPABLE
    ],
)
def test_verdicts_on_x86_64(number: int, arguments: tuple[int, ...], verdict: int) -> None:
    assert _verdict("x86_64", number, *arguments) == verdict


def test_the_same_names_are_allowed_on_aarch64() -> None:
    assert _verdict("aarch64", 63) == _ALLOW  # read
    assert _verdict("aarch64", 40) == _refused(errno.ENOSYS)  # mount
    assert _verdict("aarch64", 220, 0x10000000) == _refused(errno.EPERM)  # clone into a user namespace


def test_a_call_by_another_architectures_convention_is_fatal() -> None:
    assert _verdict("x86_64", 0, architecture=0x40000003) == _KILL


def test_an_architecture_without_a_table_is_refused() -> None:
    with pytest.raises(KeyError):
        seccomp.filter_program("riscv64")


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", _X86_64), ("aarch64", _AARCH64)])
def test_numbers_are_those_of_libseccomp(machine: str, architecture: int) -> None:
    path = ctypes.util.find_library("seccomp")
    if path is None:
        pytest.skip("libseccomp is not installed")
    resolve = ctypes.CDLL(path).seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    column = ["x86_64", "aarch64"].index(machine)
    entries = [
        word.split(":") for line in seccomp._TABLE.splitlines() if "#" not in line for word in line.split()
    ]
    assert len(entries) > 150
    unknown = {"futex_wait", "futex_wake", "futex_requeue"}  # newer than many a libseccomp
    for entry in entries:
        expected = resolve(architecture, entry[0].encode())
        if expected >= 0 or entry[0] not in unknown:
            assert entry[1 + column] == (str(expected) if expected >= 0 else ""), entry
