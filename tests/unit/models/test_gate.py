"""The gate: what passes, what does not, in which words, and that it is the one that was written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_samples import make_dataset
from numpy.typing import NDArray

from models.gate import SHIPPED_GATE, Appearance, Gate, gate_view
from models.gate.view import CHANNELS, SIDE
from models.metadata import InputSpec, RoutingConditions
from models.phantom import generate, to_dataset
from models.preparation import Prepared, prepare
from models.registry import Registry
from models.routing import Refusal
from triage.errors import BundleError
from triage.findings import NotAnalysedReason

SPEC = InputSpec(height=64, width=64, mean=0.5, std=0.25)


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate.load()


@pytest.fixture(scope="module")
def chests() -> list[NDArray[np.float32]]:
    """Phantoms of a series that no training has drawn."""
    return [generate(90210, index, size=256).display() for index in range(8)]


def page() -> NDArray[np.float32]:
    sheet = np.full((400, 300), 255, np.uint8)
    for row in range(30, 400, 24):
        cv2.putText(sheet, "a page of a letter", (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 0, 2)
    return sheet.astype(np.float32) / 255


# --- what it sees ---


@given(rows=st.integers(9, 700), columns=st.integers(9, 700), aspect=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_view_has_one_shape_and_range_whatever_comes(rows: int, columns: int, aspect: float) -> None:
    picture = np.random.default_rng(rows).random((rows, columns), dtype=np.float32)
    view = gate_view(picture, pixel_aspect=aspect)
    assert (view.shape, view.dtype) == ((CHANNELS, SIDE, SIDE), np.float32)
    assert view.min() >= 0
    assert view.max() <= 1


def test_ranks_do_not_depend_on_exposure_and_keep_the_sense_of_the_grey_scale() -> None:
    picture = np.linspace(0.1, 0.9, 96 * 96, dtype=np.float32).reshape(96, 96)
    assert np.abs(gate_view(picture)[1] - gate_view(picture**2)[1]).max() < 0.02
    assert np.abs(gate_view(picture)[1] + gate_view(1 - picture)[1] - 1).max() < 0.02


def test_pixels_that_are_not_square_are_drawn_as_they_are() -> None:
    square = np.random.default_rng(1).random((96, 96), dtype=np.float32)
    flat = square[::2]  # pixels twice as high as wide
    filled = gate_view(flat, pixel_aspect=2.0)[0]
    assert np.corrcoef(filled.ravel(), gate_view(square)[0].ravel())[0, 1] > 0.4
    assert gate_view(flat)[0][0].max() == 0  # taken for square ones they would leave a border


# --- what it says ---


def test_chests_pass(gate: Gate, chests: list[NDArray[np.float32]]) -> None:
    assert [gate.refusal(chest) for chest in chests] == [None] * len(chests)


def test_inverted_and_turned_chests_are_named(gate: Gate, chests: list[NDArray[np.float32]]) -> None:
    for chest in chests:
        inverted = gate.refusal(1 - chest)
        assert inverted is not None
        assert inverted.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
        assert inverted.detail.startswith("greyscale looks inverted (gate 0.")
        for turns in (1, 2, 3):
            turned = gate.refusal(np.ascontiguousarray(np.rot90(chest, turns)))
            assert turned is not None
            assert turned.detail.startswith("looks rotated or upside down (gate 0.")


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(np.random.default_rng(3).random((300, 300), dtype=np.float32), id="noise"),
        pytest.param(page(), id="a page"),
        pytest.param(np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1)), id="a ramp"),
    ],
)
def test_what_is_no_radiograph_does_not_look_like_one(gate: Gate, picture: NDArray[np.float32]) -> None:
    assert gate.look(picture).frontal < 0.1
    refusal = gate.refusal(picture)
    assert refusal is not None
    assert "(gate 0.0" in refusal.detail


def test_probabilities_are_of_all_appearances_and_sum_to_one(gate: Gate, chests: list[NDArray[np.float32]]) -> None:
    look = gate.look(chests[0])
    assert set(look.probabilities) == set(Appearance)
    assert sum(look.probabilities.values()) == pytest.approx(1)


def test_in_doubt_it_refuses_and_names_nothing(gate: Gate, chests: list[NDArray[np.float32]]) -> None:
    strict = replace(gate, metadata=gate.metadata.model_copy(update={"accept": 0.9999}))
    refusal = strict.refusal(chests[0])
    assert refusal is not None
    assert refusal.detail.startswith("not clearly a frontal chest radiograph (gate 0.9")


# --- where it stands ---


def test_a_wrong_photometric_interpretation_is_caught(gate: Gate) -> None:
    dataset = to_dataset(generate(90210, 1, size=256), 90210, 1, taken_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert isinstance(prepare(dataset, SPEC, gate=gate), Prepared)
    swap = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1", "INVERSE": "IDENTITY", "IDENTITY": "INVERSE"}
    for keyword in ("PhotometricInterpretation", "PresentationLUTShape"):
        if keyword in dataset:
            setattr(dataset, keyword, swap[getattr(dataset, keyword)])
    refusal = prepare(dataset, SPEC, gate=gate)
    assert isinstance(refusal, Refusal)
    assert "greyscale looks inverted" in refusal.detail


def test_without_a_gate_an_image_is_read_as_before() -> None:
    noise = np.random.default_rng(4).integers(0, 4095, (300, 300)).astype(np.uint16)
    assert isinstance(prepare(make_dataset(noise, bits_stored=12), SPEC), Prepared)


@pytest.mark.parametrize(
    ("conditions", "asks"),
    [
        ({}, True),
        ({"gate": "none"}, False),
        ({"body_parts": ("HAND",)}, False),
        ({"body_parts": ("CHEST", "ABDOMEN")}, False),
        ({"views": ("PA", "AP", "LATERAL")}, False),
        ({"views": ("PA",)}, True),
        ({"modalities": ("CT",)}, False),
    ],
)
def test_only_bundles_of_frontal_chests_ask_the_gate(conditions: dict[str, Any], asks: bool) -> None:
    assert RoutingConditions(**conditions).asks_gate is asks


def test_the_shipped_radiograph_bundles_ask_it_and_the_head_ct_does_not() -> None:
    asks = {b.metadata.name: b.metadata.routing.asks_gate for b in Registry.load(check_files=False).available}
    assert asks == {"phantom-cxr": True, "nih-cxr-research": True, "phantom-head-ct": False}


# --- that it is the one that was written ---


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_GATE, tmp_path / "gate"))


@pytest.mark.parametrize("name", ["network.onnx", "weights.safetensors", "MODEL_CARD.md"])
def test_an_altered_or_missing_file_is_refused(copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(BundleError, match="does not have its checksum"):
        Gate.load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Gate.load(copy)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"lateral_chest"', '"something_else"', "other classes"),
        ('"accept": 0', '"accept": 7', "does not describe a gate"),
        ('"name"', '"nom"', "does not describe a gate"),
    ],
)
def test_metadata_that_say_something_else_are_refused(copy: Path, old: str, new: str, says: str) -> None:
    path = copy / "metadata.json"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(BundleError, match=says):
        Gate.load(copy)
