"""What the report names as explanation: a segment, a frame, a whole object, or nothing; and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from odd_sources import axial
from result_cases import ALGORITHM, CREATED_AT, EFFUSION, NODE, PNEUMOTHORAX, box, finding

from dicom_node.results import build_parametric_map, build_segmentation, read_activation
from dicom_node.results.activations import shown_by
from dicom_node.results.files import write
from dicom_node.results.uids import ResultNames
from triage.findings import ImageResult

KEY = axial()[1]
FINDINGS = (
    finding(EFFUSION, 0.7, region=box(20, 20, 30, 30)),
    finding(PNEUMOTHORAX, 0.9, region=box(2, 2, 20, 20)),
)
IMAGE = ImageResult(sop_instance_uid=str(KEY.SOPInstanceUID), findings=FINDINGS)
MAPS = {one.key: np.full((int(KEY.Rows), int(KEY.Columns)), 0.5, np.float32) for one in FINDINGS}
ABOUT = (KEY, MAPS, IMAGE, ALGORITHM)
NAMED = {"node": NODE, "revision": 1, "created_at": CREATED_AT, "number": 1}
NAMES = ResultNames(study_instance_uid="1.2.3", algorithm=ALGORITHM, node=NODE, revision=1)


def tracking(number: int) -> str:
    return NAMES.tracking(IMAGE.sop_instance_uid, FINDINGS[number].key)


def test_each_finding_is_shown_by_its_segment_and_its_frame() -> None:
    made = [build_segmentation(*ABOUT, **NAMED), build_parametric_map(*ABOUT, **NAMED)]
    labels = [str(segment.TrackingUID) for segment in made[0].SegmentSequence]
    for number, one in enumerate(FINDINGS):
        segment, frame = shown_by(one, tracking(number), made)
        assert labels[segment.ReferencedSegmentNumber - 1] == tracking(number)
        mapping = made[1].PerFrameFunctionalGroupsSequence[frame.ReferencedFrameNumber - 1]
        (values,) = mapping.RealWorldValueMappingSequence
        assert one.code.meaning in values.LUTExplanation


def test_what_says_nothing_about_a_finding_does_not_show_it() -> None:
    made = build_segmentation(*ABOUT, **NAMED)
    assert list(shown_by(FINDINGS[0], "2.25.1", [made])) == []


@pytest.mark.parametrize("content", [None, b"", b"no DICOM at all", bytes(128) + b"DICM\x02\x00"])
def test_what_cannot_be_read_is_no_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "made.dcm"
    if content is not None:
        path.write_bytes(content)
    described = read_activation(path)
    assert described is None or "SegmentSequence" not in described


def test_what_was_stored_is_read_without_its_pixels(tmp_path: Path) -> None:
    write(build_segmentation(*ABOUT, **NAMED), tmp_path / "made.dcm")
    described = read_activation(tmp_path / "made.dcm")
    assert described is not None
    assert "PixelData" not in described
    assert len(described.SegmentSequence) == 2
