"""``/api/v1/studies/{study_uid}``: a case in full, its pictures, and a person's steps through it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session

from triage.crash_points import CrashPoint
from triage.errors import NotFoundError
from triage.repositories import analyses, claims, missed, orders, placing, priors, verdicts, worklist
from triage.tables import AnalysisImage, Study
from worklist import describe
from worklist.changing import Changing, etag
from worklist.context import Context, Here, SopUid, StudyUid
from worklist.schemas.cases import MissedGiven, PriorPage, StudyDetail, VerdictGiven, VerdictOut, WorklistItem
from worklist.schemas.steps import PriorityChange

router = APIRouter(prefix="/studies/{study_uid}", tags=["studies"])

FindingId = Annotated[int, PathParameter(ge=1, le=2**63 - 1, description="`id` of a finding of the case.")]
PICTURES: Final = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def read_detail(here: Context, study_uid: str) -> tuple[StudyDetail, int]:
    """A case in full, and its version."""
    with here.database.look() as session:
        study = worklist.case_by_uid(session, study_uid)
        case = worklist.listed_case(session, study)
        return describe.detail(study, case), case.version


@router.get("", summary="A case in full")
def show_study(here: Here, study_uid: StudyUid, response: Response) -> StudyDetail:
    """Findings, instances with what became of each, time line, analyses, result objects and their deliveries.

    The header `ETag` names the version of the case, for `If-Match` in a change.
    """
    detail, version = read_detail(here, study_uid)
    response.headers["ETag"] = etag(version)
    return detail


def read_priors(here: Context, study_uid: str) -> PriorPage:
    """Other studies of the patient, and whether their images are here."""
    with here.database.look() as session:
        study = worklist.study_by_uid(session, study_uid)
        cases = priors.of_patient(session, study)
        here_still = priors.with_files(session, [case.study.id for case in cases])
        return PriorPage(items=[describe.prior(case, study, images_here=case.study.id in here_still) for case in cases])


@router.get("/priors", summary="Other studies of the same patient")
def show_priors(here: Here, study_uid: StudyUid) -> PriorPage:
    """Those that are here under the same patient ID and issuer, the newest first; 50 at most."""
    return read_priors(here, study_uid)


@router.patch("/priority", summary="Set a case's class by hand")
def set_priority(changing: Changing, change: PriorityChange) -> WorklistItem:
    """A person's class wins over order, rules and AI, with a reason, and is kept in the audit trail."""
    here = changing.here

    def apply(session: Session, study: Study) -> None:
        placing.set_manual_urgency(
            session,
            study,
            change.urgency,
            reason=change.reason,
            by=changing.who,
            targets=here.settings.targets,
            at=changing.now,
        )
        session.flush()
        here.reached(CrashPoint.PRIORITY_SET)

    return changing.make(apply)


@router.post("/priority/undo", summary="Undo the latest change of class by hand")
def undo_priority(changing: Changing) -> WorklistItem:
    """Restores what it replaced: an earlier class set by hand, with its reason, or the order of rules and AI.

    409 when there is nothing to undo.
    """
    targets = changing.here.settings.targets
    return changing.make(
        lambda session, study: placing.undo_manual_urgency(
            session, study, by=changing.who, targets=targets, at=changing.now
        )
    )


@router.post("/claim", summary="I read this case now")
def claim(changing: Changing) -> WorklistItem:
    """Others see who has it. 409 when somebody else does.

    A claim runs out when its reader gives no sign for `claim_minutes` of the settings; every step through the case is
    one.
    """
    return changing.make(lambda session, study: worklist.claim(session, study, who=changing.who, at=changing.now))


@router.post("/claim/renew", summary="I am still at this case")
def renew_claim(changing: Changing) -> WorklistItem:
    """A sign for one's own claim; changes nothing else. 409 when it has run out or somebody else has the case."""
    return changing.make(lambda _, study: claims.renew(study, who=changing.who, at=changing.now))


@router.post("/release", summary="Give a case back to the list")
def release(changing: Changing) -> WorklistItem:
    """A claimed case goes back; a read one is opened again, and hears what was ordered meanwhile."""
    settings = changing.here.settings

    def give_back(session: Session, study: Study) -> None:
        worklist.release(session, study, who=changing.who, at=changing.now)
        session.flush()
        orders.apply_to_studies(
            session, [study.accession_number], settings.targets, at=changing.now, rules=settings.site_rules
        )

    return changing.make(give_back)


@router.post("/read", summary="This case is read")
def mark_read(changing: Changing) -> WorklistItem:
    """It leaves the open list. 409 when somebody else has claimed it."""
    return changing.make(lambda session, study: worklist.mark_read(session, study, who=changing.who, at=changing.now))


@router.post("/reanalyse", summary="Look at this case again", status_code=202)
def reanalyse(changing: Changing) -> WorklistItem:
    """A new revision, or another try of one that failed. 409 while an analysis is queued or running."""
    return changing.make(lambda session, study: analyses.request(session, study, at=changing.now, who=changing.who))


@router.post("/findings/{finding_id}/verdict", summary="Agree, disagree, or cannot tell")
def give_verdict(changing: Changing, finding_id: FindingId, given: VerdictGiven) -> VerdictOut:
    """A reader's verdict on a finding.

    It supersedes the one before, which the history keeps, and changes neither score nor order. A minute after the last
    one, or when the case is read, an assessment that refers to the AI's report goes to the destinations. 409 while no
    report says the finding, or when somebody else has claimed the case.
    """

    def apply(session: Session, study: Study) -> None:
        verdicts.give(
            session,
            study,
            finding_id,
            given.verdict,
            reason=given.reason,
            comment=given.comment,
            who=changing.who,
            at=changing.now,
        )

    changing.make(apply)
    with changing.here.database.look() as session:
        return describe.describe_verdict(verdicts.standing(session, finding_id))


@router.post("/missed", summary="The AI missed something", status_code=201)
def report_missed(changing: Changing, given: MissedGiven) -> StudyDetail:
    """What a reader sees and the AI's report does not say, coded where the AI looks for it. It changes no order.

    409 while no report has been issued, or when somebody else has claimed the case.
    """

    def apply(session: Session, study: Study) -> None:
        missed.record(
            session, study, given.key or "", laterality=given.laterality, text=given.text, who=changing.who,
            at=changing.now,
        )  # fmt: skip

    changing.make(apply)
    return read_detail(changing.here, changing.study_uid)[0]


@router.post("/missed/{missed_id}/withdraw", summary="It was not missed after all")
def withdraw_missed(changing: Changing, missed_id: FindingId) -> StudyDetail:
    """What was marked by mistake is withdrawn; the history keeps it."""
    changing.make(lambda session, study: missed.withdraw(session, study, missed_id, who=changing.who, at=changing.now))
    return read_detail(changing.here, changing.study_uid)[0]


@router.get("/instances/{sop_uid}/preview", summary="An image as displayed", response_class=FileResponse)
def preview(
    here: Here, study_uid: StudyUid, sop_uid: SopUid, overlay: Annotated[bool, Query()] = False
) -> FileResponse:
    """The picture a worker made of the image; with `overlay` the heat map on it. 404 says why there is none."""
    with here.database.look() as session:
        images = worklist.latest_images(session, study_uid, sop_uid)
        paths = [image.overlay_path if overlay else image.preview_path for image in images]
        why = _why_no_picture(images, overlay=overlay)
    relative = next(filter(None, paths), None)
    if relative is None:
        raise NotFoundError(why)
    path = _confined(here.settings.results, relative)
    return FileResponse(path, media_type=PICTURES[path.suffix])


def _why_no_picture(images: Sequence[AnalysisImage], *, overlay: bool) -> str:
    if not images:
        return "No analysis has looked at this image yet."
    removed = images[0].instance.removed_at
    if removed is not None:
        return f"Images removed by retention on {removed:%Y-%m-%d}; findings and reports stay."
    reason = describe.not_analysed_reason(images[0].instance, images)
    if reason is not None:
        return f"No picture: {reason}."
    return "No heat map was made of this image." if overlay else "No picture was made of this image yet."


def _confined(root: Path, relative: str) -> Path:
    """The file below ``root``; a row that points elsewhere, or at nothing, is not found."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()) or path.suffix not in PICTURES or not path.is_file():
        raise NotFoundError("The picture is no longer on disk.", next_step="Ask for another analysis of the case.")
    return path
