"""Scaled out: PostgreSQL, Redis, several processes of a part. What `firstread up` does not show."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from houses import REPORTS, House
from peers.node import FIRSTREAD, SCALED_PARTS
from peers.processes import eventually, running
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid
from redis import Redis

from models.phantom import write_phantoms

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Four radiographs that nothing has seen, whichever test asks."""
    folder = tmp_path / "images"
    write_phantoms(folder, 4, seed=int(generate_uid()[-6:]), taken_at=datetime(2026, 1, 7, tzinfo=UTC), size=1024)
    return sorted(folder.glob("*.dcm"))


def test_a_late_image_opens_the_study_again_and_supersedes_its_report(
    scaled_house: House, images: list[Path], tmp_path: Path
) -> None:
    uid = scaled_house.send(images[0])
    assert scaled_house.node.settled(uid)["revision"] == 1
    scaled_house.await_kinds(uid, SR=1, SC=1)

    late = dcmread(images[1])
    late.StudyInstanceUID = uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(late, keyword, getattr(dcmread(images[0]), keyword))
    late.save_as(tmp_path / "late.dcm")
    scaled_house.send(tmp_path / "late.dcm")

    scaled_house.await_kinds(uid, SR=2, SC=2)
    case = scaled_house.node.settled(uid)
    assert case["revision"] == 2
    assert [analysis["revision"] for analysis in case["analyses"] if analysis["status"] == "SUCCEEDED"] == [1, 2]
    assert "study_reopened" in [entry["kind"] for entry in case["timeline"]]
    first, second = _reports(scaled_house, uid)
    (predecessor,) = second.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in first


def test_two_workers_do_the_work_of_one_once(scaled_house: House, images: list[Path], tmp_path: Path) -> None:
    log = tmp_path / "second.log"
    with running(FIRSTREAD, *SCALED_PARTS["work"], log=log, env=scaled_house.node.environment):
        eventually(lambda: "worker_ready" in log.read_text(), within=60, what="a second worker is ready")
        uids = [scaled_house.send(path) for path in images]
        for uid in uids:
            case = scaled_house.node.settled(uid)
            assert case["analysis_status"] == "SUCCEEDED"
            assert [analysis["attempts"] for analysis in case["analyses"]] == [1]
            scaled_house.await_kinds(uid, SR=1, SC=1)


def test_an_emptied_broker_loses_nothing(scaled_house: House, images: list[Path]) -> None:
    """The row is the truth, the message a wake-up."""
    with Redis.from_url(scaled_house.node.environment["FIRSTREAD_BROKER_URL"]) as broker:
        uids = []
        for path in images:
            uids.append(scaled_house.send(path))
            broker.flushall()
    for uid in uids:
        assert scaled_house.node.settled(uid)["analysis_status"] == "SUCCEEDED"
        scaled_house.await_kinds(uid, SR=1, SC=1)


def _reports(house: House, uid: str) -> list[FileDataset]:
    """The study's reports, oldest first."""
    reports = [result for result in house.results(uid) if result.SOPClassUID in REPORTS]
    return sorted(reports, key=lambda report: (str(report.ContentDate), str(report.ContentTime)))
