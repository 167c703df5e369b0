"""Radiographs in, reports and heat maps out: the promise of the product, in both ways to run it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from houses import REPORTS, House, Phantoms, errors, kind
from peers.dcmtk import rendered_report
from peers.processes import eventually, program
from pydicom import dcmread
from pydicom.tag import Tag

from models.phantom import write_phantoms

pytestmark = [pytest.mark.peer, pytest.mark.slow]

IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName",
)  # fmt: skip
"""Patient and Study attributes that a PACS files by (PS3.3 C.7.1.1, C.7.2.1)."""


@pytest.fixture(scope="session")
def read_house(house: House, phantoms: Phantoms, radiographs: list[Path]) -> House:
    """The house when every radiograph has been sent and is through, normal phantoms first."""
    if not house.cases:
        normal_first = sorted(phantoms.all, key=lambda path: path not in phantoms.normal)
        for path in [*normal_first, *radiographs]:
            house.cases[house.send(path)] = path
        for uid in house.cases:
            house.node.settled(uid, within=120)
    return house


def test_each_radiograph_gets_one_report_and_one_heat_map_at_each_destination(read_house: House) -> None:
    for uid, path in read_house.cases.items():
        case = read_house.node.study(uid)
        assert case["analysis_status"] == "SUCCEEDED", (path.name, case["not_analysed"])
        assert case["findings"], path.name
        read_house.await_kinds(uid, within=10, SR=1, SC=1)


def test_results_pass_dciodvfy(read_house: House) -> None:
    for path in sorted(read_house.dcmtk.folder.iterdir()):
        assert errors(_validated(path)) == [], path.name


def test_reports_render_with_their_findings(read_house: House) -> None:
    for path in sorted(read_house.dcmtk.folder.iterdir()):
        report = dcmread(path)
        if report.SOPClassUID in REPORTS:
            html = rendered_report(path)
            for finding in read_house.node.study(report.StudyInstanceUID)["findings"]:
                assert finding["meaning"] in html


def test_results_belong_to_patient_and_study_byte_for_byte(read_house: House) -> None:
    for uid, path in read_house.cases.items():
        for result in read_house.results(uid):
            assert _identity(Path(str(result.filename))) == _identity(path), (path.name, kind(result.SOPClassUID))


def test_orthanc_holds_the_same_bytes_as_dcmtk(read_house: House) -> None:
    for uid in read_house.cases:
        ours = {str(r.SOPInstanceUID): r for r in read_house.results(uid)}
        for sop_instance_uid, received in ours.items():
            (found,) = read_house.orthanc.http.post("/tools/lookup", content=sop_instance_uid).json()
            file = read_house.orthanc.http.get(f"/instances/{found['ID']}/file").content
            assert _data_set(file) == _data_set(Path(str(received.filename)).read_bytes())


def test_a_pneumothorax_stands_above_the_normals_that_came_first(read_house: House, phantoms: Phantoms) -> None:
    places = {item["study_instance_uid"]: place for place, item in enumerate(read_house.node.worklist())}
    items = {item["study_instance_uid"]: item for item in read_house.node.worklist()}
    urgent = _study_uid(phantoms.with_pneumothorax)
    assert items[urgent]["urgency"] == "STAT"
    assert "Pneumothorax" in items[urgent]["explanation"]
    for path in phantoms.normal:
        normal = _study_uid(path)
        assert items[normal]["received_at"] < items[urgent]["received_at"]
        assert items[normal]["urgency"] == "ROUTINE", items[normal]["explanation"]
        assert places[urgent] < places[normal]


def test_everything_again_changes_nothing(read_house: House) -> None:
    before = {uid: _result_uids(read_house.node.study(uid)) for uid in read_house.cases}
    for path in read_house.cases.values():
        read_house.send(path)
    for uid in read_house.cases:
        assert _result_uids(read_house.node.settled(uid)) == before[uid]
        read_house.await_kinds(uid, SR=1, SC=1)


def test_a_killed_worker_costs_time_and_nothing_else(embedded_house: House, tmp_path: Path) -> None:
    """Killed with everything it started, in the middle of a study: one result, as if nothing had happened."""
    write_phantoms(tmp_path, 3, seed=21, taken_at=datetime(2026, 1, 6, tzinfo=UTC), size=2500)
    node = embedded_house.node
    before = node.parts()
    uids = [embedded_house.send(path) for path in sorted(tmp_path.glob("*.dcm"))]
    eventually(
        lambda: any(node.study(uid)["analysis_status"] == "RUNNING" for uid in uids), within=20, what="a run to kill"
    )
    node.kill("work")
    for uid in uids:
        case = node.settled(uid, within=120)
        assert case["analysis_status"] == "SUCCEEDED"
        embedded_house.await_kinds(uid, SR=1, SC=1)
    after = node.parts()
    assert after.pop("work") != before.pop("work")
    assert after == before, "only the killed part was started again"


def _validated(path: Path) -> str:
    return subprocess.run([program("dciodvfy"), path], check=False, capture_output=True, text=True).stderr


def _identity(path: Path) -> dict[str, bytes]:
    """Values as they are encoded; absent and empty are the same."""
    dataset = dcmread(path, stop_before_pixels=True)
    raw = {keyword: dataset.get_item(Tag(keyword)) for keyword in IDENTITY}
    return {keyword: (element.value or b"") if element else b"" for keyword, element in raw.items()}


def _data_set(file: bytes) -> bytes:
    """A Part 10 file without its File Meta Information, which names the writer."""
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


def _study_uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def _result_uids(case: dict[str, list[dict[str, str]]]) -> list[str]:
    return sorted(result["sop_instance_uid"] for result in case["result_objects"])
