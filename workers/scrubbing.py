"""Stored files are read again and compared with their digests, a little at a time, for as long as they are kept.

Disks lose and change bytes without a word. The scrub finds that while the sender may still have the image, and says it:
on the case, in the list, in ``/metrics``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from dicom_node import stored
from triage.logging import get_logger
from triage.repositories import scrubbing as rows
from triage.repositories.custody import FileRow
from triage.tables import Instance, ResultObject
from workers.custody_files import result_damage
from workers.workbench import Workbench

FRESH: Final = timedelta(hours=1)
"""A file younger than this was hashed as it was written; reading it again would only delay others."""
BATCH: Final = 200
"""Files of one run at most."""
SLICE: Final = 64 * 1024 * 1024
"""Bytes of one run at most: at a ring every 30 s, 180 GB a day."""
LONGEST_RUN: Final = 2.0  # seconds

WHO: Final = "scrub"

log = get_logger(__name__)


def scrub(bench: Workbench, *, monotonic: Callable[[], float] = time.monotonic) -> int:
    """Read the files whose turn it is, within bounds of number, bytes and time; returns how many.

    Those never read come first, then the longest unread, so that everything is read in ``scrub_days`` (0: nothing).
    """
    days = bench.settings.scrub_days
    if not days:
        return 0
    now = bench.clock()
    fresh, old = now - FRESH, now - timedelta(days=days)
    with bench.database.read() as session:
        instances = rows.due_instances(session, received_before=fresh, checked_before=old, limit=BATCH)
        results = rows.due_results(session, created_before=fresh, checked_before=old, limit=BATCH)
    begun, left, read = monotonic(), SLICE, 0
    for table, files in ((Instance, instances), (ResultObject, results)):
        sound: list[int] = []
        for row in files:
            if read and (left < row.size or monotonic() - begun > LONGEST_RUN):
                break  # at least one a run, however large
            damage = _damage(bench, table, row)
            left, read = left - row.size, read + 1
            if damage == row.damage == "":
                sound.append(row.id)
            elif damage is not None:
                _note(bench, table, row, damage)
        with bench.database.write() as session:
            rows.record_sound(session, table, sound, at=now)
    return read


def damage_before_reading(bench: Workbench, instance: Instance) -> str:
    """Look at an image that is about to be analysed: "" when it may be read, else missing or altered, which is noted.

    A fresh one is only looked for: it was hashed as it came, and its analysis must not wait.
    """
    checked = instance.checked_at or instance.received_at
    if bench.clock() - checked < FRESH:
        damage = "" if stored.size(bench.archive, instance.relative_path) is not None else stored.MISSING
    else:
        damage = stored.damage(bench.archive, instance.relative_path, instance.digest)
    if damage != instance.damage:
        with bench.database.write() as session:
            rows.record_damage(session, Instance, instance.id, damage, at=bench.clock(), who="worker")
    return damage


def _damage(bench: Workbench, table: rows.Kept, row: FileRow) -> str | None:
    """None when the disk does not say; the file then keeps its turn."""
    try:
        if table is Instance:
            return stored.damage(bench.archive, row.relative_path, row.digest)
        return result_damage(bench.settings.results / row.relative_path, row.digest)
    except OSError as error:
        log.error("file_unreadable", path=row.relative_path, error=error.strerror)
        return None


def _note(bench: Workbench, table: rows.Kept, row: FileRow, damage: str) -> None:
    with bench.database.write() as session:
        news = rows.record_damage(session, table, row.id, damage, at=bench.clock(), who=WHO)
    if news and damage:
        log.error(
            "file_damaged", path=row.relative_path, damage=damage, study_instance_uid=row.study_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
        )  # fmt: skip
    elif news:
        log.info("file_sound_again", path=row.relative_path, sop_instance_uid=row.sop_instance_uid)
