"""What runs all day reads by indexes: nothing is looked for row by row in a table that grows for years."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from triage.repositories import (
    analyses,
    claims,
    commitments,
    completing,
    deliveries,
    errands,
    order_listing,
    orders,
    queues,
    renderings,
    scrubbing,
    stalled,
    verdicts,
    workitems,
    worklist,
)
from triage.repositories.list_query import Filters

GROWING: Final = (
    "studies", "instances", "associations", "analyses", "analysis_images", "findings", "result_objects", "deliveries",
    "delivery_attempts", "events", "verdicts", "missed_findings", "audit", "orders", "renderings", "commitments",
    "errands",
)  # fmt: skip
_SCAN: Final = re.compile(
    rf"SCAN ({'|'.join(GROWING)})(_\d+)?\b(?! USING (COVERING )?INDEX \w+_(open|asked|claimed|look_at|due))"
)

A_DAY: Final[dict[str, Callable[[Session], Any]]] = {
    "a study arrives": lambda session: arrive(session, "new"),
    "is anything to analyse": lambda session: analyses.any_claimable(session, NOON),
    "claim an analysis": lambda session: analyses.claim(session, NOON, attempts=3),
    "who holds analyses": analyses.holders,
    "leases of the gone": lambda session: analyses.expire_leases_of(session, ["gone"], NOON),
    "is anything to send": lambda session: deliveries.due_destinations(session, NOON),
    "claim deliveries": lambda session: deliveries.claim_batch(session, PACS, NOON),
    "who holds deliveries": deliveries.holders,
    "what waits is sent sooner": lambda session: deliveries.hurry(session, PACS, before=NOON, reason="refused"),
    "leases of gone senders": lambda session: deliveries.expire_leases_of(session, ["gone"], NOON),
    "studies to complete": lambda session: completing.due_studies(session, NOON),
    "is anything to complete": lambda session: completing.any_due(session, NOON),
    "claims of silent readers": lambda session: claims.any_to_end(session, lasts=timedelta(minutes=5), at=NOON),
    "end claims of silent readers": lambda session: claims.end_silent(session, lasts=timedelta(minutes=5), at=NOON),
    "are errands to run": errands.any_due,
    "claim an errand": lambda session: errands.claim(session, NOON, holder="here"),
    "old errands": lambda session: errands.expire(session, NOON),
    "are pictures to make": lambda session: renderings.any_due(session, NOON),
    "claim pictures": lambda session: renderings.claim(session, NOON, 10),
    "pictures nobody looks at": lambda session: renderings.forget_unseen(session, NOON, 10),
    "is a proof to ask for": lambda session: commitments.due_destinations(session, NOON),
    "claim a proof": lambda session: commitments.claim(session, PACS, NOON),
    "proofs without an answer": lambda session: commitments.unanswered(session, NOON, after=timedelta(hours=1)),
    "is an assessment to write": lambda session: verdicts.any_due(session, NOON),
    "assessments to write": lambda session: verdicts.due(session, NOON, 10),
    "workitems": lambda session: workitems.next_due(session, "http://manager", NOON),
    "files to check": lambda session: scrubbing.due_instances(
        session, received_before=NOON, checked_before=NOON, limit=10
    ),
    "results to check": lambda session: scrubbing.due_results(
        session, created_before=NOON, checked_before=NOON, limit=10
    ),
    "orders that changed": lambda session: orders.recent(session, NOON),
    "studies whose order is asked for": lambda session: orders.studies_to_ask(session, NOON, 10),
    "orders without a study": lambda session: order_listing.waiting_count(session, NOON),
    "who ordered lately": order_listing.senders,
    "orders that were refused": order_listing.refused,
    "what is tried in vain": queues.retried,
    "is analysis left lying": lambda session: stalled.analysing(session, NOON + timedelta(hours=9)),
    "is delivery left lying": lambda session: stalled.delivering(session, NOON + timedelta(hours=9)),
    "the list": lambda session: worklist.list_page(session, Filters(), None, 50),
    "counts of the list": worklist.open_counts,
}


@pytest.mark.parametrize("step", A_DAY)
def test_a_step_of_the_day_scans_nothing_that_grows(house: Any, step: str) -> None:
    with house.database.write() as session:
        for name in ("anna", "berta"):
            score(session, arrive(session, name), [Seen("pneumothorax", 0.9)])
        deliver(session, at=NOON)
        session.flush()
        asked: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
            asked.append((statement, parameters[0] if many else parameters))

        engine = house.database.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            A_DAY[step](session)
            session.flush()
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        explain = session.connection().exec_driver_sql
        plans = {
            statement: [row[-1] for row in explain(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in asked
            if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))
        }
    scans = {statement: plan for statement, plan in plans.items() if any(_SCAN.match(line) for line in plan)}
    assert scans == {}
