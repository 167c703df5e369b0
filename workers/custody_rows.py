"""Rows against rules: the invariants I3, I5, I6, I7, I8, I9, I11 and the logs of I10."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from triage.errors import NotFoundError
from triage.priority import place
from triage.repositories import custody
from triage.repositories.custody import Stuck, Trail
from triage.repositories.placing import claims_of
from triage.states import AnalysisStatus, DeliveryStatus, ReadingStatus, StudyStatus
from triage.tables import Analysis, Delivery, Instance, Study
from workers.custody import OVERDUE, Check, Inspection, Invariant, Remedy, Subject, Violation, asked
from workers.custody_files import (
    foreign_names,
    instance_files,
    kept_versions,
    orphans,
    reports_without_row,
    result_objects,
)

SHORTEST_NAME: Final = 5
"""Characters of a name or identifier that is searched for in a log; shorter ones stand in any text."""

_STUCK: Final = {
    Stuck.RUNNING_WITHOUT_LEASE: (Invariant.I3, Remedy.RELEASE),
    Stuck.ENDED_AND_HELD: (Invariant.I3, Remedy.RELEASE),
    Stuck.OPEN_BENEATH_A_NEWER: (Invariant.I3, Remedy.SUPERSEDE),
    Stuck.PARKED_FOR_EVER: (Invariant.I6, Remedy.RELEASE),
    Stuck.OVER_THE_LIMIT: (Invariant.I5, Remedy.GIVE_UP),
}


def stuck(how: Stuck) -> Check:
    """I3, I5 and I6, the analyses: one state, which somebody can take it out of, within the allowed attempts."""

    def ask(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
        invariant, remedy = _STUCK[how]
        question = partial(custody.stuck_analyses, attempts=inspection.settings.analysis_attempts)
        for analysis in asked(inspection, Analysis, subject, lambda s, after, until: question(s, how, after, until)):
            yield Violation(
                invariant=invariant,
                kind=how.name.lower(),
                what=f"{_named(analysis)}: {how.value}",
                subject=analysis.id,
                remedy=remedy,
                study_instance_uid=analysis.study.study_instance_uid,
            )

    return ask


def overdue_work(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I6, analyses: what is due is taken, unless those before it are being worked on.

    Only of a running system: a stopped one takes up what it owes when it starts.
    """
    if not inspection.live:
        return
    now = inspection.clock()
    with inspection.database.read() as session:
        working, _ = custody.worked_since(session, now - OVERDUE)
    if working:
        return
    question = partial(custody.overdue_analyses, before=now - OVERDUE)
    for analysis in asked(inspection, Analysis, subject, question):
        yield Violation(
            invariant=Invariant.I6,
            kind="analysis_overdue",
            what=f"{_named(analysis)} is due and no worker makes progress",
            subject=analysis.id,
            study_instance_uid=analysis.study.study_instance_uid,
        )


def overdue_deliveries(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I6, deliveries: what is due is sent, unless the destination is being tried."""
    if not inspection.live:
        return
    now = inspection.clock()
    with inspection.database.read() as session:
        _, tried = custody.worked_since(session, now - OVERDUE)
    question = partial(custody.overdue_deliveries, before=now - OVERDUE)
    for delivery, study_instance_uid in asked(inspection, Delivery, subject, question):
        if delivery.destination not in tried:
            yield Violation(
                invariant=Invariant.I6,
                kind="delivery_overdue",
                what=f"a delivery to {delivery.destination} is due and nobody sends",
                subject=delivery.id,
                study_instance_uid=study_instance_uid,
            )


def overlooked_studies(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I6, studies: those whose time to look has come are judged."""
    if not inspection.live:
        return
    question = partial(custody.overlooked_studies, before=inspection.clock() - OVERDUE)
    for study in asked(inspection, Study, subject, question):
        yield Violation(
            invariant=Invariant.I6,
            kind="study_overlooked",
            what="the completion rule should have looked at the study and nobody did",
            subject=study.id,
            study_instance_uid=study.study_instance_uid,
        )


def unseen_images(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I7: every current image of a complete study was input to its last revision, scored or left out with a reason."""
    for instance in asked(inspection, Instance, subject, custody.unseen_instances):
        yield Violation(
            invariant=Invariant.I7,
            kind="image_unseen",
            what="an image was never looked at by the last analysis of its study",
            subject=instance.id,
            remedy=Remedy.LOOK_AGAIN,
            study_instance_uid=instance.study.study_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
        )


def unanswered_handovers(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I7, several bundles: an image that one leaves to another is looked at by that other one."""
    for analysis, bundle, uid in asked(inspection, Analysis, subject, custody.unanswered_handovers):
        yield Violation(
            invariant=Invariant.I7,
            kind="handover_unanswered",
            what=f"an image was left to {bundle}, whose analysis ended without it",
            subject=analysis.id,
            remedy=Remedy.LOOK_AGAIN,
            study_instance_uid=analysis.study.study_instance_uid,
            sop_instance_uid=uid,
        )


def versions(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I8: of all versions of an instance exactly one counts."""
    for instance, count in asked(inspection, Instance, subject, custody.miscounted_versions):
        yield Violation(
            invariant=Invariant.I8,
            kind="versions_miscounted",
            what=f"{count} versions of an instance count, one must",
            subject=instance.id,
            study_instance_uid=instance.study.study_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
        )


def places(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I9: each study has the class and the place that its claims give it, so that no failure ever lowered it."""
    for study, instances, _ in asked(inspection, Study, subject, custody.studies):
        said = f"the row says {study.urgency}, due {study.due_at:%Y-%m-%d %H:%M}"
        right = place(claims_of(study), study.received_at, inspection.settings.targets)
        if (study.urgency, study.tier, study.due_at) != (right.urgency, right.tier, right.due_at):
            yield Violation(
                invariant=Invariant.I9,
                kind="place_wrong",
                what=f"{said}; its claims say {right.urgency}, due {right.due_at:%Y-%m-%d %H:%M}",
                subject=study.id,
                remedy=Remedy.PLACE,
                study_instance_uid=study.study_instance_uid,
            )
        if study.instance_count != instances:
            yield Violation(
                invariant=Invariant.I9,
                kind="count_wrong",
                what=f"the list says {study.instance_count} instances, there are {instances}",
                subject=study.id,
                remedy=Remedy.RECOUNT,
                study_instance_uid=study.study_instance_uid,
            )


def audit_trail(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I11: what the rows of a study are is told by its events."""

    def question(session: Session, after: int, until: int) -> list[Trail]:
        return list(custody.trails(session, after, until))

    for trail in asked(inspection, Study, subject, question):
        for gap in gaps(trail):
            yield Violation(
                invariant=Invariant.I11,
                kind="event_missing",
                what=f"no event tells {gap}",
                subject=trail.study.id,
                study_instance_uid=trail.study.study_instance_uid,
            )
            break  # one line per study: the audit trail is looked at as a whole


def gaps(trail: Trail) -> Iterator[str]:
    """What the rows are and the events do not tell. More events than rows are no gap: attempts are told too."""
    study, told = trail.study, trail.told
    completed, reopened = trail.last.get("study_complete", 0), trail.last.get("study_reopened", 0)
    if (study.status is StudyStatus.COMPLETE) != (completed > reopened):
        yield f"that the study is {study.status}"
    if told["instance_stored"] + told["instance_versioned"] + told["instance_conflict"] < trail.instances:
        yield "of an instance that it came"
    for status in (AnalysisStatus.SUCCEEDED, AnalysisStatus.NOT_ANALYSED, AnalysisStatus.FAILED):
        if told[f"analysis_{status.value.lower()}"] < trail.analyses[status]:
            yield f"that an analysis is {status}"
    if told["result_sent"] < trail.deliveries[DeliveryStatus.SENT] + trail.deliveries[DeliveryStatus.COMMITTED]:
        yield "that a result was sent"
    if told["delivery_dead"] + told["delivery_held"] < trail.deliveries[DeliveryStatus.DEAD]:
        yield "that a delivery was given up"
    if study.reading_status is ReadingStatus.READ and not told["case_read"]:
        yield "that the case was read"
    if study.reading_status is ReadingStatus.CLAIMED and not told["case_claimed"]:
        yield "that the case was claimed"
    if study.manual_urgency is not None and not told["priority_set"]:
        yield "that a person set the class"


def patients_in_logs(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I10, the logs: no name and no identifier of a patient of the database stands in them."""
    for name in inspection.logs:
        path = Path(name)
        if not path.is_file():
            raise NotFoundError(f"There is no log file {path}.", next_step="Check the path given with --phi.")
        if not path.stat().st_size or subject not in (None, name):
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found = sum(
                _stands_in(text, word)
                for patient in asked(inspection, Study, None, custody.patients)
                for word in patient
            )
        if found:
            yield Violation(
                invariant=Invariant.I10,
                kind="patient_in_log",
                what=f"{path} holds {found} names or identifiers of patients",
                subject=name,
            )


def _stands_in(text: mmap.mmap, word: str) -> bool:
    encoded = word.strip().encode()
    if len(encoded) < SHORTEST_NAME or text.find(encoded) < 0:
        return False
    return re.search(rb"(?<![0-9A-Za-z.])" + re.escape(encoded) + rb"(?![0-9A-Za-z.])", text) is not None


def _named(analysis: Analysis) -> str:
    by = f" by {analysis.bundle_name}" if analysis.bundle_name else ""
    return f"revision {analysis.revision}{by}, {analysis.status}, {analysis.attempts} attempts"


CHECKS: Final[tuple[Callable[[Inspection, Subject | None], Iterator[Violation]], ...]] = (
    instance_files,
    orphans,
    stuck(Stuck.RUNNING_WITHOUT_LEASE),
    stuck(Stuck.ENDED_AND_HELD),
    stuck(Stuck.OPEN_BENEATH_A_NEWER),
    result_objects,
    reports_without_row,
    stuck(Stuck.OVER_THE_LIMIT),
    stuck(Stuck.PARKED_FOR_EVER),
    overdue_work,
    overdue_deliveries,
    overlooked_studies,
    unseen_images,
    unanswered_handovers,
    kept_versions,
    versions,
    places,
    foreign_names,
    patients_in_logs,
    audit_trail,
)
"""In the order of the invariants."""
