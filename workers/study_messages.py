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
from workers.messages.label import build_label
from workers.messages.oru import build_oru
from workers.messages.reading_task import build_reading_task
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


def _builder(kind: MessageKind, encode: Callable[[Statement, Destination], bytes], suffix: str) -> MessageBuilder:
    def build(view: StudyView, destination: Destination) -> Message:
        ((_, variant),) = destination.wanted
        try:
            statement = statement_of(view)
            return Message(
                identifier=statement.message_uid(kind, variant), content=encode(statement, destination), suffix=suffix
            )
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The report must not wait for a message; the cause is dropped, because it may quote a header.
            raise ResultError(f"The {kind} message could not be built: {type(error).__name__}.") from None

    return build


def _label(view: StudyView, _destination: Destination) -> Message:
    identifier = statement_of(view).message_uid(MessageKind.LABEL, "")
    return Message(identifier=identifier, content=build_label(view.study_instance_uid, view.urgency), suffix="json")


MESSAGE_BUILDERS: Final[Mapping[MessageKind, MessageBuilder]] = {
    MessageKind.HL7: _builder(MessageKind.HL7, lambda about, to: build_oru(about, to.hl7), "hl7"),
    MessageKind.FHIR: _builder(MessageKind.FHIR, lambda about, to: build_bundle(about, to.fhir), "json"),
    MessageKind.LABEL: _label,
    MessageKind.UPS: _builder(MessageKind.UPS, lambda about, _: build_reading_task(about), "json"),
    MessageKind.WEBHOOK: _builder(MessageKind.WEBHOOK, lambda about, to: build_document(about, to.webhook), "json"),
}
