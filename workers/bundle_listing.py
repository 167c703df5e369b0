"""How the bundles of this installation stand, written down for the page, which has no models of its own."""

from __future__ import annotations

from typing import Any

from models.acceptance import read_evaluation
from models.bundle import EVALUATION, Bundle
from models.listing import as_row, point_rows
from models.registry import Entry, Registry
from models.site import SiteState, read_state, stamp
from triage.errors import BundleError
from triage.repositories import bundle_listing
from workers.workbench import Workbench


def publish(bench: Workbench) -> None:
    """Write it down when the site has changed its mind since this process last did; else this costs one stat."""
    seen = (stamp(bench.settings.site_bundles),)
    if bench.bundles_published == seen:
        return
    revision, rows = describe_bundles(bench)
    with bench.database.write() as session:
        bundle_listing.put(session, revision, rows, at=bench.clock())
    bench.bundles_published = seen


def describe_bundles(bench: Workbench) -> tuple[int, list[dict[str, Any]]]:
    """Revision of the site's decisions, and every bundle in the order in which they are asked for an image."""
    folder = bench.settings.site_bundles
    try:
        state = read_state(folder)
    except BundleError:
        state = SiteState()  # every entry says that it cannot be read
    return state.revision, [_described(entry, state) for entry in Registry.of_site(folder).entries]


def _described(entry: Entry, state: SiteState) -> dict[str, Any]:
    row = {**as_row(entry, state), "directory": entry.directory.name}
    if entry.bundle is None:
        return {**row, "points": []}
    own = Bundle.load(entry.directory)
    metadata = own.metadata
    return {
        **row,
        "intended_use": metadata.intended_use,
        "limits": list(metadata.limits),
        "disclaimer": metadata.disclaimer,
        "score_kind": metadata.calibration.score_kind.value,
        "calibration": metadata.calibration.method,
        "points": [
            {**point, "meaning": finding.code.meaning, **_measured(own, finding.key)}
            for point, finding in zip(point_rows(own, state), metadata.findings, strict=True)
        ],
    }


def _measured(bundle: Bundle, key: str) -> dict[str, float | None]:
    """The maker's figures of a finding, taken at the bundle's own threshold and nowhere else."""
    try:
        found: Any = read_evaluation(bundle.directory / EVALUATION)["test"]["findings"][key]
        return {name: float(found[name]["value"]) for name in ("sensitivity", "specificity")}
    except (BundleError, KeyError, TypeError, ValueError):
        return {"sensitivity": None, "specificity": None}
