"""One Celery worker as a process: its pool, its workbenches, its bell, its orderly end."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Collection
from multiprocessing.sharedctypes import RawValue
from threading import Thread
from typing import Any

import numpy as np
from celery import signals

from dicom_node import results
from models.inference import findings
from triage.crash_points import kill_at, nowhere
from triage.errors import FirstreadError
from triage.findings import ImageResult
from triage.logging import configure, get_logger
from triage.settings import Settings
from workers import in_process, tasks, workitems
from workers.bell import Bell
from workers.celery_app import create_celery
from workers.clock import utc_now
from workers.housekeeping import bury_the_dead
from workers.names import Queue
from workers.pulse import Pulse
from workers.watchdog import Watchdog
from workers.workbench import Workbench

DELIVERY_THREADS = 8
"""At least this many. A destination takes one to send and one to be asked, however silent it is; the rest stays free
for housekeeping."""

log = get_logger(__name__)


class Staff:
    """Gives each process of a worker its own workbench, made after the fork and never shared across it."""

    def __init__(self, settings: Settings, queues: Collection[Queue], processes: int) -> None:
        self._settings, self._queues, self._processes = settings, queues, processes
        self._born = RawValue(ctypes.c_int, 0)  # shared with the processes of the pool
        self._bench: Workbench | None = None
        self._pulse: Pulse | None = None
        self._pid = 0

    def bench(self) -> Workbench:
        """This process's workbench, opened at first use."""
        if self._bench is None or self._pid != os.getpid():
            self._bench, self._pid = Workbench.open(self._settings), os.getpid()
        return self._bench

    def start(self, **_: Any) -> None:
        """Open, load the networks, report alive. A bundle that cannot be loaded is said, and the rest goes on."""
        bench = self.bench()
        self._born.value += 1
        if self._born.value > self._processes:  # its predecessor died: a crash point is met once
            bench.reached = nowhere
        bury_the_dead(bench.database, bench.settings.completion, bench.clock(), starting=True)
        analyses = Queue.ANALYSIS in self._queues
        if analyses:
            bench.decoder.start()
            warm_up(bench)
            bench.watchdog = Watchdog(self._settings.stall_seconds)
        part = "work" if analyses else "deliver"

        def detail() -> dict[str, list[str]]:
            return {
                "queues": sorted(str(queue) for queue in self._queues),
                "bundles": [b.metadata.name for b in bench.registry.available],
            }

        self._pulse = Pulse(bench.database, part, bench.clock, detail)
        self._pulse.start()
        log.info("worker_ready", **detail())
        if analyses:
            Thread(target=learn_to_report, args=(bench,), name="reports", daemon=True).start()
        else:
            collect_garbage()

    def stop(self, **_: Any) -> None:
        if self._pulse is not None and self._pid == os.getpid():
            self._pulse.stop()
            self._pulse = None
        if self._bench is not None and self._pid == os.getpid():
            self._bench.decoder.close()


def collect_garbage() -> None:
    """What the start has made stays for good: it is not looked through, and memory that forks share stays shared."""
    gc.freeze()
    gc.enable()


def warm_up(bench: Workbench) -> None:
    """Load every network and draw a picture with each, so that the first study is as quick as the next.

    A bundle that cannot be loaded is said, and the rest goes on.
    """
    for bundle in bench.registry.available:
        spec = bundle.metadata.input
        try:
            blank = np.zeros((1, bundle.metadata.channels, spec.height, spec.width), np.float32)
            prediction = bench.predictor(bundle).predict(blank)
            bench.gate(bundle)
        except FirstreadError as error:
            log.error("bundle_unavailable", bundle=bundle.metadata.name, advice=error.advice())
            continue
        image = ImageResult(sop_instance_uid="2.25.0", findings=findings(bundle, prediction.probabilities[0]))
        results.compose_heat_map(blank[0, 0], None, image, bundle.algorithm(), marked=None)


def learn_to_report(bench: Workbench) -> None:
    """Build one report: a second for highdicom's code tables, which no score waits for. The first report may."""
    results.warm_up(bench.node)
    collect_garbage()


def delivery_threads(settings: Settings) -> int:
    """Threads of a worker that delivers: no number of silent destinations takes the last one."""
    return max(DELIVERY_THREADS, 2 * len(settings.destinations) + len(settings.task_managers) + 4)


def run_worker(settings: Settings, queues: Collection[Queue]) -> None:
    """Run a worker until it is told to stop (SIGTERM: finish what runs, then end).

    Analyses run in processes of their own (prefork), because a decoder may crash and Python's threads cannot be
    stopped; a worker that only delivers uses threads, because it waits for the network.
    """
    processes = Queue.ANALYSIS in queues
    concurrency = settings.analysis_processes + (len(queues) > 1) if processes else delivery_threads(settings)
    staff = Staff(settings, queues, concurrency)
    app = create_celery(settings)
    tasks.register(app, staff.bench)
    bell = Bell(
        app,
        Workbench.open(settings).database,
        queues,
        utc_now,
        kill_at(settings.crash_at),
        workitems=workitems.concerns(settings),
    )

    def logging_of_this_process(**_: Any) -> None:
        configure(part="work", as_json=settings.log_json)

    def begin(**_: Any) -> None:
        bell.start()
        collect_garbage()

    def end(**_: Any) -> None:
        bell.stop()
        staff.stop()
        in_process.end()

    signals.setup_logging.connect(logging_of_this_process, weak=False)
    signals.worker_ready.connect(begin, weak=False)
    signals.worker_shutting_down.connect(end, weak=False)
    if processes:
        signals.worker_process_init.connect(staff.start, weak=False)
        signals.worker_process_shutdown.connect(staff.stop, weak=False)
    else:
        signals.worker_init.connect(staff.start, weak=False)
    gc.freeze()  # before the fork
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--loglevel=WARNING",
            f"--pool={'prefork' if processes else 'threads'}",
            f"--concurrency={concurrency}",
            f"--queues={','.join(sorted(queues))}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
