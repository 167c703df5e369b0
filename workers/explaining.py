"""Why the network says so: heat maps by the method the bundle names, regions, and the objects that show them.

Where a bundle ships no heat maps (``explanation: none``) an image gets its report and its place on the list all the
same, without objects of its own, region and colours; so does one whose map could not be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node import results
from models.explaining.placing import upscale
from models.explaining.regions import region
from triage.errors import ExplanationError, InferenceError, ResultError, StorageFullError
from triage.findings import ImageResult
from triage.logging import get_logger
from triage.profiles import OF_AN_IMAGE
from triage.repositories.outcomes import Previews
from triage.repositories.results import BuiltObject, NotBuilt
from workers.claims import Claim
from workers.image_objects import BUILDERS, PICTURE_SIDE, ImageView, most_urgent
from workers.result_files import store_object, store_previews
from workers.scoring import Scored
from workers.wanted import Wanted, wanted_objects
from workers.workbench import Workbench

log = get_logger(__name__)

HEAT_SIDE: Final = 512
"""Longest side in pixels of a heat map that the page lays over an image: an activation is coarser than that."""

Maps = dict[str, NDArray[np.float32]]
"""By finding key, float32 (h, w) in [0, 1] over the network's input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """An image with its regions, its objects as destinations get them, and its pictures as the page shows them.

    Attributes
    ----------
    objects : tuple of BuiltObject
        The heat map first; none where there is no map.
    not_built : tuple of NotBuilt
        What a destination wanted besides and could not be made of this image.
    """

    result: ImageResult
    objects: tuple[BuiltObject, ...]
    not_built: tuple[NotBuilt, ...]
    previews: Previews


def explain_image(bench: Workbench, claim: Claim, scored: Scored, number: int) -> Explained:
    """Build everything that shows where a score comes from; the files are durable when this returns.

    Parameters
    ----------
    number : int
        Instance Number of the objects about this image, from 1.

    Raises
    ------
    ResultError
        The heat map that every analysis has could not be built or written.
    """
    candidate = scored.ready.candidate
    view = image_view(bench, claim, scored, number)
    if view is None:
        name = f"{claim.analysis_id}.{candidate.instance_id}.{candidate.version}"
        previews = _previews(bench, name, scored, scored.result, None)
        return Explained(result=scored.result, objects=(), not_built=(), previews=previews)
    objects, not_built = _objects(bench, view, candidate.instance_id)
    previews = _previews(bench, objects[0].sop_instance_uid, scored, view.result, view)
    return Explained(result=view.result, objects=objects, not_built=not_built, previews=previews)


def image_view(bench: Workbench, claim: Claim, scored: Scored, number: int) -> ImageView | None:
    """A scored image with its maps, as its objects are built from it; None where there are no maps."""
    maps = _maps(bench, scored)
    if maps is None:
        return None
    candidate = scored.ready.candidate
    return ImageView(
        dataset=candidate.dataset,
        result=_with_regions(scored, maps),
        algorithm=candidate.bundle.algorithm(),
        display=scored.ready.prepared.display,
        maps=maps,
        placement=scored.ready.prepared.placement,
        node=bench.node,
        revision=claim.revision,
        created_at=claim.started_at.astimezone(),
        number=number,
        version=candidate.version,
    )


def _objects(
    bench: Workbench, view: ImageView, instance_id: int
) -> tuple[tuple[BuiltObject, ...], tuple[NotBuilt, ...]]:
    built: list[BuiltObject] = []
    missing: list[NotBuilt] = []
    for wanted in wanted_objects(bench.settings):
        if wanted.kind not in OF_AN_IMAGE:
            continue
        try:
            dataset = build_object(view, wanted)
            if dataset is not None:
                built.append(
                    store_object(
                        bench.settings.results, dataset, wanted.kind, variant=wanted.variant,
                        source_instance_id=instance_id,
                    )
                )  # fmt: skip
        except ResultError as error:
            if wanted.always:
                raise
            # The report and what other destinations want must not wait for it; the time line says that it is missing.
            missing.append(NotBuilt(kind=wanted.kind, variant=wanted.variant, reason=error.advice()))
            log.warning("object_not_built", kind=wanted.kind, advice=error.advice())
    return tuple(built), tuple(missing)


def build_object(view: ImageView, wanted: Wanted) -> Dataset | None:
    """One object about an image; None where there is nothing to say.

    Raises
    ------
    ResultError
        It could not be built, or this version builds none of this kind.
    """
    builder = BUILDERS.get(wanted.kind)
    if builder is None:
        raise ResultError(f"This version builds no {wanted.kind}.", next_step="Take it out of the objects wanted.")
    return builder(view, wanted.profile)


def _maps(bench: Workbench, scored: Scored) -> Maps | None:
    """One map for each positive finding; None where the bundle has no heat maps or this image gets none."""
    bundle = scored.ready.candidate.bundle
    explain = bench.explainer(bundle)
    if explain is None:
        return None
    keys = [finding.key for finding in scored.result.positives]
    if not keys:
        return {}
    outputs = [finding.key for finding in bundle.metadata.findings]  # a key slice has findings of its own only
    try:
        maps = explain(scored.ready.prepared.image, scored.features, [outputs.index(key) for key in keys])
    except (ExplanationError, InferenceError) as error:
        # The score stands, and the report must not wait for a picture; the report says that there is none.
        log.warning("heat_map_not_made", error=type(error).__name__, advice=error.advice())
        return None
    return dict(zip(keys, maps, strict=True))


def _with_regions(scored: Scored, maps: Maps) -> ImageResult:
    placement = scored.ready.prepared.placement
    return replace(
        scored.result,
        findings=tuple(
            replace(finding, region=region(maps[finding.key], placement)) if finding.positive else finding
            for finding in scored.result.findings
        ),
    )


def _previews(bench: Workbench, name: str, scored: Scored, result: ImageResult, view: ImageView | None) -> Previews:
    """The page's pictures: the image, the image with what the network looked at, and that alone for each finding.

    None where they cannot be made or written: the report does not wait for them.
    """
    display = scored.ready.prepared.display
    side = min(PICTURE_SIDE, max(display.shape))
    bare = replace(result, findings=())
    marked = most_urgent(result)
    overlay = None
    try:
        image = results.draw_overlay(display, None, bare, marked=None, width=side, height=side)
        if marked and view is not None:
            overlay = results.draw_overlay(display, view.activation, result, marked=marked, width=side, height=side)
        heat = {} if view is None else _heat(view)
        return store_previews(bench.settings.results, name, image, overlay, heat)
    except (StorageFullError, cv2.error) as error:
        log.warning("pictures_not_written", error=type(error).__name__)
        return Previews()


def _heat(view: ImageView) -> Mapping[str, NDArray[np.uint8]]:
    """The activation of each positive finding over the whole image, as the page lays it over what it shows."""
    placement = view.placement
    shrink = min(1.0, HEAT_SIDE / max(placement.rows, placement.columns))
    rows, columns = max(1, round(placement.rows * shrink)), max(1, round(placement.columns * shrink))
    laid = {key: upscale(activation, placement, rows, columns) for key, activation in view.maps.items()}
    return {key: np.rint(np.clip(map_, 0.0, 1.0) * 255).astype(np.uint8) for key, map_ in laid.items()}
