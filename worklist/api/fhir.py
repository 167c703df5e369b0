"""``GET /api/v1/studies/{study_uid}/fhir``: what an EHR fetches instead of being told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from triage.errors import NotFoundError
from triage.repositories import worklist
from triage.settings import Settings
from worklist.context import Here, StudyUid

router = APIRouter(prefix="/studies/{study_uid}", tags=["studies"])

FHIR_JSON = "application/fhir+json"


@router.get("/fhir", summary="The result as a FHIR R4 transaction", response_class=Response)
def fhir_bundle(here: Here, study_uid: StudyUid) -> Response:
    """DiagnosticReport, Observations and Device, the latest of each bundle that read the study.

    Made where `serve_fhir` is set or a FHIR destination is. 404 says why there is none.
    """
    with here.database.look() as session:
        study = worklist.case_by_uid(session, study_uid)
        paths = [row.relative_path for row in worklist.latest_messages(session, study.id, "FHIR")]
    if not paths:
        raise NotFoundError("There is no FHIR bundle of this study.", next_step=_why(here.settings))
    content = _merged([_read(here.settings.results, path) for path in paths])
    digest = hashlib.sha256(content).hexdigest()
    return Response(content, media_type=FHIR_JSON, headers={"ETag": f'"{digest[:16]}"', "Cache-Control": "no-store"})


def _why(settings: Settings) -> str:
    if settings.serve_fhir:
        return "It is made with the report: wait for the analysis, or ask for another one."
    return "Set serve_fhir = true; it is made with the reports from then on."


def _read(root: Path, relative: str) -> bytes:
    """The file below ``root``; a row that points elsewhere, or at nothing, is not found."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()) or path.suffix != ".json" or not path.is_file():
        raise NotFoundError("The bundle is no longer on disk.", next_step="Ask for another analysis of the case.")
    return path.read_bytes()


def _merged(bundles: Sequence[bytes]) -> bytes:
    """One transaction: a single bundle byte for byte, of several the entries of all, each resource once."""
    if len(bundles) == 1:
        return bundles[0]
    parsed: list[dict[str, Any]] = [json.loads(each) for each in bundles]
    entries = {entry["fullUrl"]: entry for bundle in parsed for entry in bundle["entry"]}
    whole = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries.values())}
    return json.dumps(whole, ensure_ascii=False).encode()
