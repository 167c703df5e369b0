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
from dicom_node.results.legend import BACKGROUND, Legend
from dicom_node.results.picture import LEGEND_SHARE, opacity, palette
from triage.errors import ResultError
from triage.findings import Code, ImageResult

Rgb = npt.NDArray[np.uint8]
WIDTH = 1024 - round(1024 * LEGEND_SHARE)
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
    stripes = np.zeros((WIDTH, WIDTH), np.float32)
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
    ("rows", "columns"), [(2500, 2048), (512, 512), (900, 300), (64, 48), (3000, 60), (1, 1), (9000, 8000)]
)
@pytest.mark.parametrize("long_side", [512, 1024])
def test_a_legend_beside_the_image(rows: int, columns: int, long_side: int) -> None:
    picture = compose_heat_map(
        np.ones((rows, columns), np.float32), None, LOW, ALGORITHM, marked=None, long_side=long_side
    )
    assert picture.dtype == np.uint8
    assert max(picture.shape) <= long_side
    inside = picture[:, : picture.shape[1] - round(long_side * LEGEND_SHARE)].all(axis=2)
    shown_rows, shown_columns = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert shown_columns / shown_rows == pytest.approx(columns / rows, rel=0.03)


@pytest.mark.parametrize(("rows", "columns"), [(2048, 2500), (300, 900), (60, 3000), (1, 40)])
@pytest.mark.parametrize("long_side", [512, 1024])
def test_a_legend_below_a_wide_image(rows: int, columns: int, long_side: int) -> None:
    picture = compose_heat_map(
        np.full((rows, columns), 0.5, np.float32), None, LOW, ALGORITHM, marked=None, long_side=long_side
    )
    assert picture.shape[1] == long_side
    assert picture.shape[0] <= long_side
    inside = (np.abs(picture.astype(int) - 128) <= 1).all(axis=2)
    shown_rows, shown_columns = inside[:, long_side // 2].argmin(), inside[0].sum()
    assert shown_columns > (1 - LEGEND_SHARE) * long_side, "larger than beside the legend"
    assert inside[:shown_rows].sum() == shown_rows * shown_columns, "nothing lies over the image"
    assert shown_rows == pytest.approx(shown_columns * rows / columns, abs=1)


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
    legend = Legend(image(found), algorithm, found, palette(), 0.25)
    for part in (legend.beside(92, 100, 256), legend.below(256)):
        margin = part[:, -2:].reshape(-1, 3)
        assert (margin == BACKGROUND).all(), "no letter runs over the right edge"


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


def test_the_legend_shows_colours_as_they_look_on_the_image() -> None:
    marked = replace(HIGH.findings[0], region=None)
    grey = np.full((WIDTH, WIDTH), 112 / 255, np.float32)
    picture = compose_heat_map(grey, np.ones((7, 7), np.float32), image(marked), ALGORITHM, marked=marked).astype(int)
    on_the_image, legend = picture[WIDTH // 2, WIDTH // 2], picture[:, WIDTH:]
    assert on_the_image.max() - on_the_image.min() > 30
    assert (np.abs(legend - on_the_image).max(axis=2) <= 2).sum() > 20


# The side marker, and eyes of every kind -----------------------------------------------------------------------------


def test_a_side_marker_is_readable_under_the_strongest_colour() -> None:
    film = np.zeros((WIDTH, WIDTH), np.float32)
    film[20:60, 20:60:4] = 1.0
    marked = finding(PNEUMOTHORAX, 0.9)
    everywhere = np.ones((7, 7), np.float32)
    picture = compose_heat_map(film, everywhere, image(marked), ALGORITHM, marked=marked)
    lead, ground = (_luminance(picture[40, column]) for column in (20, 22))
    assert (lead + 0.05) / (ground + 0.05) > 4.5, "the contrast that WCAG asks of text"


@pytest.mark.parametrize("corner", [(0.02, 0.02), (0.83, 0.02), (0.02, 0.83), (0.83, 0.83)])
def test_no_number_is_written_over_a_corner(corner: tuple[float, float]) -> None:
    left, top = corner[0] * 800, corner[1] * 800
    both = image(
        finding(PNEUMOTHORAX, 0.9, region=box(left, top, left + 110, top + 110)),
        finding(EFFUSION, 0.8, region=box(350, 350, 500, 500)),
    )
    numbered, bare = (
        compose_heat_map(np.zeros((800, 800), np.float32), None, shown, ALGORITHM, marked=None)[:WIDTH, :WIDTH]
        for shown in (both, image(both.findings[0]))
    )
    first = np.argwhere(numbered[:, :, 2] != bare[:, :, 2])
    rows, columns = first[:, 0], first[:, 1]
    near = np.minimum(rows, WIDTH - rows) < 0.18 * WIDTH
    assert not (near & (np.minimum(columns, WIDTH - columns) < 0.18 * WIDTH)).any()
    assert near.any() or (np.minimum(columns, WIDTH - columns) < 0.3 * WIDTH).any(), "it is written beside its outline"


EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""What a colour becomes, in linear RGB (Machado, Oliveira, Fernandes 2009, severity 1)."""
NOTICED = 10.0
"""CIE76 difference that is seen at a glance; 2.3 is the smallest that can be seen."""


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("activation", [0.5, 0.75, 1.0])
def test_the_heat_map_is_no_grey_to_any_eye(eyes: str, activation: float) -> None:
    greys = np.repeat(np.linspace(0, 255, 52)[:, None], 3, axis=1)
    share = opacity(np.array([activation], np.float32))[0]
    shown = _lab(greys * (1 - share) + palette()[round(activation * 255)] * share, eyes)
    assert np.hypot(shown[:, 1], shown[:, 2]).min() > NOTICED, "chroma, over black, lung, bone and white"


@pytest.mark.parametrize("eyes", EYES)
def test_the_outline_differs_from_image_and_heat_map_to_any_eye(eyes: str) -> None:
    found = finding(PNEUMOTHORAX, 0.9, region=box(70, 70, 300, 300))
    picture = compose_heat_map(np.zeros((800, 700), np.float32), None, image(found), ALGORITHM, marked=found)
    blues, counts = np.unique(picture[:, :WIDTH][coloured(picture)].reshape(-1, 3), axis=0, return_counts=True)
    outline = _lab(blues[counts.argmax()][None].astype(float), eyes)
    halo = _lab(np.zeros((1, 3)), eyes)
    greys = np.repeat(np.linspace(0, 255, 52)[:, None], 3, axis=1)
    share = opacity(np.ones(1, np.float32))[0]
    grounds = np.concatenate([greys, greys * (1 - share) + palette()[-1] * share])
    against = _lab(grounds, eyes)
    nearest = np.maximum(np.linalg.norm(against - outline, axis=1), np.linalg.norm(against - halo, axis=1))
    assert nearest.min() > 3 * NOTICED, "the line or its rim stands out from whatever lies below"


def _lab(rgb: npt.NDArray[np.float64], eyes: str) -> npt.NDArray[np.float64]:
    """CIELab (D65) of sRGB colours (n, 3), 0 to 255, as those eyes see them."""
    scaled = rgb / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ EYES[eyes].T, 0, 1)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = seen @ to_xyz.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


def _luminance(rgb: npt.NDArray[np.uint8]) -> float:
    scaled = rgb / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
