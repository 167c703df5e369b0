"""The page of one case, and the part of it that changes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from triage.assessment import OpinionReason
from triage.findings import Urgency
from triage.repositories.deliveries import IDENTITY_DIFFERS
from triage.states import AnalysisStatus
from triage.viewers import ViewerLink
from worklist.api.studies import read_detail, read_priors
from worklist.context import Context, Here, StudyUid
from worklist.ohif import LINK
from worklist.page.rendering import render
from worklist.permissions import Caller, Need
from worklist.schemas.cases import FindingOut, InstanceOut, StudyDetail
from worklist.timeline import condensed

router = APIRouter(include_in_schema=False)


@router.get("/studies/{study_uid}")
def case_page(request: Request, here: Here, study_uid: StudyUid) -> HTMLResponse:
    """One case."""
    return render(request, "case.html", _case(request, here, study_uid))


@router.get("/fragment/studies/{study_uid}")
def case_fragment(request: Request, here: Here, study_uid: StudyUid) -> HTMLResponse:
    """The part of the case page that changes."""
    return render(request, "case_facts.html", _case(request, here, study_uid))


def _case(request: Request, here: Context, study_uid: str) -> dict[str, Any]:
    caller: Caller = request.state.caller
    case, _ = read_detail(here, study_uid)
    marked = [instance for instance in case.instances if any(finding.positive for finding in instance.findings)]
    return {
        "case": case,
        "first_image": min(marked, key=_weight).sop_instance_uid if marked else "",
        "shown": _shown(case),
        "choices": _choices(finding for instance in case.instances for finding in instance.findings),
        "can_judge": Need.READ in caller.may
        and any(analysis.status is AnalysisStatus.SUCCEEDED for analysis in case.analyses),
        "reasons": list(OpinionReason),
        "others": [instance for instance in case.instances if not instance.analysed or instance.removed_at],
        "timeline": condensed(case.timeline),
        "total": _total(case),
        "priors": read_priors(here, study_uid).items,
        "viewers": _links(here, case),
        "identity_differs": IDENTITY_DIFFERS,
        "now": here.clock(),
        "urgencies": list(Urgency),
        "destinations": [destination.address for destination in here.settings.destinations],
    }


def _total(case: StudyDetail) -> timedelta | None:
    """From the first byte until the last result was sent; None as long as something is to be sent, or nothing was."""
    sent = [step for step in case.journey if step.kind == "delivery"]
    ends = [step.ended_at for step in sent if step.ended_at is not None]
    return max(ends) - case.received_at if ends and len(ends) == len(sent) else None


def _links(here: Context, case: StudyDetail) -> list[dict[str, str]]:
    """The site's viewers, each with the URL of this case."""
    facts = {
        "study_uid": case.study_instance_uid,
        "accession_number": case.accession_number,
        "patient_id": case.patient_id,
        "study_date": case.study_date,
        "modality": case.modality.split("\\")[0],
    }
    own = [ViewerLink(name="OHIF", url=LINK)] if here.settings.ohif_folder is not None else []
    return [{"name": viewer.name, "url": viewer.link(facts)} for viewer in (*own, *here.settings.viewers)]


def _weight(instance: InstanceOut) -> tuple[int, float]:
    """Of the findings of an image, the most urgent positive one first."""
    first = instance.findings[0]
    return first.urgency.rank, -first.score


def _shown(case: StudyDetail) -> str:
    """Changes when the viewer has something new to show: an image or what is marked in it."""
    findings = sum(finding.positive for instance in case.instances for finding in instance.findings)
    here = sum(instance.removed_at is None for instance in case.instances)
    pictures = sum(instance.preview_url is not None for instance in case.instances)
    return f"{case.revision} {case.findings_revision} {here} {findings} {pictures}"


def _choices(findings: Iterable[FindingOut]) -> list[FindingOut]:
    """What the AI looks for, each once, by name."""
    by_key = {finding.key: finding for finding in findings}
    return sorted(by_key.values(), key=lambda finding: finding.meaning)
