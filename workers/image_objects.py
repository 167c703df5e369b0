"""Objects about one image, built while its heat map is at hand: kind to builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node import results
from dicom_node.results import NodeIdentity
from models.explaining.placing import upscale
from models.placement import Placement
from triage.findings import Algorithm, Finding, ImageResult
from triage.profiles import Profile, ResultKind

PICTURE_SIDE: Final = 1024
"""Longest side in pixels of what is drawn from an image."""


class Naming(TypedDict):
    """By what every object about an image is named, dated and numbered."""

    node: NodeIdentity
    revision: int
    created_at: datetime
    number: int
    version: int


@dataclass(frozen=True, kw_only=True)
class ImageView:
    """An explained image as its objects are built from it.

    Attributes
    ----------
    dataset : Dataset
        The image, as dcmread returned it.
    result : ImageResult
        With regions.
    display : ndarray
        The image as it is looked at, float32 (rows, columns) in [0, 1], 1 is white.
    maps : mapping of str to ndarray
        Finding key to its activation, float32 (h, w) in [0, 1] over the network's input; positive findings only.
    placement : Placement
        Where the network's input lies on the image.
    number : int
        Instance Number, from 1.
    version : int
        Of the image: 2 for its first corrected header.
    """

    dataset: Dataset
    result: ImageResult
    algorithm: Algorithm
    display: NDArray[np.float32]
    maps: Mapping[str, NDArray[np.float32]]
    placement: Placement
    node: NodeIdentity
    revision: int
    created_at: datetime
    number: int
    version: int

    @property
    def naming(self) -> Naming:
        """What the builders of all kinds are told besides the image and the profile."""
        return {
            "node": self.node,
            "revision": self.revision,
            "created_at": self.created_at,
            "number": self.number,
            "version": self.version,
        }

    @cached_property
    def marked(self) -> Finding | None:
        """The finding that a picture marks: the most urgent positive one, the highest score among equals."""
        return most_urgent(self.result)

    @cached_property
    def activation(self) -> NDArray[np.float32] | None:
        """The map of that finding over the whole image, float32, no larger than a picture of it."""
        if self.marked is None:
            return None
        shrink = min(1.0, PICTURE_SIDE / max(self.placement.rows, self.placement.columns))
        rows, columns = max(1, round(self.placement.rows * shrink)), max(1, round(self.placement.columns * shrink))
        return upscale(self.maps[self.marked.key], self.placement, rows, columns)

    @cached_property
    def full_maps(self) -> Mapping[str, NDArray[np.float32]]:
        """All maps over the whole image, float32 (Rows, Columns): 20 MB each for a radiograph, made when asked for."""
        return {key: upscale(activation, self.placement) for key, activation in self.maps.items()}

    @cached_property
    def picture(self) -> NDArray[np.uint8]:
        """The composed heat map, RGB, uint8 (rows, columns, 3)."""
        return results.compose_heat_map(self.display, self.activation, self.result, self.algorithm, marked=self.marked)


def most_urgent(result: ImageResult) -> Finding | None:
    """The most urgent positive finding, the highest score among equals; None without any."""
    return min(result.positives, key=lambda f: (f.urgency.rank, -f.score.value), default=None)


def _heat_map(view: ImageView, profile: Profile) -> Dataset:
    return results.build_heat_map(
        view.dataset, view.picture, view.result, view.algorithm, **view.naming, profile=profile
    )


def _segmentation(view: ImageView, profile: Profile) -> Dataset | None:
    if not any(finding.region is not None for finding in view.result.positives):
        return None
    maps = view.full_maps if profile.segmentation == "fractional" else {}
    return results.build_segmentation(view.dataset, maps, view.result, view.algorithm, **view.naming, profile=profile)


def _parametric_map(view: ImageView, profile: Profile) -> Dataset | None:
    if not view.result.positives:
        return None
    return results.build_parametric_map(
        view.dataset, view.full_maps, view.result, view.algorithm, **view.naming, profile=profile
    )


def _presentation_state(view: ImageView, profile: Profile) -> Dataset:
    return results.build_presentation_state(view.dataset, view.result, view.algorithm, **view.naming, profile=profile)


ImageBuilder = Callable[[ImageView, Profile], Dataset | None]
"""None: there is nothing of that kind to say about the image."""

BUILDERS: Final[Mapping[ResultKind, ImageBuilder]] = {
    ResultKind.HEAT_MAP: _heat_map,
    ResultKind.SEGMENTATION: _segmentation,
    ResultKind.PARAMETRIC_MAP: _parametric_map,
    ResultKind.PRESENTATION_STATE: _presentation_state,
}
