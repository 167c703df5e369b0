"""The catalogue of faults (F1 to F40) as far as a plain Debian machine can inject them."""

from __future__ import annotations

from typing import Final

from faults import killing
from faults.lab import Fault

CATALOGUE: Final = (
    Fault("F1", "receiver killed after each step, 8 senders", killing.receiver_at_every_step),
    Fault("F2", "worker killed at each step", killing.worker_at_every_step),
    Fault("F3", "relay killed between ring and note", killing.bell_between_ring_and_note),
    Fault("F4", "sweeper killed in its batch; two at once", killing.sweeper_in_the_middle),
    Fault("F5", "delivery killed after the PACS stored, before its answer", killing.sender_before_the_answer, ci=True),
    Fault("F6", "API killed during a change of priority", killing.api_in_a_change_of_priority),
    Fault("F31", "worker asleep until its lease is lost", killing.frozen_worker),
    Fault("F38", "random restarts of everything; upgrade of the schema", killing.random_restarts_and_upgrade),
)
NOT_INJECTED: Final = {
    "F21": "power loss needs device-mapper or a virtual machine to reset",
    "F26": "the clock of the whole machine would jump",
    "F29": "needs a CUDA device",
    "F34": "no model that misbehaves is shipped; tests/unit/models covers what the worker does with one",
    "F40": "see `make soak`",
}
