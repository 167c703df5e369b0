"""D: an admitted peer whose commands and instances contradict themselves, each other or what came before."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import pytest
from peers.processes import eventually
from peers.raw_peer import CR, CT, EXPLICIT, encoded, pdata
from pydicom.dataset import Dataset

from bad_inputs.attacked import Attacked, new_uid, picture
from bad_inputs.cases import case, one
from dicom_node import dimse
from dicom_node.dimse import CommandField, Tag

ABORT = 7
NOTHING = 0x0101
"""Value of Command Data Set Type (0000,0800) that announces no data set."""


def command(**changed: int | str | None) -> bytes:
    """A C-STORE-RQ with some of its elements replaced or left out."""
    values: dict[Tag, int | str | bytes] = {
        Tag.AFFECTED_SOP_CLASS_UID: CR,
        Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
        Tag.MESSAGE_ID: 9,
        Tag.PRIORITY: 0,
        Tag.COMMAND_DATA_SET_TYPE: 1,
        Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
    }
    replaced: Mapping[Tag, int | str | None] = {Tag[name.upper()]: value for name, value in changed.items()}
    return dimse.encode({tag: v for tag, v in (values | replaced).items() if v is not None})


@case("D1")
def test_a_context_that_was_not_accepted(attacked: Attacked) -> None:
    with attacked.peer() as peer:
        peer.admitted((CR, EXPLICIT), (CT, "1.2.840.10008.1.2.4.94"))
        peer.command(command(), context_id=3)
        kind, body = peer.receive()
        assert (kind, body[2:4]) == (ABORT, b"\x02\x06")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        one("D2", command(affected_sop_class_uid=CT), 0x0122),
        one("D3", command(affected_sop_instance_uid=None), 0x0117),
        one("D7", command(command_field=0x0020, command_data_set_type=NOTHING), 0x0211, name="C-FIND"),
        one("D7", command(command_field=0x0777, command_data_set_type=NOTHING), 0x0211, name="no command"),
        one("D6", command(command_data_set_type=NOTHING), 0xC000, name="not announced"),
    ],
)
def test_a_request_that_cannot_be_served_has_its_status(attacked: Attacked, sent: bytes, status: int) -> None:
    has_data_set = dimse.decode(sent).has_data_set
    with attacked.peer() as peer:
        peer.admitted()
        peer.command(sent)
        if has_data_set:
            peer.data_set(encoded(picture()))
        assert peer.response().status == status
        assert peer.send_object(picture()).status == 0  # the association goes on


@case("D6")
def test_another_request_instead_of_the_announced_data_set(attacked: Attacked) -> None:
    with attacked.peer() as peer:
        peer.admitted()
        peer.command(command())
        peer.command(dimse.echo_request(2))
        assert peer.receive()[0] == ABORT


@case("D6")
def test_an_announced_data_set_without_a_byte(attacked: Attacked) -> None:
    with attacked.one_more_in_quarantine(b"", 0xC000, "empty"), attacked.peer() as peer:
        peer.admitted()
        assert peer.store(b"", sop_instance=new_uid()).status == 0xC000


@pytest.mark.parametrize(
    ("sop_class", "same_instance", "word"),
    [one("D4", CR, False, "SOPInstanceUID"), one("D5", CT, True, "SOPClassUID")],
)
def test_another_instance_than_announced(attacked: Attacked, sop_class: str, same_instance: bool, word: str) -> None:
    dataset = picture(SOPClassUID=sop_class)
    announced = str(dataset.SOPInstanceUID) if same_instance else new_uid()
    body = encoded(dataset)
    with attacked.one_more_in_quarantine(body, 0xA900, word), attacked.peer() as peer:
        peer.admitted()
        response = peer.store(body, sop_instance=announced)
        assert response.status == 0xA900
        assert word in response.text(Tag.ERROR_COMMENT)
    assert attacked.instances(announced) == attacked.instances(str(dataset.SOPInstanceUID)) == []


@case("D8")
def test_a_command_set_of_10_mb(attacked: Attacked) -> None:
    memory = attacked.memory()
    with attacked.peer() as peer:
        peer.admitted()
        try:
            for _ in range(100):
                peer.command(bytes(100_000), last=False)
        except ConnectionError:
            pass
        else:
            assert peer.receive()[0] in (ABORT, 0)  # or closed before it was read
    assert attacked.memory() - memory < 5_000_000


@case("D9")
def test_there_is_nothing_to_cancel(attacked: Attacked) -> None:
    cancel = dimse.encode(
        {
            Tag.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
            Tag.MESSAGE_ID_BEING_RESPONDED_TO: 5,
            Tag.COMMAND_DATA_SET_TYPE: NOTHING,
        }
    )
    with attacked.peer() as peer:
        peer.admitted()
        peer.command(cancel)
        assert peer.send_object(picture()).status == 0  # the next answer is to the next request


def send_at_once(attacked: Attacked, dataset: Dataset, senders: int) -> list[int | None]:
    """The same instance over so many associations, at the same moment."""
    statuses: list[int | None] = []
    ready = threading.Barrier(senders)
    uid, body = str(dataset.SOPInstanceUID), encoded(dataset)

    def send() -> None:
        with attacked.peer() as peer:
            peer.admitted()
            ready.wait(20)
            peer.send(pdata(1, 3, dimse.store_request(1, CR, uid)) + pdata(1, 2, body))
            statuses.append(peer.response().status)
            peer.release()

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return statuses


@pytest.mark.parametrize("senders", [one("D11", 2), one("D12", 20)])
def test_one_instance_many_times_at_once_is_one_row(attacked: Attacked, senders: int) -> None:
    dataset = picture()
    assert send_at_once(attacked, dataset, senders) == [0] * senders
    (row,) = attacked.instances(str(dataset.SOPInstanceUID))
    assert (row.version, row.is_current) == (1, True)
    assert attacked.study(dataset.StudyInstanceUID).instance_count == 1
    resent = [e for e in attacked.events("instance_resent") if e.detail["sop_instance_uid"] == row.sop_instance_uid]
    assert len(resent) == senders - 1


@case("D13")
def test_a_known_instance_with_another_header_is_its_next_version(attacked: Attacked) -> None:
    dataset = picture()
    with attacked.peer() as peer:
        peer.admitted()
        assert peer.send_object(dataset).status == 0
        dataset.PatientName = "ZZCANARY^MARRIED"
        assert peer.send_object(dataset).status == 0
    first, second = attacked.instances(str(dataset.SOPInstanceUID))
    assert (first.version, first.is_current, second.version, second.is_current) == (1, False, 2, True)
    study = attacked.study(dataset.StudyInstanceUID)
    assert (study.instance_count, study.patient_name, study.flags) == (1, "ZZCANARY^MARRIED", ["identity_changed"])


@pytest.mark.parametrize("harm", [one("D13", "cut", name="cut"), one("D13", "gone", name="gone")])
def test_a_known_instance_whose_file_is_damaged_takes_its_next_version(attacked: Attacked, harm: str) -> None:
    """What the disk has lost says nothing about a sender's image."""
    dataset = picture()
    with attacked.peer() as peer:
        peer.admitted()
        assert peer.send_object(dataset).status == 0
        (row,) = attacked.instances(str(dataset.SOPInstanceUID))
        path = attacked.node.data / "archive" / row.relative_path
        if harm == "gone":
            path.unlink()
        else:
            os.truncate(path, 100)
        dataset.StudyDescription = "corrected"
        assert peer.send_object(dataset).status == 0
        first, second = attacked.instances(str(dataset.SOPInstanceUID))
        assert (first.is_current, second.is_current) == (False, True)
        assert attacked.study(dataset.StudyInstanceUID).flags == ["damaged"]
        del dataset.StudyDescription
        assert peer.send_object(dataset).status == 0  # the bytes that were lost
    assert attacked.study(dataset.StudyInstanceUID).flags == []


@case("D14")
def test_a_known_instance_with_other_pixels_is_kept_beside_it(attacked: Attacked) -> None:
    dataset = picture()
    with attacked.peer() as peer:
        peer.admitted()
        assert peer.send_object(dataset).status == 0
        dataset.PixelData = bytes(512)
        response = peer.send_object(dataset)
        assert response.status == 0xA900
        assert response.text(Tag.ERROR_COMMENT) == "SOP Instance UID already stored with different content"
    first, second = attacked.instances(str(dataset.SOPInstanceUID))
    assert (first.is_current, second.is_current) == (True, False)
    for row in (first, second):
        assert (attacked.node.data / "archive" / row.relative_path).is_file()
    case_shown = attacked.node.study(dataset.StudyInstanceUID)
    assert case_shown["flags"] == ["conflict"]
    (event,) = (
        event for event in attacked.events("instance_conflict")
        if event.detail["sop_instance_uid"] == first.sop_instance_uid
    )  # fmt: skip
    assert event.who == "KNOWN"


@case("D15")
def test_a_known_study_of_another_patient_is_kept_and_flagged(attacked: Attacked) -> None:
    dataset = picture()
    other = picture(StudyInstanceUID=dataset.StudyInstanceUID, PatientID="ZZ-OTHER")
    with attacked.peer() as peer:
        peer.admitted()
        assert peer.send_object(dataset).status == peer.send_object(other).status == 0
    study = attacked.study(dataset.StudyInstanceUID)
    assert (study.instance_count, study.patient_id, study.flags) == (2, dataset.PatientID, ["two_patients"])
    assert attacked.node.study(dataset.StudyInstanceUID)["flags"] == ["two_patients"]


@case("D16")
def test_a_series_under_two_studies_is_refused(attacked: Attacked) -> None:
    dataset = picture()
    other = picture(SeriesInstanceUID=dataset.SeriesInstanceUID)
    with attacked.peer() as peer:
        peer.admitted()
        assert peer.send_object(dataset).status == 0
        with attacked.one_more_in_quarantine(encoded(other), 0xA900, "(0020,000E)"):
            assert peer.send_object(other).status == 0xA900
    assert attacked.instances(str(other.SOPInstanceUID)) == []
    assert attacked.node.http.get(f"/api/v1/studies/{other.StudyInstanceUID}").status_code == 404
    stored = list((attacked.node.data / "archive" / "store").rglob("*.dcm"))
    digests = {row.digest for row in attacked.instances(str(dataset.SOPInstanceUID))}
    assert sum(path.name.split(".")[1] in digests for path in stored) == 1


def test_the_log_says_nothing_of_the_patient(attacked: Attacked) -> None:
    """No log line of these modules holds a name or an ID that was sent."""
    eventually(lambda: attacked.log_size, within=5, what="a log")
    log = attacked.log_after(0)
    for secret in ("ZZCANARY", "ZZ-0815", "ZZ-OTHER"):
        assert secret not in log
