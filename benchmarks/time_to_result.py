"""Time to result of one 2500 × 2048 radiograph on an idle system, each millisecond accounted for, beside its floor.

Everything is read from outside: the stand-in PACS says when objects were there, a reader of the database when
the order had changed, the rows when each step began.

Usage: ``make bench`` or ``python benchmarks/time_to_result.py --repeats 15 --write``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import sqlalchemy as sa
from floor import ORDER, RESULT, Floor, measure_floor

from dicom_node.scu import send
from dicom_node.stand_in_pacs import ReceivedObject, StandInPacs
from firstread.demo import free_port
from firstread.up import Supervisor
from models.phantom import generate, write_dicom
from models.registry import Registry
from triage import tables
from triage.database import Database
from triage.findings import Urgency
from triage.identifiers import PeerAddress
from triage.logging import configure
from triage.peers import Destination
from triage.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
SEED = 4711
STEPS = (
    "last byte → receipt (durable file, committed row, C-STORE response)",
    "receipt → claimed by a worker",
    "claimed → order changed (look, prepare, infer, commit)",
    "order changed → heat map recorded",
    "heat map recorded → report recorded",
    "report recorded → claimed for delivery",
    "claimed for delivery → both stored in the PACS",
)
GOAL_ORDER, GOAL_RESULT = 2.0, 2.5


class Pacs:
    """When each object of a study was in the stand-in PACS, and when both were."""

    def __init__(self) -> None:
        self.at: dict[str, list[datetime]] = {}
        self.changed = threading.Condition()

    def received(self, item: ReceivedObject) -> None:
        with self.changed:
            self.at.setdefault(item.header.study_instance_uid, []).append(datetime.now(UTC))
            self.changed.notify_all()

    def both(self, study: str, timeout: float) -> datetime:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.at.get(study, ())) >= 2, timeout):
                raise TimeoutError(f"only {len(self.at.get(study, ()))} of 2 objects came back")
            return self.at[study][-1]


class OrderWatcher(threading.Thread):
    """Sees from outside when a reader would see the case in its new place: the commit, not the intention."""

    def __init__(self, settings: Settings, study_uid: str) -> None:
        super().__init__(daemon=True)
        self._database, self._study_uid = Database(settings.database), study_uid
        self.changed_at: datetime | None = None

    def run(self) -> None:
        watch = self._database.watch()
        query = sa.select(tables.Study.urgency).where(tables.Study.study_instance_uid == self._study_uid)
        end = time.monotonic() + 60
        while self.changed_at is None and time.monotonic() < end:
            if watch.changed():
                with self._database.read() as session:
                    urgency = session.scalar(query)
                if urgency is not None and urgency is not Urgency.ROUTINE:
                    self.changed_at = datetime.now(UTC)
            time.sleep(0.001)
        watch.close()
        self._database.dispose()


def run(settings: Settings, folder: Path, repeats: int) -> tuple[list[list[float]], list[float]]:
    """Milliseconds per step and until the order changed, one entry per repeat (a first one is warm-up)."""
    seen = Pacs()
    with StandInPacs(folder / "pacs", on_received=seen.received) as pacs:
        own = settings.model_copy(
            update={
                "data": folder / "data",
                "dicom_port": free_port(0),
                "http_port": free_port(0),
                "destinations": (Destination(address=str(pacs.address)),),
            }
        )
        with (folder / "log").open("wb") as log:
            supervisor = Supervisor(own, output=log)
            supervisor.start()
            try:
                supervisor.wait_until_ready()
                peer = PeerAddress(own.ae_title, own.bind, own.dicom_port)
                measured = [_once(own, peer, seen, folder, number) for number in range(repeats + 1)][1:]
            finally:
                supervisor.stop()
    return [steps for steps, _ in measured], [order for _, order in measured]


def _once(settings: Settings, peer: PeerAddress, seen: Pacs, folder: Path, number: int) -> tuple[list[float], float]:
    file = folder / f"{number}.dcm"
    phantom = generate(SEED, number, size=2500, findings=("pneumothorax",))
    dataset = write_dicom(phantom, file, SEED, number, taken_at=datetime.now(UTC))
    time.sleep(1.0)  # idle: nothing of the drawing is still running
    study_uid = str(dataset.StudyInstanceUID)
    watcher = OrderWatcher(settings, study_uid)
    watcher.start()
    (outcome,) = send(peer, [file], calling_ae_title="BENCH")
    assert outcome.stored, outcome.error
    stored_at = seen.both(study_uid, timeout=60)
    watcher.join(timeout=10)
    assert watcher.changed_at is not None, "the phantom's pneumothorax did not change the order"
    time.sleep(0.3)  # the delivery's own row
    database = Database(settings.database)
    with database.read() as session:
        study = session.scalars(sa.select(tables.Study).where(tables.Study.study_instance_uid == study_uid)).one()
        (analysis,) = study.analyses
        (instance,) = study.instances
        association = session.get_one(tables.Association, instance.association_id)
        heat_map, report = analysis.result_objects
        attempt = report.deliveries[0].attempts[0]
        assert analysis.started_at
        # The association is closed by its sender right after the response: the closest row to the receipt.
        receipt = min(filter(None, (association.closed_at, analysis.started_at)))
        moments = [
            instance.received_at,
            receipt,
            analysis.started_at,
            watcher.changed_at,
            heat_map.created_at,
            report.created_at,
            attempt.started_at,
            stored_at,
        ]
    database.dispose()
    steps = [(after - before).total_seconds() * 1000 for before, after in pairwise(moments)]
    return steps, (moments[3] - moments[0]).total_seconds() * 1000


def table(steps: list[list[float]], order: list[float], floor: Floor) -> str:
    """The measurement as Markdown."""
    total = [sum(row) for row in steps]
    order_floor, result_floor = floor.sum(*ORDER), floor.sum(*RESULT)
    lines = ["| step | median ms | min to max |", "|---|---|---|"]
    for index, name in enumerate(STEPS):
        column = [row[index] for row in steps]
        lines.append(f"| {name} | {statistics.median(column):.1f} | {min(column):.1f} to {max(column):.1f} |")
    lines += [
        _total("last byte → order changed", order),
        _total("last byte → SR and SC stored", total),
        "",
        "| bare part (floor) | median ms |",
        "|---|---|",
        *(f"| {part} | {floor.median(part):.1f} |" for part in RESULT),
        f"| **floor of the order** ({', '.join(ORDER)}) | **{order_floor:.1f}** |",
        f"| **floor of the results** (all parts) | **{result_floor:.1f}** |",
        "",
        "| | ratio to its floor | goal |",
        "|---|---|---|",
        f"| order changed | {statistics.median(order) / order_floor:.2f} | {GOAL_ORDER} |",
        f"| SR and SC stored | {statistics.median(total) / result_floor:.2f} | {GOAL_RESULT} |",
    ]
    return "\n".join(lines)


def _total(name: str, values: list[float]) -> str:
    return f"| **{name}** | **{statistics.median(values):.1f}** | {min(values):.1f} to {max(values):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="keep the table in docs/measurements/")
    arguments = parser.parse_args()
    configure(part="bench", as_json=False, level="ERROR")
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="firstread-bench-") as name:
        folder = Path(name)
        file = folder / "floor.dcm"
        write_dicom(generate(SEED, 0, size=2500, findings=("pneumothorax",)), file, SEED, 0, taken_at=datetime.now(UTC))
        registry = Registry.of_site(settings.site_bundles)
        before = measure_floor(file, registry, arguments.repeats)
        steps, order = run(settings, folder, arguments.repeats)
        after = measure_floor(file, registry, arguments.repeats)
        for part, values in after.parts.items():  # half before, half after: the machine's mood is in both
            before.parts[part] += values
    text = table(steps, order, before)
    print(text)
    if arguments.write:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        stamp = datetime.now(UTC)
        target = ROOT / "docs" / "measurements" / f"time-to-result-{stamp:%Y-%m-%d}.md"
        target.write_text(
            f"# Time to result, {stamp:%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}\n\n"
            f"One 2500 × 2048 radiograph (16 bit, uncompressed) on an idle system, embedded default, "
            f"{arguments.repeats} repeats, {platform.machine()}, Python {platform.python_version()}. "
            "Written by `benchmarks/time_to_result.py --write`.\n\n" + text + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
