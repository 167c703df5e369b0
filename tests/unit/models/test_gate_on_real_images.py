"""The gate and the guards on real images that no training has seen: every frontal human chest in, all else out.

Two of the 312 NIH pictures are negatives of films and one is a sideways collimated infant: that the gate says so is
part of what is tested.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.decoding import decode, read
from models.gate import Appearance, Gate
from models.inference import Predictor
from models.preprocessing import display_from_png, display_image, network_input, pixel_aspect
from models.registry import Registry
from triage.errors import DicomError, PixelError

Picture = NDArray[np.float32]

CHESTS = ("RG1_J2KI", "CR-MONO1-10-chest", "udacity_test1", "udacity_test4_ribcage", "udacity_test5_ct")
NEGATIVES = {"00017999_000.jpg", "00017625_000.jpg"}
"""NIH pictures whose bones are black: looked at."""
INFANT = "00005618_000.jpg"
"""An infant on a film that is white but for a strip."""


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate.load()


def dicom_pictures(folder: Path) -> list[tuple[str, Picture, float]]:
    """What can be decoded as one grey image: name, picture, aspect of its pixels."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            continue
        try:
            dataset = read(path)
            pixels = decode(dataset)
            if pixels.ndim == 2:
                found.append((path.stem, display_image(dataset, pixels), pixel_aspect(dataset)))
        except (DicomError, PixelError):
            continue
    return found


def plain_pictures(folder: Path, names: list[str]) -> dict[str, Picture]:
    return {name: display_from_png(cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)) for name in names}


@pytest.fixture(scope="module")
def radiographs(test_data: Path) -> list[tuple[str, Picture, float]]:
    return dicom_pictures(test_data / "radiograph") + dicom_pictures(test_data / "radiograph" / "nih-derived")


@pytest.fixture(scope="module")
def nih(test_data: Path) -> dict[str, Picture]:
    """The test side of the NIH pictures."""
    with (test_data / "cxr-png" / "nih_labels.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["official_split"] == "test"]
    return plain_pictures(test_data / "cxr-png" / "nih-320", names)


@pytest.fixture(scope="module")
def covid(test_data: Path) -> dict[str, Picture]:
    folder = test_data / "cxr-png" / "covid-ccby"
    return plain_pictures(folder, sorted(path.name for path in folder.glob("*.jpg")))


def is_chest(name: str) -> bool:
    return name in CHESTS or "NoFinding" in name or name[:2].isdigit()


def test_of_the_radiographs_the_frontal_human_chests_pass_and_no_other(
    gate: Gate, radiographs: list[tuple[str, Picture, float]]
) -> None:
    assert len(radiographs) == 17
    passed = {name for name, picture, aspect in radiographs if gate.refusal(picture, pixel_aspect=aspect) is None}
    assert passed == {name for name, _, _ in radiographs if is_chest(name)}


def test_a_wrong_grey_scale_or_turn_of_a_real_chest_is_caught(
    gate: Gate, radiographs: list[tuple[str, Picture, float]], covid: dict[str, Picture]
) -> None:
    chests = [picture for name, picture, _ in radiographs if is_chest(name)] + list(covid.values())
    assert len(chests) == 41
    assert [gate.refusal(chest) for chest in chests] == [None] * 41
    for chest in chests:
        assert gate.refusal(1 - chest) is not None
        for turns in (1, 2, 3):
            assert gate.refusal(np.ascontiguousarray(np.rot90(chest, turns))) is not None


@pytest.mark.parametrize("folder", ["ct", "mr", "objects"])
def test_slices_and_other_pictures_do_not_pass(gate: Gate, test_data: Path, folder: str) -> None:
    pictures = dicom_pictures(test_data / folder)
    assert pictures
    for name, picture, aspect in pictures:
        assert gate.refusal(picture, pixel_aspect=aspect) is not None, name


def test_nih_pictures_pass_but_for_the_negatives_and_an_infant(gate: Gate, nih: dict[str, Picture]) -> None:
    looks = {name: gate.look(picture) for name, picture in nih.items()}
    kept_back = {name for name, look in looks.items() if look.frontal < gate.metadata.accept}
    assert kept_back == {*NEGATIVES, INFANT}
    assert {looks[name].likeliest_other for name in NEGATIVES} == {Appearance.INVERTED}
    for name in NEGATIVES:
        assert gate.refusal(1 - nih[name]) is None


def test_the_guard_of_the_nih_bundle_lets_other_hospitals_pass_and_keeps_turned_films_back(
    covid: dict[str, Picture],
) -> None:
    predictor = Predictor.load(Registry.load(check_files=False).get("nih-cxr-research"), "cpu", threads=1)
    spec = predictor.bundle.metadata.input
    images = [network_input(picture, spec)[0] for picture in covid.values()]
    assert predictor.refusals(predictor.predict(np.stack(images))) == [None] * len(covid)
    turned = [network_input(np.ascontiguousarray(np.rot90(picture)), spec)[0] for picture in covid.values()]
    kept_back = [refusal for refusal in predictor.refusals(predictor.predict(np.stack(turned))) if refusal is not None]
    assert len(kept_back) > len(covid) / 3
    assert all("unlike the images it was trained on" in refusal.detail for refusal in kept_back)
