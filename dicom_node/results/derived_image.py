"""What an image of ours says of the image that it was made from."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from dicom_node.results.identity import SourceHeader

_UNPAIRED: Final = frozenset(
    """ABDOMEN ABDOMENPELVIS AORTA BACK BLADDER BRAIN CEREBELLUM CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS CIRCLEOFWILLIS
    COCCYX COLON CORONARYARTERY CSPINE CTSPINE DUODENUM ESOPHAGUS FACE GALLBLADDER HEAD HEADNECK HEART ILEUM ILIUM JAW
    JEJUNUM LARYNX LIVER LSPINE LSSPINE MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NOSE PANCREAS PELVIS PENIS PHARYNX
    PROSTATE RECTUM SCALP SKULL SPINE SPLEEN SSPINE STERNUM STOMACH THYMUS THYROID TLSPINE TONGUE TRACHEA TSPINE URETER
    URETHRA UTERUS VAGINA VULVA WHOLEBODY""".split()  # noqa: SIM905  sixty quoted words read worse
)
"""Body parts of PS3.16 Annex L without a side, as dciodvfy knows them."""


def put_body_part(target: Dataset, source: SourceHeader) -> None:
    """Body Part Examined (PS3.3 C.7.3.1)."""
    if source.text("BodyPartExamined"):
        source.copy("BodyPartExamined", target)


def put_laterality(target: Dataset, source: SourceHeader) -> None:
    """Laterality, unless the part is an unpaired one (2C). Segmentations have none."""
    if source.text("BodyPartExamined") in _UNPAIRED:
        return
    sides = (source.text("Laterality"), source.text("ImageLaterality"))
    target.Laterality = next((side for side in sides if side in {"L", "R"}), "")


def put_orientation(target: Dataset, source: SourceHeader) -> None:
    """Patient Orientation of the radiograph in what lies on it; empty (2C) when the source's is not a legal pair."""
    values = source.texts("PatientOrientation")
    legal = len(values) == 2 and all(value and set(value) <= set("ARLPHF") and len(value) <= 3 for value in values)
    target.PatientOrientation = list(values) if legal else ""


def put_lossy_history(target: Dataset, source: SourceHeader) -> None:
    """Lossy compression before ours (PS3.3 C.7.6.1.1.5)."""
    if source.text("LossyImageCompression") != "01":
        target.LossyImageCompression = "00"
        return
    target.LossyImageCompression = "01"
    source.copy("LossyImageCompressionRatio", target)
    source.copy("LossyImageCompressionMethod", target)
