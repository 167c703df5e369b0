"""A process that ends when its parent does, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def end_with(supervisor: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere parts may be orphaned).

    Parameters
    ----------
    supervisor : int
        Process id of the parent; if it is gone already, this process ends here.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != supervisor:
        raise SystemExit(128 + signal.SIGKILL)
