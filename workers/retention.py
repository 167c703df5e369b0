"""Making room: files of finished studies go, oldest first; their rows stay and say when and why."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from triage.crash_points import CrashPoint
from triage.errors import StorageFullError
from triage.logging import get_logger
from triage.repositories import retention as rows
from triage.retention import Kept, Mode, may_go
from triage.room import Room
from triage.settings import Settings
from workers.workbench import Workbench

LONGEST_RUN: Final = 30.0  # seconds; the next ring goes on

log = get_logger(__name__)


class Shortage:
    """Whether room is short: from the first mark on, until the second is reached. Asks the file system every time."""

    def __init__(self, settings: Settings, look: Callable[[Path], Room] = Room.of) -> None:
        self._settings, self._look = settings, look
        self._short = False

    def now(self) -> bool:
        """Look and say.

        Raises
        ------
        StorageFullError
            The file system does not answer.
        """
        settings = self._settings
        try:
            room = self._look(settings.archive)
        except OSError as error:
            raise StorageFullError(
                f"The file system of {settings.archive} does not answer: {error.strerror}."
            ) from error
        policy = settings.retention_policy
        lower = settings.room_policy.lower(room)
        marks = [(room.free_bytes, *policy.marks(room.total_bytes, lower))]
        if room.total_inodes:
            marks.append((room.free_inodes, *policy.marks(room.total_inodes, settings.min_free_inodes)))
        self._short = any(free < (until if self._short else below) for free, below, until in marks)
        return self._short


def make_room(bench: Workbench, shortage: Shortage | None = None) -> int:
    """Remove what may go and has to; returns of how many studies.

    First what an earlier run left unfinished. Nothing goes in mode ``never``.

    Raises
    ------
    StorageFullError
        The file system does not answer.
    """
    unlink_given_up(bench)
    policy = bench.settings.retention_policy
    if policy.mode is Mode.NEVER:
        return 0
    shortage = shortage or Shortage(bench.settings)
    end = time.monotonic() + LONGEST_RUN
    kept: Counter[Kept] = Counter()
    removed = 0
    short = shortage.now()
    if not short and policy.mode is not Mode.AGE:
        return 0
    for study_id in _candidates(bench):
        verdict = _give_up(bench, study_id, short=short)
        if verdict is not None:
            kept[verdict] += 1
        else:
            removed += 1
            _try_to_unlink(bench, study_id)
            short = shortage.now()
        if time.monotonic() > end or not (short or policy.mode is Mode.AGE):
            break
    if removed:
        log.info("room_made", studies=removed, short=short)
    elif short:
        held = _why_kept(bench, kept)
        log.error("room_short_and_nothing_may_go", kept=held, advice="Free disk space, or see `firstread doctor`.")
    return removed


def unlink_given_up(bench: Workbench) -> None:
    """Finish what was interrupted between saying that files are removed and removing them."""
    with bench.database.read() as session:
        unfinished = rows.with_leftovers(session, limit=1000)
    for study_id in unfinished:
        _try_to_unlink(bench, study_id)


def _try_to_unlink(bench: Workbench, study_id: int) -> None:
    """A file that cannot be removed keeps no other from going; the next run tries again."""
    try:
        _unlink(bench, study_id)
    except StorageFullError as error:
        log.error("files_not_removed", advice=error.advice())


def _candidates(bench: Workbench) -> Iterator[int]:
    after: tuple[datetime, int] | None = None
    while True:
        with bench.database.read() as session:
            page = rows.candidates(session, bench.clock(), bench.settings.retention_policy, after=after)
        yield from (study_id for _, study_id in page)
        if not page:
            return
        after = page[-1]


def _give_up(bench: Workbench, study_id: int, *, short: bool) -> Kept | None:
    """Judge once more under the study's lock, and say in its rows that the files are removed. None: said."""
    now = bench.clock()
    with bench.database.write() as session:
        study = rows.locked(session, study_id)
        verdict = may_go(rows.facts_of(session, study), now, bench.settings.retention_policy, short=short)
        if verdict.kept is not None:
            return verdict.kept
        gone = rows.give_up(session, study, reason=verdict.reason, at=now)
        uid = study.study_instance_uid
    log.info(
        "files_removed", study_instance_uid=uid, instances=gone.instances, results=gone.results, bytes=gone.size,
        reason=verdict.reason,
    )  # fmt: skip
    bench.reached(CrashPoint.GIVEN_UP)
    return None


def _unlink(bench: Workbench, study_id: int) -> None:
    settings = bench.settings
    while True:
        with bench.database.write() as session:
            done = rows.leftovers(session, rows.locked(session, study_id))
            if done is None:
                return
            folders = {_remove(settings.archive, path) for path in done.archived}
            folders |= {_remove(settings.results, path) for path in done.results}
        bench.reached(CrashPoint.UNLINKED)
        for folder in folders:
            _sync(folder)
        with bench.database.write() as session:
            rows.settle(session, done, at=bench.clock())


def _remove(root: Path, relative: str) -> Path:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise StorageFullError(f"A row names a file outside {root}.", next_step="Run `firstread fsck`.")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFullError(f"A file below {root} could not be removed: {error.strerror}.") from error
    return path.parent


def _sync(folder: Path) -> None:
    if not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why_kept(bench: Workbench, judged: Counter[Kept]) -> str:
    with bench.database.read() as session:
        policy, now = bench.settings.retention_policy, bench.clock()
        for study in rows.oldest_with_files(session, limit=100):
            kept = may_go(rows.facts_of(session, study), now, policy, short=True).kept
            if kept is not None:
                judged[kept] += 1
    return "; ".join(f"{count} × {kept.value}" for kept, count in judged.most_common(3))
