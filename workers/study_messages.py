"""Messages about a whole study, built when its analysis ends: kind to builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dicom_node.results.identity import SourceHeader
from triage.errors import ResultError
from triage.peers import Destination
from triage.profiles import MessageKind
from workers.messages.facts import study_facts
from workers.messages.fhir import build_bundle
from workers.messages.oru import build_oru
from workers.messages.statement import Statement
from workers.messages.webhook import build_document
from workers.study_objects import Message, StudyView

MessageBuilder = Callable[[StudyView, Destination], Message]


def statement_of(view: StudyView) -> Statement:
    """What the messages about a finished analysis say; patient and study are those of the first analysed image.

    Raises
    ------
    ResultError
        That image is not among the evidence.
    """
    first = view.result.images[0].sop_instance_uid
    source = next((each for each in view.evidence if SourceHeader(each).text("SOPInstanceUID") == first), None)
    if source is None:
        raise ResultError(f"An analysed image is not among the evidence: {first}.")
    predecessor = view.predecessors.get("")
    return Statement(
        study=study_facts(source, view.evidence),
        result=view.result,
        node=view.node,
        revision=view.revision,
        created_at=view.created_at,
        predecessor_uid=predecessor.sop_instance_uid if predecessor is not None else "",
    )


def _hl7(view: StudyView, destination: Destination) -> Message:
    statement = statement_of(view)
    identifier = statement.message_uid(MessageKind.HL7, destination.hl7.variant())
    return Message(identifier=identifier, content=build_oru(statement, destination.hl7), suffix="hl7")


def _fhir(view: StudyView, destination: Destination) -> Message:
    statement = statement_of(view)
    identifier = statement.message_uid(MessageKind.FHIR, destination.fhir.variant())
    return Message(identifier=identifier, content=build_bundle(statement, destination.fhir), suffix="json")


def _webhook(view: StudyView, destination: Destination) -> Message:
    statement = statement_of(view)
    identifier = statement.message_uid(MessageKind.WEBHOOK, destination.webhook.variant())
    return Message(identifier=identifier, content=build_document(statement, destination.webhook), suffix="json")


MESSAGE_BUILDERS: Final[Mapping[MessageKind, MessageBuilder]] = {
    MessageKind.HL7: _hl7,
    MessageKind.FHIR: _fhir,
    MessageKind.WEBHOOK: _webhook,
}
