"""Own results are recognised when they come back, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_cases import heat_map, objects, positive, radiograph

from dicom_node.results import is_own_result
from dicom_node.results.files import write


def test_every_own_object_is_recognised(tmp_path: Path) -> None:
    for made in objects(radiograph()).values():
        write(made, tmp_path / "result.dcm")
        assert is_own_result(dcmread(tmp_path / "result.dcm", stop_before_pixels=True))


def test_a_source_is_not() -> None:
    assert not is_own_result(radiograph())
    assert not is_own_result(Dataset())


@pytest.mark.parametrize("keyword", ["SeriesDescription", "Manufacturer", "ManufacturerModelName"])
def test_one_trace_is_enough(keyword: str) -> None:
    source = radiograph()
    made = heat_map(source, positive(source))
    for other in ("SeriesDescription", "Manufacturer", "ManufacturerModelName", "ContributingEquipmentSequence"):
        if other != keyword:
            delattr(made, other)
    assert is_own_result(made)


def test_what_others_derive_from_ours_is_recognised() -> None:
    source = radiograph()
    made = heat_map(source, positive(source))
    made.SeriesDescription, made.Manufacturer, made.ManufacturerModelName = "Copy", "Other", "Other"
    assert is_own_result(made)


def test_garbage_is_not_ours_and_does_not_raise() -> None:
    torn = b"\x18\x00\x01\xa0SQ\x00\x00\x08\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08"
    header = dcmread(BytesIO(b"\x08\x00\x60\x00CS\x02\x00CR" + torn), force=True)
    assert not is_own_result(header)


def test_real_radiographs_are_not_ours(test_data: Path) -> None:
    paths = sorted((test_data / "radiograph").rglob("*.dcm"))
    assert paths
    for path in paths:
        assert not is_own_result(dcmread(path, force=True, stop_before_pixels=True)), path.name


def test_recognising_costs_no_code_tables() -> None:
    """The listener asks it for every object: highdicom's 100 MB stay out of processes that report nothing."""
    statement = "import sys, dicom_node.results; print('highdicom' in sys.modules, 'torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", statement], capture_output=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert run.stdout.split() == [b"False", b"False"]
