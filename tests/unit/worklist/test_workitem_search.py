"""UPS-RS: the reading list as workitems, searched, paged and retrieved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydicom.dataset import Dataset
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score

from triage.identifiers import reading_task_uid
from triage.repositories import installation, worklist

WORKITEMS = "/dicom-web/workitems"


@pytest.fixture
def listed(house: Any) -> Any:
    """In reading order: stat, early, late; and one that is read."""
    with house.database.write() as session:
        arrive(session, "late", at=NOON + timedelta(minutes=1), patient_name="Yamada^Tarou=山田^太郎")
        stat = arrive(session, "stat", modality="CR")
        score(session, stat, [Seen("pneumothorax", 0.94)])
        early = arrive(session, "early", at=NOON - timedelta(minutes=1))
        early.order_ward = "Surgery 3"
        worklist.mark_read(session, arrive(session, "read"), who="dr", at=NOON)
    return house


def found(client: TestClient, query: str = "") -> list[Dataset]:
    answer = client.get(f"{WORKITEMS}{query}")
    if answer.status_code == 204:
        return []
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    return [Dataset.from_json(item) for item in answer.json()]


def patients(items: list[Dataset]) -> list[str]:
    return [str(item.PatientID) for item in items]


def test_open_cases_are_workitems_in_reading_order(listed: Any, client: TestClient) -> None:
    items = found(client)
    assert patients(items) == ["P-stat", "P-early", "P-late"]
    assert [item.ScheduledProcedureStepPriority for item in items] == ["HIGH", "LOW", "LOW"]
    first = items[0]
    assert (first.ProcedureStepState, first.WorklistLabel) == ("SCHEDULED", "Reading")
    assert first.ExpectedCompletionDateTime == "20260301121500.000001+0000"
    assert "Pneumothorax 0.94" in first.CommentsOnTheScheduledProcedureStep
    assert first.ScheduledWorkitemCodeSequence[0].CodeValue == "110005"
    assert first.ReferencedRequestSequence[0].AccessionNumber == "A-stat"
    assert items[2].PatientName.ideographic == "山田^太郎"
    assert "ModalitiesInStudy" not in first


def test_a_workitem_has_the_uid_that_task_managers_know_it_by(listed: Any, client: TestClient) -> None:
    item = found(client, "?PatientID=P-stat")[0]
    with listed.database.write() as session:
        device = installation.device_uid(session, at=NOON)
    assert item.SOPInstanceUID == reading_task_uid(str(item.StudyInstanceUID), device)
    (again,) = found(client, f"/{item.SOPInstanceUID}")
    assert (again.PatientID, again.ModalitiesInStudy) == ("P-stat", "CR")
    assert client.get(f"{WORKITEMS}/1.2.3").status_code == 404
    assert client.get(f"{WORKITEMS}/nobody").status_code == 422


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?ScheduledProcedureStepPriority=HIGH", ["P-stat"]),
        ("?00741200=LOW", ["P-early", "P-late"]),
        ("?PatientName=yamada*", ["P-late"]),
        ("?PatientID=P-?a*", ["P-early", "P-late"]),
        ("?ReferencedRequestSequence.AccessionNumber=A-early", ["P-early"]),
        ("?0040A370.00080050=A-late", ["P-late"]),
        ("?ExpectedCompletionDateTime=20260301130000-20260301140000", ["P-early"]),
        ("?ProcedureStepState=COMPLETED", ["P-read"]),
        ("?ProcedureStepState=SCHEDULED&ModalitiesInStudy=CR", ["P-stat"]),
        ("?limit=1&offset=1", ["P-early"]),
        ("?offset=7", []),
        ("?PatientID=nobody", []),
    ],
)
def test_attributes_narrow_the_search(listed: Any, client: TestClient, query: str, expected: list[str]) -> None:
    assert patients(found(client, query)) == expected


def test_further_attributes_come_when_asked_for(listed: Any, client: TestClient) -> None:
    assert found(client, "?includefield=ModalitiesInStudy")[0].ModalitiesInStudy == "CR"
    assert found(client, "?includefield=all")[0].NumberOfStudyRelatedInstances == 1
    assert [item.CurrentPatientLocation for item in found(client, "?includefield=all")] == ["", "Surgery 3", ""]


def test_what_was_left_out_is_said(listed: Any, client: TestClient) -> None:
    assert "ignored" in client.get(f"{WORKITEMS}?ShoeSize=44").headers["warning"]
    assert "additional results" in client.get(f"{WORKITEMS}?limit=2").headers["warning"]
    assert "warning" not in client.get(WORKITEMS).headers


def test_a_claimed_case_is_in_progress(listed: Any, client: TestClient) -> None:
    uid = found(client)[0].StudyInstanceUID
    assert client.post(f"/api/v1/studies/{uid}/claim", json={}).status_code == 200
    assert found(client)[0].ProcedureStepState == "IN PROGRESS"


@pytest.mark.parametrize("query", ["?limit=0", "?offset=-1", "?ExpectedCompletionDateTime=soon", "?limit=many"])
def test_what_cannot_be_asked_is_a_problem(client: TestClient, query: str) -> None:
    answer = client.get(f"{WORKITEMS}{query}")
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_only_json_is_given(client: TestClient) -> None:
    assert client.get(WORKITEMS, headers={"Accept": "application/dicom+xml"}).status_code == 406
    assert client.get(WORKITEMS, headers={"Accept": "application/dicom+json"}).status_code == 204
    assert client.post(WORKITEMS, json={}).status_code == 405
