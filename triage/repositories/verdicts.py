"""Verdicts of people on findings, and the assessments that are due because of them.

A verdict belongs to a finding of one analysis. It stands until the same or another person gives a later one; nothing is
overwritten. What one person says about one analysis becomes a document a minute after their last verdict, or when the
case is marked as read; a later verdict makes another document that supersedes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from triage.assessment import KIND, Assessed, Missed, Opinion, OpinionReason
from triage.errors import NotFoundError, StateError
from triage.findings import Code
from triage.profiles import ResultKind
from triage.repositories import events, outcomes, results
from triage.repositories.results import BuiltObject
from triage.repositories.upsert import insert_or_ignore
from triage.states import AnalysisStatus, ReadingStatus
from triage.tables import (
    Analysis,
    AnalysisImage,
    Assessment,
    Finding,
    FindingVerdict,
    Instance,
    MissedFinding,
    ResultObject,
    Study,
)

QUIET: Final = timedelta(seconds=60)
"""After the last verdict: a person goes through the findings of a case one by one."""
RETRY_PAUSE: Final = timedelta(minutes=5)
"""Before a document that could not be built is tried again, doubled with each attempt."""
ATTEMPTS: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A document that is due.

    Attributes
    ----------
    reports : mapping
        Variant to the AI's report that it is about: destinations may have it in different forms.
    assessed : sequence of Assessed
        The person's verdicts that stand, in the order of the report's findings.
    missed : sequence of Missed
        What the person sees and the report does not say, withdrawn ones too, oldest first.
    instances : sequence of Instance
        Of the images that the verdicts are about; without verdicts all that the analysis scored.
    latest : int
        Rises with all that the person says about the report: no other document of this person has it.
    serial : int
        1 for the first document.
    earlier : sequence of ResultObject
        Assessments of this analysis that were issued, anybody's, oldest first.
    """

    assessment_id: int
    study_instance_uid: str
    analysis: Analysis
    who: str
    reports: Mapping[str, ResultObject]
    assessed: Sequence[Assessed]
    missed: Sequence[Missed]
    instances: Sequence[Instance]
    latest: int
    serial: int
    earlier: Sequence[ResultObject]


def give(
    session: Session,
    study: Study,
    finding_id: int,
    opinion: Opinion,
    *,
    reason: OpinionReason | None,
    comment: str,
    who: str,
    at: datetime,
) -> FindingVerdict:
    """Record a person's verdict; the same once more changes nothing.

    Raises
    ------
    NotFoundError
        The study has no such finding.
    StateError
        Somebody else has claimed the case, or no report says this finding (any more).
    """
    finding = session.scalar(
        sa.select(Finding)
        .join(Finding.image)
        .join(AnalysisImage.analysis)
        .where(Finding.id == finding_id, Analysis.study_id == study.id)
        .options(joinedload(Finding.image).joinedload(AnalysisImage.analysis))
    )
    if finding is None:
        raise NotFoundError("The study has no finding with this id.", next_step="Reload the case.")
    if study.reading_status is ReadingStatus.CLAIMED and study.reader != who:
        raise StateError(f"{study.reader} has claimed this case.", next_step="Release it first, or ask them.")
    analysis = finding.image.analysis
    _require_report(session, analysis)
    before = _latest(session, finding_id)
    if before is not None and (before.who, before.opinion, before.reason, before.comment) == (
        who, opinion, reason, comment,
    ):  # fmt: skip
        return before
    verdict = FindingVerdict(finding_id=finding_id, at=at, who=who, opinion=opinion, reason=reason, comment=comment)
    session.add(verdict)
    session.flush()
    make_due(session, analysis.id, who, at=at)
    events.record(
        session, "verdict_given", at=at, study=study, who=who, finding=finding.code_meaning, verdict=opinion.value,
        reason=reason.sentence if reason else None, sop_instance_uid=_sop_instance_uid(session, finding),
        superseded=before is not None,
    )  # fmt: skip
    return verdict


def standing(session: Session, finding_id: int) -> FindingVerdict:
    """The verdict on a finding that stands, whoever gave it.

    Raises
    ------
    NotFoundError
        Nobody gave one.
    """
    verdict = _latest(session, finding_id)
    if verdict is None:
        raise NotFoundError("Nobody has given a verdict on this finding.")
    return verdict


def standing_on(session: Session, finding_ids: Sequence[int]) -> Mapping[int, FindingVerdict]:
    """The verdict that stands on each of these findings that has one."""
    query = sa.select(FindingVerdict).where(FindingVerdict.finding_id.in_(finding_ids)).order_by(FindingVerdict.id)
    return {verdict.finding_id: verdict for verdict in session.scalars(query)}


def _latest(session: Session, finding_id: int) -> FindingVerdict | None:
    query = sa.select(FindingVerdict).where(FindingVerdict.finding_id == finding_id)
    return session.scalars(query.order_by(FindingVerdict.id.desc()).limit(1)).first()


def hasten(session: Session, study: Study, *, at: datetime) -> None:
    """The case is read: nobody is expected to say more."""
    of_study = sa.select(Analysis.id).where(Analysis.study_id == study.id)
    session.execute(
        sa.update(Assessment)
        .where(Assessment.analysis_id.in_(of_study), Assessment.due_at > at)
        .values(due_at=at)
        .execution_options(synchronize_session="fetch")
    )


def any_due(session: Session, now: datetime) -> bool:
    """True when a document is to be built."""
    return session.scalar(sa.select(sa.exists().where(Assessment.due_at <= now))) or False


def due(session: Session, now: datetime, limit: int) -> list[Draft]:
    """Documents that are to be built, the longest due first."""
    query = (
        sa.select(Assessment)
        .where(Assessment.due_at <= now)
        .order_by(Assessment.due_at, Assessment.id)
        .limit(limit)
        .options(joinedload(Assessment.analysis).joinedload(Analysis.study))
    )
    return [_draft(session, assessment) for assessment in session.scalars(query)]


def conclude(session: Session, draft: Draft, built: Sequence[BuiltObject], *, at: datetime) -> list[ResultObject]:
    """Record a document in all its forms; none when it is not due any more.

    That is when another worker was first, or a verdict has come since, which the next document tells too.
    """
    assessment = _locked(session, draft.assessment_id)
    if assessment.due_at is None or _said(session, assessment) != draft.latest:
        return []
    analysis = session.get_one(Analysis, assessment.analysis_id)
    rows = results.record_objects(session, analysis, built, at=at)
    assessment.due_at, assessment.attempts, assessment.documents = None, 0, draft.serial
    events.record(
        session,
        "assessment_issued",
        at=at,
        study=analysis.study,
        who=assessment.who,
        verdicts=len(draft.assessed) + len(draft.missed),
    )
    return rows


def adopt(
    session: Session, report: ResultObject, who: str, serial: int, built: BuiltObject, *, at: datetime
) -> ResultObject:
    """Record a document that was issued before the database was lost; the verdicts themselves stand in it alone.

    Parameters
    ----------
    report : ResultObject
        The report that it is about, in the form that its receivers have.
    serial : int
        1 for the first document of this person about the report's analysis.
    at : datetime
        When it was issued.
    """
    analysis = session.get_one(Analysis, report.analysis_id)
    insert_or_ignore(session, Assessment, analysis_id=analysis.id, who=who, attempts=0, documents=0)
    assessment = session.scalars(
        sa.select(Assessment).where(Assessment.analysis_id == analysis.id, Assessment.who == who)
    ).one()
    assessment.documents = max(assessment.documents, serial)
    (row,) = results.record_objects(session, analysis, [built], at=at)
    return row


def postpone(session: Session, draft: Draft, reason: str, *, at: datetime) -> None:
    """A document could not be built: later once more, and after :data:`ATTEMPTS` not again until a verdict comes."""
    assessment = _locked(session, draft.assessment_id)
    assessment.attempts += 1
    given_up = assessment.attempts >= ATTEMPTS
    assessment.due_at = None if given_up else at + RETRY_PAUSE * float(1 << (assessment.attempts - 1))
    if given_up:
        analysis = session.get_one(Analysis, assessment.analysis_id)
        events.record(session, "assessment_failed", at=at, study=analysis.study, who=assessment.who, reason=reason)


def make_due(session: Session, analysis_id: int, who: str, *, at: datetime) -> None:
    """A person has said something about an analysis: a document is due when nothing more has come for a while."""
    insert_or_ignore(session, Assessment, analysis_id=analysis_id, who=who, attempts=0, documents=0)
    session.execute(
        sa.update(Assessment)
        .where(Assessment.analysis_id == analysis_id, Assessment.who == who)
        .values(due_at=at + QUIET, attempts=0)
        .execution_options(synchronize_session="fetch")
    )


def _require_report(session: Session, analysis: Analysis) -> None:
    reports = _reports(session, analysis) if analysis.status is AnalysisStatus.SUCCEEDED else {}
    if not reports:
        raise StateError(
            "No report has been issued that says this finding.", next_step="Wait until the analysis is done."
        )
    removed = [report.removed_at for report in reports.values() if report.removed_at is not None]
    if removed:
        raise StateError(
            f"Retention removed the report on {max(removed):%Y-%m-%d}.", next_step="Have the case analysed again."
        )


def _reports(session: Session, analysis: Analysis) -> Mapping[str, ResultObject]:
    """The report that says the findings of an analysis, its own or the one that it left standing, by variant."""
    query = (
        sa.select(ResultObject.analysis_id)
        .join(ResultObject.analysis)
        .where(
            Analysis.study_id == analysis.study_id,
            Analysis.bundle_name == analysis.bundle_name,
            Analysis.weights_sha256 == analysis.weights_sha256,
            Analysis.revision <= analysis.revision,
            ResultObject.kind == ResultKind.REPORT,
        )
        .order_by(Analysis.revision.desc())
    )
    issued_by = session.scalars(query.limit(1)).first()
    return {} if issued_by is None else results.reports_of(session, session.get_one(Analysis, issued_by))


def _given(session: Session, assessment: Assessment) -> list[FindingVerdict]:
    """A person's verdicts on the findings of one analysis, the latest of each, oldest first."""
    query = (
        sa.select(FindingVerdict)
        .join(FindingVerdict.finding)
        .join(Finding.image)
        .where(AnalysisImage.analysis_id == assessment.analysis_id, FindingVerdict.who == assessment.who)
        .order_by(FindingVerdict.id)
        .options(joinedload(FindingVerdict.finding).joinedload(Finding.image).joinedload(AnalysisImage.instance))
    )
    by_finding: dict[int, FindingVerdict] = {}
    for verdict in session.scalars(query):
        by_finding[verdict.finding_id] = verdict
    return sorted(by_finding.values(), key=lambda verdict: verdict.id)


def _marked(session: Session, assessment: Assessment) -> Sequence[MissedFinding]:
    """What a person marked as missed by one analysis, oldest first."""
    query = (
        sa.select(MissedFinding)
        .where(MissedFinding.analysis_id == assessment.analysis_id, MissedFinding.who == assessment.who)
        .order_by(MissedFinding.id)
    )
    return session.scalars(query).all()


def _said(session: Session, assessment: Assessment) -> int:
    """A number that rises with each thing that a person says about one analysis, or takes back."""
    marked = _marked(session, assessment)
    verdicts = _given(session, assessment)
    latest = verdicts[-1].id if verdicts else 0
    return latest + len(marked) + sum(row.withdrawn_at is not None for row in marked)


def _missed(row: MissedFinding) -> Missed:
    code = Code(value=row.code_value, scheme=row.code_scheme, meaning=row.code_meaning) if row.code_value else None
    return Missed(
        id=row.id, code=code, laterality=row.laterality, text=row.text, withdrawn=row.withdrawn_at is not None,
        at=row.withdrawn_at or row.at,
    )  # fmt: skip


def _draft(session: Session, assessment: Assessment) -> Draft:
    analysis = assessment.analysis
    given = _given(session, assessment)
    in_order = sorted(given, key=lambda verdict: verdict.finding_id)
    instances = {v.finding.image.instance_id: v.finding.image.instance for v in in_order}
    if not instances:
        scored = [image for image in analysis.images if image.reason is None]
        instances = {image.instance_id: image.instance for image in scored}
    return Draft(
        assessment_id=assessment.id,
        study_instance_uid=analysis.study.study_instance_uid,
        analysis=analysis,
        who=assessment.who,
        reports=_reports(session, analysis),
        assessed=[_assessed(verdict) for verdict in in_order],
        missed=[_missed(row) for row in _marked(session, assessment)],
        instances=list(instances.values()),
        latest=_said(session, assessment),
        serial=assessment.documents + 1,
        earlier=_earlier(session, analysis),
    )


def _earlier(session: Session, analysis: Analysis) -> Sequence[ResultObject]:
    query = sa.select(ResultObject).where(ResultObject.analysis_id == analysis.id, ResultObject.kind == KIND)
    return session.scalars(query.order_by(ResultObject.id)).all()


def _assessed(verdict: FindingVerdict) -> Assessed:
    return Assessed(
        sop_instance_uid=verdict.finding.image.instance.sop_instance_uid,
        finding=outcomes.plain_finding(verdict.finding),
        opinion=verdict.opinion,
        reason=verdict.reason,
        comment=verdict.comment,
        at=verdict.at,
    )


def _locked(session: Session, assessment_id: int) -> Assessment:
    """The assessment, locked behind its study's row: one order of locks, no deadlock with intake."""
    analysis = sa.select(Assessment.analysis_id).where(Assessment.id == assessment_id).scalar_subquery()
    study = sa.select(Analysis.study_id).where(Analysis.id == analysis).scalar_subquery()
    session.execute(sa.select(Study.id).where(Study.id == study).with_for_update(key_share=True))
    return session.scalars(sa.select(Assessment).where(Assessment.id == assessment_id).with_for_update()).one()


def _sop_instance_uid(session: Session, finding: Finding) -> str:
    return session.get_one(Instance, finding.image.instance_id).sop_instance_uid
