"""S: data sets that are none, lie about themselves, or hold text that was written to do harm."""

from __future__ import annotations

import itertools
import math
import shutil
import struct
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
import sqlalchemy as sa
from peers.dcmtk import rendered_report
from peers.node import FIRSTREAD
from peers.processes import run
from peers.raw_peer import EXPLICIT, IMPLICIT, element, encoded
from pydicom.dataset import Dataset
from pydicom.tag import Tag as DataTag

from bad_inputs.attacked import DATA_SET_MEGABYTES, Attacked, new_uid, picture
from bad_inputs.cases import case, one
from dicom_node.dimse import Tag
from models.phantom import write_phantoms
from triage.findings import NotAnalysedReason as Reason
from triage.tables import Instance, ResultObject, Study

CANNOT_UNDERSTAND: Final = 0xC000
UNDEFINED: Final = 0xFFFFFFFF


def sequence(value: bytes, length: int | None = None) -> bytes:
    """Request Attributes Sequence (0040,0275) in Explicit VR Little Endian."""
    return struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(value) if length is None else length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def nested(depth: int) -> bytes:
    """Sequences inside each other, all lengths defined and true."""
    value = b""
    for _ in range(depth):
        value = sequence(item(value))
    return value


def without_pixels(**attributes: Any) -> bytes:
    """An encoded picture that ends where its pixels would begin."""
    return encoded(picture(PixelData=None, **attributes))


def with_raw(dataset: Dataset, *elements: tuple[int, bytes, bytes]) -> bytes:
    """The encoded data set with elements replaced by bytes of a test's choice, in the order of their tags."""
    whole, spots = encoded(dataset), sorted(elements)
    replaced = {tag for tag, _, _ in elements}
    position, pieces = 0, []
    while position < len(whole):
        group, number, vr, length = struct.unpack_from("<HH2sH", whole, position)
        size = 8 + length
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            size = 12 + int(struct.unpack_from("<L", whole, position + 8)[0])
        tag = group << 16 | number
        while spots and spots[0][0] <= tag:
            pieces.append(element(*spots.pop(0)))
        if tag not in replaced:
            pieces.append(whole[position : position + size])
        position += size
    return b"".join((*pieces, *(element(*spot) for spot in spots)))


def stored(attacked: Attacked, body: bytes, dataset: Dataset) -> Study:
    """Send bytes as this instance, successfully; the study they make."""
    with attacked.peer() as peer:
        peer.admitted((str(dataset.SOPClassUID), EXPLICIT))
        response = peer.store(body, sop_class=str(dataset.SOPClassUID), sop_instance=str(dataset.SOPInstanceUID))
        assert response.status == 0, response.text(Tag.ERROR_COMMENT)
    return attacked.study(str(dataset.StudyInstanceUID))


def kept_bytes(attacked: Attacked, dataset: Dataset) -> bytes:
    """The file of an instance."""
    (row,) = attacked.instances(str(dataset.SOPInstanceUID))
    return (attacked.node.data / "archive" / row.relative_path).read_bytes()


# --- what is no data set --------------------------------------------------------------------------------------------


def _bad_uid(value: bytes) -> bytes:
    return with_raw(picture(SOPInstanceUID="1.2.3.4"), (0x0020000D, b"UI", value))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        one("S1", b"", "empty", name="empty"),
        one("S1", b"abc", "ends inside", name="3 bytes"),
        one("S2", encoded(picture(SOPInstanceUID="1.2.3.4", StudyInstanceUID=None)), "StudyInstanceUID (0020,000D)"),
        one("S3", _bad_uid(b"1..2"), "(0020,000D)", name="1..2"),
        one("S3", _bad_uid(b"1.2.01"), "(0020,000D)", name="01.2"),
        one("S3", _bad_uid(b"1." + b"2" * 63), "(0020,000D)", name="65 characters"),
        one("S3", _bad_uid(b"one.two"), "(0020,000D)", name="letters"),
        one("S3", _bad_uid(b"../../etc/x"), "(0020,000D)", name="path"),
        one("S5", encoded(picture(SOPInstanceUID="1.2.3.4"), IMPLICIT), "transfer syntax"),
        one("S6", encoded(picture(SOPInstanceUID="1.2.3.4"))[:-10], "(7fe0,0010)", name="pixels"),
        one("S6", element(0x00081030, b"LO", b"")[:-2] + b"\xff\xff" + bytes(100), "(0008,1030)", name="text"),
        one("S7", without_pixels() + sequence(item(without_pixels(), UNDEFINED), UNDEFINED), "ends inside"),
        one("S8", without_pixels() + sequence(item(b"", UNDEFINED), UNDEFINED) * 1000, "deeper than 64"),
        one("S9", without_pixels() + sequence(item(b"") * 1_000_000, UNDEFINED), "1000000"),
        one("S11", element(0x00020010, b"UI", b"1.2.840.10008.1.2\0") + without_pixels(), "(0002,0010)"),
        one("S12", element(0x0020000D, b"UI", b"1.2.3.99") + without_pixels(), "twice", name="two studies"),
    ],
)
def test_what_is_no_data_set_goes_to_quarantine(attacked: Attacked, body: bytes, word: str) -> None:
    memory = attacked.memory()
    with attacked.one_more_in_quarantine(body, CANNOT_UNDERSTAND, word), attacked.peer() as peer:
        peer.admitted()
        response = peer.store(body)
        assert response.status == CANNOT_UNDERSTAND
        assert word[:40] in response.text(Tag.ERROR_COMMENT)
        assert peer.send_object(picture()).status == 0  # the association goes on
    assert attacked.memory() - memory < 50_000_000
    assert attacked.instances("1.2.3.4") == []


@case("S10")
def test_more_than_a_node_takes_is_refused_and_read_to_its_end(attacked: Attacked) -> None:
    """The cap is a setting; here it is 16 MB, and private elements fill 20."""
    dataset = picture(PixelData=None)
    filling = b"".join(
        struct.pack("<HH2sHL", 0x0009, 0x1001 + n, b"OB", 0, 1_000_000) + bytes(10**6) for n in range(20)
    )
    body = encoded(dataset) + filling
    assert len(body) > DATA_SET_MEGABYTES * 1024 * 1024
    memory = attacked.memory()
    with attacked.peer() as peer:
        peer.admitted()
        assert peer.store(body, sop_instance=str(dataset.SOPInstanceUID)).status == 0xA700
        assert peer.send_object(picture()).status == 0
    assert attacked.instances(str(dataset.SOPInstanceUID)) == []
    assert attacked.memory() - memory < 20_000_000


# --- what is strange, and an instance -------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [one("S4", b"\0", name="NUL"), one("S4", b" ", name="space")])
def test_padded_uids_are_accepted_without_their_padding(attacked: Attacked, padding: bytes) -> None:
    dataset = picture()
    study, series = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
    body = with_raw(
        picture(SOPInstanceUID=dataset.SOPInstanceUID),
        (0x0020000D, b"UI", study.encode() + padding),
        (0x0020000E, b"UI", series.encode() + padding * 2),
        (0x00080018, b"UI", str(dataset.SOPInstanceUID).encode() + padding),
    )
    assert stored(attacked, body, dataset).study_instance_uid == study
    (row,) = attacked.instances(str(dataset.SOPInstanceUID))
    assert row.series_instance_uid == series


@pytest.mark.parametrize(
    ("front", "back"),
    [
        one("S12", b"", element(0x00100010, b"PN", b"ZZCANARY^SECOND "), name="text twice"),
        one("S12", element(0x00280010, b"US", b"\x01\x00"), b"", name="disorder"),
    ],
)
def test_elements_twice_or_in_disorder_are_accepted(attacked: Attacked, front: bytes, back: bytes) -> None:
    dataset = picture(PixelData=None)
    study = stored(attacked, front + encoded(dataset) + back, dataset)
    assert study.patient_name in ("", "ZZCANARY^PATIENT")  # never the later one


NAMES: Final = {
    "10 kB": ("", b"ZZCANARY^" + b"X" * 10_000),
    "bidirectional": ("ISO_IR 192", "ZZCANARY^\u202eTNEITAP\u2066".encode()),
    "emoji": ("ISO_IR 192", "ZZCANARY^\U0001f480\u200d".encode()),
    "broken ISO 2022": ("\\ISO 2022 IR 87", b"ZZCANARY^\x1b$B;3ED\x1b$Z\x1b"),
    "controls": ("ISO_IR 100", b"ZZCANARY^\x1b[31m\x00\r\n\x07"),
}


@pytest.mark.parametrize(
    ("charset", "raw"),
    [
        *(one("S13", *pair, name=name) for name, pair in NAMES.items()),
        one("S17", "NO_SUCH_SET", b"ZZCANARY^\xe9\xff", name="unknown"),
        one("S17", "ISO_IR 192\\ISO 2022 IR 87", b"ZZCANARY^\xff", name="forbidden combination"),
    ],
)
def test_names_are_kept_raw_and_shown_as_plain_text(attacked: Attacked, charset: str, raw: bytes) -> None:
    dataset = picture()
    raw += b" " * (len(raw) % 2)
    elements = (0x00080005, b"CS", charset.encode()), (0x00100010, b"PN", raw)
    study = stored(attacked, with_raw(dataset, *elements), dataset)
    assert raw in kept_bytes(attacked, dataset)
    name = study.patient_name
    assert name.startswith("ZZCANARY^")
    assert len(name) <= 324
    assert all(letter.isprintable() or letter == "\u200d" for letter in name)
    assert attacked.node.study(study.study_instance_uid)["patient_name"] == name
    page = attacked.node.http.get(f"/studies/{study.study_instance_uid}")
    assert page.status_code == 200
    assert "\u202e" not in page.text
    assert "\x1b" not in page.text


PAYLOADS: Final = {
    "SQL": "'; DROP TABLE studies;--",
    "markup": "<img src=x onerror=alert(1)>",
    "formula": '=HYPERLINK("http://x.invalid")',
    "line": "%0d%0aSet-Cookie: a=b",
    "template": "{{7*7}}{%raw%}",
    "lookup": "${jndi:ldap://x.invalid/a}",
    "terminal": "[red]x[/][/]",
}
TEXTS: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "StudyDescription",
    "SeriesDescription", "ReferringPhysicianName", "Manufacturer", "ManufacturerModelName", "StationName",
    "InstitutionName", "PatientComments", "ProtocolName", "RequestedProcedureDescription", "ImageComments",
    "AdditionalPatientHistory", "OperatorsName", "SoftwareVersions", "DeviceSerialNumber", "PerformedProcedureStepID",
)  # fmt: skip


class Elements(HTMLParser):
    """Everything in a page that could act."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_inert(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert attributes.get("src") != "x"
        assert not (attributes.get("href") or "").startswith(("javascript:", "http://x.invalid"))


@pytest.mark.parametrize("payload", [one("S14", payload, name=name) for name, payload in PAYLOADS.items()])
def test_text_that_was_written_to_do_harm_does_none(attacked: Attacked, payload: str) -> None:
    attributes = {keyword: payload for keyword in TEXTS if keyword not in ("AccessionNumber", "StudyID", "StationName")}
    dataset = picture(**attributes, AccessionNumber=payload[:16], StudyID=payload[:16], StationName=payload[:16])
    log = attacked.log_size
    study = stored(attacked, encoded(dataset), dataset)
    uid = study.study_instance_uid
    assert (study.patient_name, study.patient_id, study.study_description) == (payload,) * 3
    (row,) = attacked.instances(str(dataset.SOPInstanceUID))
    assert (row.manufacturer, row.series_description) == (payload, payload)
    # API: the text itself, in JSON and in nothing else
    answer = attacked.node.http.get(f"/api/v1/studies/{uid}")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["patient_name"] == payload
    found = attacked.node.get("/api/v1/worklist", q=payload, limit=200)["items"]
    assert uid in {entry["study_instance_uid"] for entry in found}
    # page: the text itself, and nothing that acts
    for path, query in ((f"/studies/{uid}", {}), ("/", {"q": payload}), ("/fragment/worklist", {"q": payload})):
        page = attacked.node.http.get(path, params=query)
        assert page.status_code == 200
        assert "set-cookie" not in page.headers
        assert_inert(page.text)
        shown = {escape(payload), escape(payload, quote=False), escape(payload).replace("&#x27;", "&#39;")}
        assert any(text.replace("&quot;", "&#34;") in page.text for text in shown), path
    assert payload not in attacked.log_after(log)


@case("S14")
def test_the_list_in_a_terminal_is_inert_too(attacked: Attacked) -> None:
    dataset = picture(
        PatientName=PAYLOADS["terminal"], StudyDescription=PAYLOADS["markup"], RequestedProcedurePriority="STAT"
    )
    stored(attacked, encoded(dataset), dataset)
    terminal = {**attacked.node.environment, "COLUMNS": "400"}
    shown = run(FIRSTREAD, "worklist", "--data", str(attacked.node.data), "--limit", "20", env=terminal)
    assert PAYLOADS["terminal"] in shown
    assert PAYLOADS["markup"] in shown
    assert not any(ord(letter) < 0x20 for letter in shown.replace("\n", ""))


@pytest.mark.parametrize(
    "patient_id",
    [one("S15", "", name="empty"), one("S15", "UNKNOWN"), one("S15", "00000000", name="zeros")],
)
def test_a_patient_id_that_names_nobody_is_flagged(attacked: Attacked, patient_id: str) -> None:
    dataset = picture(PatientID=patient_id)
    study = stored(attacked, encoded(dataset), dataset)
    assert (study.patient_id, study.flags) == (patient_id, ["no_identity"])
    assert attacked.node.study(study.study_instance_uid)["flags"] == ["no_identity"]


DATES: Final = (
    (0x00080020, b"DA", b"00000000"),
    (0x00080030, b"TM", b"2460"),
    (0x00100030, b"DA", b"20991399"),
    (0x00101010, b"AS", b"999Z"),
)


@case("S16")
def test_impossible_dates_are_kept_and_nothing_is_computed_from_them(attacked: Attacked) -> None:
    dataset = picture()
    study = stored(attacked, with_raw(dataset, *DATES), dataset)
    assert (study.study_date, study.study_time, study.patient_birth_date) == ("00000000", "2460", "20991399")
    assert attacked.node.http.get(f"/studies/{study.study_instance_uid}").status_code == 200
    assert study.received_at.year >= 2025  # the order of the list is by our own clock


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        one("S19", b"cr", "CR", name="lower case"),
        one("S19", b"CR  ", "CR", name="padded"),
        one("S19", b"DX\\CR ", "DX", name="multi-valued"),
        one("S19", b"\x1b\xff", "\ufffd", name="no text"),
        one("S19", b"", "", name="empty"),
    ],
)
def test_a_modality_is_normalised(attacked: Attacked, sent: bytes, kept: str) -> None:
    dataset = picture()
    stored(attacked, with_raw(dataset, (0x00080060, b"CS", sent)), dataset)
    (row,) = attacked.instances(str(dataset.SOPInstanceUID))
    assert row.modality == kept


# --- to the end: reports about such images --------------------------------------------------------------------------


def _hostile(dataset: Dataset) -> bytes:
    payloads = itertools.cycle(PAYLOADS.values())
    for keyword in TEXTS:
        setattr(
            dataset, keyword, next(payloads)[: 16 if keyword in ("AccessionNumber", "StudyID", "StationName") else 64]
        )
    return encoded(dataset)


STRANGE: Final = {
    "text": _hostile,
    "name": lambda d: with_raw(
        d, (0x00080005, b"CS", b"ISO_IR 192"), (0x00100010, b"PN", NAMES["bidirectional"][1] + b" ")
    ),
    "dates": lambda d: with_raw(d, *DATES[:3]),
    "character set": lambda d: with_raw(
        d, (0x00080005, b"CS", b"NO_SUCH_SET "), (0x00100010, b"PN", b"ZZCANARY^\xe9 ")
    ),
    "numbers": lambda d: with_raw(
        d,
        (0x00101020, b"DS", b"NaN "),
        (0x00101030, b"DS", b"-inf"),
        (0x00180060, b"DS", b"1e400 "),
        (0x00181164, b"DS", b"1e400\\nan "),
    ),
    "modality": lambda d: with_raw(d, (0x00080060, b"CS", b"dx")),
    "deep": lambda d: nested(1000) + encoded(d),
    "crowd": lambda d: sequence(item(b"") * 1_000_000) + encoded(d),
    "plain": encoded,
}
"""What the node reads and reports on, by what is strange about it."""


@pytest.fixture(scope="module", autouse=True)
def analysed(attacked_node: Attacked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Dataset]]:
    """Phantom radiographs, one for each strangeness, sent before the other cases and read beside them."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 1, seed=5, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC), size=1024)
    (path,) = folder.glob("*.dcm")
    sent = {}
    for name, encode in STRANGE.items():
        dataset = pydicom.dcmread(path)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, new_uid())
        sent[name] = pydicom.dcmread(path, stop_before_pixels=True)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(sent[name], keyword, dataset[keyword].value)
        stored(attacked_node, encode(dataset), sent[name])
    return sent


def reports(attacked: Attacked, study_uid: str, kind: str) -> list[Path]:
    """Result files of a study."""
    made = attacked.rows(sa.select(ResultObject).where(ResultObject.kind == kind))
    files = [attacked.node.data / "results" / row.relative_path for row in made]
    return [path for path in files if pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID == study_uid]


@pytest.mark.peer
@pytest.mark.parametrize(
    "name",
    [
        one("S8", "deep", name="lengths defined"),
        one("S13", "name", name="report"),
        one("S14", "text", name="report"),
        one("S16", "dates", name="report"),
        one("S17", "character set", name="report"),
        one("S18", "numbers"),
        one("S19", "modality", name="analysed"),
    ],
)
def test_a_strange_radiograph_is_read_and_reported_on(
    attacked: Attacked, analysed: dict[str, Dataset], name: str
) -> None:
    uid = str(analysed[name].StudyInstanceUID)
    settled = attacked.node.settled(uid, within=90)
    assert settled["analysis_status"] == "SUCCEEDED", settled["instances"]
    assert all(math.isfinite(finding["probability"]) for finding in settled["findings"])
    (report,) = reports(attacked, uid, "SR")
    there = pydicom.dcmread(report)
    if name == "character set":  # which nobody knows: a PACS reads name of image and report alike, however it does
        assert "SpecificCharacterSet" not in there
        assert there.get_item(DataTag("PatientName")).value.strip() == b"ZZCANARY^\xe9"
        return
    assert_inert(rendered_report(report))
    validator = shutil.which("dciodvfy")
    if validator is not None:
        said = subprocess.run([validator, report], check=False, capture_output=True, text=True, timeout=180).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []
    if name == "name":  # as the sender has it: a PACS files by these bytes
        assert there.get_item(DataTag("PatientName")).value.strip() == NAMES["bidirectional"][1]


@case("S9")
def test_a_crowd_of_items_with_a_true_length_is_kept_and_not_read(
    attacked: Attacked, analysed: dict[str, Dataset]
) -> None:
    settled = attacked.node.settled(str(analysed["crowd"].StudyInstanceUID), within=90)
    assert settled["analysis_status"] == "NOT_ANALYSED"
    assert [Reason.DECODE_ERROR.sentence in shown["not_analysed"] for shown in settled["instances"]] == [True]


@case("S20")
def test_our_own_results_are_recognised_when_they_come_back(attacked: Attacked, analysed: dict[str, Dataset]) -> None:
    uid = str(analysed["plain"].StudyInstanceUID)
    before = attacked.node.settled(uid, within=90)
    assert before["analysis_status"] == "SUCCEEDED"
    results = [*reports(attacked, uid, "SR"), *reports(attacked, uid, "SC")]
    assert len(results) == 2
    for path in results:
        result = pydicom.dcmread(path)
        stored(attacked, encoded(result), result)
        (row,) = attacked.rows(sa.select(Instance).where(Instance.sop_instance_uid == str(result.SOPInstanceUID)))
        assert row.not_analysed is Reason.OWN_RESULT
    after = attacked.node.settled(uid, within=30)
    for unchanged in ("revision", "analysis_status", "urgency", "result_objects", "findings"):
        assert after[unchanged] == before[unchanged]


def test_the_log_says_nothing_of_the_patient(attacked: Attacked) -> None:
    log = attacked.log_after(0)
    for secret in ("ZZCANARY", "ZZ-0815", "onerror", "DROP TABLE"):
        assert secret not in log
