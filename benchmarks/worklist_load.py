"""A department at work, beside a benchmark: studies arrive at a fixed rate; some are scored and, a while later, read.

Writes what listener, worker and reader write, in as many transactions, through the same repositories. One in
:data:`SCORED` is scored, about as many as two cores can look at with a network beside it.

Usage: ``python benchmarks/worklist_load.py DATABASE_URL --rate 50``; works until a line comes, then says as JSON what
it managed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import select
import statistics
import sys
import time
import uuid
from collections import deque
from datetime import UTC, datetime

import sqlalchemy as sa

from triage.completion import CompletionPolicy
from triage.database import Database
from triage.findings import Algorithm, Code, Finding, ImageResult, Score, ScoreKind, Urgency
from triage.instances import Arrival, InstanceHeader, Received, StoredFile
from triage.priority import Breaker, Targets
from triage.repositories import analyses, associations, outcomes, placing, worklist
from triage.repositories.intake import IntakeRules
from triage.repositories.recorder import Recorder
from triage.states import AnalysisStatus, DeliveryStatus
from triage.tables import Analysis, Delivery, ResultObject

SCORED = 5
BEHIND = 100
"""So many scored cases later a case is read."""
MODALITY = "1.2.826.0.1.3680043.10"
"""Root of the UIDs of images: 2.25 may be ours, which recording looks into."""
ALGORITHM = Algorithm(
    name="chest", version="1.0", manufacturer="firstread", weights_sha256="ab" * 32, research=True, disclaimer=""
)  # fmt: skip
FINDINGS = (("pneumothorax", Urgency.STAT), ("pleural_effusion", Urgency.URGENT), ("nodule", Urgency.ROUTINE))


class Department:
    """One study after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rules = IntakeRules(
            listener="load", completion=CompletionPolicy(), targets=Targets(), pixel_digest=lambda path: path
        )
        self._recorder = Recorder(self._rules)
        self._unread: deque[str] = deque()
        self._count = 0

    def receive(self) -> float:
        """One study from arrival to result; returns how long the listener's transaction took, in seconds."""
        self._count += 1
        uid, at = f"2.25.{uuid.uuid4().int}", datetime.now(UTC)
        header = InstanceHeader(
            study_instance_uid=uid, series_instance_uid=f"2.25.{uuid.uuid4().int}",
            sop_instance_uid=f"{MODALITY}.{uuid.uuid4().int}"[:64],
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", modality="DX",
            patient_id=f"L{self._count:07d}", patient_name="LOAD^ANNA", accession_number=f"L{self._count:07d}",
            study_description="Chest PA", view_position="PA",
        )  # fmt: skip
        digest = hashlib.sha256(uid.encode()).hexdigest()
        stored = StoredFile(relative_path=digest, digest=digest, size=1000, transfer_syntax_uid="1.2.840.10008.1.2.1")
        arrival = Arrival(
            received_at=at, association_uid=uuid.uuid4().hex, calling_ae_title="CR_ROOM1",
            called_ae_title="FIRSTREAD", peer_address="127.0.0.1",
        )  # fmt: skip
        began = time.perf_counter()
        with self._database.transaction() as connection:
            self._recorder(connection, [Received(header=header, stored=stored, arrival=arrival)])
        took = time.perf_counter() - began
        with self._database.write() as session:
            associations.close_association(session, arrival.association_uid, at=at, policy=self._rules.completion)
        self._unread.append(uid)
        if self._count % SCORED == 0:
            self._score(at)
            if len(self._unread) > BEHIND:
                self.read_one()
        return took

    def read_one(self) -> None:
        with self._database.write() as session:
            study = worklist.study_by_uid(session, self._unread.popleft(), to_change=True)
            worklist.mark_read(session, study, who="dr_load", at=datetime.now(UTC))

    def end(self) -> None:
        """Read the rest and decline what was not scored, for the next measurement of these rows."""
        while self._unread:
            self.read_one()
        with self._database.write() as session:
            session.execute(
                sa.update(Analysis)
                .where(Analysis.status == AnalysisStatus.QUEUED)
                .values(status=AnalysisStatus.NOT_ANALYSED, due=False, finished_at=datetime.now(UTC))
            )

    def _score(self, at: datetime) -> None:
        with self._database.write() as session:
            analysis = analyses.claim(session, at, attempts=3)
            assert analysis is not None
            ids = analysis.id
        with self._database.write() as session:
            analysis = session.get_one(type(analysis), ids)
            study = analysis.study
            positive = self._count % 50 == 0
            findings = tuple(
                Finding(
                    key=key, code=Code(value="1", scheme="99FIRSTREAD", meaning=key), site=None, urgency=urgency,
                    score=Score(
                        value=0.9 if positive else 0.1, threshold=0.6, kind=ScoreKind.CALIBRATED_PROBABILITY
                    ),
                )
                for key, urgency in FINDINGS
            )  # fmt: skip
            instances = outcomes.current_instances(session, study.id)
            images = [ImageResult(sop_instance_uid=i.sop_instance_uid, findings=findings) for i in instances]
            outcomes.record_images(
                session, analysis, ALGORITHM, images, [], {i.sop_instance_uid: i.id for i in instances}, at=at
            )
            placing.raise_by_ai(
                session, study, Urgency.STAT if positive else Urgency.ROUTINE, "load", targets=Targets(),
                breaker=Breaker(), at=at,
            )  # fmt: skip
        with self._database.write() as session:
            analysis = session.get_one(type(analysis), ids)
            report = ResultObject(
                analysis=analysis, kind="SR", created_at=at, relative_path="x", sha256="cd" * 32, size=10,
                sop_instance_uid=f"2.25.{uuid.uuid4().int}", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
                transfer_syntax_uid="1.2.840.10008.1.2.1", series_instance_uid=f"2.25.{uuid.uuid4().int}",
            )  # fmt: skip
            report.deliveries = [Delivery(destination="PACS@10.0.0.5:104", created_at=at, status=DeliveryStatus.SENT)]
            session.add(report)
            analyses.succeed(session, analysis, at=at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--rate", type=float, default=50.0, help="studies a second")
    arguments = parser.parse_args()
    database = Database(arguments.database)
    department = Department(database)
    taken = [department.receive() for _ in range(3)]
    sys.stdout.write("at work\n")
    sys.stdout.flush()
    began, taken = time.perf_counter(), []
    while not select.select([sys.stdin], [], [], max(0.0, began + len(taken) / arguments.rate - time.perf_counter()))[
        0
    ]:
        taken.append(department.receive())
    lasted = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    department.end()
    database.dispose()
    sys.stdout.write(
        json.dumps(
            {
                "rate": len(taken) / lasted,
                "receipt_p50": 1000 * statistics.median(taken),
                "receipt_p95": 1000 * statistics.quantiles(taken, n=20)[-1],
                "cpu": (usage.ru_utime + usage.ru_stime) / lasted,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
