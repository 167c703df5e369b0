"""Association PDUs and command sets against pynetdicom's, and against bytes that are none."""

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
from dicom_node.negotiation import ProposedContext, Roles
from dicom_node.proposal import MAXIMUM_ITEMS, encode_acceptance, read_proposal
from dicom_node.upper_layer import ProtocolViolation

CONTEXTS = (
    ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),
    ProposedContext(3, "1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")),
)

_FIXED = b"\x00\x01\x00\x00" + b"TO".ljust(16) + b"FROM".ljust(16) + bytes(32)


def _item(kind: int, value: bytes) -> bytes:
    return bytes([kind, 0]) + len(value).to_bytes(2, "big") + value


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


def test_role_selection_is_read_and_answered_as_pynetdicom_means_it():
    commitment = "1.2.840.10008.1.20.1"
    encoded = negotiation.encode_request("FROM", "TO", CONTEXTS, 0, provider_of=[commitment])
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(encoded)
    selection = pdu.user_information.role_selection[commitment]
    assert (selection.scu_role, selection.scp_role) == (0, 1)
    proposal = read_proposal(encoded[6:])
    assert proposal.roles == {commitment: Roles(user=False, provider=True)}
    accepted = A_ASSOCIATE_AC()
    accepted.decode(encode_acceptance(encoded[6:], {}, 0, window=False, roles=proposal.roles))
    selection = accepted.user_information.role_selection[commitment]
    assert (selection.scu_role, selection.scp_role) == (0, 1)


@pytest.mark.parametrize(
    "value", [b"", b"\x00", b"\x00\x09" + b"1.2.840.1", b"\x00\x03x.y\x00\x01", b"\xff\xff1.2\x00\x01"]
)
def test_a_role_selection_that_is_none_is_stepped_over(value: bytes):
    request = negotiation.encode_request("FROM", "TO", CONTEXTS, 0)[6:]
    assert read_proposal(request + _item(0x50, _item(0x54, value))).roles == {}


def test_we_read_our_request():
    proposal = read_proposal(negotiation.encode_request("FROM", "TO", CONTEXTS, 0)[6:])
    assert proposal.contexts() == CONTEXTS
    assert proposal.calling_ae_title.strip() == "FROM"
    assert proposal.maximum_length == 0


def test_pynetdicom_reads_our_acceptance_and_rejection():
    request = negotiation.encode_request("FROM", "TO", CONTEXTS, 0)[6:]
    answers = {
        1: ContextAnswer(ContextResult.ACCEPTANCE, "1.2.840.10008.1.2"),
        3: ContextAnswer(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
    }
    encoded = encode_acceptance(request, answers, 1048576, window=True)
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
    assert read_proposal(request).contexts() == CONTEXTS


def test_unknown_sub_items_are_stepped_over():
    unknown = b"\x77\x00\x00\x02hi"
    context = b"\x03\x00\x00\x00" + _item(0x30, b"1.2.840.10008.1.1") + unknown + _item(0x40, b"1.2.840.10008.1.2")
    user = unknown + _item(0x51, b"\x00\x00\x40\x00") + _item(0x58, b"\xff\xff")
    proposal = read_proposal(_FIXED + _item(0x20, context) + _item(0x50, user))
    assert proposal.contexts() == (ProposedContext(3, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),)
    assert proposal.maximum_length == 0x4000


@pytest.mark.parametrize("uid", [b"", b"\xff\xfe", b"1." * 40 + b"1", b"1.02.3", b"one"])
def test_a_context_of_something_that_is_no_uid_is_there_but_names_nothing(uid):
    context = b"\x01\x00\x00\x00" + _item(0x30, uid) + _item(0x40, uid) + _item(0x40, b"1.2.840.10008.1.2")
    proposal = read_proposal(_FIXED + _item(0x10, uid) + _item(0x20, context))
    assert proposal.contexts() == (ProposedContext(1, "", ("1.2.840.10008.1.2",)),)
    assert proposal.application_context_name == ""


def test_padded_uids_are_read():
    context = b"\x01\x00\x00\x00" + _item(0x30, b"1.2.840.10008.1.1\x00") + _item(0x40, b"1.2.840.10008.1.2 ")
    proposal = read_proposal(_FIXED + _item(0x20, context))
    assert proposal.contexts() == (ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),)


@pytest.mark.parametrize("title", [b" " * 16, b"\xff" * 16, b"A\\B".ljust(16), bytes(16)])
def test_odd_ae_titles_are_read_for_admission_and_repeated_in_an_acceptance(title):
    body = b"\x00\x01\x00\x00" + title + title + bytes(32)
    proposal = read_proposal(body)
    assert proposal.calling_ae_title.encode("latin-1") == title
    assert encode_acceptance(body, {}, 0, window=False)[10:42] == title * 2


@pytest.mark.parametrize("ids", [(1, 1), (2, 3)])
def test_context_ids_must_be_odd_and_unique(ids):
    contexts = [ProposedContext(i, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)) for i in ids]
    with pytest.raises(ProtocolViolation):
        read_proposal(negotiation.encode_request("A", "B", contexts, 0)[6:]).contexts()


def _unknown_items(count: int) -> bytes:
    return b"\x77\x00\x00\x00" * count


@pytest.mark.parametrize(
    "items",
    [
        _unknown_items(MAXIMUM_ITEMS + 1),
        _item(0x50, _unknown_items(MAXIMUM_ITEMS + 1)),
        _item(0x20, b"\x01\x00\x00\x00" + _unknown_items(MAXIMUM_ITEMS + 1)),
        b"".join(_item(0x20, bytes([(2 * n + 1) & 255, 0, 0, 0])) for n in range(129)),
    ],
    ids=["items", "user items", "syntaxes", "contexts"],
)
def test_a_request_with_too_many_of_anything_is_a_violation(items):
    with pytest.raises(ProtocolViolation, match="number of"):
        read_proposal(_FIXED + items).contexts()
    fewer = _unknown_items(MAXIMUM_ITEMS - 1) + _item(0x50, _unknown_items(MAXIMUM_ITEMS))
    assert read_proposal(_FIXED + fewer).contexts() == ()


def test_who_calls_is_known_before_any_context_is_looked_into():
    proposal = read_proposal(_FIXED + _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, b"\x02no context"))
    assert (proposal.calling_ae_title.strip(), proposal.application_context_name) == ("FROM", "1.2.840.10008.3.1.1.1")
    with pytest.raises(ProtocolViolation):
        proposal.contexts()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(ContextResult),
            st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"]),
        ),
        max_size=128,
    ),
    st.booleans(),
)
def test_pynetdicom_reads_every_acceptance(results, window):
    answers = {
        2 * n + 1: ContextAnswer(result, syntax if result is ContextResult.ACCEPTANCE else "")
        for n, (result, syntax) in enumerate(results)
    }
    encoded = encode_acceptance(_FIXED, answers, 16384, window=window)
    accepted = A_ASSOCIATE_AC()
    accepted.decode(encoded)
    assert accepted.encode() == encoded
    assert negotiation.read_acceptance(encoded[6:]).answers == answers


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_violation(tail):
    body = negotiation.encode_request("A", "B", CONTEXTS, 0)[6:74] + tail
    for decode in (lambda data: read_proposal(data).contexts(), negotiation.read_acceptance):
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
        contexts = read_proposal(bytes(body)).contexts()
    except ProtocolViolation:
        return
    assert all(context.context_id & 1 for context in contexts)


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
