"""The tasks: thin shells around plain functions of a workbench. Sent by name, with no patient data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers import (
    analysis,
    assessing,
    bundle_listing,
    delivery,
    errands,
    housekeeping,
    proving,
    rendering,
    retention,
    scrubbing,
    workitems,
)
from workers.names import Task
from workers.workbench import Workbench


def register(app: Any, bench: Callable[[], Workbench]) -> None:
    """Register the tasks with a Celery application.

    Parameters
    ----------
    app : celery.Celery
    bench : callable
        Returns this process's workbench.
    """

    def analyse() -> None:
        analysis.analyse_due(bench())

    def assess() -> None:
        assessing.assess_due(bench())

    def deliver(destination: str) -> None:
        delivery.deliver_due(bench(), destination)

    def prove(destination: str) -> None:
        proving.prove_due(bench(), destination)

    def complete() -> None:
        housekeeping.complete_due(bench())

    def render() -> None:
        rendering.render_due(bench())

    def sweep() -> None:
        here = bench()
        housekeeping.bury_the_dead(here.database, here.settings.completion, here.clock())
        housekeeping.apply_changed_rules(here)
        housekeeping.end_silent_claims(here)
        housekeeping.sweep_incoming(here)
        proving.watch_proofs(here)
        bundle_listing.publish(here)
        rendering.forget_unseen(here)

    def retain() -> None:
        retention.make_room(bench())

    def scrub() -> None:
        scrubbing.scrub(bench())

    def perform() -> None:
        workitems.perform_due(bench())

    def errand() -> None:
        errands.run_due(bench())

    for name, body in (
        (Task.ANALYSE, analyse),
        (Task.ASSESS, assess),
        (Task.DELIVER, deliver),
        (Task.PROVE, prove),
        (Task.COMPLETE, complete),
        (Task.RENDER, render),
        (Task.SWEEP, sweep),
        (Task.RETAIN, retain),
        (Task.SCRUB, scrub),
        (Task.PERFORM, perform),
        (Task.ERRAND, errand),
    ):
        app.task(body, name=name)
