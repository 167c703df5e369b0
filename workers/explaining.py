"""Why the network says so: activation maps, regions, and the pictures that show them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_node import results
from models import explain
from triage.findings import Finding, ImageResult
from triage.repositories.outcomes import BuiltObject, Previews
from workers.claims import Claim
from workers.result_files import PREVIEW_SIDE, store_object, store_previews
from workers.scoring import Scored
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """An image with its regions, its heat map as the PACS keeps it and as the page shows it."""

    result: ImageResult
    heat_map: BuiltObject
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
    prepared, candidate = scored.ready.prepared, scored.ready.candidate
    algorithm = candidate.bundle.algorithm()
    weights, _ = candidate.bundle.head()
    maps = {
        finding.key: explain.class_activation_map(scored.features, weights[row])
        for row, finding in enumerate(scored.result.findings)
        if finding.positive
    }
    result = replace(
        scored.result,
        findings=tuple(
            replace(finding, region=explain.region(maps[finding.key], prepared.placement))
            if finding.positive
            else finding
            for finding in scored.result.findings
        ),
    )
    marked = most_urgent(result)
    activation = None if marked is None else _over_image(maps[marked.key], scored)
    picture = results.compose_heat_map(prepared.display, activation, result, algorithm, marked=marked)
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
    return Explained(result=result, heat_map=heat_map, previews=_previews(bench, heat_map, scored, result, activation))


def _previews(
    bench: Workbench,
    heat_map: BuiltObject,
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
    overlay = (
        results.draw_overlay(display, activation, result, marked=marked, width=side, height=side) if marked else None
    )
    return store_previews(bench.settings.results, heat_map, image, overlay)


def most_urgent(result: ImageResult) -> Finding | None:
    """The finding that the picture marks: the most urgent positive one, the highest score among equals."""
    return min(result.positives, key=lambda f: (f.urgency.rank, -f.score.value), default=None)


def _over_image(activation: NDArray[np.float32], scored: Scored) -> NDArray[np.float32]:
    """The map over the whole image, float32, no larger than a picture of it."""
    placement = scored.ready.prepared.placement
    shrink = min(1.0, PREVIEW_SIDE / max(placement.rows, placement.columns))
    rows, columns = max(1, round(placement.rows * shrink)), max(1, round(placement.columns * shrink))
    return explain.upscale(activation, placement, rows, columns)
