"""The catalogue of faults (F1 to F40) as far as a plain Debian machine can inject them."""

from __future__ import annotations

from typing import Final

from faults import brokers, databases, destinations, disks, inputs, killing, networks
from faults.lab import Fault

CATALOGUE: Final = (
    Fault("F1", "receiver killed after each step, 8 senders", killing.receiver_at_every_step),
    Fault("F2", "worker killed at each step", killing.worker_at_every_step),
    Fault("F3", "relay killed between ring and note", killing.bell_between_ring_and_note),
    Fault("F4", "sweeper killed in its batch; two at once", killing.sweeper_in_the_middle),
    Fault("F5", "delivery killed after the PACS stored, before its answer", killing.sender_before_the_answer, ci=True),
    Fault("F6", "API killed during a change of priority", killing.api_in_a_change_of_priority),
    Fault("F7", "Redis killed full of bells, with and without AOF", brokers.killed_full_of_bells),
    Fault("F8", "Redis FLUSHALL again and again", brokers.flushed),
    Fault("F9", "Redis frozen", brokers.frozen),
    Fault("F10", "Redis off while many studies arrive", brokers.away_while_many_arrive),
    Fault("F11", "Redis out of memory", brokers.full),
    Fault("F12", "PostgreSQL stopped at once, and started", databases.stopped_at_once),
    Fault("F13", "PostgreSQL away, unresolvable, out of connections", databases.gone),
    Fault("F14", "backends ended, deadlocks, serialization failures", databases.broken_transactions),
    Fault("F15", "SQLite held by another writer; not writable", databases.sqlite_locked),
    Fault("F16", "SQLite damaged while stopped", databases.sqlite_damaged),
    Fault("F17", "no space", disks.no_space),
    Fault("F18", "no inodes, quota, read-only disk", disks.no_names),
    Fault("F19", "EIO on fsync", disks.failed_sync, ci=True),
    Fault("F20", "slow disk", disks.slow_disk),
    Fault("F22", "destinations closed, dropping, silent, slow", destinations.unreachable),
    Fault("F23", "destinations that reject or abort", destinations.rude),
    Fault("F24", "destinations that refuse each object", destinations.refusing),
    Fault("F25", "storage commitment denied, missing, wrong", destinations.faithless),
    Fault("F27", "network cut, lossy, slow, with a hole", networks.cut_and_lossy),
    Fault("F28", "worker killed for want of memory", inputs.out_of_memory),
    Fault("F30", "bells doubled, claims raced for", brokers.doubled_bells),
    Fault("F31", "worker asleep until its lease is lost", killing.frozen_worker),
    Fault("F32", "poison among good studies", inputs.poison),
    Fault("F33", "weights flipped, truncated, swapped, removed", inputs.wrong_weights),
    Fault("F35", "stored files flipped and removed", disks.decayed_files),
    Fault("F36", "the same study from two senders, 20 threads", inputs.duplicates, ci=True),
    Fault("F37", "late images at every moment", inputs.latecomers),
    Fault("F38", "random restarts of everything; upgrade of the schema", killing.random_restarts_and_upgrade),
    Fault("F39", "database from before; no database", databases.restored_from_earlier),
)
NOT_INJECTED: Final = {
    "F21": "power loss needs device-mapper or a virtual machine to reset",
    "F26": "the clock of the whole machine would jump",
    "F29": "needs a CUDA device",
    "F34": "no model that misbehaves is shipped; tests/unit/models covers what the worker does with one",
    "F40": "see `make soak`",
}
