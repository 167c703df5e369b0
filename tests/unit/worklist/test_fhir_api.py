"""``GET /api/v1/studies/{uid}/fhir``: the bytes a FHIR destination gets, or why there are none."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy.orm import Session
from worklist_rows import arrive

from triage.identifiers import derive_uid
from triage.states import AnalysisStatus
from triage.tables import Analysis, ResultObject, Study


def tell(house: Any, study: Study, session: Session, bundle: str, revision: int, url: str, variant: str = "") -> bytes:
    """A FHIR message of one analysis, as reporting leaves it."""
    content = json.dumps({"resourceType": "Bundle", "entry": [{"fullUrl": url, "revision": revision}]}).encode()
    uid = derive_uid(bundle, str(revision), variant)
    name = f"{hashlib.sha256(uid.encode()).hexdigest()}.json"
    (house.settings.results / name).write_bytes(content)
    analysis = Analysis(
        study=study, revision=revision, bundle_name=bundle, status=AnalysisStatus.SUCCEEDED, queued_at=house.clock()
    )
    session.add(
        ResultObject(
            analysis=analysis, kind="FHIR", variant=variant, sop_instance_uid=uid, sop_class_uid="",
            created_at=house.clock(), series_instance_uid="", transfer_syntax_uid="", relative_path=name, sha256="",
            size=len(content),
        )
    )  # fmt: skip
    return content


def test_the_latest_bundle_is_answered_byte_for_byte(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "one")
        uid = study.study_instance_uid
        contents = [tell(house, study, session, "cxr", revision, "urn:uuid:1") for revision in (7, 9, 8)]
    answer = house.client().get(f"/api/v1/studies/{uid}/fhir")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/fhir+json")
    assert answer.content == contents[1]
    assert answer.headers["cache-control"] == "no-store"


def test_of_several_bundles_each_resource_stands_once(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "two")
        uid = study.study_instance_uid
        tell(house, study, session, "cxr", 7, "urn:uuid:1")
        tell(house, study, session, "ct", 7, "urn:uuid:2", variant="abc")
    body = house.client().get(f"/api/v1/studies/{uid}/fhir").json()
    assert body["type"] == "transaction"
    assert [entry["fullUrl"] for entry in body["entry"]] == ["urn:uuid:2", "urn:uuid:1"]


def test_why_there_is_none(house: Any) -> None:
    with house.database.write() as session:
        uid = arrive(session, "three").study_instance_uid
    path = f"/api/v1/studies/{uid}/fhir"
    answer = house.client().get(path)
    assert answer.status_code == 404 and "Set serve_fhir" in answer.text
    assert "with the report" in house.client(serve_fhir=True).get(path).text
    assert house.client().get("/api/v1/studies/1.2.999/fhir").status_code == 404


def test_a_row_that_points_elsewhere_gives_nothing_away(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "four")
        uid = study.study_instance_uid
        tell(house, study, session, "cxr", 7, "urn:uuid:1")
        row = study.analyses[-1].result_objects[0]
        (house.settings.data / "secret.json").write_text("{}")
        row.relative_path = "../secret.json"
    assert house.client().get(f"/api/v1/studies/{uid}/fhir").status_code == 404
