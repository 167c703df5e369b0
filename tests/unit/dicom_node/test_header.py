from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_samples import BIG_ENDIAN, CR, DEFLATED, EXPLICIT, IMPLICIT, element, encoded, part10_file, radiograph
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node import elements
from dicom_node.elements import walk
from dicom_node.header import read_header
from triage.errors import DicomError

UNDEFINED = b"\xff\xff\xff\xff"
SEQUENCE = struct.pack("<HH2sxx", 0x0008, 0x1140, b"SQ")
ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_the_same_header_in_every_encoding(syntax):
    dataset = radiograph(
        PatientName="Müller^Jörg",
        SpecificCharacterSet="ISO_IR 100",
        AccessionNumber="A1",
        ViewPosition="PA",
        BodyPartExamined="CHEST",
        RequestedProcedurePriority="STAT",
        NumberOfStudyRelatedInstances=2,
        Rows=2500,
        ReferencedImageSequence=Sequence([Dataset()]),
    )
    header = read_header(encoded(dataset, syntax), syntax)
    assert header.patient_name == "Müller^Jörg"
    assert header.sop_instance_uid == "1.2.3.4"
    assert (header.study_instance_uid, header.series_instance_uid) == ("1.2.3.1", "1.2.3.2")
    assert (header.sop_class_uid, header.modality) == (CR, "CR")
    assert (header.accession_number, header.view_position, header.body_part_examined) == ("A1", "PA", "CHEST")
    assert header.requested_procedure_priority == "STAT"
    assert header.number_of_study_related_instances == 2
    assert (header.rows, header.columns) == (2500, 16)


def test_the_ward_is_where_the_patient_is_else_who_asked():
    def ward(**said):
        return read_header(encoded(radiograph(**said), EXPLICIT), EXPLICIT).ward

    assert ward(CurrentPatientLocation="ICU 1", RequestingService="Surgery") == "ICU 1"
    assert ward(CurrentPatientLocation="^^^", RequestingService="Surgery") == "Surgery"
    assert ward(CurrentPatientLocation="ICU^3^B") == "ICU 3 B", "a location of HL7, copied whole"
    # Neither the department of the equipment nor the room of the examination is where the patient lies.
    assert ward(InstitutionalDepartmentName="Radiology", RequestedProcedureLocation="Room 2") == ""
    assert ward(CurrentPatientLocation="ICU\u202e\n<b>1" + "x" * 80, SpecificCharacterSet="ISO_IR 192") == (
        "ICU<b>1" + "x" * 57
    )


def test_a_file_brings_its_own_transfer_syntax(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(part10_file(radiograph(), IMPLICIT))
    assert read_header(path).sop_instance_uid == "1.2.3.4"
    path.write_bytes(encoded(radiograph(), IMPLICIT))  # no preamble, no file meta information
    assert read_header(path).sop_instance_uid == "1.2.3.4"
    path.write_bytes(b"")
    with pytest.raises(DicomError):
        read_header(path)


def agrees_with_pydicom(path: Path) -> bool:
    """False where the header cannot be read; asserts that what is read is what pydicom reads."""
    try:
        header = read_header(path)
    except DicomError:
        return False
    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    assert header.study_instance_uid == str(dataset.StudyInstanceUID).strip()
    assert header.sop_instance_uid == str(dataset.SOPInstanceUID).strip()
    for name, keyword in (("rows", "Rows"), ("columns", "Columns")):
        assert getattr(header, name) == dataset.get(keyword)
    for name, keyword in (("patient_id", "PatientID"), ("study_date", "StudyDate"), ("manufacturer", "Manufacturer")):
        assert getattr(header, name) == str(dataset.get(keyword) or "").strip()
    return True


@pytest.mark.filterwarnings("ignore")
def test_pydicom_s_own_files_read_as_pydicom_reads_them():
    paths = list((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))  # those that need no download
    assert sum(agrees_with_pydicom(path) for path in paths) >= 40


@pytest.mark.filterwarnings("ignore")
def test_real_files_read_as_pydicom_reads_them(test_data):
    paths = [path for path in test_data.rglob("*.dcm") if "damaged" not in path.parts]
    assert sum(agrees_with_pydicom(path) for path in paths) >= 100


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 192", "Ομέγα".encode(), "Ομέγα"),
        ("ISO_IR 192", b"\xff\xfe", "ÿþ"),  # not UTF-8: read as Latin-1
        ("ISO_IR 144", b"\xbb\xee", "Лю"),
        ("GB18030", "王".encode("gb18030"), "王"),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1", "Zhang=张^小"),
        ("\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
        ("\\ISO 2022 IR 13\\ISO 2022 IR 149\\ISO 2022 IR 159\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
        ("\\ISO 2022 IR 87", b"\x1b$Zab", "\x1b$Zab".translate({0x1B: None})),  # an escape of no set
        ("NO_SUCH_SET", "é".encode(), "é"),
        ("", b"\xe9", "é"),
        ("", "é".encode(), "é"),
        ("unicode_escape", b"\\x41", "\\x41"),
        ("ISO_IR 100", b"\x1b[31mred\x00\r\n\x85", "[31mred"),
        ("ISO_IR 192", "A\u202eB\u2066C\u2069\u2028\ufeff".encode(), "ABC"),  # would turn the line around
        ("ISO_IR 192", "\U0001f480^\u05d0".encode(), "\U0001f480^\u05d0"),
    ],
)
def test_text_is_decoded_whatever_the_set(charset, raw, text):
    data = element(0x00080005, b"CS", charset.encode()) + encoded_identity() + element(0x00100010, b"PN", raw)
    assert read_header(data, EXPLICIT).patient_name == text


def test_what_is_remembered_of_one_image_is_not_told_of_another():
    """The same bytes under another character set, in another byte order, under another attribute."""
    raw = b"\xbb\xee"
    for _ in range(2):
        for charset, text in (("ISO_IR 144", "Лю"), ("ISO_IR 100", "»î")):
            data = element(0x00080005, b"CS", charset.encode()) + encoded_identity() + element(0x00100010, b"PN", raw)
            assert read_header(data, EXPLICIT).patient_name == text
        for syntax in (EXPLICIT, BIG_ENDIAN):
            assert read_header(encoded(radiograph(Rows=2500), syntax), syntax).rows == 2500
        mixed = radiograph(PatientName="yes", PatientSex="yes", PatientAge="yes")
        header = read_header(encoded(mixed), EXPLICIT)
        assert (header.patient_name, header.patient_sex, header.patient_age) == ("yes", "YES", "yes")
    for bad in ("StudyInstanceUID", "SeriesInstanceUID"):
        with pytest.raises(DicomError, match=bad):
            read_header(encoded(radiograph(**{bad: "1.2.x"})), EXPLICIT)


@given(st.binary(max_size=120), st.sampled_from(["", "ISO_IR 6", "ISO_IR 192", "\\ISO 2022 IR 87", "GBK", "?"]))
def test_any_text_is_decoded_without_control_characters(raw, charset):
    data = element(0x00080005, b"CS", charset.encode()) + encoded_identity() + element(0x00100010, b"PN", raw)
    name = read_header(data, EXPLICIT).patient_name
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name)


def encoded_identity(**changed: bytes) -> bytes:
    """The four identifying UIDs, with any of them replaced."""
    values = {"sop_class": CR.encode(), "sop": b"1.2.3.4", "study": b"1.2.3.1", "series": b"1.2.3.2"} | changed
    return (
        element(0x00080016, b"UI", values["sop_class"])
        + element(0x00080018, b"UI", values["sop"])
        + element(0x0020000D, b"UI", values["study"])
        + element(0x0020000E, b"UI", values["series"])
    )


@pytest.mark.parametrize(
    "uid", [b"", b"1..2", b"01.2", b"1.2.3.", b"1." + b"2" * 63, b"../x", b"abc", b"1.2\\1.3", b"\xff"]
)
def test_a_study_uid_that_is_none_is_named_and_not_quoted(uid):
    with pytest.raises(DicomError, match=r"StudyInstanceUID \(0020,000D\)") as caught:
        read_header(encoded_identity(study=uid), EXPLICIT)
    if len(uid) > 3:
        assert uid.decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("uid", [b"1.2.3.1\x00", b"1.2.3.1 ", b" 1.2.3.1"])
def test_padding_of_uids_is_removed(uid):
    assert read_header(encoded_identity(study=uid), EXPLICIT).study_instance_uid == "1.2.3.1"


def test_values_that_cannot_be_are_left_out():
    data = encoded_identity() + b"".join(
        (
            element(0x00080060, b"CS", b"dx \\CR"),
            element(0x00080020, b"DA", b"00000000"),
            element(0x00080030, b"TM", b"2460"),
            element(0x00201208, b"IS", b"1e400 "),
            element(0x00280010, b"UL", b"\x01\x00\x00\x00"),
            element(0x00100020, b"LO", b"x" * 10_000),
        )
    )
    header = read_header(data, EXPLICIT)
    assert header.modality == "DX"
    assert (header.study_date, header.study_time) == ("00000000", "2460")
    assert header.number_of_study_related_instances is None
    assert header.rows is None
    assert header.patient_id == "x" * 324


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x00\x16",
        encoded_identity()[:-3],
        encoded_identity() + struct.pack("<HH2sxxL", 0x0009, 0x1001, b"OB", 10**9),
        encoded_identity() + SEQUENCE + UNDEFINED + ITEM + UNDEFINED,
        encoded_identity() + SEQUENCE + UNDEFINED + element(0x00080018, b"UI", b"1.2"),
        encoded_identity() + struct.pack("<HH2sxxL", 0x7FE0, 0x0010, b"OW", 512) + bytes(100),
        element(0x00020010, b"UI", b"1.2.840.10008.1.2.4.50") + encoded_identity(),
        element(0x00000002, b"UI", b"1.2") + encoded_identity(),
        encoded_identity() + element(0x0020000E, b"UI", b"9.9.9.9"),
    ],
    ids=[
        "empty",
        "three bytes",
        "cut short",
        "length beyond the end",
        "item without an end",
        "sequence without a delimiter",
        "pixel data shorter than its length",
        "group 0002 inside",
        "command group inside",
        "series UID twice, differently",
    ],
)
def test_what_is_no_data_set_is_an_error_of_the_house(data):
    with pytest.raises(DicomError):
        read_header(data, EXPLICIT)


def test_the_wrong_encoding_is_noticed():
    with pytest.raises(DicomError, match="not in the negotiated"):
        read_header(encoded(radiograph(), IMPLICIT), EXPLICIT)
    with pytest.raises(DicomError):
        read_header(encoded(radiograph(), EXPLICIT), IMPLICIT)
    with pytest.raises(DicomError):
        read_header(encoded(radiograph(), EXPLICIT), BIG_ENDIAN)


def test_trailing_zeros_are_tolerated():
    assert read_header(encoded_identity() + bytes(5), EXPLICIT).sop_instance_uid == "1.2.3.4"


def test_a_thousand_nested_sequences_end_at_the_limit():
    deep = (SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * 1000 + (ITEM_END + SEQUENCE_END) * 1000
    with pytest.raises(DicomError, match="nested deeper"):
        read_header(encoded_identity() + deep, EXPLICIT)
    shallow = (SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * 20 + (ITEM_END + SEQUENCE_END) * 20
    assert read_header(encoded_identity() + shallow, EXPLICIT).sop_instance_uid == "1.2.3.4"


def test_a_flood_of_empty_items_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr(elements, "MAXIMUM_ELEMENTS", 20_000)
    flood = SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 30_000 + SEQUENCE_END
    with pytest.raises(DicomError, match="more than 20000"):
        read_header(encoded_identity() + flood, EXPLICIT)


def test_a_private_sequence_in_implicit_encoding_is_stepped_over():
    inner = struct.pack("<HHL", 0x0009, 0x1002, 4) + b"abcd"
    private = (
        struct.pack("<HH2sxx", 0x0009, 0x1001, b"UN") + UNDEFINED + ITEM + UNDEFINED + inner + ITEM_END + SEQUENCE_END
    )
    data = private + encoded_identity() + element(0x00280010, b"US", b"\x07\x00")
    assert read_header(data, EXPLICIT).rows == 7


@pytest.mark.parametrize("nested", [False, True])
def test_a_sequence_of_unknown_representation_is_implicit_even_where_its_lengths_look_like_letters(nested):
    """PS3.5 6.2.2 note 2; the length 0x4142 begins with the letters BA."""
    inner = struct.pack("<HHL", 0x0009, 0x1002, 0x4142) + bytes(0x4142)
    private = struct.pack("<HH2sxx", 0x0009, 0x1001, b"UN") + UNDEFINED + ITEM + UNDEFINED + inner
    private += ITEM_END + SEQUENCE_END
    if nested:
        private = SEQUENCE + UNDEFINED + ITEM + UNDEFINED + private + ITEM_END + SEQUENCE_END
    data = private + encoded_identity() + element(0x00280010, b"US", b"\x07\x00")
    assert read_header(data, EXPLICIT).rows == 7


def test_a_deflated_bomb_is_inflated_to_the_limit_only():
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflate.compress(encoded_identity() + struct.pack("<HH2sxxL", 0x7FE0, 0x0010, b"OW", 200_000_000))
    for _ in range(200):
        bomb += deflate.compress(bytes(1_000_000))
    bomb += deflate.flush()
    assert len(bomb) < 300_000
    tracemalloc.start()
    with pytest.raises(DicomError):  # Pixel Data reaches beyond what was inflated
        read_header(bomb, DEFLATED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * elements.INFLATE_LIMIT


def test_a_damaged_deflate_stream_is_an_error_of_the_house():
    with pytest.raises(DicomError, match="inflated"):
        read_header(b"\xff" * 100, DEFLATED)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_header_or_an_error_of_the_house(data):
    syntax = data.draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
    body = bytearray(encoded(radiograph(ReferencedImageSequence=Sequence([radiograph()])), syntax))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, min(600, len(body) - 1)))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(1, len(body))) :]
    started = time.thread_time()
    try:
        header = read_header(bytes(body), syntax)
    except DicomError as error:
        assert "ZZCANARY" not in str(error)
    else:
        assert header.study_instance_uid
    assert time.thread_time() - started < 5


def test_pixel_data_is_located():
    body = encoded(radiograph())
    pixels = walk(body, EXPLICIT, ()).pixels
    assert pixels is not None
    assert pixels.length == 512
    assert body[pixels.offset : pixels.offset + 512] == radiograph().PixelData
    assert walk(encoded_identity(), EXPLICIT, ()).pixels is None
