"""The invariants of custody, each a question to rows and files; ``firstread fsck`` prints the answers.

A running system moves while it is looked at: an instance is recorded between two queries, a file gets its name just
before its row. So whatever looks wrong is asked about again a moment later, alone and with fresh reads, and only what
is still wrong then is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy.orm import Session

from dicom_node.archive import Archive
from triage.database import Database
from triage.repositories import custody, heartbeats
from triage.settings import Settings
from triage.tables import Analysis, Delivery, Instance, ResultObject, Study
from workers.clock import Clock, utc_now
from workers.pulse import died_here

OVERDUE: Final = timedelta(minutes=5)
"""Work that nobody has touched for so long is stuck, not waiting."""
SETTLE: Final = 1.0  # seconds until a suspicion on a running system is looked at again
_CHUNK: Final = 1000

Row = TypeVar("Row")
Subject = int | str
"""What a violation is about: the id of a row or the path of a file."""


class Invariant(StrEnum):
    """The invariants of the loss-free protocol."""

    I1 = "I1"
    I2 = "I2"
    I3 = "I3"
    I4 = "I4"
    I5 = "I5"
    I6 = "I6"
    I7 = "I7"
    I8 = "I8"
    I9 = "I9"
    I10 = "I10"
    I11 = "I11"

    @property
    def sentence(self) -> str:
        """What always holds."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    Invariant.I1: "every instance that was acknowledged has its file, with the bytes that were received",
    Invariant.I2: "every file of the store has a row",
    Invariant.I3: "every analysis is in one state, and somebody can take it out of an open one",
    Invariant.I4: "every result object has one content for ever",
    Invariant.I5: "nothing is tried more often than allowed",
    Invariant.I6: "work that is due is done",
    Invariant.I7: "the last analysis of a study knows every image of it",
    Invariant.I8: "of all versions of an instance one counts, and all are kept",
    Invariant.I9: "every study stands on the list, in the place that its claims give it",
    Invariant.I10: "no patient attribute stands in file names or logs",
    Invariant.I11: "every change of state is in the audit trail",
}


class Remedy(StrEnum):
    """What ``--repair`` does."""

    FLAG = "flag the file as damaged, so that list and metrics say so"
    SOUND = "take the flag back: the file is sound again"
    INDEX = "record the instance from its file"
    QUARANTINE = "move the file into quarantine"
    ADOPT = "take the report over into the database"
    RELEASE = "let a worker take it over"
    SUPERSEDE = "end it: a newer revision took its place"
    GIVE_UP = "give it up with its reason"
    LOOK_AGAIN = "queue another analysis of the study"
    PLACE = "compute the place again"
    RECOUNT = "count the instances again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One thing that is not as it must be. Identifiers only, never a patient attribute.

    Attributes
    ----------
    what : str
        The sentence for people.
    subject : int or str
        Id of the row or path of the file that :attr:`kind` is about.
    remedy : Remedy or None
        What a repair does; None where a person has to act.
    """

    invariant: Invariant
    kind: str
    what: str
    subject: Subject
    remedy: Remedy | None = None
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    calling_ae_title: str = ""
    received_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is looked at, and how closely.

    Attributes
    ----------
    deep : bool
        Read every file again and compare it with its digest; else names, sizes and rows.
    live : bool
        The system runs: suspicions are looked at twice, fresh orphans are left alone, overdue work is a violation.
    logs : sequence of str
        Log files that are searched for patients.
    pause : callable
        Waits so many seconds.
    """

    settings: Settings
    database: Database
    archive: Archive
    clock: Clock = utc_now
    deep: bool = False
    live: bool = True
    logs: Sequence[str] = ()
    pause: Callable[[float], None] = field(default=time.sleep)


Check = Callable[[Inspection, Subject | None], Iterator[Violation]]
"""Asks about everything, or about one subject only."""


def anybody_alive(database: Database, now: datetime) -> bool:
    """True when a part of the system shows life; who died on this host does not count."""
    with database.read() as session:
        return any(not died_here(row.name) for row in heartbeats.alive(session, now))


def check(inspection: Inspection, checks: Iterable[Check]) -> Iterator[Violation]:
    """All violations, invariant by invariant."""
    for ask in checks:
        suspicions = ask(inspection, None)
        while chunk := list(islice(suspicions, _CHUNK)):
            if not inspection.live:
                yield from chunk
                continue
            inspection.pause(SETTLE)
            for suspicion in chunk:
                again = ask(inspection, suspicion.subject)
                yield from (found for found in again if found.kind == suspicion.kind)


def asked(
    inspection: Inspection,
    table: type[Instance | Study | Analysis | Delivery | ResultObject],
    subject: Subject | None,
    question: Callable[[Session, int, int], Iterable[Row]],
) -> Iterator[Row]:
    """The answers of all windows, or of the one row that a subject is; no session is open while they are weighed."""
    if subject is not None:
        spans = [(int(subject) - 1, int(subject))]
    else:
        with inspection.database.read() as session:
            spans = [(after, after + custody.WINDOW) for after in custody.windows(session, table)]
    for after, until in spans:
        with inspection.database.read() as session:
            answers = list(question(session, after, until))
        yield from answers
