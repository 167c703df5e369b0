"""Bundles and what a site has decided about them, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.markup import escape
from rich.table import Table

from models.bundle import WEIGHTS, Bundle
from models.metadata import FindingSpec
from models.registry import SHIPPED, Entry
from models.site import Acceptance, SiteState


def as_row(entry: Entry, state: SiteState) -> dict[str, Any]:
    """An entry of `firstread models list --json`."""
    metadata = entry.bundle.metadata if entry.bundle else None
    record = _acceptance(entry, state)
    return {
        "directory": str(entry.directory),
        "name": metadata.name if metadata else None,
        "version": metadata.version if metadata else None,
        "source": _source(entry),
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


def draw(entries: Iterable[Entry], state: SiteState) -> Table:
    """The table of `firstread models list`."""
    table = Table("Bundle", "Version", "From", "Standing", "Findings", "Proof", "State")
    for entry in entries:
        if entry.bundle is None:
            table.add_row(entry.directory.name, "", _source(entry), "", "", "", f"[red]{escape(entry.problem)}[/]")
            continue
        m, record = entry.bundle.metadata, _acceptance(entry, state)
        if entry.problem:
            standing = f"[red]{escape(entry.problem)}[/]"
        else:
            standing = "[green]reads[/]" if entry.enabled else f"[yellow]{escape(entry.note)}[/]"
        findings = "\n".join(f"{f.key} ≥ {f.threshold:.2f} → {f.urgency}" for f in m.findings)
        proof = f"{'met' if record.met else 'not met'}, {record.proof}" if record else ""
        label = "research only" if m.research else "product"
        table.add_row(m.name, m.version, _source(entry), label, findings, proof, standing)
    return table


def acceptance_row(record: Acceptance) -> dict[str, Any]:
    """What was proven, for programs."""
    return {**record.model_dump(mode="json"), "met": record.met}


def draw_acceptance(record: Acceptance) -> Table:
    """Every criterion and what was measured."""
    table = Table("", "Subject", "Required", "Measured")
    table.add_row(
        "[green]✓[/]" if record.self_test else "[red]✗[/]", "self-test", "its stored answer", "on this machine"
    )
    for figure in record.figures:
        table.add_row("[green]✓[/]" if figure.met else "[red]✗[/]", figure.subject, figure.required, figure.measured)
    return table


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


def draw_points(rows: Iterable[dict[str, Any]]) -> Table:
    """The table of `firstread models thresholds`."""
    table = Table("Finding", "Bundle's own", "Site's", "In effect")
    for row in rows:
        site = [f"≥ {row['site_threshold']:g}"] if row["site_threshold"] is not None else []
        site += [f"→ {row['site_urgency']}"] if row["site_urgency"] else []
        note = " (set for other weights: no effect)" if row["lapsed"] else ""
        table.add_row(
            row["finding"],
            f"≥ {row['bundle_threshold']:g} → {row['bundle_urgency']}",
            " ".join(site) + note,
            f"≥ {row['threshold']:g} → {row['urgency']}",
        )
    return table


def _source(entry: Entry) -> str:
    return "shipped" if entry.directory.parent == SHIPPED else "site"


def _acceptance(entry: Entry, state: SiteState) -> Acceptance | None:
    """On record about these very files."""
    if entry.bundle is None:
        return None
    record = state.standing(entry.bundle.metadata.name).acceptance
    return record if record is not None and record.digest == entry.bundle.digest else None
