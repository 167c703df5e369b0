"""What a process that decodes received bytes gives up before it sees the first one. Linux.

No file can be written, no core dumped, no privilege gained; address space and processor time are bounded; it dies with
its parent, and is the first to go when the machine runs out of memory. Where the system allows it, it has no network.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_DESCRIPTORS: Final = 16


def confine(*, megabytes: int, parent: int) -> str:
    """Confine this process, for good.

    Parameters
    ----------
    megabytes : int
        Address space, beyond which every allocation fails.
    parent : int
        Process without which this one has no business.

    Returns
    -------
    str
        "no network" or "network": what the system allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before it was watched
        sys.exit(0)
    # The end comes from the parent, which closes the channel: a signal to the whole group must not look like a crash.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    cut_off = any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for limit, value in (
        (resource.RLIMIT_AS, megabytes << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
    ):
        resource.setrlimit(limit, (value, value))
    return "no network" if cut_off else "network"


def allow_processor_time(seconds: float) -> None:
    """Let this process use that much more processor time; beyond it the system kills it (SIGXCPU).

    The parent watches the clock; this holds where the parent itself was stopped.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def memory_of_its_own() -> int:
    """Bytes of physical memory that this process shares with nobody."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * resource.getpagesize()
