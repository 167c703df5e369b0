"""Bundles and what a site has decided about them, as plain rows for programs."""

from __future__ import annotations

from typing import Any

from models.bundle import WEIGHTS, Bundle
from models.metadata import FindingSpec
from models.registry import SHIPPED, Entry
from models.site import Acceptance, SiteState


def as_row(entry: Entry, state: SiteState) -> dict[str, Any]:
    """An entry of `firstread models list --json`."""
    metadata = entry.bundle.metadata if entry.bundle else None
    record = acceptance_of(entry, state)
    return {
        "directory": str(entry.directory),
        "name": metadata.name if metadata else None,
        "version": metadata.version if metadata else None,
        "source": source_of(entry),
        "available": entry.available,
        "enabled": entry.enabled,
        "note": entry.note,
        "problem": entry.problem,
        "research": metadata.research if metadata else None,
        "weights_sha256": metadata.files[WEIGHTS] if metadata else None,
        "digest": entry.bundle.digest if entry.bundle else None,
        "findings": [
            {"key": finding.key, "threshold": finding.threshold, "urgency": finding.urgency}
            for finding in (metadata.findings if metadata else ())
        ],
        "acceptance": acceptance_row(record) if record else None,
    }


def acceptance_row(record: Acceptance) -> dict[str, Any]:
    """What was proven, for programs."""
    return {**record.model_dump(mode="json"), "met": record.met}


def point_rows(bundle: Bundle, state: SiteState) -> list[dict[str, Any]]:
    """A bundle's operating points: its own, the site's, what is in effect."""
    effective = bundle.with_overrides(state.overrides(bundle)).metadata.findings
    return [_point_row(own, used, bundle, state) for own, used in zip(bundle.metadata.findings, effective, strict=True)]


def _point_row(own: FindingSpec, used: FindingSpec, bundle: Bundle, state: SiteState) -> dict[str, Any]:
    point = state.standing(bundle.metadata.name).findings.get(own.key)
    lapsed = bool(point and point.threshold is not None and point.weights_sha256 != bundle.metadata.files[WEIGHTS])
    return {
        "finding": own.key,
        "bundle_threshold": own.threshold,
        "bundle_urgency": own.urgency,
        "site_threshold": point.threshold if point else None,
        "site_urgency": point.urgency if point else None,
        "lapsed": lapsed,
        "threshold": used.threshold,
        "urgency": used.urgency,
    }


def source_of(entry: Entry) -> str:
    """Whose bundle it is: "shipped" or "site"."""
    return "shipped" if entry.directory.parent == SHIPPED else "site"


def acceptance_of(entry: Entry, state: SiteState) -> Acceptance | None:
    """On record about these very files."""
    if entry.bundle is None:
        return None
    record = state.standing(entry.bundle.metadata.name).acceptance
    return record if record is not None and record.digest == entry.bundle.digest else None
