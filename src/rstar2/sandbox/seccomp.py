"""The system calls that a program may make, as a seccomp filter for the kernel.

An allow-list: what numeric Python uses, everything newer or odder is answered with ENOSYS, as an older
kernel would (libraries then take their other path). Installed once per zygote and inherited by every call.

The filter is assembled here rather than by libseccomp: two dozen lines, no library to install, and a
binary search over call numbers instead of one comparison per rule (the kernel runs a new filter over all
call numbers when it is installed, and over the allowed ones never again).
"""

import errno
import platform
import struct
from dataclasses import dataclass

_TABLE = """
    # memory
    brk:12:214 madvise:28:233 mmap:9:222 mprotect:10:226 mremap:25:216 msync:26:227 munmap:11:215
    membarrier:324:283
    # files and folders
    access:21: chdir:80:49 chmod:90: close:3:57 close_range:436:436 copy_file_range:326:285 creat:85:
    dup:32:23 dup2:33: dup3:292:24 faccessat:269:48 faccessat2:439:439 fadvise64:221:223 fallocate:285:47
    fchdir:81:50 fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 fdatasync:75:83
    fgetxattr:193:10 flistxattr:196:13 flock:73:32 fstat:5:80 fstatfs:138:44 fsync:74:82 ftruncate:77:46
    getcwd:79:17 getdents:78: getdents64:217:61 getxattr:191:8 lgetxattr:192:9 link:86: linkat:265:37
    listxattr:194:11 llistxattr:195:12 lseek:8:62 lstat:6: mkdir:83: mkdirat:258:34 newfstatat:262:79
    open:2: openat:257:56 openat2:437:437 pread64:17:67 preadv:295:69 preadv2:327:286 pwrite64:18:68
    pwritev:296:70 pwritev2:328:287 read:0:63 readlink:89: readlinkat:267:78 readv:19:65 rename:82:
    renameat:264:38 renameat2:316:276 rmdir:84: sendfile:40:71 stat:4: statfs:137:43 statx:332:291
    symlink:88: symlinkat:266:36 truncate:76:45 umask:95:166 unlink:87: unlinkat:263:35 utime:132:
    utimensat:280:88 utimes:235: write:1:64 writev:20:66
    # waiting, pipes and local sockets
    accept:43:202 accept4:288:242 bind:49:200 connect:42:203 epoll_create:213: epoll_create1:291:20
    epoll_ctl:233:21 epoll_pwait:281:22 epoll_pwait2:441:441 epoll_wait:232: eventfd:284: eventfd2:290:19
    getpeername:52:205 getsockname:51:204 listen:50:201 pause:34: pipe:22: pipe2:293:59
    poll:7: ppoll:271:73 pselect6:270:72 recvfrom:45:207 recvmmsg:299:243 recvmsg:47:212 select:23:
    sendmmsg:307:269 sendmsg:46:211 sendto:44:206 shutdown:48:210 socketpair:53:199
    # processes and threads
    arch_prctl:158: execve:59:221 exit:60:93 exit_group:231:94 fork:57: futex:202:98 futex_wait:455:455
    futex_waitv:449:449 futex_wake:454:454 futex_requeue:456:456 getcpu:309:168 getpriority:140:141
    getrusage:98:165 kill:62:129 pidfd_open:434:434 rseq:334:293 sched_getaffinity:204:123
    sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_getparam:143:121
    sched_getscheduler:145:120 sched_rr_get_interval:148:127 sched_yield:24:124 set_robust_list:273:99
    set_tid_address:218:96 setpgid:109:154 setsid:112:157 tgkill:234:131 times:100:153 tkill:200:130
    vfork:58: wait4:61:260 waitid:247:95
    # signals
    restart_syscall:219:128 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135
    rt_sigreturn:15:139 rt_sigsuspend:130:133 rt_sigtimedwait:128:137 sigaltstack:131:132 signalfd:282:
    signalfd4:289:74
    # time
    alarm:37: clock_getres:229:114 clock_gettime:228:113 clock_nanosleep:230:115 getitimer:36:102
    gettimeofday:96:169 nanosleep:35:101 setitimer:38:103 time:201: timerfd_create:283:85
    timerfd_gettime:287:87 timerfd_settime:286:86
    # facts
    getegid:108:177 geteuid:107:175 getgid:104:176 getgroups:115:158 getpgid:121:155 getpgrp:111:
    getpid:39:172 getppid:110:173 getrandom:318:278 getresgid:120:150 getresuid:118:148 getrlimit:97:163
    getsid:124:156 gettid:186:178 getuid:102:174 sysinfo:99:179 uname:63:160
    # giving up rights (a program has none left to change)
    setgroups:116:159 setresgid:119:149 setresuid:117:147 setrlimit:160:164
"""
"""name:number on x86_64:number on aarch64; numbers as `seccomp_syscall_resolve_name_arch` gives them."""

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }, little endian
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL_PROCESS, _REFUSE, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_PRETEND = _REFUSE | 0
"""The call is not made and returns 0, as if it had been."""

_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_AF_UNIX = 1
_HARMLESS_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS (isatty), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_HARMLESS_FCNTLS = (*range(6), 36, 1030, 1031, 1032)
"""F_DUPFD to F_GETLK, F_OFD_GETLK, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ. Not those that have the
kernel send a signal of one's choice later (nor `timer_create`: a SIGCONT wakes who was stopped), nor leases
and notices on files that all slots share."""
_LOCKING_FCNTLS = (6, 7, 37, 38)
"""F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW: of any number of ranges, in memory that the kernel charges to
nobody. They do nothing and succeed: sqlite, which cannot go on without, needs them between processes only."""
_PIDFD_OPTIONS = (76, 77)
"""SO_PASSPIDFD, SO_PEERPIDFD: a handle on who is at the other end, which is the service if it is a session's
line. Answered as by a kernel that does not have them."""
_HARMLESS_PRCTLS = (1, 15, 16, 0x53564D41)
"""PR_SET_PDEATHSIG, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA."""


@dataclass(frozen=True, slots=True)
class _Instruction:
    """One classic BPF instruction (struct sock_filter)."""

    code: int
    operand: int
    if_true: int = 0
    if_false: int = 0
    """Instructions to skip after a comparison."""

    def pack(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.operand)


def _returned(action: int) -> list[_Instruction]:
    return [_Instruction(_RETURN, action)]


_ALLOWED = _returned(_ALLOW)
_UNKNOWN = _returned(_REFUSE | errno.ENOSYS)


def _argument(index: int) -> _Instruction:
    """Load the low half of an argument; those that we judge are 32 bits wide."""
    return _Instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * index)


def _case(values: tuple[int, ...], action: int) -> list[_Instruction]:
    """Answer so if the loaded argument is among `values`, else go on after this."""
    *early, last = values
    tests = [_Instruction(_EQUAL, value, len(early) - n) for n, value in enumerate(early)]
    return [*tests, _Instruction(_EQUAL, last, if_false=1), *_returned(action)]


def _if_one_of(index: int, values: tuple[int, ...], refusal: int) -> list[_Instruction]:
    """Allow the call if its argument is among `values`."""
    return [_argument(index), *_case(values, _ALLOW), *_returned(_REFUSE | refusal)]


_SOCKET_OPTION = [_argument(2), *_case(_PIDFD_OPTIONS, _REFUSE | errno.ENOPROTOOPT), *_ALLOWED]

_CONDITIONAL = {
    (56, 220): [  # clone
        _argument(0),
        _Instruction(_ANY_BIT, _NAMESPACE_FLAGS, 1),
        *_ALLOWED,
        *_returned(_REFUSE | errno.EPERM),
    ],
    (41, 198): _if_one_of(0, (_AF_UNIX,), errno.EAFNOSUPPORT),  # socket
    (54, 208): _SOCKET_OPTION,  # setsockopt
    (55, 209): _SOCKET_OPTION,  # getsockopt
    (72, 25): [  # fcntl
        _argument(1),
        *_case(_LOCKING_FCNTLS, _PRETEND),
        *_if_one_of(1, _HARMLESS_FCNTLS, errno.EINVAL),
    ],
    (16, 29): _if_one_of(1, _HARMLESS_IOCTLS, errno.ENOTTY),  # ioctl
    (157, 167): _if_one_of(0, _HARMLESS_PRCTLS, errno.EPERM),  # prctl
    (302, 261): _if_one_of(0, (0,), errno.EPERM),  # prlimit64, on oneself only
}
"""(number on x86_64, on aarch64): what to do. clone3 hides its flags from us, and stays unknown."""


def filter_program(machine: str = platform.machine()) -> bytes:
    """The filter as an array of `struct sock_filter`; KeyError for an architecture without a table."""
    architecture = _AUDIT_ARCHITECTURE[machine]
    instructions = [
        _Instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _Instruction(_EQUAL, architecture, 1),
        *_returned(_KILL_PROCESS),
        _Instruction(_LOAD, _NUMBER_OFFSET),
        *_search(_ranges(machine)),
    ]
    return b"".join(instruction.pack() for instruction in instructions)


def _ranges(machine: str) -> list[tuple[int, list[_Instruction]]]:
    """(first call number, what to do from there up to the next range), ascending from 0."""
    column = list(_AUDIT_ARCHITECTURE).index(machine)
    actions = {numbers[column]: action for numbers, action in _CONDITIONAL.items()}
    words = (word for line in _TABLE.splitlines() if "#" not in line for word in line.split())
    actions |= {int(digits): _ALLOWED for word in words if (digits := word.split(":")[1 + column])}
    ranges = [(0, actions.get(0, _UNKNOWN))]
    for number in range(1, max(actions) + 2):
        if (action := actions.get(number, _UNKNOWN)) is not ranges[-1][1]:
            ranges.append((number, action))
    return ranges


def _search(ranges: list[tuple[int, list[_Instruction]]]) -> list[_Instruction]:
    """A decision tree over the loaded call number; jumps are forward and shorter than 256."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    lower, upper = _search(ranges[:middle]), _search(ranges[middle:])
    return [_Instruction(_AT_LEAST, ranges[middle][0], if_true=len(lower)), *lower, *upper]
