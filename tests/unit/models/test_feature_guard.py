"""The guard: distances that mean something, a limit that validation sets, a file that belongs to its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bundle_writer import write_again
from models.guard import ACCEPTANCE, AXES, FEWEST, GUARD, MARGIN, Guard
from models.inference import Predictor
from models.self_test import self_test_input, verify
from models.unpacking import unpack
from triage.errors import BundleError
from triage.findings import NotAnalysedReason


def features(count: int, seed: int, channels: int = 64) -> NDArray[np.float64]:
    """Features that vary much along a few directions and little along the others."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(7).standard_normal((5, channels))
    return 3 + rng.standard_normal((count, 5)) @ directions + 0.1 * rng.standard_normal((count, channels))


@pytest.fixture(scope="module")
def guard() -> Guard:
    fitted = Guard.fit(features(400, 1), features(200, 2))
    assert fitted is not None
    return fitted


def test_usual_features_lie_at_about_one_and_strange_ones_beyond_the_limit(guard: Guard) -> None:
    usual = guard.of_pooled(features(500, 3))
    assert np.median(usual) == pytest.approx(1, abs=0.25)
    assert (usual <= guard.limit).mean() >= ACCEPTANCE
    off_the_axes = features(1, 4) + 3 * np.random.default_rng(5).standard_normal(64)
    far_along_them = 3 + 8 * (features(1, 4) - 3)
    for strange in (off_the_axes, far_along_them):
        (distance,) = guard.of_pooled(strange)
        refusal = guard.refusal(float(distance))
        assert refusal is not None
        assert refusal.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
        assert refusal.detail.startswith("unlike the images it was trained on (distance ")


def test_the_limit_is_the_stated_share_of_validation_images_times_the_margin(guard: Guard) -> None:
    distances = guard.of_pooled(features(200, 2))
    assert guard.limit == pytest.approx(MARGIN * np.quantile(distances, ACCEPTANCE))
    assert guard.refusal(guard.limit) is None
    assert guard.refusal(np.nextafter(guard.limit, np.inf)) is not None


def test_maps_are_pooled_as_the_head_pools_them(guard: Guard) -> None:
    pooled = features(3, 6)
    maps = pooled[:, :, None, None] + np.array([[-1.0, 1.0], [2.0, -2.0]])
    assert guard.distances(maps.astype(np.float32)) == pytest.approx(guard.of_pooled(pooled), rel=1e-4)


def test_a_dead_feature_has_no_distance_and_breaks_nothing() -> None:
    train, validation = features(300, 1), features(100, 2)
    train[:, 10:] = validation[:, 10:] = 0
    fitted = Guard.fit(train, validation)
    assert fitted is not None
    assert fitted.sound


@pytest.mark.parametrize(("train", "validation"), [(FEWEST - 1, 50), (FEWEST, 0)])
def test_too_few_images_make_no_guard(train: int, validation: int) -> None:
    assert Guard.fit(features(train, 1), features(validation, 2)) is None


# --- in a bundle ---


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with a guard that was fitted to its features of dim pictures."""
    predictor = Predictor.load(tiny_bundle, "cpu", threads=1)
    spec = tiny_bundle.metadata.input
    images = np.random.default_rng(1).normal(0, 0.3, (FEWEST + 40, 1, spec.height, spec.width)).astype(np.float32)
    pooled = predictor.predict(images).features.mean(axis=(2, 3))
    fitted = Guard.fit(pooled[:FEWEST], pooled[FEWEST:])
    assert fitted is not None
    assert len(fitted.axes) == FEWEST // 4 <= AXES
    out = tmp_path_factory.mktemp("guarded") / tiny_bundle.metadata.name
    return write_again(tiny_bundle, out, {}, {GUARD: fitted.to_bytes()})


def test_a_bundle_without_a_guard_is_read_as_before(tiny_bundle: Bundle) -> None:
    predictor = Predictor.load(tiny_bundle, "cpu", threads=1)
    assert predictor.guard is None
    assert predictor.refusals(predictor.predict(self_test_input(tiny_bundle.metadata.input, 7))) == [None]


def test_a_bundle_with_a_guard_travels_and_refuses_what_is_unlike(guarded: Bundle, tmp_path: Path) -> None:
    unpack(guarded.directory, tmp_path)
    bundle = Bundle.load(tmp_path)
    verify(bundle)
    predictor = Predictor.load(bundle, "cpu", threads=1)
    spec = bundle.metadata.input
    usual = np.random.default_rng(2).normal(0, 0.3, (1, 1, spec.height, spec.width)).astype(np.float32)
    strange = 40 * self_test_input(spec, 7)
    near, far = predictor.refusals(predictor.predict(np.concatenate([usual, strange])))
    assert near is None
    assert far is not None


def test_a_guard_for_another_network_or_of_no_numbers_is_refused(guarded: Bundle, tmp_path: Path, guard: Guard) -> None:
    with pytest.raises(BundleError, match="is not a guard for the features of tiny-cxr"):
        write_again(guarded, tmp_path / "other", {}, {GUARD: guard.to_bytes()})
    own = Guard.of(guarded)
    assert own is not None
    broken = replace(own, mean=np.full_like(own.mean, np.nan))
    with pytest.raises(BundleError, match="is not a guard"):
        write_again(guarded, tmp_path / "broken", {}, {GUARD: broken.to_bytes()})
    with pytest.raises(BundleError, match="cannot be read as a guard"):
        write_again(guarded, tmp_path / "text", {}, {GUARD: b"no tensors"})


def test_the_same_guard_gives_the_same_bytes(guard: Guard) -> None:
    assert guard.to_bytes() == replace(guard).to_bytes()
