"""What the doctor says about room: free space and inodes against their marks, who refuses, the quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from firstread.finding import Finding, Grade
from triage.repositories import heartbeats, quarantine
from triage.retention import Mode
from triage.room import Room
from triage.settings import Settings
from workers.clock import utc_now

_MIB: Final = 1024 * 1024


def disk(settings: Settings, folder: Path) -> Iterator[Finding]:
    """Room on the file system of ``folder``, against the marks of the settings."""
    try:
        room = Room.of(folder)
    except OSError as error:
        yield Finding("disk", Grade.BAD, f"{folder}: {error.strerror}", "Mount it, or mend it.")
        return
    policy, retention = settings.room_policy, settings.retention_policy
    shortage = policy.shortage(room, folder, closed=False)
    begins, _ = retention.marks(room.total_bytes, policy.lower(room))
    free = f"{room.free_bytes // _MIB} MiB free at {folder}"
    marks = f"new data is refused below {policy.lower(room) // _MIB} MiB"
    if shortage:
        yield Finding("disk", Grade.BAD, f"{shortage} Senders hear 0xA700.", "Free space, or move the data directory.")
    elif room.free_bytes < begins:
        gone = "nothing is removed: retention is `never`" if retention.mode is Mode.NEVER else "old files are removed"
        yield Finding("disk", Grade.WARNING, f"{free}: {gone}; {marks}", "Free space before senders are refused.")
    else:
        yield Finding("disk", Grade.GOOD, f"{free}; {marks}")


def rows(session: Session) -> Iterator[Finding]:
    """Listeners that refuse, and what waits in quarantine."""
    for listener, reason in heartbeats.refusing(session, utc_now()).items():
        yield Finding("listener", Grade.BAD, f"{listener} takes nothing new: {reason}", "Free space; it recovers.")
    waiting = quarantine.waiting(session)
    if waiting:
        message = f"{waiting} objects wait in quarantine"
        yield Finding("quarantine", Grade.WARNING, message, "`firstread quarantine list`")
