"""Results that are owed, without the analysis that makes them: real files, real rows, real messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from node_under_test import Node, draw
from pydicom.dataset import Dataset, FileMetaDataset

from dicom_node.commitment import ReportService
from dicom_node.contexts import STORAGE_COMMITMENT
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from triage import tables
from triage.identifiers import PeerAddress, derive_uid
from triage.peers import Destination
from triage.states import AnalysisStatus
from triage.tables import Delivery
from workers.delivery import deliver_due
from workers.proving import prove_due, watch_proofs
from workers.reports import take_report
from workers.result_files import store_object

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.33"


def result_of(source: Dataset, kind: str, number: int = 0) -> Dataset:
    """A small object about the source's study, in its patient's name."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = source.get("SpecificCharacterSet", "ISO_IR 192")
    dataset.SOPClassUID = SECONDARY_CAPTURE if kind == "SC" else REPORT
    dataset.SOPInstanceUID = derive_uid("owed", str(source.SOPInstanceUID), kind, str(number))
    dataset.Modality = "OT" if kind == "SC" else "SR"
    dataset.SeriesInstanceUID = derive_uid("owed series", str(source.StudyInstanceUID), kind)
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"):
        setattr(dataset, keyword, source.get(keyword, ""))
    dataset.ImageComments = "x" * 10_000  # longer than an association request, so that it can be cut in the middle
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    return dataset


class Debtor:
    """A node that owes the results of one study to destinations."""

    def __init__(self, node: Node, **settings: object) -> None:
        self.node = node
        self.configure(**settings)
        self.source = draw(7)
        node.receive(self.source)

    def configure(self, **settings: object) -> None:
        self.node.bench.settings = self.node.bench.settings.model_copy(update=settings)

    def owe(self, *addresses: str, kinds: tuple[str, ...] = ("SC", "SR"), number: int = 0) -> None:
        """Make results as an analysis does, owed to these addresses."""
        bench = self.node.bench
        with bench.database.write() as session:
            study = session.scalars(
                sa.select(tables.Study).where(tables.Study.study_instance_uid == str(self.source.StudyInstanceUID))
            ).one()
            analysis = study.analyses[0]
            analysis.status, analysis.due = AnalysisStatus.SUCCEEDED, False
            for kind in kinds:
                built = store_object(bench.settings.results, result_of(self.source, kind, number), kind)
                row = tables.ResultObject(
                    analysis=analysis, created_at=bench.clock(), kind=kind, sop_instance_uid=built.sop_instance_uid,
                    sop_class_uid=built.sop_class_uid, series_instance_uid=built.series_instance_uid,
                    transfer_syntax_uid=built.transfer_syntax_uid, relative_path=built.relative_path,
                    sha256=built.sha256, size=built.size,
                )  # fmt: skip
                row.deliveries = [Delivery(destination=to, created_at=bench.clock()) for to in addresses]
                session.add(row)

    def deliver(self, address: str) -> int:
        return deliver_due(self.node.bench, address)

    def prove(self, address: str) -> None:
        """Ask for proof as the bell would a moment later."""
        self.node.clock.pass_by(seconds=2)
        watch_proofs(self.node.bench)
        prove_due(self.node.bench, address)

    def deliveries(self) -> list[Delivery]:
        return [d for a in self.node.study(self.source).analyses for r in a.result_objects for d in r.deliveries]

    def events(self) -> list[str]:
        with self.node.bench.database.read() as session:
            return list(session.scalars(sa.select(tables.Event.kind).order_by(tables.Event.id)))

    def commitments(self) -> list[tables.Commitment]:
        with self.node.bench.database.read() as session:
            return list(session.scalars(sa.select(tables.Commitment).order_by(tables.Commitment.id)))


@contextmanager
def hearing(node: Node) -> Iterator[PeerAddress]:
    """The node's listener, as far as reports are concerned."""
    bench = node.bench
    service = ReportService(lambda report, who: take_report(bench.database, bench.settings, report, who, bench.clock()))
    config = ListenerConfig(ae_title=bench.settings.ae_title, port=0)
    intake: Intake = node.intake
    with Listener(config, intake, services={STORAGE_COMMITMENT: service}) as listener:
        yield PeerAddress(bench.settings.ae_title, "127.0.0.1", listener.port)


def to(address: str, **options: object) -> tuple[Destination, ...]:
    """The setting of one destination."""
    return (Destination.model_validate({"address": address, **options}),)
