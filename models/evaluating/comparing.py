"""The same figure in two places: is the difference more than chance?"""

from __future__ import annotations

from models.evaluation import Interval


def difference(there: Interval, here: Interval) -> Interval:
    """``there - here`` for two sets without a patient in common.

    The interval is recovered from the two given ones by squaring and adding (Newcombe 1998; Zou & Donner 2008), so it
    stays honest where they are lopsided, as they are near 0 and 1.
    """
    value = there.value - here.value
    down = ((there.value - there.low) ** 2 + (here.high - here.value) ** 2) ** 0.5
    up = ((there.high - there.value) ** 2 + (here.value - here.low) ** 2) ** 0.5
    return Interval(value, value - down, value + up)
