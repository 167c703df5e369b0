"""Messages that are owed, without the analysis that makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from message_cases import statement
from owing import Debtor

from triage import tables
from triage.peers import Destination
from triage.profiles import MessageKind
from triage.states import AnalysisStatus, DeliveryStatus
from workers.messages.fhir import build_bundle
from workers.messages.label import build_label
from workers.messages.oru import build_oru
from workers.messages.reading_task import build_reading_task
from workers.messages.webhook import build_document
from workers.result_files import store_message
from workers.study_objects import Message

BUILD: dict[MessageKind, Callable[[Any, Destination], bytes]] = {
    MessageKind.HL7: lambda about, destination: build_oru(about, destination.hl7),
    MessageKind.FHIR: lambda about, destination: build_bundle(about, destination.fhir),
    MessageKind.LABEL: lambda about, _: build_label(about.study.study_instance_uid, about.urgency),
    MessageKind.UPS: lambda about, _: build_reading_task(about),
    MessageKind.WEBHOOK: lambda about, destination: build_document(about, destination.webhook),
}


def owe(owing: Debtor, *, revision: int = 1, study: str = "1.2.3", **facts: str) -> None:
    """Write and owe a message to each destination as an analysis of that revision does; ``facts`` are the study's."""
    bench = owing.node.bench
    predecessor = "" if revision == 1 else "2.25.9"
    about = statement(revision=revision, predecessor_uid=predecessor, study_instance_uid=study, **facts)
    with bench.database.write() as session:
        row = session.scalars(
            sa.select(tables.Study).where(tables.Study.study_instance_uid == str(owing.source.StudyInstanceUID))
        ).one()
        analysis = next((a for a in row.analyses if a.revision == revision), None)
        if analysis is None:
            analysis = tables.Analysis(study=row, revision=revision, queued_at=bench.clock())
            session.add(analysis)
        analysis.status, analysis.due = AnalysisStatus.SUCCEEDED, False
        for destination in bench.settings.destinations:
            ((kind, variant),) = destination.wanted
            assert isinstance(kind, MessageKind)
            message = Message(
                identifier=about.message_uid(kind, f"{variant}{study}"), content=BUILD[kind](about, destination),
                suffix="json",
            )  # fmt: skip
            identity = {"patient_id": str(owing.source.PatientID), "patient_name": str(owing.source.PatientName)}
            built = store_message(bench.settings.results, message, kind, variant=variant, identity=identity)
            found = tables.ResultObject(
                analysis=analysis, created_at=bench.clock(), kind=kind, variant=variant, identity=identity,
                sop_instance_uid=built.sop_instance_uid, sop_class_uid="", series_instance_uid="",
                transfer_syntax_uid="", relative_path=built.relative_path, sha256=built.sha256, size=built.size,
            )  # fmt: skip
            found.deliveries = [tables.Delivery(destination=destination.address, created_at=bench.clock())]
            session.add(found)


def statuses(owing: Debtor) -> list[DeliveryStatus]:
    return [delivery.status for delivery in owing.deliveries()]


def try_again(owing: Debtor, address: str) -> int:
    """What came of it once every pause is over."""
    owing.node.clock.pass_by(hours=2)
    return owing.deliver(address)
