"""Coded concepts that result objects speak in, each with the table that defines it (PS3.16)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.results.wording import plain
from triage.findings import Code, Laterality, Urgency

IMAGING_PROCEDURE = Code(value="363679005", scheme="SCT", meaning="Imaging procedure")
"""CID 100. The exact procedure stands in the header; AIR wants the imaging procedure here, never the algorithm."""
IMAGING_MEASUREMENT_REPORT = Code(value="126000", scheme="DCM", meaning="Imaging Measurement Report")
QUALITATIVE_EVALUATIONS = Code(value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations")
"""TID 1500 row 12."""
COMMENT = Code(value="121106", scheme="DCM", meaning="Comment")
PRESENT = Code(value="121053", scheme="DCM", meaning="Present")
ABSENT = Code(value="121054", scheme="DCM", meaning="Absent")
DEVICE = Code(value="121007", scheme="DCM", meaning="Device")
PROBABILITY = Code(value="122157", scheme="DCM", meaning="Probability")
NO_UNITS = Code(value="1", scheme="UCUM", meaning="no units")
OUTLINE = Code(value="111041", scheme="DCM", meaning="Outline")
"""CID 219, geometric purpose of a contour."""
VISUAL_EXPLANATION = Code(value="130401", scheme="DCM", meaning="Visual explanation")
FINDING = Code(value="121071", scheme="DCM", meaning="Finding")
QUANTITY = Code(value="246205007", scheme="SCT", meaning="Quantity")
SEGMENTATION = Code(value="113076", scheme="DCM", meaning="Segmentation")
"""CID 7203, how an image was derived."""
MORPHOLOGICALLY_ABNORMAL = Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
"""CID 7150, category of what is segmented."""
OF_INTEREST = Code(value="113000", scheme="DCM", meaning="Of Interest")
"""CID 7010, title of a key object selection."""
KEY_OBJECT_DESCRIPTION = Code(value="113012", scheme="DCM", meaning="Key Object Description")
ARTIFICIAL_INTELLIGENCE = Code(value="123110", scheme="DCM", meaning="Artificial Intelligence")
"""CID 7162, algorithm family."""
ALGORITHM_PARAMETERS = Code(value="111002", scheme="DCM", meaning="Algorithm Parameters")
IMAGE_LIBRARY = Code(value="111028", scheme="DCM", meaning="Image Library")
IMAGE_LIBRARY_GROUP = Code(value="126200", scheme="DCM", meaning="Image Library Group")
SOURCE = Code(value="260753009", scheme="SCT", meaning="Source")
SOURCE_IMAGE_FOR_PROCESSING = Code(value="121322", scheme="DCM", meaning="Source image for image processing operation")
"""CID 7202."""
LATERALITY = Code(value="272741003", scheme="SCT", meaning="Laterality")
SIDES = {
    Laterality.RIGHT: Code(value="24028007", scheme="SCT", meaning="Right"),
    Laterality.LEFT: Code(value="7771000", scheme="SCT", meaning="Left"),
    Laterality.BILATERAL: Code(value="51440002", scheme="SCT", meaning="Bilateral"),
}
"""CID 244."""
PRIORITY = Code(value="260870009", scheme="SCT", meaning="Priority")
PRIORITIES = {
    Urgency.STAT: Code(value="25876001", scheme="SCT", meaning="Emergency"),
    Urgency.URGENT: Code(value="103391001", scheme="SCT", meaning="Urgent"),
    Urgency.ROUTINE: Code(value="373113001", scheme="SCT", meaning="Routine procedure"),
}
"""The values are of CID 3414 and CID 3671; that they answer "Priority" is ours: PS3.16 has no triage priority."""
PERSON = Code(value="121006", scheme="DCM", meaning="Person")
ASSESSMENT_CATEGORY = Code(value="111005", scheme="DCM", meaning="Assessment Category")
AGREEMENT = Code(value="122775", scheme="DCM", meaning="Agreement with prior findings")
DISAGREEMENT = Code(value="122776", scheme="DCM", meaning="Disagreement with prior findings")
"""CID 3217."""
INDETERMINATE = Code(value="82334004", scheme="SCT", meaning="Indeterminate")
SOURCE_REPORT = Code(value="128225", scheme="DCM", meaning="Source report")
"""CID 7013."""
ACQUISITION_EQUIPMENT = Code(value="109101", scheme="DCM", meaning="Acquisition Equipment")
PROCESSING_EQUIPMENT = Code(value="109102", scheme="DCM", meaning="Processing Equipment")


def code_item(code: Code) -> Dataset:
    """The concept as an item of a code sequence (PS3.3 Table 8.8-1); values of more than 16 characters go long."""
    item = Dataset()
    if len(code.value) > 16:
        item.LongCodeValue = plain(code.value)
    else:
        item.CodeValue = plain(code.value)
    item.CodingSchemeDesignator = plain(code.scheme, 16)
    item.CodeMeaning = plain(code.meaning, 64)
    return item
