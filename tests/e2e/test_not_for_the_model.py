"""Everything that is no frontal chest radiograph: kept or refused, never analysed, and nothing falls over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from houses import House, Phantoms, not_analysed
from peers.dcmtk import send, with_pdf
from peers.processes import eventually
from peers.pynetdicom_sender import send_bytes
from pydicom import dcmread
from pydicom.dataset import FileDataset

from dicom_node.scu import SendOutcome
from dicom_node.scu import send as send_as_it_is
from triage.findings import NotAnalysedReason as Reason
from triage.identifiers import PeerAddress

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SUCCESS, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA900, 0xC000

OTHERS = {
    "ct/CT_small.dcm": Reason.UNSUPPORTED_MODALITY,
    "mr/MR_small.dcm": Reason.UNSUPPORTED_MODALITY,
    "mr/emri_small.dcm": Reason.UNSUPPORTED_MODALITY,
    "us/examples_ybr_color.dcm": Reason.UNSUPPORTED_MODALITY,
    "us/SC_rgb_small_odd.dcm": Reason.UNSUPPORTED_MODALITY,
    "objects/test-SR.dcm": Reason.UNSUPPORTED_SOP_CLASS,
    "objects/waveform_ecg.dcm": Reason.UNSUPPORTED_SOP_CLASS,
    "objects/seg_image_ct_binary.dcm": Reason.UNSUPPORTED_SOP_CLASS,
    "objects/rtdose.dcm": Reason.UNSUPPORTED_MODALITY,
    "radiograph/RG3_J2KI.dcm": Reason.UNSUPPORTED_BODY_PART,
    "radiograph/dx_image.dcm": Reason.UNSUPPORTED_PATIENT,
    "radiograph/udacity_test1.dcm": Reason.UNSUPPORTED_SOP_CLASS,
}


@pytest.fixture(scope="module")
def undisturbed(embedded_house: House) -> Iterator[House]:
    """The house, in which no process may end during this module."""
    before = embedded_house.node.parts()
    yield embedded_house
    assert embedded_house.node.parts() == before


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_network_reads_is_kept_and_says_why(name: str, undisturbed: House, test_data: Path) -> None:
    uid = undisturbed.send(test_data / name)
    case = undisturbed.node.settled(uid)
    assert case["analysis_status"] == "NOT_ANALYSED"
    (reason,) = not_analysed(case)
    assert OTHERS[name].sentence in (reason or ""), reason
    assert case["findings"] == case["result_objects"] == []
    assert case["urgency"] == "ROUTINE"
    assert undisturbed.results(uid) == []


def test_teeth_are_no_chest(undisturbed: House, test_data: Path, tmp_path: Path) -> None:
    image = dcmread(test_data / "radiograph/CR-ModalitySequenceLUT.dcm")
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = "2.25.761"  # its own is none
    image.save_as(tmp_path / "teeth.dcm")
    case = undisturbed.node.settled(undisturbed.send(tmp_path / "teeth.dcm"))
    assert Reason.UNSUPPORTED_BODY_PART.sentence in (not_analysed(case)[0] or "")


def test_an_encapsulated_pdf_is_kept(undisturbed: House, phantoms: Phantoms, tmp_path: Path) -> None:
    uid = undisturbed.send(with_pdf(tmp_path / "report.dcm"))
    case = undisturbed.node.settled(uid)
    assert case["analysis_status"] == "NOT_ANALYSED"
    assert undisturbed.results(uid) == []


def test_our_own_results_sent_back_change_nothing(undisturbed: House, phantoms: Phantoms) -> None:
    uid = undisturbed.send(phantoms.normal[0])
    undisturbed.node.settled(uid)
    undisturbed.await_kinds(uid, SR=1, SC=1)
    before = undisturbed.node.study(uid)
    for result in undisturbed.results(uid):
        send(Path(str(result.filename)), undisturbed.node.dicom_port, calling="PACS")
    eventually(lambda: len(undisturbed.node.study(uid)["instances"]) == 3, within=30, what="both results are listed")
    after = undisturbed.node.settled(uid)
    assert [o["sop_instance_uid"] for o in after["result_objects"]] == [
        o["sop_instance_uid"] for o in before["result_objects"]
    ]
    assert after["revision"] == before["revision"]
    assert after["analysis_status"] == "SUCCEEDED"
    assert after["urgency"] == before["urgency"]
    reasons = [reason for reason in not_analysed(after) if reason]
    assert len(reasons) == 2
    assert all(Reason.OWN_RESULT.sentence in reason for reason in reasons), reasons
    undisturbed.await_kinds(uid, SR=1, SC=1)


def test_a_radiograph_whose_pixels_are_cut_off_is_kept_and_not_analysed(
    undisturbed: House, phantoms: Phantoms, tmp_path: Path
) -> None:
    """The data set ends where its pixels should go on; PS3.5 gives a receiver no way to guess the rest."""
    image = _of_a_study_of_its_own(phantoms.normal[1], "2.25.771")
    image.PixelData = image.PixelData[: len(image.PixelData) // 4]
    image.save_as(tmp_path / "short.dcm")
    uid = undisturbed.send(tmp_path / "short.dcm")
    case = undisturbed.node.settled(uid)
    assert case["analysis_status"] == "NOT_ANALYSED"
    assert Reason.DECODE_ERROR.sentence in (not_analysed(case)[0] or "")


@pytest.mark.parametrize("damage", ["garbage", "no study", "nothing"])
def test_what_is_no_data_set_is_refused(
    damage: str, undisturbed: House, phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = dcmread(phantoms.normal[1])
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = "2.25.781"
    del image.PixelData
    if damage == "no study":
        del image.StudyInstanceUID
    image.save_as(tmp_path / "whole.dcm")
    whole = (tmp_path / "whole.dcm").read_bytes()
    meta_ends = 144 + int.from_bytes(whole[140:144], "little")
    rest = {"garbage": bytes(range(256)) * 64, "no study": whole[meta_ends:], "nothing": bytes(2)}[damage]
    (tmp_path / "damaged.dcm").write_bytes(whole[:meta_ends] + rest)
    status = send_bytes(tmp_path / "damaged.dcm", undisturbed.node.dicom_port, monkeypatch)
    assert status == CANNOT_UNDERSTAND, f"0x{status:04X}"


def test_another_instance_than_announced_is_refused(
    undisturbed: House, phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = dcmread(phantoms.normal[1])
    image.file_meta.MediaStorageSOPInstanceUID = "2.25.782"
    image.save_as(tmp_path / "other.dcm", enforce_file_format=False)
    status = send_bytes(tmp_path / "other.dcm", undisturbed.node.dicom_port, monkeypatch)
    assert status == DOES_NOT_MATCH, f"0x{status:04X}"


def test_other_pixels_under_a_known_uid_are_refused_and_flagged(
    undisturbed: House, phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one stays, and the study is complete as soon as it was."""
    uid = undisturbed.send(phantoms.normal[2])
    image = dcmread(phantoms.normal[2])
    image.PixelData = image.PixelData[::-1]
    image.save_as(tmp_path / "conflict.dcm")
    assert send_bytes(tmp_path / "conflict.dcm", undisturbed.node.dicom_port, monkeypatch) == DOES_NOT_MATCH
    case = undisturbed.node.settled(uid)
    assert "conflict" in case["flags"]
    assert case["instance_count"] == 1
    undisturbed.await_kinds(uid, SR=1, SC=1)


def test_damaged_files_are_kept_or_refused(undisturbed: House, test_data: Path) -> None:
    """Files that broke other software: each is in custody and listed, or its sender knows that it is not."""
    files = sorted((test_data / "damaged").iterdir())
    listed = 0
    for file, outcome in zip(files, _send_as_it_is(undisturbed, *files), strict=True):
        assert outcome.status in (None, SUCCESS, DOES_NOT_MATCH, CANNOT_UNDERSTAND), (file.name, outcome)
        if outcome.stored:
            study_uid = str(dcmread(file, force=True, stop_before_pixels=True).StudyInstanceUID)
            case = undisturbed.node.settled(study_uid)
            assert outcome.sop_instance_uid in {i["sop_instance_uid"] for i in case["instances"]}, file.name
            assert case["analysis_status"] == "NOT_ANALYSED", file.name
            listed += 1
    assert listed


def test_the_node_still_works(undisturbed: House, phantoms: Phantoms, tmp_path: Path) -> None:
    image = _of_a_study_of_its_own(phantoms.normal[1], "2.25.791")
    image.save_as(tmp_path / "next.dcm")
    uid = undisturbed.send(tmp_path / "next.dcm")
    undisturbed.await_kinds(uid, SR=1, SC=1)


def _of_a_study_of_its_own(path: Path, study_uid: str) -> FileDataset:
    """A copy with new UIDs on every level: a series that two studies claim is refused from then on."""
    image = dcmread(path)
    image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, f"{study_uid}.1"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{study_uid}.1.1"
    return image


def _send_as_it_is(house: House, *files: Path) -> list[SendOutcome]:
    """DCMTK sends nothing that it cannot read; our own sender passes bytes on."""
    peer = PeerAddress("FIRSTREAD", "127.0.0.1", house.node.dicom_port)
    return [send_as_it_is(peer, [file], calling_ae_title="MODALITY")[0] for file in files]
