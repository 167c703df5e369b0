"""The command line in a child of this process: a real one, without the seconds of starting Python anew."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

CLONE_NEWNS: Final = 0x00020000  # unshare(2), mount(2)
MS_RDONLY: Final = 1
MS_REC_PRIVATE: Final = 0x4000 | 0x40000


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote to both of its outputs."""

    status: int
    output: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.output.splitlines() if line.strip()]


def nothing() -> None:
    pass


def firstread(
    *words: str | Path,
    cwd: Path,
    settings: Mapping[str, str] | None = None,
    before: Callable[[], None] = nothing,
    within: float = 90,
) -> Ended:
    """Run ``firstread ...`` to its end.

    Parameters
    ----------
    before : callable
        Runs in the child first: what is different on this machine today.
    """
    from firstread import cli  # noqa: PLC0415 - imported once here, for every child

    output = cwd / f"output-{os.getpid()}"
    output.write_bytes(b"")
    child = os.fork()
    if child == 0:
        _become(cli.main, [str(word) for word in words], cwd, settings or {}, output, before)
    descriptor = os.pidfd_open(child)
    try:
        if not select.select([descriptor], [], [], within)[0]:
            os.kill(child, 9)
            pytest.fail(f"firstread {' '.join(map(str, words))} went on:\n{output.read_text()[-4000:]}")
    finally:
        os.close(descriptor)
        _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), output.read_text(errors="replace"))


def _become(
    main: Callable[[], None],
    words: list[str],
    cwd: Path,
    settings: Mapping[str, str],
    output: Path,
    before: Callable[[], None],
) -> None:
    status = 99
    try:
        written = os.open(output, os.O_WRONLY | os.O_APPEND)
        os.dup2(written, 1)
        os.dup2(written, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.chdir(cwd)
        for name in [name for name in os.environ if name.startswith("FIRSTREAD_")]:
            del os.environ[name]
        os.environ.update(settings, COLUMNS="200")
        sys.argv = ["firstread", *words]
        before()
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - the child's last words
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def mount(kind: str, at: Path, *, read_only: bool = False) -> Callable[[], None]:
    """A ``before``: a file system of that kind at ``at``, seen by this child alone."""

    def do() -> None:
        at.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
        for done in (
            libc.unshare(CLONE_NEWNS),
            libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None),
            libc.mount(b"none", os.fsencode(at), kind.encode(), MS_RDONLY if read_only else 0, b""),
        ):
            if done != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return do


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
