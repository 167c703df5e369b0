"""Odd images through the whole node: each study ends with a report or with a reason, none with a failure."""

from __future__ import annotations

from collections.abc import Callable

import pydicom
import pytest
from node_under_test import Node
from odd_sources import ODD
from pydicom.dataset import Dataset
from test_analysis import late_view

from dicom_node.intake import IdentityMismatchError
from triage.identifiers import derive_uid
from triage.states import AnalysisStatus
from workers.analysis import analyse_due

REPORTED = (
    "nothing odd", "no StudyID", "no StudyDate", "empty PatientID", "no PatientSex", "empty PatientBirthDate",
    "no AccessionNumber", "Japanese name", "Korean name", "Chinese GB18030 name", "Greek name", "Cyrillic name",
    "UTF-8 name", "undeclared Latin 1", "other VRs than the dictionary's", "date that is none", "private elements",
)  # fmt: skip
LEFT_OUT = ("next to nothing", "everything empty", "multi-frame")

Draw = Callable[..., Dataset]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def in_a_study_of_its_own(source: Dataset, name: str) -> Dataset:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(source, keyword, derive_uid("odd", name, keyword))
    source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
    return source


def with_header_of(picture: Dataset, odd: Dataset) -> Dataset:
    """A radiograph that the bundles read, in the name of the odd image's patient and study, byte for byte."""

    def says_whose(tag: int) -> bool:
        return tag in _STUDY or tag >> 16 == 0x0010 or (tag >> 16) % 2 == 1

    for tag in [tag for tag in picture.keys() if says_whose(tag)]:  # noqa: SIM118  iterating would decode
        del picture[tag]
    for tag in [tag for tag in odd.keys() if says_whose(tag)]:  # noqa: SIM118
        picture[tag] = odd.get_item(tag)
    return picture


_STUDY = frozenset((0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00081030, 0x00200010))


def test_each_odd_image_is_reported_or_said_not_to_be(node: Node, phantom: Draw) -> None:
    picture = phantom(1, {"pneumothorax"})
    sources = {name: with_header_of(late_view(picture, "1"), ODD[name].make()) for name in REPORTED}
    sources |= {name: ODD[name].make() for name in LEFT_OUT}
    for name, source in sources.items():
        node.receive(in_a_study_of_its_own(source, name))
    analyse_due(node.bench)
    for name, source in sources.items():
        (analysis,) = node.study(source).analyses
        expected = AnalysisStatus.SUCCEEDED if name in REPORTED else AnalysisStatus.NOT_ANALYSED
        assert (name, analysis.status) == (name, expected), analysis.reason
        if name in LEFT_OUT:
            assert analysis.reason
            continue
        (row,) = (result for result in analysis.result_objects if result.kind == "SR")
        report = pydicom.dcmread(node.bench.settings.results / row.relative_path)
        assert str(report.PatientName) == str(source.get("PatientName", "")), name


def test_a_series_in_two_studies_is_one_studys_and_the_rest_is_kept_aside(node: Node, phantom: Draw) -> None:
    first = phantom(1, {"pneumothorax"})
    node.receive(first)
    with pytest.raises(IdentityMismatchError, match="another study"):
        node.receive(late_view(first, "2", StudyInstanceUID="1.2.30"))
    analyse_due(node.bench)
    (analysis,) = node.study(first).analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED
