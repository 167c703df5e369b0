"""Why the network says so: heat maps by the method the bundle names, regions, and the pictures that show them.

Where a bundle ships no heat maps (``explanation: none``) an image gets its report and its place on the list all the
same, without Secondary Capture, region and colours; so does one whose map could not be made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_node import results
from models.explaining.placing import upscale
from models.explaining.regions import region
from triage.errors import ExplanationError, InferenceError
from triage.findings import Finding, ImageResult
from triage.logging import get_logger
from triage.repositories.outcomes import BuiltObject, Previews
from workers.claims import Claim
from workers.result_files import PREVIEW_SIDE, store_object, store_previews
from workers.scoring import Scored
from workers.workbench import Workbench

log = get_logger(__name__)

Maps = dict[str, NDArray[np.float32]]
"""By finding key, float32 (h, w) in [0, 1] over the network's input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """An image with its regions, its heat map as the PACS keeps it and as the page shows it; None where it has none."""

    result: ImageResult
    heat_map: BuiltObject | None
    previews: Previews


def explain_image(bench: Workbench, claim: Claim, scored: Scored, number: int) -> Explained:
    """Build everything that shows where a score comes from; the files are durable when this returns.

    Parameters
    ----------
    number : int
        Instance Number of the heat map, from 1.

    Raises
    ------
    ResultError
        The Secondary Capture could not be built or written.
    """
    candidate = scored.ready.candidate
    maps = _maps(bench, scored)
    if maps is None:
        name = f"{claim.analysis_id}.{candidate.instance_id}.{candidate.version}"
        return Explained(
            result=scored.result, heat_map=None, previews=_previews(bench, name, scored, scored.result, None)
        )
    result = _with_regions(scored, maps)
    marked = most_urgent(result)
    activation = None if marked is None else _over_image(maps[marked.key], scored)
    algorithm = candidate.bundle.algorithm()
    picture = results.compose_heat_map(scored.ready.prepared.display, activation, result, algorithm, marked=marked)
    capture = results.build_heat_map(
        candidate.dataset,
        picture,
        result,
        algorithm,
        node=bench.node,
        revision=claim.revision,
        created_at=claim.started_at.astimezone(),
        number=number,
        version=candidate.version,
    )
    heat_map = store_object(bench.settings.results, capture, "SC", source_instance_id=candidate.instance_id)
    previews = _previews(bench, heat_map.sop_instance_uid, scored, result, activation)
    return Explained(result=result, heat_map=heat_map, previews=previews)


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


def _previews(
    bench: Workbench,
    name: str,
    scored: Scored,
    result: ImageResult,
    activation: NDArray[np.float32] | None,
) -> Previews:
    """The page's two pictures of one size: the image, and the image with what the network looked at."""
    display = scored.ready.prepared.display
    side = min(PREVIEW_SIDE, max(display.shape))
    bare = replace(result, findings=())
    image = results.draw_overlay(display, None, bare, marked=None, width=side, height=side)
    marked = most_urgent(result)
    overlay = None
    if marked and activation is not None:
        overlay = results.draw_overlay(display, activation, result, marked=marked, width=side, height=side)
    return store_previews(bench.settings.results, name, image, overlay)


def most_urgent(result: ImageResult) -> Finding | None:
    """The finding that the picture marks: the most urgent positive one, the highest score among equals."""
    return min(result.positives, key=lambda f: (f.urgency.rank, -f.score.value), default=None)


def _over_image(activation: NDArray[np.float32], scored: Scored) -> NDArray[np.float32]:
    """The map over the whole image, float32, no larger than a picture of it."""
    placement = scored.ready.prepared.placement
    shrink = min(1.0, PREVIEW_SIDE / max(placement.rows, placement.columns))
    rows, columns = max(1, round(placement.rows * shrink)), max(1, round(placement.columns * shrink))
    return upscale(activation, placement, rows, columns)
