"""Our association PDUs and command sets against pynetdicom's, and against bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import P_DATA

from dicom_node import dimse, negotiation
from dicom_node.admission import Rejection
from dicom_node.contexts import ContextAnswer, ContextResult
from dicom_node.negotiation import ProposedContext
from dicom_node.upper_layer import ProtocolViolation

CONTEXTS = (
    ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),
    ProposedContext(3, "1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")),
)


def test_pynetdicom_reads_our_request():
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(negotiation.encode_request("FROM", "TO", CONTEXTS, 65536))
    primitive = pdu.to_primitive()
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("FROM", "TO")
    assert primitive.maximum_length_received == 65536
    assert [
        (c.context_id, str(c.abstract_syntax), tuple(c.transfer_syntax))
        for c in primitive.presentation_context_definition_list
    ] == [(c.context_id, c.abstract_syntax, c.transfer_syntaxes) for c in CONTEXTS]


def test_we_read_our_request():
    proposal = negotiation.read_request(negotiation.encode_request("FROM", "TO", CONTEXTS, 0)[6:])
    assert proposal.contexts == CONTEXTS
    assert proposal.calling_ae_title.strip() == "FROM"
    assert proposal.maximum_length == 0


def test_pynetdicom_reads_our_acceptance_and_rejection():
    request = negotiation.encode_request("FROM", "TO", CONTEXTS, 0)[6:]
    answers = {
        1: ContextAnswer(ContextResult.ACCEPTANCE, "1.2.840.10008.1.2"),
        3: ContextAnswer(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
    }
    encoded = negotiation.encode_acceptance(request, answers, 1048576, window=True)
    accepted = A_ASSOCIATE_AC()
    accepted.decode(encoded)
    primitive = accepted.to_primitive()
    assert primitive.maximum_length_received == 1048576
    assert [(c.context_id, c.result) for c in primitive.presentation_context_definition_results_list] == [
        (1, 0),
        (3, 4),
    ]
    assert encoded[10:42] == request[4:36]
    assert negotiation.read_acceptance(encoded[6:]).answers == answers

    rejected = A_ASSOCIATE_RJ()
    rejected.decode(negotiation.encode_rejection(Rejection.CALLED_AE_TITLE_NOT_RECOGNISED))
    assert (rejected.result, rejected.source, rejected.reason_diagnostic) == (1, 1, 7)


def test_unknown_items_are_stepped_over():
    request = negotiation.encode_request("FROM", "TO", CONTEXTS, 0)[6:] + b"\x77\x00\x00\x02hi"
    assert negotiation.read_request(request).contexts == CONTEXTS


@pytest.mark.parametrize("ids", [(1, 1), (2, 3)])
def test_context_ids_must_be_odd_and_unique(ids):
    contexts = [ProposedContext(i, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)) for i in ids]
    with pytest.raises(ProtocolViolation):
        negotiation.read_request(negotiation.encode_request("A", "B", contexts, 0)[6:])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_violation(tail):
    body = negotiation.encode_request("A", "B", CONTEXTS, 0)[6:74] + tail
    for decode in (negotiation.read_request, negotiation.read_acceptance):
        try:
            decode(body)
        except ProtocolViolation as error:
            assert error.reason == 6


@given(st.data())
def test_a_damaged_request_is_a_request_or_a_violation(data):
    body = bytearray(negotiation.encode_request("A", "B", CONTEXTS, 0)[6:])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        proposal = negotiation.read_request(bytes(body))
    except ProtocolViolation:
        return
    assert all(context.context_id & 1 for context in proposal.contexts)


def test_pynetdicom_reads_our_store_request_and_response():
    request = dimse.decode(dimse.store_request(7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"))
    for encoded, status in ((dimse.response(request, 0xA700, comment="no room", offending=(0, 0x1000)), 0xA700),):
        message = DIMSEMessage()
        data = P_DATA()
        data.presentation_data_value_list = [[1, b"\x03" + encoded]]
        assert message.decode_msg(data)
        command = message.command_set
        assert command.CommandField == 0x8001
        assert command.Status == status
        assert command.MessageIDBeingRespondedTo == 7
        assert command.AffectedSOPInstanceUID == "1.2.3"
        assert command.ErrorComment == "no room"
        assert command.OffendingElement == 0x00001000
        assert int.from_bytes(encoded[8:12], "little") == len(encoded) - 12


@given(st.text(max_size=200))
def test_error_comments_fit_their_value_representation(comment):
    request = dimse.decode(dimse.echo_request(1))
    encoded = dimse.response(request, 0xC000, comment=comment)
    assert len(encoded) % 2 == 0
    assert len(dimse.decode(encoded).text(dimse.Tag.ERROR_COMMENT)) <= 64


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_an_error(data):
    try:
        command = dimse.decode(data)
    except dimse.CommandSetError:
        return
    assert command.command_field is not None
