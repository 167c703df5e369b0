"""``firstread worklist``: the reading list in the terminal, in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from triage.database import Database
from triage.findings import Urgency
from triage.repositories.list_query import Filters
from triage.repositories.listed_cases import ListedCase
from triage.repositories.worklist import list_page
from triage.states import AnalysisStatus, DeliveryStatus

COLOURS: Final = {Urgency.STAT: "bold red", Urgency.URGENT: "yellow", Urgency.ROUTINE: "default"}


def read_list(database: Database, limit: int) -> Sequence[ListedCase]:
    """The first open cases in reading order."""
    with database.read() as session:
        return list_page(session, Filters(), None, limit).cases


def draw(cases: Sequence[ListedCase], now: datetime) -> Table:
    """The list as a table: class, due time, who, what, findings, where the results are."""
    table = Table(expand=True, header_style="bold", title_justify="left")
    for heading in ("", "Class", "Due", "Patient", "Study", "Findings", "Results"):
        table.add_column(heading, overflow="fold")
    for place, case in enumerate(cases, start=1):
        study = case.study
        late = " [red](late)[/]" if now > study.due_at else ""
        table.add_row(
            str(place),
            Text(study.urgency, style=COLOURS[study.urgency]),
            f"{study.due_at:%H:%M}{late}",
            Text(f"{study.patient_name.replace('^', ' ').strip()}\n{study.patient_id}"),
            Text(f"{study.modality} {study.study_description}\n{study.accession_number}"),
            _findings(case),
            _results(case),
        )
    return table


def as_json(cases: Sequence[ListedCase]) -> list[dict[str, object]]:
    """The same for programs: the fields of `GET /api/v1/worklist` that a script sorts by."""
    return [
        {
            "study_instance_uid": case.study.study_instance_uid,
            "urgency": str(case.study.urgency),
            "due_at": case.study.due_at.isoformat(),
            "explanation": case.study.explanation,
            "analysis_status": str(case.analysis_status),
            "not_analysed": case.analysis_reason,
            "findings": {finding.key: round(finding.value, 4) for finding in case.findings if finding.positive},
        }
        for case in cases
    ]


def _findings(case: ListedCase) -> Text:
    if case.analysis_status is AnalysisStatus.NOT_ANALYSED:
        return Text(f"not analysed: {case.analysis_reason}", style="dim")
    if case.analysis_status is AnalysisStatus.FAILED:
        return Text(f"no result: {case.analysis_reason}", style="red")
    positives = [f"{f.code_meaning} {f.value:.2f}" for f in case.findings if f.positive]
    if positives:
        return Text(", ".join(positives))
    return Text("nothing over its threshold" if case.findings else "…", style="dim")


def _results(case: ListedCase) -> Text:
    counts = case.deliveries
    total = sum(counts.values())
    if not total:
        return Text(case.analysis_status.lower().replace("_", " "), style="dim")
    arrived = counts.get(DeliveryStatus.SENT, 0) + counts.get(DeliveryStatus.COMMITTED, 0)
    dead = counts.get(DeliveryStatus.DEAD, 0)
    style = "red" if dead else "green" if arrived == total else "default"
    return Text(f"{arrived} of {total} in the PACS" + (f", {dead} given up" if dead else ""), style=style)
