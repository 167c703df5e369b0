"""The picture: colour only where the network looked, nothing over the anatomy, words that fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from result_cases import ALGORITHM, EFFUSION, PNEUMOTHORAX, box, finding

from dicom_node.results import compose_heat_map
from dicom_node.results.picture import opacity, palette
from triage.errors import ResultError
from triage.findings import Code, ImageResult

Rgb = npt.NDArray[np.uint8]
WIDTH = 1024 - round(1024 * 0.32)
"""Columns of the image part of a picture of 1024."""


def image(*findings: object) -> ImageResult:
    return ImageResult(sop_instance_uid="1.2.3", findings=findings)  # type: ignore[arg-type]


def ramp(rows: int = 800, columns: int = 700) -> npt.NDArray[np.float32]:
    return np.tile(np.linspace(0, 1, columns, dtype=np.float32), (rows, 1))


def peak() -> npt.NDArray[np.float32]:
    """Activation in the upper left quarter only."""
    activation = np.zeros((8, 8), np.float32)
    activation[1:3, 1:3] = 1.0
    return activation


def coloured(picture: Rgb) -> npt.NDArray[np.bool_]:
    """Which pixels of the image part have a hue."""
    part = picture[:, :WIDTH].astype(int)
    return part.max(axis=2) - part.min(axis=2) > 8


LOW = image(finding(PNEUMOTHORAX, 0.1), finding(EFFUSION, 0.2))
HIGH = image(finding(PNEUMOTHORAX, 0.9, region=box(70, 70, 300, 300)), finding(EFFUSION, 0.2))


def test_a_negative_image_has_no_colour() -> None:
    picture = compose_heat_map(ramp(), peak(), LOW, ALGORITHM, marked=None)
    assert not coloured(picture).any()
    negative_marked = compose_heat_map(ramp(), peak(), LOW, ALGORITHM, marked=LOW.findings[0])
    np.testing.assert_array_equal(negative_marked, picture)


def test_colour_lies_where_the_activation_is_and_nowhere_else() -> None:
    marked = replace(HIGH.findings[0], region=None)
    picture = compose_heat_map(ramp(), peak(), image(marked), ALGORITHM, marked=marked)
    where = np.argwhere(coloured(picture))
    rows = picture.shape[0]
    assert len(where) > 1000
    assert where[:, 0].max() < rows / 2
    assert where[:, 1].max() < WIDTH / 2
    plain = compose_heat_map(ramp(), None, image(marked), ALGORITHM, marked=None)
    np.testing.assert_array_equal(picture[rows // 2 :, :WIDTH], plain[rows // 2 :, :WIDTH])


def test_anatomy_stays_visible_under_the_colour() -> None:
    stripes = np.zeros((696, 696), np.float32)
    stripes[:, ::2] = 1.0
    marked = replace(HIGH.findings[0], region=None)
    picture = compose_heat_map(stripes, np.ones((7, 7), np.float32), image(marked), ALGORITHM, marked=marked)
    part = picture[:, :WIDTH].astype(int)
    assert np.abs(np.diff(part[100, 100:110, 0])).min() > 100


def test_outlines_are_drawn_for_every_region_the_marked_one_thicker() -> None:
    both = image(
        finding(PNEUMOTHORAX, 0.9, region=box(70, 70, 300, 300)),
        finding(EFFUSION, 0.8, region=box(400, 500, 600, 700)),
    )
    first, second = (
        coloured(compose_heat_map(ramp(), None, both, ALGORITHM, marked=marked)) for marked in both.findings
    )
    middle = first.shape[0] // 2
    assert first[:middle].sum() > second[:middle].sum() > 0
    assert second[middle:].sum() > first[middle:].sum() > 0


def test_the_legend_covers_no_anatomy() -> None:
    white = np.ones((800, 700), np.float32)
    picture = compose_heat_map(white, None, LOW, ALGORITHM, marked=None)
    assert (picture[:, :WIDTH] == 255).all()
    assert picture[:, WIDTH:].mean() < 60


@pytest.mark.parametrize(
    ("rows", "columns"), [(2500, 2048), (2048, 2500), (512, 512), (300, 900), (900, 300), (64, 48)]
)
@pytest.mark.parametrize("long_side", [512, 1024, 1536])
def test_size_and_proportions(rows: int, columns: int, long_side: int) -> None:
    picture = compose_heat_map(
        np.ones((rows, columns), np.float32), None, LOW, ALGORITHM, marked=None, long_side=long_side
    )
    assert picture.dtype == np.uint8
    assert picture.shape[1] <= long_side
    inside = picture[:, : picture.shape[1] - round(long_side * 0.32)].all(axis=2)
    shown_rows, shown_columns = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert shown_columns / shown_rows == pytest.approx(columns / rows, rel=0.02)


def test_the_words_depend_on_the_result() -> None:
    legends = [
        compose_heat_map(ramp(), None, result, algorithm, marked=None)[:, WIDTH:].tobytes()
        for result in (LOW, HIGH)
        for algorithm in (ALGORITHM, replace(ALGORITHM, research=False), replace(ALGORITHM, disclaimer=""))
    ]
    assert len(set(legends)) == len(legends)


def test_many_long_findings_make_the_picture_higher_instead_of_unreadable() -> None:
    many = image(
        *(
            finding(Code(value=str(n), scheme="99X", meaning=f"A finding with a rather long name {n}"), 0.1)
            for n in range(40)
        )
    )
    picture = compose_heat_map(ramp(400, 700), None, many, ALGORITHM, marked=None)
    assert picture.shape[0] > 800
    bottom = picture[-40:-10, WIDTH:]
    assert bottom.max() > 200, "the disclaimer stands at the foot"


@settings(max_examples=25, deadline=None)
@given(
    st.text(max_size=90),
    st.text(max_size=200),
    st.integers(min_value=1, max_value=300),
    st.integers(min_value=1, max_value=300),
)
def test_any_text_and_any_shape_make_a_picture(meaning: str, disclaimer: str, rows: int, columns: int) -> None:
    found = finding(replace(PNEUMOTHORAX, meaning=meaning), 0.9, region=box(0, 0, columns, rows))
    algorithm = replace(ALGORITHM, disclaimer=disclaimer, name="n" * 80)
    picture = compose_heat_map(
        np.full((rows, columns), 0.5, np.float32), peak(), image(found), algorithm, marked=found, long_side=256
    )
    assert picture.shape[1] <= 256
    margin = picture[:, -2:].reshape(-1, 3)
    assert (margin == margin[0]).all(), "no letter runs over the right edge"


def test_what_is_not_a_number_is_black() -> None:
    broken = np.full((100, 100), np.nan, np.float32)
    picture = compose_heat_map(broken, np.full((7, 7), np.nan, np.float32), HIGH, ALGORITHM, marked=HIGH.findings[0])
    assert picture[350, 600].tolist() == [0, 0, 0]


def test_input_is_not_changed() -> None:
    display, activation = ramp(), peak()
    compose_heat_map(display, activation, HIGH, ALGORITHM, marked=HIGH.findings[0])
    np.testing.assert_array_equal(display, ramp())
    np.testing.assert_array_equal(activation, peak())


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3), (0, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ResultError, match="two dimensions"):
        compose_heat_map(np.zeros(shape, np.float32), None, LOW, ALGORITHM, marked=None)


def test_colours_grow_lighter_and_opacity_grows_with_activation() -> None:
    luminance = palette().astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > -1).all()
    assert luminance[-1] - luminance[0] > 100
    steps = opacity(np.linspace(0, 1, 101, dtype=np.float32))
    assert (np.diff(steps) >= 0).all()
    assert (steps[:25] == 0).all()
    assert steps.max() < 0.5
