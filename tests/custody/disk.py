"""What a loss of power leaves of files: content that was synced, under names that were synced. The rest may be gone.

Every ``os.fsync`` of this process and its forked children is noted, by inode: of a file the content as it is then, of a
folder the names that it holds then. SQLite syncs in C and is trusted, with ``synchronous=FULL``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Draw = Callable[[], bool]
"""Whether something that was not synced survives."""


class Disk:
    """Watches everything below some folders, which are durable themselves.

    Parameters
    ----------
    journal : Path
        Where syncs are noted, by this process and by children that die.
    """

    def __init__(self, roots: Sequence[Path], journal: Path) -> None:
        self._roots = roots
        self._journal = os.open(journal, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        self._read = 0
        self._contents: set[tuple[int, int, int]] = set()
        self._names: dict[int, dict[str, int]] = {}
        self._real_fsync = os.fsync

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Note every sync from now on. The disk itself is not asked: nobody cuts its power."""
        patch.setattr(os, "fsync", self._fsync)

    def close(self) -> None:
        os.close(self._journal)

    def format(self) -> None:
        """Everything that is there now is durable."""
        for root in self._roots:
            for path in (root, *root.rglob("*")):
                if path.is_dir():
                    self._note_folder(path)
                else:
                    self._note_file(path.stat())

    def lose_power(self, survives: Draw) -> None:
        """Take away what was not synced, as ``survives`` decides; what is left is durable."""
        self._replay()
        for root in self._roots:
            self._cut(root, survives)
        self.format()

    def _fsync(self, descriptor: int) -> None:
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            self._note_folder(Path(f"/proc/self/fd/{descriptor}").readlink())
        else:
            self._note_file(state)

    def _note_file(self, state: os.stat_result) -> None:
        self._append({"file": _content(state)})

    def _note_folder(self, folder: Path) -> None:
        names = {entry.name: entry.inode() for entry in os.scandir(folder)}
        self._append({"folder": folder.stat().st_ino, "names": names})

    def _append(self, record: object) -> None:
        os.write(self._journal, json.dumps(record).encode() + b"\n")

    def _replay(self) -> None:
        size = os.fstat(self._journal).st_size
        lines = os.pread(self._journal, size - self._read, self._read).splitlines()
        self._read = size
        for record in map(json.loads, lines):
            if "file" in record:
                self._contents.add(tuple(record["file"]))
            else:
                self._names[record["folder"]] = record["names"]

    def _cut(self, folder: Path, survives: Draw) -> None:
        durable = self._names.get(folder.stat().st_ino, {})
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            if durable.get(entry.name) != entry.inode() and not survives():
                _remove(path)
            elif entry.is_dir():
                self._cut(path, survives)
            elif _content(path.stat()) not in self._contents and not survives():
                with path.open("r+b") as file:  # the length is there, the blocks are not
                    size = file.seek(0, os.SEEK_END)
                    file.truncate(size // 2)
                    file.truncate(size)


def _content(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_ino, state.st_mtime_ns, state.st_size


def _remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink()
