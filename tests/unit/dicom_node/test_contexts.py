from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node import contexts
from dicom_node.contexts import ContextResult, answer, is_storage

CT = "1.2.840.10008.5.1.4.1.1.2"
JPIP = "1.2.840.10008.1.2.4.94"


@given(st.lists(st.sampled_from((*contexts.TRANSFER_SYNTAXES, JPIP, "1.2.3")), max_size=8), st.randoms())
def test_answer_is_one_of_the_offered_and_does_not_depend_on_their_order(offered, random):
    first = answer(CT, offered)
    shuffled = list(offered)
    random.shuffle(shuffled)
    assert answer(CT, shuffled) == first
    if first.result is ContextResult.ACCEPTANCE:
        assert first.transfer_syntax in offered
    else:
        assert not set(offered) & set(contexts.TRANSFER_SYNTAXES)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"], "1.2.840.10008.1.2.1"),
        (["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"], "1.2.840.10008.1.2"),
        (["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"], "1.2.840.10008.1.2.4.80"),
        (["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"], "1.2.840.10008.1.2.1"),
    ],
)
def test_choice_keeps_objects_as_the_sender_holds_them(offered, chosen):
    assert answer(CT, offered).transfer_syntax == chosen


def test_every_listed_storage_class_is_accepted_in_every_listed_syntax():
    assert len(contexts.STORAGE_SOP_CLASSES) >= 170
    assert len(set(contexts.TRANSFER_SYNTAXES)) == len(contexts.TRANSFER_SYNTAXES)
    for sop_class in contexts.STORAGE_SOP_CLASSES:
        for syntax in contexts.TRANSFER_SYNTAXES:
            assert answer(sop_class, [syntax]).transfer_syntax == syntax


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.6",  # retired ultrasound
        "1.2.840.10008.5.1.4.1.1.12.77",  # retired, without a name
        "1.2.840.10008.5.1.4.1.1.999.1",  # not invented yet
        "1.3.12.2.1107.5.9.1",  # Siemens CSA non-image
        "2.25.1234",
    ],
)
def test_unknown_and_private_classes_are_kept_too(uid):
    assert is_storage(uid)


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.1",  # Verification
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root FIND
        "1.2.840.10008.5.1.4.1.2.2.2",  # Study Root MOVE
        "1.2.840.10008.5.1.4.31",  # Modality Worklist
        "1.2.840.10008.1.20.1",  # Storage Commitment
        "1.2.840.10008.5.1.4.1.1.200.4",  # Protocol Approval FIND
        "not a uid",
        "",
    ],
)
def test_other_services_are_refused(uid):
    assert not is_storage(uid)


def test_query_classes_get_the_reason_of_the_standard():
    assert answer("1.2.840.10008.5.1.4.1.2.2.1", ["1.2.840.10008.1.2"]).result == 3
    assert answer(CT, [JPIP]).result == 4
    assert answer(CT, []).result == 4


def test_verification_takes_uncompressed_syntaxes_only():
    assert answer(contexts.VERIFICATION, ["1.2.840.10008.1.2"]).result == 0
    assert answer(contexts.VERIFICATION, ["1.2.840.10008.1.2.4.50"]).result == 4
