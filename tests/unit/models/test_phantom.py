"""Synthetic radiographs: reproducible, true to their own masks, valid DICOM."""

from __future__ import annotations

import csv
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from shutil import which

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.pixels.processing import apply_presentation_lut, apply_voi_lut
from pydicom.uid import UID

from models.phantom import FINDINGS, generate, to_dataset, write_dicom, write_phantoms
from models.phantom.anatomy import draw_patient
from models.phantom.exposure import draw_scanner
from models.preprocessing import display_image

TAKEN_AT = datetime(2026, 3, 4, 9, 30)  # noqa: DTZ001 - DICOM times have no zone


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), index=st.integers(0, 5000), size=st.integers(128, 300))
def test_a_phantom_is_a_radiograph_and_its_truth(seed: int, index: int, size: int) -> None:
    phantom = generate(seed, index, size=size)
    assert max(phantom.pixels.shape) == size
    assert phantom.pixels.dtype == np.uint16
    assert int(phantom.pixels.max()) < 2**phantom.scanner.bits_stored
    assert set(phantom.masks) == phantom.present <= set(FINDINGS)
    for mask in phantom.masks.values():
        assert mask.shape == phantom.pixels.shape
        assert mask.dtype == np.bool_
        assert mask.any()
    shown = phantom.display()
    assert shown.dtype == np.float32
    assert 0 <= shown.min() < 0.2
    assert 0.8 < shown.max() <= 1


def test_the_same_arguments_give_the_same_pixels_and_others_give_others() -> None:
    first, again, other = generate(5, 1, size=200), generate(5, 1, size=200), generate(5, 2, size=200)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.pixels.shape != other.pixels.shape or not np.array_equal(first.pixels, other.pixels)


def test_findings_can_be_asked_for_and_leave_the_patient_the_same() -> None:
    normal = generate(9, 4, size=256, findings=())
    ill = generate(9, 4, size=256, findings=("nodule_mass",))
    assert normal.present == frozenset()
    assert ill.present == {"nodule_mass"}
    assert ill.anatomy == normal.anatomy
    outside = ~cv2.dilate(ill.masks["nodule_mass"].astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)
    change = np.abs(ill.display() - normal.display())
    assert change[outside].mean() < 0.01 < change[ill.masks["nodule_mass"]].mean()


def test_the_scanner_that_no_training_saw_takes_the_same_patient_otherwise() -> None:
    for index in range(6):
        seen, unseen = (generate(17, index, size=200, unseen=other) for other in (False, True))
        assert (unseen.anatomy, unseen.present) == (seen.anatomy, seen.present)
        assert {key: mask.sum() for key, mask in unseen.masks.items()} == {k: m.sum() for k, m in seen.masks.items()}
        assert 0.02 < np.abs(unseen.display() - seen.display()).mean() < 0.3
        ours, theirs = (to_dataset(one, 17, index, taken_at=TAKEN_AT) for one in (seen, unseen))
        assert ours.PatientID == theirs.PatientID
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "ManufacturerModelName"):
            assert ours[keyword].value != theirs[keyword].value
        assert np.abs(display_image(theirs, unseen.pixels) - unseen.display()).max() < 1e-4


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.booleans())
def test_no_training_scanner_reaches_the_figures_of_the_unseen_one(seed: int, anteroposterior: bool) -> None:
    seen, unseen = (
        draw_scanner(np.random.default_rng(seed), anteroposterior=anteroposterior, unseen=other)
        for other in (False, True)
    )
    assert (seen.film, seen.unseen, unseen.unseen) == (0.0, False, True)
    assert unseen.bits_stored > 14 >= seen.bits_stored
    assert unseen.gamma > 1.25 >= seen.gamma
    assert unseen.noise > 0.008 >= seen.noise
    assert unseen.blur > 0.40 >= seen.blur
    assert unseen.scatter > 0.9 >= seen.scatter
    assert unseen.equalisation > 0.5 >= seen.equalisation
    assert unseen.enhancement > 1.3 >= seen.enhancement
    assert (unseen.modality, unseen.photometric, unseen.marker) == (seen.modality, seen.photometric, seen.marker)


def test_drawing_the_unseen_scanner_leaves_what_comes_after_it_as_it_was() -> None:
    states = []
    for unseen in (False, True):
        rng = np.random.default_rng(4)
        draw_scanner(rng, anteroposterior=True, unseen=unseen)
        states.append(rng.random())
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("finding", "brighter"),
    [("pleural_effusion", True), ("consolidation", True), ("nodule_mass", True), ("pneumothorax", False)],
)
def test_a_finding_changes_the_picture_where_its_mask_lies(finding: str, brighter: bool) -> None:
    differences = []
    for index in range(8):
        ill, normal = (generate(3, index, size=256, findings=f) for f in ((finding,), ()))
        differences.append(float((ill.display() - normal.display())[ill.masks[finding]].mean()))
    assert all(d > 0 for d in differences) if brighter else np.mean(differences) < 0


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.booleans())
def test_an_enlarged_heart_is_wider_than_half_the_thorax(seed: int, enlarged: bool) -> None:
    anatomy = draw_patient(np.random.default_rng(seed), enlarged_heart=enlarged)
    drawn = np.ptp(anatomy.heart()[:, 0]) / (2 * anatomy.width)
    assert drawn == pytest.approx(anatomy.cardiothoracic_ratio, abs=0.02)
    assert (drawn > 0.5) == enlarged


def test_scanners_differ() -> None:
    scanners = [generate(11, index, size=128).scanner for index in range(60)]
    assert {s.photometric for s in scanners} == {"MONOCHROME1", "MONOCHROME2"}
    assert {s.bits_stored for s in scanners} == {10, 12, 14}
    assert {s.modality for s in scanners} == {"DX", "CR"}
    assert any(s.voi_lut is not None for s in scanners)
    assert any(s.window is not None for s in scanners)


def test_about_45_of_100_are_normal() -> None:
    normal = sum(not generate(13, index, size=128).present for index in range(150))
    assert 48 <= normal <= 87  # 45 % of 150, three standard deviations either way


@pytest.mark.parametrize("size", [127, 4097])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="128 to 4096"):
        generate(1, 1, size=size)


def test_unknown_findings_are_refused() -> None:
    with pytest.raises(ValueError, match="fracture"):
        generate(1, 1, size=128, findings=("fracture",))


@pytest.mark.parametrize("index", range(8))
def test_its_dicom_shows_the_same_picture_in_any_viewer(index: int) -> None:
    phantom = generate(21, index, size=256)
    dataset = to_dataset(phantom, 21, index, taken_at=TAKEN_AT)
    ours = display_image(dataset, phantom.pixels)
    assert np.abs(ours - phantom.display()).max() < 1e-4
    reference = apply_voi_lut(dataset.pixel_array, dataset)
    top = 4095 if "VOILUTSequence" in dataset else 2**dataset.BitsStored - 1
    if "PresentationLUTShape" in dataset:
        reference = apply_presentation_lut(reference, dataset)
    if phantom.scanner.photometric == "MONOCHROME1":
        reference = reference if "PresentationLUTShape" in dataset else top - reference
    inside = ours[(ours > 0.02) & (ours < 0.98)], (reference / top)[(ours > 0.02) & (ours < 0.98)]
    assert np.corrcoef(*inside)[0, 1] > 0.999


def test_the_patient_is_plainly_invented() -> None:
    dataset = to_dataset(generate(21, 7, size=128), 21, 7, taken_at=TAKEN_AT)
    assert dataset.PatientName == "Phantom^Case0007"
    assert dataset.PatientID == "PHANTOM-21-0007"
    assert dataset.Manufacturer == "firstread phantom"
    assert dataset.BodyPartExamined == "CHEST"
    assert dataset.ViewPosition in {"PA", "AP"}
    assert (dataset.StudyDate, dataset.StudyTime) == ("20260304", "093000")


def test_uids_are_valid_and_belong_to_seed_and_index() -> None:
    def uids(seed: int, index: int) -> set[str]:
        dataset = to_dataset(generate(1, 0, size=128), seed, index, taken_at=TAKEN_AT)
        return {dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID}

    assert uids(1, 0) == uids(1, 0)
    everything = uids(1, 0) | uids(1, 1) | uids(2, 0)
    assert len(everything) == 9
    assert all(UID(uid).is_valid for uid in everything)


@pytest.mark.peer
def test_dciodvfy_finds_nothing(tmp_path: Path) -> None:
    if which("dciodvfy") is None:
        pytest.skip("dicom3tools is not installed")
    classes = set()
    for index in range(12):
        path = tmp_path / f"{index}.dcm"
        dataset = write_dicom(generate(31, index, size=160), path, 31, index, taken_at=TAKEN_AT)
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told
        classes.add((dataset.SOPClassUID, dataset.PhotometricInterpretation, "VOILUTSequence" in dataset))
    assert len(classes) >= 4


def test_a_folder_of_phantoms_has_its_truth_beside_it(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    table = write_phantoms(
        tmp_path / "out", 6, 17, taken_at=TAKEN_AT, size=160, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(n, 6) for n in range(1, 7)]
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    masks = set()
    for row in rows:
        dataset = dcmread(tmp_path / "out" / row["file"])
        assert dataset.SOPInstanceUID == row["sop_instance_uid"]
        for key in FINDINGS:
            path = tmp_path / "out" / "masks" / f"{Path(row['file']).stem}_{key}.png"
            assert path.is_file() == (row[key] == "1")
            if row[key] == "1":
                mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                assert mask.shape == (dataset.Rows, dataset.Columns)
                masks |= set(np.unique(mask))
    assert masks == {0, 255}


def test_phantoms_need_no_torch() -> None:
    code = "import sys, models.phantom; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
