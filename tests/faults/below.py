"""Faults below the product: file systems that are small, full or read-only, and calls that fail or are slow."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers.processes import eventually, program, run

SOURCE = Path(__file__).with_name("shim.c")


@dataclass(frozen=True)
class Shim:
    """The preloaded library and the file that steers it. It costs a look at that file in every call."""

    library: Path
    rules: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "FAULT_RULES": str(self.rules)}

    def fail(self, *rules: str) -> None:
        """Exactly these, such as ``"fsync EIO incoming"``, ``"write ENOSPC sqlite-wal"``, ``"fsync 5000 store"``."""
        fresh = self.rules.with_suffix(".new")
        fresh.write_text("".join(f"{rule}\n" for rule in rules))
        fresh.rename(self.rules)

    def heal(self) -> None:
        self.fail()


def shim(folder: Path) -> Shim:
    """Build it. Skips where there is no compiler."""
    library = folder / "shim.so"
    run(program("gcc"), "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl")
    here = Shim(library, folder / "rules")
    here.heal()
    return here


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it mounts file systems")


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory, such as ``size=20m`` or ``nr_inodes=600``."""
    need_root()
    folder.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@dataclass
class Ext4:
    """An ext4 file system in a file, which can go read-only under open files as a broken disk makes it."""

    image: Path
    folder: Path

    def mount(self) -> None:
        run("mount", "-o", "loop,errors=remount-ro", self.image, self.folder)

    def break_down(self) -> None:
        """An error of the file system: from now on it is read-only."""
        device = run("findmnt", "-no", "SOURCE", self.folder).strip().rpartition("/")[2]
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def unmount(self) -> None:
        def gone() -> bool:
            done = subprocess.run(["umount", self.folder], check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr + holders(self.folder)
            return True

        eventually(gone, within=20, what="the disk is unmounted")

    def repair(self) -> None:
        """As an administrator does; nobody may have files open."""
        self.unmount()
        subprocess.run(["e2fsck", "-fy", self.image], check=False, capture_output=True)
        self.mount()


def holders(folder: Path) -> str:
    """Who has files open there, for a message."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if link.readlink().is_relative_to(folder):
                found.append(f"{link.parts[2]}: {link.readlink()}")
    return "; ".join(found)


@contextmanager
def ext4(folder: Path, megabytes: int) -> Iterator[Ext4]:
    need_root()
    program("mkfs.ext4", also_in=["/usr/sbin", "/sbin"])
    if not Path("/dev/loop-control").exists():
        pytest.skip("no loop devices")
    folder.mkdir(parents=True)
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    run("mkfs.ext4", "-q", "-F", image)
    disk = Ext4(image, folder)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@contextmanager
def ballast(folder: Path, leave: int) -> Iterator[None]:
    """Fill the file system up to that many free bytes."""
    file = folder / "ballast"
    try:
        with file.open("wb", buffering=0) as stream, suppress(OSError):
            while (spare := shutil.disk_usage(folder).free - leave) > 0:
                stream.write(bytes(min(spare, 65536)))
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def memory_limit(megabytes: int) -> Iterator[Path]:
    """A control group whose processes together get that much memory; a write of a pid to ``cgroup.procs`` moves it."""
    need_root()
    root = Path("/sys/fs/cgroup/memory")
    unified = Path("/sys/fs/cgroup")
    if (root / "memory.limit_in_bytes").exists():
        group, limit = root / f"firstread-{os.getpid()}", "memory.limit_in_bytes"
    elif "memory" in (unified / "cgroup.subtree_control").read_text().split():
        group, limit = unified / f"firstread-{os.getpid()}", "memory.max"
    else:
        pytest.skip("no memory control group")
    group.mkdir()
    (group / limit).write_text(str(megabytes * 1024 * 1024))
    try:
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()
