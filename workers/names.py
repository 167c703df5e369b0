"""Names of tasks and queues: all that a sender of a message needs to know of a worker."""

from __future__ import annotations

from enum import StrEnum


class Queue(StrEnum):
    """One queue per class of work, so that a slow destination never holds up an analysis."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"
    HOUSEKEEPING = "housekeeping"


class Task(StrEnum):
    ANALYSE = "firstread.analyse"
    ASSESS = "firstread.assess"
    DELIVER = "firstread.deliver"
    PROVE = "firstread.prove"
    COMPLETE = "firstread.complete"
    RENDER = "firstread.render"
    SWEEP = "firstread.sweep"
    RETAIN = "firstread.retain"
    SCRUB = "firstread.scrub"
    PERFORM = "firstread.perform"
    ERRAND = "firstread.errand"
