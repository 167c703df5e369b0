"""Bundles and what a site has decided about them, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.markup import escape
from rich.table import Table

from models.listing import acceptance_of, source_of
from models.registry import Entry
from models.site import Acceptance, SiteState

_UNAVAILABLE = "[red]model unavailable[/]"


def draw(entries: Iterable[Entry], state: SiteState) -> Table:
    """The table of `firstread models list`."""
    table = Table(caption_justify="left")
    for title in ("Bundle", "Version", "From", "Findings", "State"):
        # Names are typed into the next command: they are folded where a terminal is narrow, never cut off.
        table.add_column(title, overflow="fold", no_wrap=title in {"Version", "From"})
    problems = []
    for entry in entries:
        if entry.problem:  # whole, below the table: a column of a narrow terminal would cut it off
            problems.append(f"[red]model unavailable:[/] {escape(f'{entry.directory.name}: {entry.problem}')}")
        if entry.bundle is None:
            table.add_row(entry.directory.name, "", source_of(entry), "", _UNAVAILABLE)
            continue
        m, record = entry.bundle.metadata, acceptance_of(entry, state)
        if entry.problem:
            standing = _UNAVAILABLE
        else:
            standing = "[green]reads[/]" if entry.enabled else f"[yellow]{escape(entry.note)}[/]"
        findings = "\n".join(f"{f.key} ≥ {f.threshold:.2f} → {f.urgency}" for f in m.findings)
        lines = [standing, "research only" if m.research else "product"]
        if record is not None:
            lines.append(f"criteria {'met' if record.met else 'not met'}, {record.proof}")
        table.add_row(m.name, m.version, source_of(entry), findings, "\n".join(lines))
    table.caption = "\n".join(problems)
    return table


def draw_acceptance(record: Acceptance) -> Table:
    """Every criterion and what was measured."""
    table = Table("", "Subject", "Required", "Measured")
    table.add_row(
        "[green]✓[/]" if record.self_test else "[red]✗[/]", "self-test", "its stored answer", "on this machine"
    )
    for figure in record.figures:
        table.add_row("[green]✓[/]" if figure.met else "[red]✗[/]", figure.subject, figure.required, figure.measured)
    return table


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
