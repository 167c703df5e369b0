"""Images as hospitals really send them: each is sound but for one thing. Made here, so that every user can test.

:data:`ODD` names them all; each is made anew when asked for, as ``dcmread`` returns it, pixels included. :func:`axial`
makes a series with geometry, :func:`split_over_two_studies` and :func:`of_two_patients` what a node must notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROWS, COLUMNS = 288, 256
"""Large enough for every bundle that ships (``min_side`` 256)."""

_CR, _DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"


@dataclass(frozen=True, slots=True)
class Raw:
    """An element as it stands in the file, whatever the dictionary says of its VR or form."""

    vr: str
    value: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class OddSource:
    """One odd image.

    Attributes
    ----------
    make : callable
        The image, decoded by nobody yet.
    refused : bool
        The listener refuses or quarantines it, for it cannot be named: no result may come of it.
    not_analysed : bool
        The gate leaves it out with a reason; what builds results must survive it all the same.
    verbatim : str
        Keyword of a text that is not legal and reaches the result as it is, for it says whose it is; "" for none.
    """

    make: Callable[[], Dataset]
    refused: bool = False
    not_analysed: bool = False
    verbatim: str = ""


def radiograph(**changes: object) -> Dataset:
    """A sound CR of a chest, with what ``changes`` says: a value, :class:`Raw`, or None for an absent element."""
    return _as_read(_radiograph(), changes)


def axial(count: int = 3, *, rows: int = 48, columns: int = 40, **changes: object) -> list[Dataset]:
    """A sound axial CT series with geometry, from the lowest slice up; ``changes`` as for :func:`radiograph`."""
    return [_as_read(_slice(number, rows, columns), dict(changes)) for number in range(count)]


def split_over_two_studies() -> list[Dataset]:
    """Two images of one series that say they are of different studies."""
    return [radiograph(), radiograph(SOPInstanceUID="1.2.3.4.6", StudyInstanceUID="1.2.30")]


def of_two_patients() -> list[Dataset]:
    """Two images of one study that are of different patients."""
    other = {"PatientName": "Roe^Richard", "PatientID": "P-2", "PatientBirthDate": "19611111"}
    return [radiograph(), radiograph(SOPInstanceUID="1.2.3.4.6", **other)]


_SPARSE: Final = (
    "StudyID", "StudyDate", "StudyTime", "PatientSex", "PatientBirthDate", "PatientID", "PatientName",
    "AccessionNumber", "ReferringPhysicianName", "Laterality", "ViewPosition", "BodyPartExamined", "Manufacturer",
    "SeriesNumber", "InstanceNumber", "PatientOrientation", "ImagerPixelSpacing", "SeriesDescription",
)  # fmt: skip

SCRIPTS: Final[Mapping[str, tuple[str | list[str], str]]] = {
    "Latin 1": ("ISO_IR 100", "Buc^Jérôme"),
    "Latin 2": ("ISO_IR 101", "Dvořák^Jiří"),
    "Turkish": ("ISO_IR 148", "Çavuşoğlu^İbrahim"),
    "Greek": ("ISO_IR 126", "Διονυσιος^Μάρκος"),
    "Cyrillic": ("ISO_IR 144", "Люксембург^Роза"),
    "Arabic": ("ISO_IR 127", "قباني^لنزار"),
    "Hebrew": ("ISO_IR 138", "שרון^דבורה"),
    "Thai": ("ISO_IR 166", "นาย^สมชาย"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Japanese katakana": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "Japanese supplementary": (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "Nerima^Goro=練馬^悟郎=ねりま^ごろう"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Chinese GB2312": (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东"),
    "Chinese GB18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "Chinese GBK": ("GBK", "Wang^XiaoDong=王^小东"),
    "UTF-8": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
}
"""Specific Character Set and Patient's Name of the source named "<script> name"."""

_ABSENT_ALTOGETHER: Final = dict.fromkeys(
    (*_SPARSE, "IssuerOfPatientID", "StudyDescription", "SpecificCharacterSet", "ManufacturerModelName"), None
)


def _catalogue() -> dict[str, OddSource]:
    odd: dict[str, OddSource] = {"nothing odd": OddSource(make=radiograph)}

    def add(
        name: str, *, refused: bool = False, not_analysed: bool = False, verbatim: str = "", **changes: object
    ) -> None:
        odd[name] = OddSource(
            make=lambda: radiograph(**changes), refused=refused, not_analysed=not_analysed, verbatim=verbatim
        )

    for keyword in _SPARSE:
        add(f"no {keyword}", **{keyword: None})
        add(f"empty {keyword}", **{keyword: ""})
    add("next to nothing", **_ABSENT_ALTOGETHER)
    add("everything empty", **dict.fromkeys(_ABSENT_ALTOGETHER, ""))
    for script, (terms, name) in SCRIPTS.items():
        add(f"{script} name", SpecificCharacterSet=terms, PatientName=_encoded(script, name), ReferringPhysicianName="")
    _add_undeclared(add)
    _add_wrong_forms(add)
    _add_unusual_images(add)
    odd["private elements"] = OddSource(make=_with_private_elements)
    odd["a character set of its own in a sequence"] = OddSource(make=_with_nested_character_set)
    odd["two orders"] = OddSource(make=_with_two_orders)
    return odd


def _encoded(script: str, name: str) -> object:
    """The name as pydicom writes it, but for GB 2312, whose escape sequences pydicom 3.0 leaves out."""
    if script != "Chinese GB2312":
        return name
    groups = (b"^".join(_designated(part) for part in group.split("^")) for group in name.split("="))
    return Raw("PN", b"=".join(groups))


def _designated(part: str) -> bytes:
    return part.encode() if part.isascii() else b"\x1b$)A" + part.encode("gb2312")


def _add_undeclared(add: Callable[..., None]) -> None:
    """Text that its character set does not cover, or of a set that nobody knows."""
    latin, utf = Raw("PN", "Müller^Jörg".encode("latin-1")), Raw("PN", "Müller^Jörg".encode())
    ascii_only = {"ReferringPhysicianName": "Roe", "PatientName": "Doe^Jane"}
    add(
        "undeclared Latin 1",
        verbatim="PatientName",
        SpecificCharacterSet=None,
        ReferringPhysicianName="Roe",
        PatientName=latin,
    )
    add("undeclared UTF-8", SpecificCharacterSet=None, ReferringPhysicianName="Roe", PatientName=utf)
    add("UTF-8 under the default repertoire", SpecificCharacterSet="", ReferringPhysicianName="Roe", PatientName=utf)
    add("misspelt character set", SpecificCharacterSet=Raw("CS", b"ISO-IR 100"), PatientName=latin)
    add("character set named as its encoding", SpecificCharacterSet=Raw("CS", b"UTF-8 "), PatientName=utf)
    add("character set that names ASCII", **ascii_only, SpecificCharacterSet=Raw("CS", b"ISO_IR 6"))
    add("unknown character set", **ascii_only, SpecificCharacterSet=Raw("CS", b"KLINGON "))


def _add_wrong_forms(add: Callable[..., None]) -> None:
    """Values that break the form of their VR, and elements of another VR than theirs."""
    add("sex of no term", PatientSex=Raw("CS", b"U"))
    add("sex in small letters", PatientSex=Raw("CS", b"m"))
    add("date in the old form", StudyDate=Raw("DA", b"2025.01.02"))
    add("date that is none", StudyDate=Raw("DA", b"31122025"), PatientBirthDate=Raw("DA", b"unknown "))
    add("time with colons", StudyTime=Raw("TM", b"07:08:09"))
    add("age without unit", PatientAge=Raw("AS", b"81"))
    add("time zone by name", TimezoneOffsetFromUTC=Raw("SH", b"CET "))
    add("weight in words", PatientWeight=Raw("DS", b"heavy "))
    add("long accession number", verbatim="AccessionNumber", AccessionNumber=Raw("SH", b"A-2026-000000000000012345"))
    add("long description", verbatim="StudyDescription", StudyDescription=Raw("LO", b"Thorax " * 20))
    add("body part in small letters", BodyPartExamined=Raw("CS", b"Chest pa"))
    add("orientation in words", PatientOrientation=Raw("CS", b"left\\foot "))
    add("orientation of one value", PatientOrientation=Raw("CS", b"L "))
    add("spacing of one value", ImagerPixelSpacing=Raw("DS", b"0.2 "))
    add("spacing that is none", ImagerPixelSpacing=Raw("DS", b"fine\\fine "))
    add("a hand", Laterality="L", BodyPartExamined="HAND")
    add("laterality of no term", Laterality=Raw("CS", b"LEFT"), BodyPartExamined="HAND")
    add(
        "other VRs than the dictionary's",
        StudyDate=Raw("LO", b"20260102"), PatientSex=Raw("LO", b"M "), AccessionNumber=Raw("UN", b"A-1 "),
        PatientID=Raw("UN", b"P-1 "), StudyDescription=Raw("UT", b"Thorax"), SeriesNumber=Raw("SS", b"\x07\x00"),
        Rows=Raw("UL", ROWS.to_bytes(4, "little")), ImagerPixelSpacing=Raw("LO", b"0.2\\0.2 "),
    )  # fmt: skip
    add("no word how it was de-identified", PatientIdentityRemoved="YES")
    add("a name as LO", PatientName=Raw("LO", b"Doe^Jane"))
    long = "1.2." + "9" * 60
    add("UIDs of 64 characters", StudyInstanceUID=long[:-1] + "1", SeriesInstanceUID=long[:-1] + "2",
        SOPInstanceUID=long[:-1] + "3", FrameOfReferenceUID=long[:-1] + "4")  # fmt: skip
    add("study UID with leading zeros", refused=True, StudyInstanceUID=Raw("UI", b"1.2.003.4\x00"))
    add("series UID with leading zeros", refused=True, SeriesInstanceUID=Raw("UI", b"1.2.003.5\x00"))
    add("SOP instance UID with leading zeros", refused=True, SOPInstanceUID=Raw("UI", b"1.2.003.6\x00"))


def _add_unusual_images(add: Callable[..., None]) -> None:
    add("MONOCHROME1", PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    add("a strip on end", not_analysed=True, Rows=2048, Columns=16)
    add("a strip that lies", not_analysed=True, Rows=16, Columns=2048)
    add("a VOI LUT of 12 bits", VOILUTSequence=[_table(12)])
    add("a window of no width", WindowCenter="40", WindowWidth="0")
    add("a shutter", ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge="10", ShutterRightVerticalEdge="240",
        ShutterUpperHorizontalEdge="12", ShutterLowerHorizontalEdge="280")  # fmt: skip
    add("lossy", LossyImageCompression="01", LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_15444_1")  # fmt: skip
    add("lossy, no word how", LossyImageCompression="01")
    add("lossy twice", LossyImageCompression="01", LossyImageCompressionRatio=["12.5", "3"],
        LossyImageCompressionMethod=["ISO_15444_1", "ISO_10918_1"])  # fmt: skip
    add("multi-frame", not_analysed=True, NumberOfFrames="3")
    add("says that text is burnt in", BurnedInAnnotation="YES")
    add("DX", SOPClassUID=_DX, Modality="DX", PresentationIntentType="FOR PRESENTATION", PixelSpacing=["0.2", "0.2"])
    add("oblong pixels", ImagerPixelSpacing=["0.2", "0.4"])
    add("oblong pixels by their ratio", ImagerPixelSpacing=None, PixelAspectRatio=["1", "2"])
    add("says it was made by nobody known", SOPClassUID="1.2.826.0.1.3680043.2.1.99", not_analysed=True)


def _table(bits: int) -> Dataset:
    """A look-up table for 12-bit pixels with entries of so many bits."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "OW", np.linspace(0, (1 << bits) - 1, 4096).astype("<u2").tobytes())
    return item


def _with_private_elements() -> Dataset:
    """With and without a creator, in a sequence, and of a length that hurts."""
    source = _radiograph()
    block = source.private_block(0x0019, "SOMEBODY^1.0", create=True)
    item = Dataset()
    item.PatientName = "Hidden^Name"
    block.add_new(0x10, "SQ", [item])
    block.add_new(0x11, "UN", bytes(65537))
    block.add_new(0x12, "LO", "Doe^Jane")
    source.add_new(0x00210099, "UN", b"no creator")
    return _as_read(source, {})


def _with_nested_character_set() -> Dataset:
    source = _radiograph()
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.PatientID, item.TypeOfPatientID, item.IssuerOfPatientID = "山田", "TEXT", "病院"
    source.OtherPatientIDsSequence = [item]
    return _as_read(source, {})


def _with_two_orders() -> Dataset:
    source = _radiograph()
    source.RequestAttributesSequence = [Dataset(), Dataset()]
    for number, item in enumerate(source.RequestAttributesSequence, start=1):
        item.RequestedProcedureID, item.ScheduledProcedureStepID = f"RP-{number}", f"SPS-{number}"
        item.AccessionNumber = f"A-{number}"
        item.RequestedProcedureDescription = "Thorax für Frau Weiß"
    return _as_read(source, {})


def _patient() -> Dataset:
    source = Dataset()
    source.SpecificCharacterSet = "ISO_IR 100"
    source.PatientName, source.PatientID, source.IssuerOfPatientID = "Müller^Jörg", "P-1", "HOSPITAL"
    source.PatientBirthDate, source.PatientSex = "19500102", "M"
    source.StudyInstanceUID, source.StudyID, source.AccessionNumber = "1.2.3", "S1", "A-1"
    source.StudyDate, source.StudyTime = "20261121", "070809"
    source.ReferringPhysicianName, source.StudyDescription = "Weiß^Anna", "Thorax"
    source.Manufacturer, source.ManufacturerModelName = "Scanner AG", "X1"
    source.SamplesPerPixel, source.PhotometricInterpretation = 1, "MONOCHROME2"
    source.BitsAllocated, source.BitsStored, source.HighBit, source.PixelRepresentation = 16, 12, 11, 0
    return source


def _radiograph() -> Dataset:
    source = _patient()
    source.SOPClassUID, source.SOPInstanceUID, source.SeriesInstanceUID = _CR, "1.2.3.4.5", "1.2.3.4"
    source.Modality, source.BodyPartExamined, source.ViewPosition, source.Laterality = "CR", "CHEST", "PA", ""
    source.SeriesDescription, source.SeriesNumber, source.InstanceNumber = "Thorax PA", "1", "1"
    source.ImageType = ["ORIGINAL", "PRIMARY"]
    source.PatientOrientation, source.ImagerPixelSpacing = ["L", "F"], ["0.2", "0.2"]
    source.Rows, source.Columns = ROWS, COLUMNS
    return source


def _slice(number: int, rows: int, columns: int) -> Dataset:
    source = _patient()
    source.SOPClassUID, source.SeriesInstanceUID = CTImageStorage, "1.2.3.7"
    source.SOPInstanceUID, source.InstanceNumber = f"1.2.3.7.{number + 1}", str(number + 1)
    source.Modality, source.BodyPartExamined = "CT", "HEAD"
    source.SeriesDescription, source.StudyDescription, source.SeriesNumber = "Head 5 mm", "CT head", "2"
    source.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    source.FrameOfReferenceUID, source.PositionReferenceIndicator = "1.2.3.70", ""
    source.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    source.ImagePositionPatient = ["-120", "-110", f"{30 + 5 * number}"]
    source.PixelSpacing, source.SliceThickness = ["0.5", "0.6"], "5"
    source.RescaleSlope, source.RescaleIntercept, source.RescaleType = "1", "-1024", "HU"
    source.Rows, source.Columns = rows, columns
    return source


def _as_read(source: Dataset, changes: Mapping[str, object]) -> Dataset:
    for keyword, value in changes.items():
        tag = BaseTag(tag_for_keyword(keyword))  # type: ignore[arg-type]
        if value is None:
            source.pop(tag, None)
        elif isinstance(value, Raw):
            source[tag] = RawDataElement(tag, value.vr, len(value.value), value.value, 0, False, True)
        else:
            setattr(source, keyword, value)
    _put_pixels(source)
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    source.save_as(buffer, enforce_file_format=False)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def _put_pixels(source: Dataset) -> None:
    """A slope over the whole image: enough to decode, to window and to tell left from right."""
    rows, columns = int(source.Rows), int(source.Columns)
    frames = int(source.get("NumberOfFrames") or 1)
    slope = np.linspace(0, 4095, rows * columns, dtype=np.uint16).reshape(rows, columns)
    source.add_new("PixelData", "OW", np.broadcast_to(slope, (frames, rows, columns)).tobytes())


ODD: Final[Mapping[str, OddSource]] = _catalogue()
