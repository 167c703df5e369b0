"""Making a gate: the same pictures give the same gate, patients stay on one side, and what is written is whole."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.gate import SHIPPED_GATE, Appearance, Gate
from models.gate.metadata import CARD, EVALUATION, WEIGHTS, GateMetadata
from models.phantom import generate
from models.training.errors import TrainingDataError
from models.training.gate import bodies, chests, pictures
from models.training.gate.drawing import SIDE
from models.training.gate.network import GateNetwork, parameters
from models.training.gate.plan import GatePlan
from models.training.gate.run import train_gate
from models.training.gate.samples import Sources, draw_phantoms, make, sheet
from models.training.gate.table import UPSIDE_DOWN, read_chests
from models.training.gate.writing import render
from triage.errors import BundleError

HEADER = "file,patient,official_split\n"
TINY = GatePlan(samples=96, validation=32, phantoms=4, epochs=1, batch=32, variations=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, one for each side, and their table."""
    folder = tmp_path_factory.mktemp("chests")
    rows = []
    for index, side in enumerate(("train", "val", "test")):
        display = generate(5, index, size=160).display()
        cv2.imwrite(str(folder / f"{index}.png"), np.round(display * 255).astype(np.uint8))
        rows.append(f"{index}.png,p{index},{side}\n")
    (folder / "table.csv").write_text(HEADER + "".join(rows))
    return folder


def train(folder: Path, out: Path) -> Gate:
    said: list[str] = []
    made = train_gate(folder, folder / "table.csv", out, TINY, date="2026-01-01", report=said.append)
    assert any(line.startswith("epoch 1 of 1") for line in said)
    return Gate.load(made)


def test_the_same_pictures_and_seed_give_the_same_gate(folder: Path, tmp_path: Path) -> None:
    one, two = train(folder, tmp_path / "one"), train(folder, tmp_path / "two")
    assert one.metadata == two.metadata
    assert one.metadata.files[WEIGHTS] == two.metadata.files[WEIGHTS]
    assert TINY.lowest_accept <= one.metadata.accept <= TINY.highest_accept


def test_what_is_no_gate_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="is not a gate"):
        train(folder, tmp_path / "letters")
    assert (tmp_path / "letters" / "mine.txt").read_text() == "mine"


def test_the_committed_card_is_the_generated_one() -> None:
    metadata = Gate.load().metadata
    evaluation = json.loads((SHIPPED_GATE / EVALUATION).read_bytes())
    card = render(metadata, evaluation, parameters(GateNetwork(len(Appearance))))
    assert (SHIPPED_GATE / CARD).read_text(encoding="utf-8") == card
    assert evaluation["accept"] == metadata.accept
    assert isinstance(metadata, GateMetadata)


# --- samples ---


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(real=draw_phantoms(1, 2), phantoms=draw_phantoms(2, 2), heads=[np.zeros((SIDE, SIDE), np.float32)])


def test_samples_are_the_same_again_and_of_every_class(sources: Sources) -> None:
    one, two = make(sources, 120, 9), make(sources, 120, 9)
    assert np.array_equal(one.views, two.views)
    assert np.array_equal(one.classes, two.classes)
    assert not np.array_equal(one.views, make(sources, 120, 10).views)
    counts = Counter(one.classes.tolist())
    assert set(counts) == set(range(len(Appearance)))
    assert counts[0] == max(counts.values())  # frontal chests


@pytest.mark.parametrize("draw", [*dict.fromkeys(bodies.OTHERS), bodies.lateral_chest, *pictures.PICTURES])
def test_every_drawing_is_a_picture(draw: bodies.Callable) -> None:  # type: ignore[type-arg]
    for seed in range(3):
        picture = draw(np.random.default_rng(seed))
        assert picture.shape == (SIDE, SIDE)
        assert np.isfinite(picture).all()
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize(
    "change", [*dict.fromkeys(chests.SPOILT), chests.varied, chests.inverted, chests.turned, chests.half]
)
def test_every_change_of_a_chest_is_a_picture(change: bodies.Callable, sources: Sources) -> None:  # type: ignore[type-arg]
    for seed in range(3):
        picture = change(sources.real[0], np.random.default_rng(seed))
        assert picture.shape == (SIDE, SIDE)
        assert np.isfinite(picture).all()
        assert picture.min() >= -0.01
        assert picture.max() <= 1.01


def test_a_picture_of_any_shape_lies_whole_on_its_sheet() -> None:
    tall = sheet(np.ones((400, 100), np.float32))
    assert tall.shape == (SIDE, SIDE)
    assert tall.sum() == pytest.approx(SIDE * SIDE / 4)


# --- the table of real chests ---


def test_a_patient_on_two_sides_is_refused(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"{HEADER}0.png,p,train\n1.png,p,test\n2.png,q,val\n")
    with pytest.raises(TrainingDataError, match="two sides"):
        read_chests(folder, table, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,person\n1,2\n", "needs the columns"),
        (f"{HEADER}gone.png,p,train\n", "missing or cannot be read"),
        (f"{HEADER}0.png,p,train\n1.png,q,val\n", "no image for test"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(folder: Path, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=says):
        read_chests(folder, tmp_path / "table.csv", 1)


def test_without_an_official_split_the_patient_decides(folder: Path, tmp_path: Path) -> None:
    rows = "".join(f"{n % 3}.png,p{n}\n" for n in range(60))
    (tmp_path / "table.csv").write_text("file,patient\n" + rows)
    sides = read_chests(folder, tmp_path / "table.csv", 1)
    assert sum(map(len, sides.values())) == 60
    assert len(sides["train"]) > len(sides["test"]) > len(sides["validation"]) > 0


def test_what_lies_upside_down_is_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(
        f"{HEADER}0.png,p,train\n1.png,q,val\n2.png,r,test\n{min(UPSIDE_DOWN)}.png,s,train\n"
    )
    assert len(read_chests(folder, tmp_path / "table.csv", 1)["train"]) == 1
