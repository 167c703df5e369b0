"""What a header says about an image, as far as it decides which model may read it. No patient identity."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydicom.dataset import Dataset

from models import vocabulary

_HUMAN = {"HUMAN", "HOMO SAPIENS", "HOMO SAPIENS HUMAN"}
_HUMAN_CODES = {"337915000", "L-85B00"}
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
OWN_MANUFACTURER = "firstread"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """One image's header, read tolerantly: what cannot be read counts as not said.

    Attributes
    ----------
    image_texts, study_texts : str
        Descriptions of this image's own acquisition, and of the whole study, each joined into one text.
    regions, views : frozenset of str
        What the coded attributes name, as keys of :mod:`models.vocabulary`.
    orientation : tuple of str
        Patient Orientation: direction of rows, of columns.
    age_years : float or None
        At the time of the study; None where it is not known.
    own_result : bool
        Made by this product: it must never be read again.
    bits_stored : int or None
    pixel_spacing : (float, float) or None
        Between rows and between columns, mm: in the patient where it is known, else on the detector.
    calling_ae_title : str
        Who sent it. No header says so: whoever received it adds it.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    modality: str = ""
    manufacturer: str = ""
    image_type: tuple[str, ...] = ()
    presentation_intent: str = ""
    image_texts: str = ""
    study_texts: str = ""
    regions: frozenset[str] = frozenset()
    views: frozenset[str] = frozenset()
    orientation: tuple[str, ...] = ()
    samples_per_pixel: int = 1
    photometric_interpretation: str = ""
    frames: int = 1
    rows: int | None = None
    columns: int | None = None
    age_years: float | None = None
    animal: bool = False
    own_result: bool = False
    burned_in_annotation: bool = False
    bits_stored: int | None = None
    pixel_spacing: tuple[float, float] | None = None
    calling_ae_title: str = ""
    sex: str = ""

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> ImageFacts:
        """Read the facts from a header; pixel data are not needed."""
        read = _Reader(dataset)
        image_texts = read.joined(
            "SeriesDescription",
            "ProtocolName",
            "AcquisitionDeviceProcessingDescription",
            "AcquisitionProtocolName",
            "DerivationDescription",
        )
        study_texts = read.joined(
            "StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription"
        )
        places = read.joined("InstitutionName", "InstitutionalDepartmentName")
        return cls(
            sop_class_uid=read.text("SOPClassUID"),
            sop_instance_uid=read.text("SOPInstanceUID"),
            modality=read.text("Modality").upper(),
            manufacturer=read.text("Manufacturer"),
            image_type=tuple(value.upper() for value in read.texts("ImageType")),
            presentation_intent=read.text("PresentationIntentType").upper(),
            image_texts=image_texts,
            study_texts=study_texts,
            regions=read.coded("AnatomicRegionSequence", vocabulary.REGION_CODES, vocabulary.REGIONS)
            | vocabulary.named(read.text("BodyPartExamined"), vocabulary.REGIONS),
            views=read.coded("ViewCodeSequence", vocabulary.VIEW_CODES, vocabulary.VIEWS)
            | vocabulary.named(read.text("ViewPosition"), vocabulary.VIEWS),
            orientation=tuple(value.upper() for value in read.texts("PatientOrientation")),
            samples_per_pixel=read.number("SamplesPerPixel") or 1,
            photometric_interpretation=read.text("PhotometricInterpretation").upper(),
            frames=read.number("NumberOfFrames") or 1,
            rows=read.number("Rows"),
            columns=read.number("Columns"),
            age_years=_age(read),
            animal=_animal(read, f"{image_texts} {study_texts} {places}"),
            own_result=_own(read),
            burned_in_annotation=read.text("BurnedInAnnotation").upper() == "YES",
            bits_stored=read.number("BitsStored"),
            pixel_spacing=read.spacing("PixelSpacing") or read.spacing("ImagerPixelSpacing"),
            sex=read.text("PatientSex").upper(),
        )


class _Reader:
    """Reads single values; an element that cannot be parsed reads as absent, never as an error."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def texts(self, keyword: str) -> tuple[str, ...]:
        value = self._value(keyword)
        if value is None:
            return ()
        many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return tuple(str(item).strip() for item in (value if many else (value,)))

    def text(self, keyword: str) -> str:
        return next(iter(self.texts(keyword)), "")

    def joined(self, *keywords: str) -> str:
        return " | ".join(text for keyword in keywords for text in self.texts(keyword) if text)

    def number(self, keyword: str) -> int | None:
        try:
            return int(self.text(keyword))
        except ValueError:
            return None

    def spacing(self, keyword: str) -> tuple[float, float] | None:
        """Two positive numbers, or None."""
        try:
            rows, columns = (float(text) for text in self.texts(keyword))
        except ValueError:
            return None
        return (rows, columns) if 0 < rows < math.inf and 0 < columns < math.inf else None

    def items(self, keyword: str) -> tuple[_Reader, ...]:
        value = self._value(keyword)
        if value is None or isinstance(value, str | bytes):
            return ()
        return tuple(_Reader(item) for item in value if isinstance(item, Dataset))

    def coded(self, keyword: str, codes: Any, words: Any) -> frozenset[str]:
        """What a code sequence names: by its codes where they are known, else by their meanings."""
        found: set[str] = set()
        for item in self.items(keyword):
            known = codes.get(item.text("CodeValue"))
            found |= {known} if known else vocabulary.named(item.text("CodeMeaning"), words)
        return frozenset(found)

    def _value(self, keyword: str) -> Any:
        try:
            return self._dataset.get(keyword)
        except Exception:  # noqa: BLE001 - pydicom parses an element when it is asked for, and may fail in any way
            return None


def _age(read: _Reader) -> float | None:
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", read.text("PatientAge").upper())
    if stated:
        return int(stated[1]) * _YEARS_PER_UNIT[stated[2]]
    born, seen = _day(read.text("PatientBirthDate")), _day(read.text("StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / 365.25


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == 8 else None
    except ValueError:
        return None


def _animal(read: _Reader, texts: str) -> bool:
    species = vocabulary.plain(read.text("PatientSpeciesDescription")).strip()
    codes = {item.text("CodeValue") for item in read.items("PatientSpeciesCodeSequence")}
    return bool(
        (species and species not in _HUMAN)
        or codes - _HUMAN_CODES
        or read.text("PatientBreedDescription")
        or read.items("PatientBreedCodeSequence")
        or read.text("ResponsiblePersonRole").upper() == "OWNER"
        or vocabulary.contains(vocabulary.plain(texts), vocabulary.ANIMAL_WORDS)
    )


def _own(read: _Reader) -> bool:
    makers = [read, *read.items("ContributingEquipmentSequence")]
    return any(maker.text("Manufacturer").casefold() == OWN_MANUFACTURER for maker in makers)
