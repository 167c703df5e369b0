"""The API as its users see it: fields, order, steps, pictures, refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON, PACS, Seen, arrive, decline, deliver, score

from dicom_node.web_archive import web_archive
from triage.findings import Considered, NotAnalysedReason, ScoreKind, Urgency
from triage.outbox import Verdict
from triage.repositories import outcomes
from triage.repositories.catalogue import DatabaseCatalogue
from triage.repositories.deliveries import Attempt
from triage.tables import AnalysisImage
from worklist.app import create_app

JPEG = b"\xff\xd8\xff\xe0 picture"
OVERLAY = b"\xff\xd8\xff\xe0 picture with heat map"
CONTRACT = {
    "study_instance_uid", "patient_id", "patient_name", "accession_number", "modality", "study_description", "urgency",
    "explanation", "received_at", "due_at", "study_status", "analysis_status", "reading_status", "findings",
}  # fmt: skip


def _pneumothorax(house: Any, name: str = "keller", **how: Any) -> str:
    with house.database.write() as session:
        study = arrive(session, name)
        score(session, study, [Seen("pneumothorax", 0.94), Seen("nodule", 0.1)], **how)
        return study.study_instance_uid


def _url(study_uid: str, step: str = "") -> str:
    return f"/api/v1/studies/{study_uid}{step}"


def test_an_item_says_where_it_stands_and_why(house: Any, client: TestClient) -> None:
    uid = _pneumothorax(house)
    body = client.get("/api/v1/worklist").json()
    (item,) = body["items"]
    assert body["next_cursor"] is None
    assert item.keys() >= CONTRACT
    assert (item["study_instance_uid"], item["patient_name"]) == (uid, "KELLER^ANNA")
    assert item["urgency"] == "STAT"
    assert item["explanation"] == "Pneumothorax 0.94 ≥ 0.60 → STAT; due 12:15"
    assert item["classes"]["ai"] == "STAT"
    assert item["classes"]["order"] is None
    assert (item["received_at"], item["due_at"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:15:00.000001Z")
    assert (item["study_status"], item["analysis_status"], item["reading_status"]) == (
        "COMPLETE",
        "SUCCEEDED",
        "UNREAD",
    )
    assert [f["meaning"] for f in item["findings"]] == ["Pneumothorax", "Nodule"]
    finding = item["findings"][0]
    assert finding["probability"] == finding["score"] == 0.94
    assert (finding["threshold"], finding["positive"], finding["code"]) == (0.6, True, "9912")
    assert item["deliveries"] == {"PENDING": 1}


def test_a_score_that_is_no_probability_is_not_called_one(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        seen = Seen("pneumothorax", 0.55, threshold=0.5, kind=ScoreKind.OPERATING_POINT)
        score(session, arrive(session, "point"), [seen])
    finding = client.get("/api/v1/worklist").json()["items"][0]["findings"][0]
    assert finding["probability"] is None
    assert (finding["score"], finding["score_kind"]) == (0.55, "OPERATING_POINT")


def test_what_a_receiving_study_waits_for_is_said(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        arrive(session, "head", modality="CT")
    (item,) = client.get("/api/v1/worklist").json()["items"]
    assert (item["study_status"], item["analysis_status"]) == ("RECEIVING", "QUEUED")
    assert item["waiting_for"] == "waiting for 60 s without a new instance"


def test_not_analysed_carries_its_reason_and_no_number(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "hand")
        decline(session, study, NotAnalysedReason.UNSUPPORTED_BODY_PART, "HAND")
        uid = study.study_instance_uid
    (item,) = client.get("/api/v1/worklist").json()["items"]
    assert (item["analysis_status"], item["findings"]) == ("NOT_ANALYSED", [])
    assert item["not_analysed"] == "no model for this body part: HAND"
    (instance,) = client.get(_url(uid)).json()["instances"]
    assert instance["not_analysed"] == "not analysed: no model for this body part: HAND"
    assert (instance["analysed"], instance["preview_url"]) == (False, None)


def test_every_bundle_says_why_it_does_not_read_an_image(house: Any, client: TestClient) -> None:
    lateral, remarks = NotAnalysedReason.UNSUPPORTED_VIEW, ("view not stated",)
    with house.database.write() as session:
        study, fresh = arrive(session, "side"), arrive(session, "fresh")
        answers = (
            Considered(bundle="adult-cxr", version="1.0.0", reason=lateral, detail="lateral"),
            Considered(bundle="any-cxr", version="2.0.0", remarks=remarks),
        )
        decline(session, study, lateral, "lateral", considered=answers)
        uid, new = study.study_instance_uid, fresh.study_instance_uid
    (instance,) = client.get(_url(uid)).json()["instances"]
    refusal = "no model for this view: lateral"
    assert instance["routing"] == [
        {"bundle": "adult-cxr", "version": "1.0.0", "chosen": False, "refusal": refusal, "remarks": []},
        {"bundle": "any-cxr", "version": "2.0.0", "chosen": True, "refusal": None, "remarks": ["view not stated"]},
    ]
    assert [i["routing"] for i in client.get(_url(new)).json()["instances"]] == [[]]


def test_an_own_result_that_comes_back_is_named_as_such(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "x")
        arrive(session, "x", modality="SR", at=NOON + timedelta(seconds=1))
        uid = study.study_instance_uid
    reasons = [instance["not_analysed"] for instance in client.get(_url(uid)).json()["instances"]]
    assert reasons == [None, "not analysed: not an image that a model reads"]


def test_pages_follow_each_other(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        for index in range(5):
            arrive(session, f"n{index}", at=NOON + timedelta(minutes=index))
    names, cursor = [], ""
    for expected in (2, 2, 1):
        body = client.get("/api/v1/worklist", params={"limit": 2, "cursor": cursor}).json()
        assert len(body["items"]) == expected
        names += [item["patient_id"] for item in body["items"]]
        cursor = body["next_cursor"]
    assert names == [f"P-n{index}" for index in range(5)]
    assert cursor is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=1e9", "limit"),
        ("urgency=id;--", "urgency"),
        ("status=GONE", "status"),
        ("modality=%25", "modality"),
        ("q=" + "x" * 65, "q"),
    ],
)
def test_a_wrong_query_is_refused_by_field(client: TestClient, query: str, field: str) -> None:
    answer = client.get(f"/api/v1/worklist?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("cursor", ["x", "MC4x", "////", "💥", "MC4xLjE.MC4xLjE", "A" * 90])
def test_a_cursor_of_somebody_else_is_refused(client: TestClient, cursor: str) -> None:
    answer = client.get("/api/v1/worklist", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("cursor")


def test_empty_fields_of_a_form_mean_anything(house: Any, client: TestClient) -> None:
    _pneumothorax(house)
    assert len(client.get("/api/v1/worklist?status=&urgency=&modality=&q=&cursor=").json()["items"]) == 1


def test_a_case_in_full(house: Any, client: TestClient) -> None:
    uid = _pneumothorax(house)
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(seconds=8))
    case = client.get(_url(uid)).json()
    assert case.keys() >= CONTRACT | {"instances", "timeline", "analyses", "result_objects"}
    (analysis,) = case["analyses"]
    assert (analysis["bundle"], analysis["version"], analysis["reason"]) == ("chest-phantom", "1.2.0", "")
    (result,) = case["result_objects"]
    assert (result["kind"], result["sop_class_uid"]) == ("SR", "1.2.840.10008.5.1.4.1.1.88.33")
    (delivery,) = result["deliveries"]
    assert (delivery["destination"], delivery["status"], delivery["attempts"]) == (PACS, "SENT", 1)
    assert delivery["sent_at"] == "2026-03-01T12:00:08Z"
    assert [entry["text"] for entry in case["timeline"]] == [
        "DX received",
        "Study complete: the sender has finished",
        "Class ROUTINE → STAT",
        "Analysis done",
        f"SR sent to {PACS}",
    ]
    (instance,) = case["instances"]
    assert instance["analysed"]
    assert instance["not_analysed"] is None
    assert instance["findings"][0]["score"] == 0.94


def test_a_failed_delivery_says_why(house: Any, client: TestClient) -> None:
    uid = _pneumothorax(house)
    with house.database.write() as session:
        deliver(session, at=NOON, attempt=Attempt(verdict=Verdict.TRANSIENT, error="connection refused"))
    (delivery,) = client.get(_url(uid)).json()["result_objects"][0]["deliveries"]
    assert (delivery["status"], delivery["reason"], delivery["sent_at"]) == ("PENDING", "connection refused", None)


def test_a_person_sets_a_class_and_takes_it_back(house: Any, client: TestClient) -> None:
    uid = _pneumothorax(house)
    answer = client.patch(_url(uid, "/priority"), json={"urgency": "URGENT", "reason": "seen on the ward"})
    assert answer.status_code == 200
    assert answer.json()["urgency"] == "URGENT"
    assert answer.json()["explanation"] == "set by local: seen on the ward → URGENT; due 12:30"
    back = client.patch(_url(uid, "/priority"), json={"urgency": None, "reason": "mistake"}).json()
    assert (back["urgency"], back["classes"]["manual"]) == ("STAT", None)
    texts = [(e["who"], e["text"]) for e in client.get(_url(uid)).json()["timeline"] if "priority" in e["kind"]]
    assert texts == [
        ("local", "Set to URGENT: seen on the ward"),
        ("local", "Class set by hand withdrawn: mistake"),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "urgency"),
        ({"urgency": "STAT"}, "reason"),
        ({"urgency": "STAT", "reason": "  "}, "reason"),
        ({"urgency": "STAT", "reason": "a\r\nb"}, "reason"),
        ({"urgency": "STAT", "reason": "x" * 201}, "reason"),
        ({"urgency": "NOW", "reason": "x"}, "urgency"),
        ({"urgency": "STAT", "reason": "x", "tier": 0}, "tier"),
    ],
)
def test_a_class_without_reason_or_name_is_refused(
    house: Any, client: TestClient, body: dict[str, Any], field: str
) -> None:
    answer = client.patch(_url(_pneumothorax(house), "/priority"), json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_claim_release_read(house: Any, client: TestClient) -> None:
    uid = _pneumothorax(house)
    assert client.post(_url(uid, "/claim")).json()["reader"] == "local"
    assert client.post(_url(uid, "/release")).json()["reading_status"] == "UNREAD"
    read = client.post(_url(uid, "/read")).json()
    assert (read["reading_status"], read["read_at"]) == ("READ", "2026-03-01T12:10:00Z")
    assert client.get("/api/v1/worklist").json()["items"] == []
    refused = client.post(_url(uid, "/claim"))
    assert refused.status_code == 409
    assert refused.json()["next_step"]


def test_another_look_is_another_revision(house: Any, client: TestClient) -> None:
    uid = _pneumothorax(house)
    answer = client.post(_url(uid, "/reanalyse"))
    assert answer.status_code == 202
    assert (answer.json()["revision"], answer.json()["analysis_status"]) == (2, "QUEUED")
    assert answer.json()["findings"], "what was found stays until the next look is done"
    assert client.post(_url(uid, "/reanalyse")).status_code == 409


@pytest.mark.parametrize("step", ["", "/claim", "/release", "/read", "/reanalyse", "/priority"])
def test_unknown_studies_and_non_uids(client: TestClient, step: str) -> None:
    method = {"": "GET", "/priority": "PATCH"}.get(step, "POST")
    body = {"json": {"urgency": "STAT", "reason": "x"}} if method == "PATCH" else {}
    assert client.request(method, _url("1.2.3", step), **body).status_code == 404
    for nonsense in ("1.2.x", "01.2", "1" * 70, "1..2", "%00"):
        assert client.request(method, _url(nonsense, step), **body).status_code == 422


def test_pictures(house: Any, client: TestClient) -> None:
    (house.settings.results / "ab").mkdir()
    (house.settings.results / "ab" / "image.jpg").write_bytes(JPEG)
    (house.settings.results / "ab" / "overlay.jpg").write_bytes(OVERLAY)
    uid = _pneumothorax(house, previews=outcomes.Previews(image="ab/image.jpg", overlay="ab/overlay.jpg"))
    (instance,) = client.get(_url(uid)).json()["instances"]
    plain = client.get(instance["preview_url"])
    assert (plain.status_code, plain.headers["content-type"], plain.content) == (200, "image/jpeg", JPEG)
    assert client.get(instance["overlay_url"]).content == OVERLAY
    assert plain.headers["cache-control"] == "no-store"


def test_no_picture_has_a_reason(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        waiting = arrive(session, "waiting").study_instance_uid
        study = arrive(session, "hand", at=NOON + timedelta(seconds=1))
        decline(session, study, NotAnalysedReason.UNSUPPORTED_BODY_PART)
        declined = study.study_instance_uid
    scored = _pneumothorax(house, "scored")
    said = {}
    for name, uid in (("waiting", waiting), ("declined", declined), ("scored", scored)):
        (instance,) = client.get(_url(uid)).json()["instances"]
        answer = client.get(_url(uid, f"/instances/{instance['sop_instance_uid']}/preview"))
        assert answer.status_code == 404
        said[name] = answer.json()["detail"]
    assert said == {
        "waiting": "No analysis has looked at this image yet.",
        "declined": "No picture: not analysed: no model for this body part.",
        "scored": "No picture was made of this image yet.",
    }


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "gone.jpg", "link.jpg", "report.dcm"])
def test_a_row_cannot_serve_a_file_elsewhere(house: Any, client: TestClient, path: str) -> None:
    (house.settings.data / "secret.jpg").write_bytes(JPEG)
    (house.settings.results / "link.jpg").symlink_to(house.settings.data / "secret.jpg")
    (house.settings.results / "report.dcm").write_bytes(JPEG)
    uid = _pneumothorax(house)
    with house.database.write() as session:
        session.query(AnalysisImage).one().preview_path = path
    (instance,) = client.get(_url(uid)).json()["instances"]
    answer = client.get(instance["preview_url"])
    assert answer.status_code == 404
    assert path not in answer.text


def test_an_image_of_another_study_is_not_found(house: Any, client: TestClient) -> None:
    one, other = _pneumothorax(house), _pneumothorax(house, "other")
    (instance,) = client.get(_url(one)).json()["instances"]
    answer = client.get(_url(other, f"/instances/{instance['sop_instance_uid']}/preview"))
    assert answer.status_code == 404


def test_the_highest_claim_wins_and_the_ai_only_raises(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "ordered", requested_procedure_priority="STAT")
        score(session, study, [Seen("effusion", 0.9, urgency=Urgency.URGENT)])
    (item,) = client.get("/api/v1/worklist").json()["items"]
    assert item["urgency"] == "STAT"
    assert (item["classes"]["order"], item["classes"]["ai"]) == ("STAT", "URGENT")


def test_what_is_wrong_with_a_body_is_said_in_words(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        uid = arrive(session, "alpha").study_instance_uid
    two_lines = client.patch(_url(uid, "/priority"), json={"urgency": "STAT", "reason": "a\r\nb"}).json()
    assert two_lines["detail"] == "reason: Has to be one line, without control characters"
    for turning in ("\u202e", "\u2066", "\u2028", "\x85"):  # they would turn the name and the time beside them
        turned = client.patch(_url(uid, "/priority"), json={"urgency": "STAT", "reason": f"a{turning}b"})
        assert turned.status_code == 422, turning
    assert client.patch(_url(uid, "/priority"), json={"urgency": "STAT", "reason": "دكتور ד״ר"}).status_code == 200
    unknown = client.patch(_url(uid, "/priority"), json={"urgency": "STAT", "reason": "x", "x": 1}).json()
    assert unknown["detail"] == "x: Nothing of this name is known here"
    title = client.post("/api/v1/admin/peers", json={"ae_title": "A\\B", "services": ["store"]}).json()
    assert title["detail"].startswith("ae_title: AE title")


def test_what_is_wrong_with_a_filter_is_said_without_a_regular_expression(client: TestClient) -> None:
    answer = client.get("/api/v1/worklist", params={"modality": "CT/MR"})
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "modality: May have letters A to Z, digits, _, spaces, and nothing else",
    )  # fmt: skip


def test_a_step_that_comes_too_late_is_refused_in_words_of_the_reading_room(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        uid = arrive(session, "alpha").study_instance_uid
    refused = [client.post(_url(uid, "/release"))]
    assert client.post(_url(uid, "/read")).status_code == 200
    refused += [client.post(_url(uid, step)) for step in ("/claim", "/read")]
    assert [answer.status_code for answer in refused] == [409] * 3
    assert [answer.json()["detail"] for answer in refused] == [
        "The case waits to be read already: nobody has claimed or read it.",
        "local has read this case.",
        "local has read this case.",
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nothing/here", 404, "There is nothing at this address."),
        ("PUT", "/api/v1/worklist", 405, "PUT is not taken at this address."),
        ("GET", "/dicom-web/nothing", 404, "There is nothing at this address."),
        ("POST", "/dicom-web/studies", 405, "POST is not taken at this address."),
        ("DELETE", "/dicom-web/workitems/1.2.3", 404, "There is nothing at this address."),
    ],
)
def test_what_is_not_there_is_said_alike_everywhere(
    house: Any, method: str, path: str, status: int, detail: str
) -> None:
    archive = web_archive(house.settings.archive, DatabaseCatalogue(house.database), lambda *_: [])
    client = TestClient(create_app(house.settings, house.database, dicom_web=archive), base_url="http://127.0.0.1:8080")
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"] == detail
    if method == "GET":
        assert detail in client.get(path, headers={"Accept": "text/html"}).text
