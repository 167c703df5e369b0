"""Label lists of the field in their order, and what each label is called in codes.

Codes are those of DICOM's context groups (pydicom's tables) where these have one, else SNOMED CT codes in wide
use. Where no single code exists a general one is told by its site: "Enlarged" at the mediastinum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from triage.findings import Code

NIH_14 = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
"""Order of CheXNet and its followers (Rajpurkar et al. 2017; Wang et al. 2017)."""
XRV_18 = (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion",
    "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture",
    "Lung Opacity", "Enlarged Cardiomediastinum",
)  # fmt: skip
"""Order of torchxrayvision (Cohen et al. 2022)."""
LISTS: Mapping[str, tuple[str, ...]] = {"nih-14": NIH_14, "xrv-18": XRV_18}
NO_FINDINGS = frozenset({"no_finding", "normal", "healthy"})
"""Labels, as keys, of classes that are no finding."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A label as a coded concept and where it lies."""

    code: Code
    site: Code | None = None


_LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
_PLEURA = Code(value="3120008", scheme="SCT", meaning="Pleural structure")
_HEART = Code(value="80891009", scheme="SCT", meaning="Heart")
_MEDIASTINUM = Code(value="72410000", scheme="SCT", meaning="Mediastinum")


def _sct(value: str, meaning: str, site: Code | None = None) -> Meaning:
    return Meaning(Code(value=value, scheme="SCT", meaning=meaning), site)


MEANINGS: Mapping[str, Meaning] = {
    "atelectasis": _sct("46621007", "Atelectasis", _LUNG),
    "cardiomegaly": _sct("8186001", "Cardiomegaly", _HEART),
    "consolidation": _sct("95436008", "Lung consolidation", _LUNG),
    "edema": _sct("19242006", "Pulmonary edema", _LUNG),
    "emphysema": _sct("87433001", "Pulmonary emphysema", _LUNG),
    "enlarged_cardiomediastinum": _sct("260376009", "Enlarged", _MEDIASTINUM),
    "fibrosis": _sct("51615001", "Pulmonary fibrosis", _LUNG),
    "fracture": _sct("125605004", "Fracture of bone"),
    "hernia": _sct("39839004", "Diaphragmatic hernia"),
    "infiltration": Meaning(Code(value="112121", scheme="DCM", meaning="Infiltrate"), _LUNG),
    "lung_lesion": _sct("52988006", "Lesion", _LUNG),
    "lung_opacity": Meaning(Code(value="112001", scheme="DCM", meaning="Opacity"), _LUNG),
    "mass": _sct("4147007", "Mass", _LUNG),
    "nodule": _sct("27925004", "Nodule", _LUNG),
    "pleural_effusion": _sct("60046008", "Pleural effusion", _PLEURA),
    "pleural_thickening": Meaning(Code(value="RID28509", scheme="RADLEX", meaning="Thickening"), _PLEURA),
    "pneumonia": _sct("233604007", "Pneumonia", _LUNG),
    "pneumothorax": _sct("36118008", "Pneumothorax", _PLEURA),
}
"""By finding key."""
_OTHER_WORDS = {"effusion": "pleural_effusion", "oedema": "edema", "infiltrate": "infiltration"}


def key_of(label: str) -> str:
    """The finding key of a label: "Pleural_Thickening" → "pleural_thickening", "Effusion" → "pleural_effusion"."""
    key = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    return _OTHER_WORDS.get(key, key)
