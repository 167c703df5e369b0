"""``firstread fsck``: are the promises kept, what can be mended, what has to be sent again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dicom_node.archive import Archive
from firstread.ground import hold
from firstread.schema import make_or_require
from triage.database import Database
from triage.errors import FirstreadError, SettingsError
from triage.settings import Settings
from workers.clock import utc_now
from workers.custody import Inspection, Invariant, Remedy, Violation, anybody_alive, check
from workers.custody_repairs import Repairs
from workers.custody_rows import CHECKS
from workers.reindexing import Recovered, rebuild

CLEAN: Final = 0
VIOLATED: Final = 1
CANNOT_RUN: Final = 2
SHOWN: Final = 50
"""Violations of one kind printed one by one; the rest is counted."""


@dataclass(kw_only=True)
class Findings:
    """What one run saw: each kind of violation with its first examples, and what has to be sent again, whole."""

    examples: dict[tuple[Invariant, str], list[tuple[Violation, bool]]] = field(default_factory=dict)
    seen: Counter[tuple[Invariant, str]] = field(default_factory=Counter)
    mended: Counter[tuple[Invariant, str]] = field(default_factory=Counter)
    resend: list[Violation] = field(default_factory=list)

    def add(self, violation: Violation, mended: bool) -> None:
        kind = (violation.invariant, violation.kind)
        self.seen[kind] += 1
        self.mended[kind] += mended
        shown = self.examples.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append((violation, mended))
        if violation.kind in ("file_missing", "file_altered"):
            self.resend.append(violation)

    @property
    def left(self) -> int:
        """Violations that are still there."""
        return self.seen.total() - self.mended.total()


def run(
    settings: Settings, *, deep: bool, repair: bool, logs: Sequence[Path], as_json: bool, output: IO[str] = sys.stdout
) -> int:
    """Check, mend if asked to, print; returns the exit status.

    Raises
    ------
    FirstreadError
        It cannot run: no database, another schema, a file that is not there.
    """
    inspection = _inspection(settings, deep=deep, logs=logs)
    findings, repairs = Findings(), Repairs(inspection)
    try:
        for violation in check(inspection, CHECKS):
            findings.add(violation, repair and repairs.repair(violation))
        repairs.finish()
    finally:
        inspection.database.dispose()
    if as_json:
        output.write(json.dumps(_report(findings, inspection, repair), indent=1) + "\n")
    else:
        _print(findings, inspection, repair, Console(file=output))
    return VIOLATED if findings.left else CLEAN


def reindex(settings: Settings, *, resend_results: bool, as_json: bool, output: IO[str] = sys.stdout) -> int:
    """Fill an empty database from the archive; returns the exit status.

    Raises
    ------
    FirstreadError
        It cannot run: the system runs, or the database is not empty.
    """
    with hold(settings.data / "up.lock", "`firstread up`"):
        make_or_require(settings)
        inspection = _inspection(settings, deep=False, logs=())
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("indexing the archive")

            def advance(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            recovered = rebuild(inspection, owe=resend_results, progress=advance)
        inspection.database.dispose()
    if as_json:
        output.write(json.dumps(_recovered(recovered), indent=1) + "\n")
    else:
        _print_recovered(recovered, resend_results, Console(file=output))
    return VIOLATED if recovered.set_aside else CLEAN


def cannot_run(error: FirstreadError, *, as_json: bool, output: IO[str] = sys.stdout) -> int:
    """Say why, and return the exit status."""
    if as_json:
        output.write(json.dumps({"error": str(error), "next_step": error.next_step}) + "\n")
    else:
        Console(stderr=True).print(error.advice(), style="bold red", markup=False, highlight=False, soft_wrap=True)
    return CANNOT_RUN


def _inspection(settings: Settings, *, deep: bool, logs: Sequence[Path]) -> Inspection:
    if not settings.archive.is_dir():
        raise SettingsError(f"There is no archive below {settings.data}.", next_step="Name the directory with --data.")
    database = Database(settings.database)
    if database.is_sqlite and database.url.database and not Path(database.url.database).is_file():
        raise SettingsError(
            f"There is no database {database.url.database}.",
            next_step="Restore it from a backup, or make one from the archive with `firstread fsck --reindex`.",
        )
    database.require_sound(thorough=deep)
    database.require_current()
    settings.results.mkdir(exist_ok=True)
    now = utc_now()
    return Inspection(
        settings=settings,
        database=database,
        archive=Archive(settings.archive),
        deep=deep,
        live=anybody_alive(database, now),
        logs=[str(path) for path in logs],
    )


def _report(findings: Findings, inspection: Inspection, repair: bool) -> dict[str, Any]:
    return {
        "live": inspection.live,
        "deep": inspection.deep,
        "repair": repair,
        "violations": findings.seen.total(),
        "left": findings.left,
        "kinds": [
            {
                "invariant": str(invariant),
                "kind": kind,
                "count": findings.seen[invariant, kind],
                "mended": findings.mended[invariant, kind],
                "examples": [_violation(violation, mended) for violation, mended in examples],
            }
            for (invariant, kind), examples in findings.examples.items()
        ],
        "resend": [_resend(violation) for violation in findings.resend],
    }


def _violation(violation: Violation, mended: bool) -> dict[str, Any]:
    return {
        "what": violation.what,
        "remedy": str(violation.remedy) if violation.remedy else None,
        "mended": mended,
        "study_instance_uid": violation.study_instance_uid,
        "sop_instance_uid": violation.sop_instance_uid,
    }


def _resend(violation: Violation) -> dict[str, Any]:
    return {
        "study_instance_uid": violation.study_instance_uid,
        "sop_instance_uid": violation.sop_instance_uid,
        "calling_ae_title": violation.calling_ae_title,
        "received_at": violation.received_at.isoformat() if violation.received_at else None,
    }


def _print(findings: Findings, inspection: Inspection, repair: bool, console: Console) -> None:
    how = f"{'deep' if inspection.deep else 'quick'}, {'running' if inspection.live else 'stopped'} system"
    for invariant in Invariant:
        kinds = [kind for kind in findings.examples if kind[0] is invariant]
        mark = "[bold red]✗[/]" if any(findings.seen[k] > findings.mended[k] for k in kinds) else "[green]✓[/]"
        console.print(f"{mark} [bold]{invariant}[/] {invariant.sentence}", highlight=False, soft_wrap=True)
        for kind in kinds:
            for violation, mended in findings.examples[kind]:
                _print_violation(violation, mended, repair, console)
            more = findings.seen[kind] - len(findings.examples[kind])
            if more:
                console.print(f"    and {more} more of this kind", highlight=False)
    if findings.resend:
        console.print(_table(findings.resend))
    console.print(
        f"{findings.seen.total()} violations, {findings.mended.total()} mended, {findings.left} left ({how}).",
        highlight=False,
    )


def _print_violation(violation: Violation, mended: bool, repair: bool, console: Console) -> None:
    where = f" (study {violation.study_instance_uid})" if violation.study_instance_uid else ""
    console.print(f"    {violation.what}{where}", highlight=False, soft_wrap=True, markup=False)
    if mended:
        console.print(f"    → mended: {violation.remedy}", highlight=False)
    elif violation.remedy is Remedy.FLAG and repair:
        console.print("    → flagged; have it sent again", highlight=False)
    elif violation.remedy is not None:
        console.print(f"    → `firstread fsck --repair` will {violation.remedy}", highlight=False)


def _table(resend: Iterable[Violation]) -> Table:
    """What senders have to send again."""
    table = Table(title="To be sent again by their senders", title_justify="left", header_style="bold")
    for heading in ("Study Instance UID", "SOP Instance UID", "Calling AE", "Received"):
        table.add_column(heading, overflow="fold")
    for violation in resend:
        received = f"{violation.received_at:%Y-%m-%d %H:%M:%S} UTC" if violation.received_at else ""
        table.add_row(violation.study_instance_uid, violation.sop_instance_uid, violation.calling_ae_title, received)
    return table


def _recovered(recovered: Recovered) -> dict[str, Any]:
    return {
        "instances": {str(outcome): count for outcome, count in recovered.outcomes.items()},
        "set_aside": recovered.set_aside,
        "reports": recovered.reports,
        "assessments": recovered.assessments,
    }


def _print_recovered(recovered: Recovered, resent: bool, console: Console) -> None:
    for outcome, count in recovered.outcomes.items():
        console.print(f"{count} instances {outcome.lower()}", highlight=False)
    console.print(f"{recovered.reports} reports taken over from the results directory", highlight=False)
    if recovered.assessments:
        console.print(f"{recovered.assessments} assessments of these", highlight=False)
    for path in recovered.set_aside:
        console.print(f"[red]set aside[/] {path}: its sender has to send it again", highlight=False, soft_wrap=True)
    if recovered.reports and not resent:
        console.print(
            "Whether these reports reached their destinations is not known; none is sent again. To send them all once "
            "more, the same bytes: begin anew with `--resend-results`.",
            highlight=False,
            soft_wrap=True,
        )
    console.print("Who read which case is not known either: every study stands on the list as unread.", soft_wrap=True)
