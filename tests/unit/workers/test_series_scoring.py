"""Reading a volume: portions, slabs, memory, compressed slices; the result does not depend on how it was cut up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless

from models.bundle import Bundle
from models.codecs import decode_here
from models.ct.aggregation import series_logits
from models.ct.slices import slab_input, slice_input
from models.inference import Predictor
from models.phantom import generate_head_ct, to_datasets
from models.registry import SHIPPED
from triage.errors import DicomError
from triage.findings import NotAnalysedReason
from workers import series_scoring
from workers.screening import Candidate
from workers.series_scoring import Reading, read_volume

HEAD = generate_head_ct(31, 1, size=96, kinds=("epidural",), slices=20)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(Bundle.load(SHIPPED / "phantom-head-ct"), "cpu", threads=1)


@pytest.fixture
def slices() -> list[Dataset]:
    return to_datasets(HEAD, 31, 1, taken_at=datetime(2026, 1, 1))  # noqa: DTZ001


def volume(slices: Sequence[Dataset], predictor: Predictor) -> list[Candidate]:
    return [
        Candidate(instance_id=n, sop_instance_uid=str(d.SOPInstanceUID), bundle=predictor.bundle, dataset=Dataset())
        for n, d in enumerate(slices)
    ]


def read(
    predictor: Predictor, slices: Sequence[Dataset], steps: list[int] | None = None
) -> Reading | tuple[object, ...]:
    counted = steps if steps is not None else []
    return read_volume(
        predictor, volume(slices, predictor), lambda c: slices[c.instance_id], decode_here, lambda: counted.append(1)
    )


@pytest.mark.parametrize("portion", [1, 7, 16, 64])
def test_portions_change_nothing(
    predictor: Predictor, slices: list[Dataset], portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, spec = predictor.bundle.metadata.series, predictor.bundle.metadata.input
    assert series is not None
    inputs = [slice_input(HEAD.hounsfield(n), series, spec)[0] for n in range(len(HEAD))]
    logits = predictor.predict(np.stack([slab_input(inputs, n, series) for n in range(len(HEAD))])).logits
    expected = predictor.calibrated(series_logits(logits, series.top)[None])[0, 0]
    monkeypatch.setattr(series_scoring, "PORTION", portion)
    steps: list[int] = []
    found = read(predictor, slices, steps)
    assert isinstance(found, Reading)
    (key,) = found.keys
    (finding,) = key.result.findings
    assert finding.score.value == pytest.approx(float(expected), abs=1e-5)
    assert key.result.place == f"slice {int(logits[:, 0].argmax()) + 1} of {len(HEAD)}"
    assert len(steps) == -(-len(HEAD) // portion)
    assert found.results[0].place == f"slice 1 of {len(HEAD)}"
    assert sum(len(result.findings) for result in found.results) == 1


def test_slabs_across_portions_are_those_of_the_whole(
    tmp_path: Path, predictor: Predictor, slices: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    metadata = predictor.bundle.metadata
    assert metadata.series is not None
    slab = metadata.series.model_copy(update={"slab": 3, "windows": metadata.series.windows[:1]})
    bundle = Bundle(predictor.bundle.directory, metadata.model_copy(update={"series": slab}))

    def recording(images: np.ndarray) -> object:
        seen.append(images)
        return predictor._run(images)

    monkeypatch.setattr(series_scoring, "PORTION", 6)
    read(Predictor(bundle, "cpu", predictor.class_weights, recording), slices)  # type: ignore[arg-type]
    inputs = [slice_input(HEAD.hounsfield(n), slab, metadata.input)[0] for n in range(len(HEAD))]
    whole = np.stack([slab_input(inputs, n, slab) for n in range(len(HEAD))])
    np.testing.assert_allclose(np.concatenate(seen), whole)


def test_no_more_slices_are_held_than_a_portion_needs(predictor: Predictor, slices: list[Dataset]) -> None:
    """Whatever a slice's object weighs: the one that is read replaces the one before."""
    alive: list[int] = []

    class Counted(Dataset):
        def __del__(self) -> None:
            alive.pop()

    most = 0

    def fresh(candidate: Candidate) -> Dataset:
        nonlocal most
        copy = Counted(slices[candidate.instance_id])
        copy.file_meta = slices[candidate.instance_id].file_meta
        alive.append(1)
        most = max(most, len(alive))
        return copy

    found = read_volume(predictor, volume(slices, predictor), fresh, decode_here, lambda: None)
    assert isinstance(found, Reading)
    assert most <= 2


def test_compressed_slices_give_the_same_findings(predictor: Predictor, slices: list[Dataset]) -> None:
    plain = read(predictor, slices)
    for dataset in slices:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    packed = read(predictor, slices)
    assert isinstance(plain, Reading)
    assert isinstance(packed, Reading)
    assert packed.results == plain.results


def test_one_slice_that_cannot_be_read_keeps_the_series_from_being_read(
    predictor: Predictor, slices: list[Dataset]
) -> None:
    def broken(candidate: Candidate) -> Dataset:
        if candidate.instance_id == 4:
            raise DicomError("damaged")
        return slices[candidate.instance_id]

    found = read_volume(predictor, volume(slices, predictor), broken, decode_here, lambda: None)
    assert not isinstance(found, Reading)
    assert found[4].reason is NotAnalysedReason.DECODE_ERROR
    assert {(n.reason, n.detail) for k, n in enumerate(found) if k != 4} == {
        (NotAnalysedReason.UNUSABLE_GEOMETRY, "slice 5 of the series cannot be read")
    }
