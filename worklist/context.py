"""What every route needs, handed in once by :func:`worklist.app.create_app`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request

from triage.crash_points import Reached, nowhere
from triage.database import Database
from triage.identifiers import dicom_uid
from triage.settings import Settings
from worklist.fresh import Fresh
from worklist.live import Feed
from worklist.playing import Players
from worklist.snapshot import Snapshot

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Context:
    """Settings, rows, time (UTC), the live feed, answers that still hold, the crash points, the last list and who plays
    the simulator, of one application."""

    settings: Settings
    database: Database
    clock: Clock
    feed: Feed
    fresh: Fresh
    reached: Reached = nowhere
    snapshot: Snapshot[Any] = field(default_factory=Snapshot)
    players: Players = field(default_factory=Players)


# Coroutines, because the framework would hand a function to a thread, for longer than it takes.
async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _who(request: Request) -> str:
    name: str = request.state.who
    return name


async def _study_uid(study_uid: str) -> str:
    return dicom_uid(study_uid, attribute="StudyInstanceUID")


async def _sop_uid(sop_uid: str) -> str:
    return dicom_uid(sop_uid, attribute="SOPInstanceUID")


Here = Annotated[Context, Depends(_context)]
Who = Annotated[str, Depends(_who)]
"""Name of the signed-in person or program; "local" where nobody signs in."""
StudyUid = Annotated[str, Depends(_study_uid)]
SopUid = Annotated[str, Depends(_sop_uid)]
