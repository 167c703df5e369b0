from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from network_samples import CR, CT, EXPLICIT, encoded, files_below, radiograph
from peers.digests import data_set_digest

from dicom_node.intake import IdentityMismatchError, Intake
from triage.errors import DatabaseUnavailableError, DicomError, StorageFullError
from triage.instances import Arrival, IntakeOutcome

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ARRIVAL = Arrival(
    received_at=NOW, association_uid="2.25.1", calling_ae_title="CR1", called_ae_title="NODE", peer_address="10.0.0.1"
)


def store(intake: Intake, body: bytes, *, sop_class: str = CR, uid: str = "1.2.3.4") -> IntakeOutcome:
    return intake.store(
        body,
        transfer_syntax_uid=EXPLICIT,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=uid,
        arrival=ARRIVAL,
    )


@pytest.mark.parametrize("outcome", [o for o in IntakeOutcome if o is not IntakeOutcome.MISPLACED])
def test_the_row_is_asked_for_when_the_file_is_in_place(archive, outcome):
    seen = []

    def record(header, stored, arrival):
        path = archive.path(stored.relative_path)
        seen.append((header.sop_instance_uid, path.stat().st_size == stored.size, arrival))
        assert files_below(archive.incoming) == []
        return outcome

    assert store(Intake(archive, record), encoded(radiograph())) is outcome
    assert seen == [("1.2.3.4", True, ARRIVAL)]


def test_what_belongs_to_another_study_goes_from_the_store_into_quarantine(archive):
    kept = []
    intake = Intake(archive, lambda *_: IntakeOutcome.MISPLACED, on_quarantined=kept.append)
    for _ in range(2):  # sent again: kept once
        with pytest.raises(IdentityMismatchError, match="another study"):
            store(intake, encoded(radiograph()))
    assert files_below(archive.store) == []
    assert {path.suffix for path in files_below(archive.quarantined)} == {".dcm", ".json"}
    assert [(archive.root / item.relative_path).stat().st_size for item in kept] == [item.size for item in kept]
    assert {item.dicom_status for item in kept} == {0xA900}


def test_pixels_have_their_own_digest(archive):
    seen = []

    def record(_header, stored, _arrival):
        seen.append(stored)
        return IntakeOutcome.STORED

    intake = Intake(archive, record)
    for dataset in (radiograph(), radiograph(PatientName="Corrected^Name"), radiograph(PixelData=bytes(512))):
        store(intake, encoded(dataset))
    first, renamed, changed = seen
    assert len({stored.digest for stored in seen}) == 3
    pixels = [archive.pixel_digest(stored.relative_path) for stored in (first, renamed, changed)]
    assert pixels[0] == pixels[1] == data_set_digest(radiograph().PixelData)
    assert pixels[2] == data_set_digest(bytes(512))
    without = radiograph()
    del without.PixelData
    store(intake, encoded(without))
    assert archive.pixel_digest(seen[-1].relative_path) == ""


def test_without_a_row_the_file_stays_for_the_resend(archive):
    def record(*_):
        raise DatabaseUnavailableError("The database did not answer.")

    with pytest.raises(DatabaseUnavailableError):
        store(Intake(archive, record), encoded(radiograph()))
    assert len(files_below(archive.store)) == 1
    assert store(Intake(archive, lambda *_: IntakeOutcome.STORED), encoded(radiograph())) is IntakeOutcome.STORED
    assert len(files_below(archive.store)) == 1


@pytest.mark.parametrize(
    ("body", "sop_class", "uid", "error"),
    [
        (b"", CR, "1.2.3.4", DicomError),
        (b"abc", CR, "1.2.3.4", DicomError),
        (encoded(radiograph(StudyInstanceUID="")), CR, "1.2.3.4", DicomError),
        (encoded(radiograph()), CR, "1.2.3.5", IdentityMismatchError),
        (encoded(radiograph()), CT, "1.2.3.4", IdentityMismatchError),
    ],
)
def test_what_cannot_be_indexed_is_quarantined_and_never_recorded(archive, body, sop_class, uid, error):
    def record(*_):
        raise AssertionError("recorded")

    with pytest.raises(error) as caught:
        store(Intake(archive, record), body, sop_class=sop_class, uid=uid)
    assert files_below(archive.store) == []
    (note,) = archive.quarantined.glob("*.json")
    assert note.with_suffix(".dcm").read_bytes().endswith(body)
    reason = json.loads(note.read_text())
    assert reason["reason"] == str(caught.value)
    assert reason["peer"] == "CR1@10.0.0.1"
    assert "ZZCANARY" not in note.read_text()


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1..2", "", "1.2\x00"])
def test_affected_uids_that_are_none_are_refused_before_a_file_exists(archive, uid):
    intake = Intake(archive, lambda *_: IntakeOutcome.STORED)
    if uid == "1.2\x00":
        with intake.receive(transfer_syntax_uid=EXPLICIT, affected_sop_class_uid=CR, affected_sop_instance_uid=uid):
            return
    with pytest.raises(DicomError):
        intake.receive(transfer_syntax_uid=EXPLICIT, affected_sop_class_uid=CR, affected_sop_instance_uid=uid)
    assert files_below(archive.root) == []


def test_no_room_for_quarantine_is_told_as_no_room(archive, monkeypatch):
    def full(*_, **__):
        raise StorageFullError("full")

    intake = Intake(archive, lambda *_: IntakeOutcome.STORED)
    reception = intake.receive(transfer_syntax_uid=EXPLICIT, affected_sop_class_uid=CR, affected_sop_instance_uid="1.2")
    with reception:
        reception.write(b"abc")
        monkeypatch.setattr(type(reception._file), "quarantine", full)
        with pytest.raises(StorageFullError):
            reception.commit(ARRIVAL)
    assert files_below(archive.root) == []


def test_the_clock_is_the_callers(archive):
    assert Intake(archive, lambda *_: IntakeOutcome.STORED, lambda: NOW).now() == NOW
    assert Intake(archive, lambda *_: IntakeOutcome.STORED).now().tzinfo is UTC
