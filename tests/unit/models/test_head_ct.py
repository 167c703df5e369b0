"""Head-CT phantoms: the same twice, legal DICOM, blood where the mask says, and read back as they were drawn."""

from __future__ import annotations

import csv
import subprocess
from datetime import datetime
from pathlib import Path
from shutil import which

import numpy as np
import pydicom
import pytest

from models.ct.geometry import Slice, Volume, check
from models.ct.slices import hounsfield, like_a_body
from models.decoding import decode
from models.metadata import PHANTOM_MANUFACTURER, SeriesSpec, WindowSpec
from models.phantom import generate_head_ct, to_datasets, write_head_cts
from models.phantom.head_bleeding import KINDS
from models.phantom.head_ct import HeadCt, draw_kinds

TAKEN_AT = datetime(2026, 3, 4, 9, 30)  # noqa: DTZ001 - wall clock of the imaginary department
SPEC = SeriesSpec(windows=(WindowSpec(centre=40, width=80),))


def head(index: int, *kinds: str, **more: object) -> HeadCt:
    return generate_head_ct(13, index, size=128, kinds=kinds, slices=24, **more)  # type: ignore[arg-type]


def test_the_same_arguments_draw_the_same_head_and_others_another() -> None:
    first, again, other = (generate_head_ct(13, n, size=64, slices=6) for n in (0, 0, 1))
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.pixels.shape == (6, 64, 64)
    assert first.pixels.tobytes() != other.pixels.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bleeding_is_visible_and_brighter_than_the_brain(kind: str) -> None:
    for index in range(3):
        drawn = generate_head_ct(13, index, size=96, kinds=(kind,))
        blood = drawn.blood()
        areas = blood.sum(axis=(1, 2)) * drawn.pitch**2
        assert areas.max() > 25
        key = int(areas.argmax())
        hu = drawn.hounsfield(key)
        brain = hu[(hu > 15) & (hu < 60) & ~blood[key]]
        assert np.median(hu[blood[key]]) > np.median(brain) + 8


def test_a_normal_head_has_no_blood_and_may_have_what_looks_like_it() -> None:
    assert not head(1).blood().any()
    assert any(generate_head_ct(13, n, size=64, kinds=(), slices=2).head.calcified for n in range(8))


def test_about_half_of_the_heads_are_normal_and_all_kinds_occur() -> None:
    drawn = [draw_kinds(1, index) for index in range(400)]
    assert 0.45 < sum(1 for kinds in drawn if not kinds) / 400 < 0.65
    assert set().union(*drawn) == set(KINDS)


def test_every_storage_is_read_back_as_the_same_hounsfield_units() -> None:
    storages = set()
    for index in range(10):
        drawn = generate_head_ct(14, index, size=64, slices=3, unseen=index > 7)
        storages.add(drawn.scanner.storage)
        for number, dataset in enumerate(to_datasets(drawn, 14, index, taken_at=TAKEN_AT)):
            np.testing.assert_array_equal(hounsfield(dataset, decode(dataset)), drawn.hounsfield(number))
    assert len(storages) >= 4
    assert {storage.signed for storage in storages} == {True, False}


def test_the_middle_of_a_head_looks_like_a_body() -> None:
    drawn = head(3)
    assert np.mean([like_a_body(drawn.hounsfield(number)) for number in range(len(drawn))]) > 0.8


@pytest.mark.parametrize("unseen", [False, True])
def test_a_series_is_one_volume_with_the_spacing_of_its_scanner(unseen: bool) -> None:
    tilts = set()
    for index in range(6):
        drawn = generate_head_ct(15, index, size=64, unseen=unseen, kinds=())
        datasets = to_datasets(drawn, 15, index, taken_at=TAKEN_AT)
        found = check((Slice.from_dataset(dataset) for dataset in reversed(datasets)), SPEC)
        assert isinstance(found, Volume)
        assert [s.sop_instance_uid for s in found.slices] == [d.SOPInstanceUID for d in datasets]
        assert found.spacing == pytest.approx(drawn.scanner.spacing * np.cos(drawn.scanner.tilt), abs=1e-3)
        tilts.add(bool(found.remarks))
    assert True in tilts


def test_no_patient_stands_behind_it_and_uids_belong_to_seed_and_index() -> None:
    datasets = [*to_datasets(head(1), 13, 1, taken_at=TAKEN_AT), *to_datasets(head(1), 13, 2, taken_at=TAKEN_AT)]
    assert {dataset.Manufacturer for dataset in datasets} == {PHANTOM_MANUFACTURER}
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 48
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 2
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 2


@pytest.mark.peer
def test_dciodvfy_finds_nothing(tmp_path: Path) -> None:
    if which("dciodvfy") is None:
        pytest.skip("dicom3tools is not installed")
    for index in range(8):
        path = tmp_path / f"{index}.dcm"
        drawn = generate_head_ct(16, index, size=64, slices=2, unseen=index > 5)
        to_datasets(drawn, 16, index, taken_at=TAKEN_AT)[1].save_as(path, enforce_file_format=True)
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told


def test_a_folder_of_heads_has_its_truth_beside_it(tmp_path: Path) -> None:
    table = write_head_cts(tmp_path, 3, 3, taken_at=TAKEN_AT, size=64, slices=12)
    studies = list(csv.DictReader(table.open(encoding="utf-8")))
    slices = list(csv.DictReader((tmp_path / "slices.csv").open(encoding="utf-8")))
    assert [row["folder"] for row in studies] == [f"head_3_{n:04d}" for n in range(3)]
    assert len(slices) == 36
    masks = {path.stem for path in (tmp_path / "masks").iterdir()}
    assert masks
    for row in slices:
        dataset = pydicom.dcmread(tmp_path / row["file"], stop_before_pixels=True)
        assert dataset.SOPInstanceUID == row["sop_instance_uid"]
        folder, name = row["file"].split("/")
        assert (f"{folder}_{name[6:9]}" in masks) == (row["intracranial_haemorrhage"] == "1")


@pytest.mark.parametrize(("size", "kinds"), [(32, ()), (2048, ()), (64, ("stroke",))])
def test_what_cannot_be_drawn_is_refused(size: int, kinds: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"size is|unknown kinds"):
        generate_head_ct(1, 1, size=size, kinds=kinds)
