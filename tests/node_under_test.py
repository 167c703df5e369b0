"""A node without processes: real archive, database, bundles; a sender that stores as the listener does."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.archive import Archive
from dicom_node.intake import Intake
from models.phantom import Phantom, generate, to_dataset
from triage import tables
from triage.database import Database
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, StoredFile
from triage.repositories import associations
from triage.repositories import intake as rows
from triage.settings import Settings
from workers.workbench import Workbench

TAKEN_AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SEED = 99


@dataclass
class Clock:
    """Time that only moves when a test says so."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Node:
    """The workbench and the ways of the outside world to it."""

    bench: Workbench
    clock: Clock
    intake: Intake

    def receive(self, *datasets: Dataset, close: bool = True) -> str:
        """Store data sets as one association does; returns the association's UID."""
        association = f"2.25.{uuid.uuid4().int}"
        for dataset in datasets:
            self.intake.store(
                encoded(dataset),
                transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
                affected_sop_class_uid=str(dataset.SOPClassUID),
                affected_sop_instance_uid=str(dataset.SOPInstanceUID),
                arrival=Arrival(
                    received_at=self.clock(),
                    association_uid=association,
                    calling_ae_title="CR1",
                    called_ae_title="FIRSTREAD",
                    peer_address="127.0.0.1",
                ),
            )
        if close:
            self.close(association)
        return association

    def close(self, association: str) -> None:
        with self.bench.database.write() as session:
            associations.close_association(session, association, at=self.clock(), policy=self.bench.settings.completion)

    def study(self, dataset: Dataset) -> tables.Study:
        """The study with everything loaded that a test asks about."""
        with self.bench.database.read() as session:
            study = session.scalars(
                sa.select(tables.Study).where(tables.Study.study_instance_uid == str(dataset.StudyInstanceUID))
            ).one()
            for analysis in study.analyses:
                for image in analysis.images:
                    assert image.findings is not None
                    assert image.instance is not None
                for result in analysis.result_objects:
                    for delivery in result.deliveries:
                        assert delivery.attempts is not None
                        assert delivery.result_object is not None
            assert study.events is not None
            assert study.instances is not None
        return study


def encoded(dataset: Dataset) -> bytes:
    """The data set as it goes over the wire: no preamble, no file meta information."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@contextmanager
def opened(data: Path, **more: object) -> Iterator[Node]:
    """A node on a data directory, made where missing; ``more`` are settings."""
    settings = Settings(data=data, destinations=("PACS@127.0.0.1:9", "ARCHIVE@127.0.0.1:9"), **more)
    for folder in (settings.archive, settings.results):
        folder.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    migrate(database)
    clock = Clock()
    bench = Workbench.open(settings, clock=clock)
    archive = Archive(settings.archive)
    rules = rows.IntakeRules(
        listener="listen@test:1",
        completion=settings.completion,
        targets=settings.targets,
        pixel_digest=archive.pixel_digest,
    )

    def record(header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        with database.write() as session:
            return rows.record_instance(session, header, stored, arrival, rules)

    try:
        yield Node(bench, clock, Intake(archive, record, clock))
    finally:
        bench.decoder.close()
        bench.database.dispose()
        database.dispose()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path / "data") as fresh:
        yield fresh


def draw(index: int, findings: set[str] | None = None) -> Dataset:
    """A patient: ``draw(3, {"pneumothorax"})``; equal arguments give the equal object."""
    return to_dataset(_radiograph(index, frozenset(findings or ())), SEED, index, taken_at=TAKEN_AT)


@functools.lru_cache(maxsize=32)
def _radiograph(index: int, findings: frozenset[str]) -> Phantom:
    """Drawn once: a hundred tests ask for the same few patients, at 80 ms each."""
    return generate(SEED, index, size=512, findings=findings)


@pytest.fixture
def phantom() -> Callable[..., Dataset]:
    """:func:`draw`."""
    return draw
