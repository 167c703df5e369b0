"""Where the time of a case went: from its first byte to the destinations, each wait with what was waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from triage.assessment import KIND as ASSESSMENT
from triage.states import AnalysisStatus, DeliveryStatus, ReadingStatus, StudyStatus
from triage.tables import Analysis, Delivery, Study
from worklist.schemas.cases import StepOut


def journey(study: Study) -> list[StepOut]:
    """The steps of a case in the order in which they began. One that is not over has no end.

    Parameters
    ----------
    study : Study
        With events, analyses, their result objects, deliveries and attempts.
    """
    steps = [*_received(study), *_analysed(study), *_delivered(study), *_read(study)]
    return sorted(steps, key=lambda step: step.began_at)


def _received(study: Study) -> Iterator[StepOut]:
    images = f"{study.instance_count} instance{'' if study.instance_count == 1 else 's'}"
    yield _step("received", study.received_at, study.last_received_at, f"{images} received")
    if study.status is StudyStatus.RECEIVING:
        yield _step("completion", study.last_received_at, None, f"waits to be complete: {study.status_reason}")
        return
    complete = [event for event in study.events if event.kind == "study_complete"]
    if complete:
        why = str(complete[-1].detail.get("reason") or "complete")
        began = min(study.last_received_at, complete[-1].at)
        yield _step("completion", began, complete[-1].at, f"waited until the study was complete: {why}")


def _analysed(study: Study) -> Iterator[StepOut]:
    for analysis in study.analyses:
        name = analysis.bundle_name or "a bundle"
        if analysis.revision > 1:
            name += f", revision {analysis.revision}"
        if analysis.started_at is None:
            if analysis.finished_at is None:
                yield _step("queue", analysis.queued_at, None, _waits(analysis))
            continue
        yield _step("queue", analysis.queued_at, analysis.started_at, "waited for a free worker")
        yield from _looked_at(study, analysis, name)


def _waits(analysis: Analysis) -> str:
    if not analysis.due:
        return "the analysis waits for the rest of the study"
    again = f" (attempt {analysis.attempts + 1})" if analysis.attempts else ""
    return f"the analysis waits for a free worker{again}"


def _looked_at(study: Study, analysis: Analysis, name: str) -> Iterator[StepOut]:
    started, scored, finished = analysis.started_at, analysis.scored_at, analysis.finished_at
    if started is None:
        return
    if scored is None or scored < started:
        words = {
            AnalysisStatus.NOT_ANALYSED: f"looked at and not analysed: {analysis.reason}",
            AnalysisStatus.FAILED: f"tried and failed: {analysis.reason}",
            AnalysisStatus.SUCCEEDED: f"analysed by {name}",
        }
        yield _step("analysis", started, finished, words.get(analysis.status, f"being analysed by {name}"))
        return
    yield _step("analysis", started, scored, f"scored by {name}: its place on the list counts from here")
    if finished is None:
        waiting = study.status is StudyStatus.RECEIVING
        yield _step("report", scored, None, "the report waits for the rest of the study" if waiting else "being told")
        return
    complete = study.completed_at
    if complete is not None and scored < complete < finished:
        yield _step("report", scored, complete, "the report waited for the rest of the study")
        scored = complete
    yield _step("report", scored, finished, "explained, and report and pictures made")


def _delivered(study: Study) -> Iterator[StepOut]:
    """What came to be owed at one moment is one step: an assessment hours later says nothing about the report."""
    together: dict[tuple[str, datetime, str], list[Delivery]] = {}
    for analysis in study.analyses:
        for result in analysis.result_objects:
            kind = "assessment" if result.kind == ASSESSMENT else "delivery"
            for delivery in result.deliveries:
                together.setdefault((delivery.destination, delivery.created_at, kind), []).append(delivery)
    for (destination, _, kind), owed in together.items():
        yield from _to(destination, kind, owed)


def _to(destination: str, kind: str, owed: Sequence[Delivery]) -> Iterator[StepOut]:
    began = min(delivery.created_at for delivery in owed)
    sent = [delivery.sent_at for delivery in owed if delivery.sent_at is not None]
    open_ = [delivery for delivery in owed if delivery.sent_at is None and delivery.status is not DeliveryStatus.DEAD]
    tries = sorted((attempt for delivery in owed for attempt in delivery.attempts), key=lambda a: a.finished_at)
    failed = [attempt for attempt in tries if attempt.error]
    what = "result" if kind == "delivery" else kind
    many = f"{len(owed)} {what}{'' if len(owed) == 1 else 's'}"
    last = failed[-1].error.removeprefix(f"{destination}: ") if failed else ""
    many_failed = f"{len(failed)} attempt{'' if len(failed) == 1 else 's'}"
    why = f", after {many_failed} that failed, the last: {last}" if failed else ""
    if open_:
        waiting = f" and is tried again: {last}" if failed else ""
        yield _step(kind, began, None, f"{destination} is owed {len(open_)} of {many}{waiting}")
    elif sent:
        yield _step(kind, began, max(sent), f"{many} sent to {destination}{why}")
    elif tries:
        yield _step(kind, began, tries[-1].finished_at, f"given up for {destination}{why}")
    proven = [delivery.proven_at for delivery in owed if delivery.proven_at is not None]
    if sent and not open_ and len(proven) == len(sent) and max(proven) > max(sent):
        yield _step("proof", max(sent), max(proven), f"waited until {destination} proved that it holds them")


def _read(study: Study) -> Iterator[StepOut]:
    if study.reading_status is ReadingStatus.UNREAD:
        yield _step("reading", study.received_at, None, "waits to be read")
        return
    claimed = study.claimed_at or study.read_at
    yield _step("reading", study.received_at, claimed, f"waited until {study.reader or 'somebody'} took it up")
    if claimed != study.read_at:
        words = "being read by" if study.read_at is None else "read by"
        yield _step("reading", claimed or study.received_at, study.read_at, f"{words} {study.reader}")


def _step(kind: str, began: datetime, ended: datetime | None, text: str) -> StepOut:
    seconds = None if ended is None else max(0.0, (ended - began).total_seconds())
    return StepOut(kind=kind, began_at=began, ended_at=ended, seconds=seconds, text=text)
