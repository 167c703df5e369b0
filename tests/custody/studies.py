"""Two studies of two images each, every image in four contents, as small as a data set can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node_under_test import encoded
from peers.digests import data_set_digest
from pydicom.dataset import Dataset

DX: Final = "1.2.840.10008.5.1.4.1.1.1.1"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
STUDIES: Final = {"radiograph": ("a", "b"), "head": ("c", "d")}
"""A study of DX is complete with its association, one of CT when it has been quiet."""


@dataclass(frozen=True)
class Image:
    """One SOP instance in one content: as it goes over the wire."""

    name: str
    study: str
    study_uid: str
    sop_uid: str
    sop_class_uid: str
    data: bytes

    @property
    def digest(self) -> str:
        return data_set_digest(self.data)


def image(name: str, content: str) -> Image:
    """An image.

    Parameters
    ----------
    name : str
        "a" to "d".
    content : str
        "X"; "Y" has other pixels; "x" and "y" have the pixels of these under a corrected header.
    """
    study = next(study for study, names in STUDIES.items() if name in names)
    number = "abcd".index(name) + 1
    dataset = Dataset()
    dataset.SOPClassUID = DX if study == "radiograph" else CT
    dataset.Modality = "DX" if study == "radiograph" else "CT"
    dataset.StudyInstanceUID = f"1.2.3.{list(STUDIES).index(study) + 1}"
    dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID}.7"
    dataset.SOPInstanceUID = f"{dataset.StudyInstanceUID}.7.{number}"
    dataset.PatientID = f"P-{study}"
    dataset.PatientName = f"TEST^{study.upper()}"
    dataset.SeriesDescription = "first" if content.isupper() else "corrected"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 1, 2, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes([number, ord(content.upper())])
    return Image(
        name=name,
        study=study,
        study_uid=str(dataset.StudyInstanceUID),
        sop_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        data=encoded(dataset),
    )


IMAGES: Final = {(name, content): image(name, content) for name in "abcd" for content in "XYxy"}
