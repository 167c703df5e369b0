"""Whose result it is: patient and study of the source, in the source's own bytes.

A PACS files a result by these attributes, so each value is copied as encoded, with the Specific Character Set it was
encoded in; nothing is decoded and encoded again. Two things are at odds when a source value is illegal, and this is
what wins:

* text (names, identifiers, descriptions) and UIDs are never changed, not even when too long: they say whose it is.
  Text outside its character set, or of none declared, stays so too: a PACS that is set up to read it in the source
  reads it in the result, and a guess of ours would take that away. UTF-8 is no guess: no other text looks like it, and
  a source that forgot to declare it is read rightly in the result;
* values of a fixed form (codes, dates, times, ages, numbers) that break their form are respelled when their meaning is
  certain (``2025.01.02``), else left empty: a result that a strict archive refuses helps nobody.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicom_node.results.character_sets import UTF_8, legal_terms
from dicom_node.results.forms import respelled

REQUIRED: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
"""Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): empty where the source has none."""

COPIED: Final = (
    *REQUIRED,
    "StudyInstanceUID",
    # C.7.1.1 Patient
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthTime",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # C.7.1.3 and C.7.2.3 Clinical Trial Subject and Study
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    # C.7.2.1 General Study
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ConsultingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    # C.7.2.2 Patient Study
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientSexNeutered",
    "Occupation",
    "AdditionalPatientHistory",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    # C.12.1.1 SOP Common
    "TimezoneOffsetFromUTC",
)

_TEXT_VRS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
"""Encoded the same in every transfer syntax: characters have no byte order."""

_OPEN_TEXT_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""Whose characters are those of Specific Character Set (PS3.5 6.1.2.2)."""


@dataclass(frozen=True, slots=True)
class SourceHeader:
    """A received header, read without ever raising and copied from without decoding.

    Pass it as ``pydicom.dcmread`` returned it: an element that somebody has looked at is kept decoded by pydicom, and
    is then encoded again, which for ISO 2022 text need not give the same bytes.
    """

    dataset: Dataset

    def raw(self, keyword: str) -> bytes:
        """The value as encoded in Explicit VR Little Endian; b"" when absent or unreadable."""
        tag = tag_for_keyword(keyword)
        return b"" if tag is None or tag not in self.dataset else _encoded(self.dataset, tag)

    def text(self, keyword: str) -> str:
        """The value as stripped text of printable characters; "" when absent, empty or unreadable."""
        return self.raw(keyword).decode("latin-1").strip("\x00 ")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued element, stripped; empty when absent."""
        text = self.text(keyword)
        return tuple(value.strip() for value in text.split("\\")) if text else ()

    def items(self, keyword: str) -> Iterator[Dataset]:
        """The items of a sequence; none when absent or unreadable."""
        try:
            value = self.dataset[keyword].value if keyword in self.dataset else None
        except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError, OSError, EOFError):
            return
        if isinstance(value, Sequence):
            yield from value

    def copy(self, keyword: str, target: Dataset) -> bool:
        """Put the element on ``target``, byte for byte.

        Returns
        -------
        bool
            False when its form is illegal and it was respelled or left out, or when it is absent.
        """
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self.dataset:
            return False
        vr = dictionary_VR(tag)
        if len(vr) != 2:
            return False  # "US or SS" and the like depend on pixel attributes that a result does not have
        if vr == "SQ":
            copies = [_verbatim(item) for item in self.items(keyword)]
            target[tag] = DataElement(tag, vr, Sequence(item for item, _ in copies))
            return all(unchanged for _, unchanged in copies)
        value = self.raw(keyword)
        legal = respelled(keyword, vr, value)
        if legal is None:
            return False
        target[tag] = RawDataElement(BaseTag(tag), vr, len(legal), legal, 0, False, True)
        return legal == value

    def character_set(self) -> tuple[str, ...]:
        """Specific Character Set as the source has it, () for the default repertoire."""
        terms = self.texts("SpecificCharacterSet")
        return terms if any(terms) else ()


def put_identity(source: SourceHeader, target: Dataset) -> tuple[str, ...]:
    """Copy patient, study and character set; returns the keywords of what could not be copied as it was.

    Call it before any other element with text is put on ``target``.
    """
    declared = source.character_set()
    terms = (UTF_8,) if not declared and _forgot_utf_8(source) else declared
    adjusted = [] if _declare(terms, target) and terms == declared else ["SpecificCharacterSet"]
    for keyword in COPIED:
        if keyword in source.dataset and not source.copy(keyword, target):
            adjusted.append(keyword)
    for keyword in REQUIRED:
        if keyword not in target:
            setattr(target, keyword, "")
    if _must_say_how_removed(SourceHeader(target)):
        target.DeidentificationMethod = "Not stated by the source"  # 1C (PS3.3 C.7.1.1)
        adjusted.append("DeidentificationMethod")
    return tuple(adjusted)


def _forgot_utf_8(source: SourceHeader) -> bool:
    """Whether texts that identify are beyond ASCII and every one of them is UTF-8."""
    texts = [source.raw(keyword) for keyword in COPIED if dictionary_VR(keyword) in _OPEN_TEXT_VRS]
    beyond = [text for text in texts if not text.isascii()]
    return bool(beyond) and all(_is_utf_8(text) for text in beyond)


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _must_say_how_removed(written: SourceHeader) -> bool:
    said = written.text("DeidentificationMethod") or any(written.items("DeidentificationMethodCodeSequence"))
    return written.text("PatientIdentityRemoved") == "YES" and not said


def _declare(terms: tuple[str, ...], target: Dataset) -> bool:
    """Set Specific Character Set, and tell pydicom's writer that raw values are encoded in it already."""
    legal = legal_terms(terms)
    encodings: list[str] | None = None
    if legal:
        target.SpecificCharacterSet = list(legal) if len(legal) > 1 else legal[0]
        encodings = convert_encodings(list(legal))
    target.set_original_encoding(False, True, encodings)
    return legal == terms


def _verbatim(item: Dataset) -> tuple[Dataset, bool]:
    """A sequence item with all its standard elements, byte for byte, and whether all could be copied so."""
    source, copy = SourceHeader(item), Dataset()
    unchanged = _declare(source.character_set(), copy)
    for tag in item.keys():  # noqa: SIM118  iterating a Dataset would decode its elements
        keyword = keyword_for_tag(tag)
        if keyword and keyword != "SpecificCharacterSet":
            unchanged &= source.copy(keyword, copy)
    return copy, unchanged


def _encoded(dataset: Dataset, tag: int) -> bytes:
    """The value as encoded in Explicit VR Little Endian; b"" when pydicom cannot make sense of it."""
    try:
        element: DataElement | RawDataElement = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            as_it_is = element.is_little_endian or dictionary_VR(tag) in _TEXT_VRS
            if as_it_is and (element.value is not None or not element.length):
                return bytes(element.value or b"")
            element = dataset[tag]
        declared = dataset.get("SpecificCharacterSet")
        encodings = convert_encodings(declared) if declared else dataset.original_character_set
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, True
        write_data_element(buffer, element, list([encodings] if isinstance(encodings, str) else encodings))
    except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError, OSError, EOFError, struct.error):
        return b""
    return buffer.getvalue()[8:]
