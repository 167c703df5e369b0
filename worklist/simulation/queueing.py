"""Closed forms that the simulation is held against: the M/M/1 queue with non-preemptive priorities.

A. Cobham, Priority Assignment in Waiting Line Problems, Operations Research 2 (1954) 70-76.
"""

from __future__ import annotations

from collections.abc import Sequence


def mean_waits(arrival_rates: Sequence[float], service_rate: float) -> list[float]:
    """Mean wait before service by class, the first class served first; in the unit of time of the rates.

    Parameters
    ----------
    arrival_rates : sequence of float
        Poisson rate of each class.
    service_rate : float
        Of the exponential service, the same for all; above the sum of the arrival rates.

    Raises
    ------
    ValueError
        The queue has no steady state.
    """
    load = [rate / service_rate for rate in arrival_rates]
    if sum(load) >= 1:
        raise ValueError(f"a load of {sum(load):.2f} has no steady state")
    residual = sum(load) / service_rate  # mean work in progress: sum of rate * E[S^2] / 2, E[S^2] = 2 / service_rate^2
    waits, before = [], 0.0
    for share in load:
        waits.append(residual / ((1 - before) * (1 - before - share)))
        before += share
    return waits
