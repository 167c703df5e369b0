"""What became of whom: waits by group, beside what they were first-in-first-out. Gain and harm in the same table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triage.findings import Urgency
from triage.priority import Targets
from worklist.simulation.cases import Cases
from worklist.simulation.policies import policies
from worklist.simulation.reading import waits

MISSED: Final = "overlooked by the AI"
RAISED_IN_ERROR: Final = "raised in error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Waits of one group under one policy, in minutes; ``late`` is the share that began after its target."""

    policy: str
    group: str
    count: int
    mean: float
    p95: float
    maximum: float
    late: float


def compare(cases: Cases, readers: Sequence[int], targets: Targets, *, warm_up: float = 0.0) -> list[Waiting]:
    """Play the same cases under every policy.

    Groups are by what is truly in a case, not by what the model says: a pneumothorax that was overlooked counts as a
    pneumothorax, and once more among the overlooked.

    Parameters
    ----------
    warm_up : float
        Minutes from the beginning whose arrivals are played but not counted: the list begins empty.
    """
    counted = cases.arrived >= warm_up
    limits = np.array([targets.of(urgency).total_seconds() / 60 for urgency in Urgency])[cases.true_urgency]
    rows = []
    for name, policy in policies(targets).items():
        waited = waits(cases, policy, readers)
        for group, members in _groups(cases).items():
            chosen = members & counted
            if chosen.any():
                rows.append(_measure(name, group, waited[chosen], limits[chosen]))
    return rows


def _groups(cases: Cases) -> Mapping[str, NDArray[np.bool_]]:
    raised = cases.ai_urgency < Urgency.ROUTINE.rank
    sick = cases.true_urgency < Urgency.ROUTINE.rank
    return {
        "all": np.ones(len(cases), bool),
        **{name: cases.condition == index for index, name in enumerate(cases.names)},
        MISSED: sick & (cases.ai_urgency > cases.true_urgency),
        RAISED_IN_ERROR: ~sick & raised,
    }


def _measure(policy: str, group: str, waited: NDArray[np.float64], limits: NDArray[np.float64]) -> Waiting:
    return Waiting(
        policy=policy,
        group=group,
        count=len(waited),
        mean=float(waited.mean()),
        p95=float(np.percentile(waited, 95)),
        maximum=float(waited.max()),
        late=float((waited > limits).mean()),
    )
