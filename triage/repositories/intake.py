"""Recording what arrived: one transaction per instance, committed before the sender hears Success."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.completion import RADIOGRAPHY, CompletionPolicy
from triage.findings import NotAnalysedReason, Urgency
from triage.identifiers import OWN_MANUFACTURER
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, StoredFile
from triage.priority import Targets, order_urgency
from triage.repositories import analyses, events
from triage.repositories.completing import reconsider
from triage.repositories.placing import place_study
from triage.repositories.upsert import insert_or_ignore
from triage.states import StudyStatus, advance
from triage.tables import Association, Instance, ResultObject, Study

NOT_AN_IMAGE: Final = frozenset(
    {"SR", "KO", "PR", "DOC", "SEG", "REG", "RTSTRUCT", "RTPLAN", "PLAN", "AU", "ECG", "HD"}
)
"""Modalities of objects that no network reads and that therefore never re-open a study."""

_PATIENT: Final = ("patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex")
_STUDY: Final = (
    *_PATIENT,
    "patient_age",
    "accession_number",
    "study_id",
    "study_date",
    "study_time",
    "study_description",
    "referring_physician_name",
    "body_part_examined",
)
_INSTANCE: Final = (
    "sop_instance_uid",
    "series_instance_uid",
    "sop_class_uid",
    "modality",
    "series_number",
    "series_description",
    "instance_number",
    "view_position",
    "manufacturer",
    "patient_id",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeRules:
    """What recording needs of the settings and of the archive.

    Attributes
    ----------
    listener : str
        Name of the process that holds the association.
    pixel_digest : callable
        Digest of the pixels of a stored file, by its relative path. Asked only when a known UID comes with other
        bytes, because it reads the whole file.
    """

    listener: str
    pixel_digest: Callable[[str], str]
    completion: CompletionPolicy
    targets: Targets


def record_instance(
    session: Session, header: InstanceHeader, stored: StoredFile, arrival: Arrival, rules: IntakeRules
) -> IntakeOutcome:
    """Record one stored SOP instance. The SCP may answer once this commits.

    A resend with the same bytes changes nothing. Another header around the same pixels becomes the current version.
    Other pixels, study, series or class under a known UID are kept beside the first, which stays current.
    """
    study = _study(session, header, arrival, rules)
    known = session.scalar(
        sa.select(Instance).where(Instance.sop_instance_uid == header.sop_instance_uid, Instance.is_current)
    )
    outcome = _compare(known, study, header, stored, rules)
    if outcome is IntakeOutcome.DUPLICATE:
        events.record(
            session, "instance_resent", at=arrival.received_at, study=study, who=arrival.calling_ae_title,
            sop_instance_uid=header.sop_instance_uid,
        )  # fmt: skip
        return outcome

    instance = _instance(session, study, header, stored, arrival, rules, outcome)
    if outcome is IntakeOutcome.STORED:
        study.instance_count += 1
    elif outcome is IntakeOutcome.VERSIONED and known is not None:
        known.is_current = False
        _adopt_identity(session, study, header, arrival)
    else:
        _flag(study, "conflict")
    events.record(
        session, f"instance_{outcome.value.lower()}", at=arrival.received_at, study=study, who=arrival.calling_ae_title,
        sop_instance_uid=header.sop_instance_uid, modality=header.modality,
    )  # fmt: skip
    if outcome is not IntakeOutcome.CONFLICT:
        _open_for_analysis(session, study, instance, arrival, rules)
    place_study(session, study, rules.targets, at=arrival.received_at, who=arrival.calling_ae_title)
    return outcome


def _study(session: Session, header: InstanceHeader, arrival: Arrival, rules: IntakeRules) -> Study:
    """The study's row, made if absent, locked until the commit (PostgreSQL; SQLite has one writer anyway)."""
    by_uid = (
        sa.select(Study).where(Study.study_instance_uid == header.study_instance_uid).with_for_update(key_share=True)
    )
    study = session.scalar(by_uid)
    if study is None:
        values = {name: getattr(header, name) for name in _STUDY}
        insert_or_ignore(
            session, Study, study_instance_uid=header.study_instance_uid, **values,
            modality="", flags=[] if header.patient_id else ["no_identity"],
            opened_at=arrival.received_at, received_at=arrival.received_at, last_received_at=arrival.received_at,
            due_at=arrival.received_at + rules.targets.of(Urgency.ROUTINE),
            calling_ae_title=arrival.calling_ae_title,
        )  # fmt: skip
        study = session.scalars(by_uid).one()
    if study.patient_id and header.patient_id and study.patient_id != header.patient_id:
        _flag(study, "two_patients")
    for name in _STUDY:
        if not getattr(study, name) and getattr(header, name):
            setattr(study, name, getattr(header, name))
    if header.modality:
        study.modality = "\\".join(sorted({*filter(None, study.modality.split("\\")), header.modality}))
    if header.number_of_study_related_instances is not None:
        study.expected_instances = max(study.expected_instances or 0, header.number_of_study_related_instances)
    ordered = order_urgency(header.requested_procedure_priority)
    if ordered is not None and (study.order_urgency is None or ordered.rank < study.order_urgency.rank):
        study.order_urgency = ordered
    return study


def _compare(
    known: Instance | None, study: Study, header: InstanceHeader, stored: StoredFile, rules: IntakeRules
) -> IntakeOutcome:
    if known is None:
        return IntakeOutcome.STORED
    if known.sha256 == stored.sha256:
        return IntakeOutcome.DUPLICATE
    same_place = (known.study_id, known.series_instance_uid, known.sop_class_uid) == (
        study.id, header.series_instance_uid, header.sop_class_uid,
    )  # fmt: skip
    if not same_place or known.transfer_syntax_uid != stored.transfer_syntax_uid:
        return IntakeOutcome.CONFLICT
    same_pixels = rules.pixel_digest(known.relative_path) == rules.pixel_digest(stored.relative_path.as_posix())
    return IntakeOutcome.VERSIONED if same_pixels else IntakeOutcome.CONFLICT


def _instance(
    session: Session,
    study: Study,
    header: InstanceHeader,
    stored: StoredFile,
    arrival: Arrival,
    rules: IntakeRules,
    outcome: IntakeOutcome,
) -> Instance:
    versions = sa.select(sa.func.count()).where(Instance.sop_instance_uid == header.sop_instance_uid)
    instance = Instance(
        study=study,
        association_id=_association(session, arrival, rules).id,
        version=(session.scalar(versions) or 0) + 1,
        is_current=outcome is not IntakeOutcome.CONFLICT,
        transfer_syntax_uid=stored.transfer_syntax_uid,
        relative_path=stored.relative_path.as_posix(),
        sha256=stored.sha256,
        size=stored.size,
        calling_ae_title=arrival.calling_ae_title,
        received_at=arrival.received_at,
        not_analysed=_never_analysed(session, header),
        **{name: getattr(header, name) for name in _INSTANCE},
    )
    session.add(instance)
    session.flush()
    return instance


def _association(session: Session, arrival: Arrival, rules: IntakeRules) -> Association:
    by_uid = sa.select(Association).where(Association.association_uid == arrival.association_uid)
    association = session.scalar(by_uid)
    if association is None:
        association = Association(
            association_uid=arrival.association_uid,
            listener=rules.listener,
            calling_ae_title=arrival.calling_ae_title,
            called_ae_title=arrival.called_ae_title,
            peer_address=arrival.peer_address,
            opened_at=arrival.received_at,
        )
        session.add(association)
        session.flush()
    return association


def _never_analysed(session: Session, header: InstanceHeader) -> NotAnalysedReason | None:
    ours = sa.select(ResultObject.id).where(ResultObject.sop_instance_uid == header.sop_instance_uid)
    if header.manufacturer == OWN_MANUFACTURER or session.scalar(ours) is not None:
        return NotAnalysedReason.OWN_RESULT
    return NotAnalysedReason.UNSUPPORTED_SOP_CLASS if header.modality in NOT_AN_IMAGE else None


def _open_for_analysis(
    session: Session, study: Study, instance: Instance, arrival: Arrival, rules: IntakeRules
) -> None:
    """Let the arrival count: re-open a complete study, and wake the analysis if a network could start now."""
    study.last_received_at = max(study.last_received_at, arrival.received_at)
    known_before = study.instance_count > 1 or instance.version > 1
    if instance.not_analysed is not None and known_before:
        return  # reports about a study, our own above all, are not new evidence
    if study.status is StudyStatus.COMPLETE:
        study.status = advance(study.status, StudyStatus.RECEIVING)
        study.opened_at, study.completed_at = arrival.received_at, None
        events.record(session, "study_reopened", at=arrival.received_at, study=study, who=arrival.calling_ae_title)
    analyses.queue(session, study, at=arrival.received_at, due=instance.modality in RADIOGRAPHY)
    reconsider(session, study, arrival.received_at, rules.completion)


def _adopt_identity(session: Session, study: Study, header: InstanceHeader, arrival: Arrival) -> None:
    changed = [name for name in _PATIENT if getattr(study, name) != getattr(header, name)]
    if not changed:
        return
    for name in changed:
        setattr(study, name, getattr(header, name))
    _flag(study, "identity_changed")
    events.record(
        session, "identity_changed", at=arrival.received_at, study=study, who=arrival.calling_ae_title,
        attributes=", ".join(changed),
    )  # fmt: skip


def _flag(study: Study, flag: str) -> None:
    if flag not in study.flags:
        study.flags = [*study.flags, flag]


def close_association(session: Session, association_uid: str, *, at: datetime, policy: CompletionPolicy) -> None:
    """The association ended: studies that waited only for it may be complete now."""
    association = session.scalar(sa.select(Association).where(Association.association_uid == association_uid))
    if association is None or association.closed_at is not None:
        return  # it stored nothing
    association.closed_at = at
    _reconsider_studies_of(session, [association.id], at, policy)


def close_associations_of(session: Session, listeners: list[str], *, at: datetime, policy: CompletionPolicy) -> int:
    """End the associations of listeners that are gone (killed, restarted); returns how many."""
    lost = list(
        session.scalars(
            sa.select(Association).where(Association.listener.in_(listeners), Association.closed_at.is_(None))
        )
    )
    for association in lost:
        association.closed_at = at
    _reconsider_studies_of(session, [association.id for association in lost], at, policy)
    return len(lost)


def _reconsider_studies_of(session: Session, associations: list[int], at: datetime, policy: CompletionPolicy) -> None:
    if not associations:
        return
    session.flush()
    touched = (
        sa.select(Study)
        .where(
            Study.id.in_(sa.select(Instance.study_id).where(Instance.association_id.in_(associations))),
            Study.status == StudyStatus.RECEIVING,
        )
        .order_by(Study.id)
        .with_for_update(key_share=True)
    )
    for study in session.scalars(touched):
        analyses.wake(session, study)  # what no network reads can be said at once, without waiting for quiet
        reconsider(session, study, at, policy)
