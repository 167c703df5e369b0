"""A play as a process of its own: a question as JSON comes in, its waits as JSON go out.

The list is never slowed by a play: it shares no interpreter lock with it, and this process stands behind all others.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from worklist.simulation.trial import Trial, play

BEHIND_ALL_OTHERS = 15

if __name__ == "__main__":
    os.nice(BEHIND_ALL_OTHERS)
    trial = Trial.from_json(json.load(sys.stdin))
    json.dump([asdict(row) for row in play(trial)], sys.stdout)
