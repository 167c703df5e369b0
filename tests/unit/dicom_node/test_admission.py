from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.admission import AdmissionPolicy, AllowedPeer, AssociationRequest, Rejection, decide

LOOPBACK = AdmissionPolicy(called_ae_titles=("NODE",), peers=None)
LISTED = AdmissionPolicy(
    called_ae_titles=("NODE",),
    peers=(
        AllowedPeer("CR1", "10.1.2.3"),
        AllowedPeer("CT1", "10.2.0.0/16"),
        AllowedPeer("ANY"),
        AllowedPeer("V6", "fd00::/8"),
    ),
)


def request(
    calling: str = "CR1", called: str = "NODE", address: str = "10.1.2.3", **other: object
) -> AssociationRequest:
    return AssociationRequest(calling_ae_title=calling, called_ae_title=called, peer_address=address, **other)


@pytest.mark.parametrize(
    ("calling", "address", "admitted"),
    [
        ("CR1", "10.1.2.3", True),
        ("CR1             ", "10.1.2.3", True),
        ("CR1", "10.1.2.4", False),
        ("CT1", "10.2.255.1", True),
        ("CT1", "10.3.0.1", False),
        ("CT1", "::ffff:10.2.0.9", True),
        ("ANY", "192.168.0.1", True),
        ("V6", "fd12::1%eth0", True),
        ("V6", "10.1.2.3", False),
        ("cr1", "10.1.2.3", False),
        ("OTHER", "10.1.2.3", False),
        ("CT1", "not an address", False),
    ],
)
def test_listed_peers_only(calling, address, admitted):
    expected = None if admitted else Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
    assert decide(request(calling, address=address), LISTED) is expected


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16))
def test_loopback_admits_every_calling_title_that_is_one(title):
    assert decide(request(title), LOOPBACK) is None


@given(st.text(max_size=16))
def test_what_is_admitted_is_a_title(title):
    if decide(request(title), LOOPBACK) is None:
        stripped = title.strip(" ")
        assert 0 < len(stripped) <= 16
        assert stripped.isascii() and stripped.isprintable() and "\\" not in stripped


@pytest.mark.parametrize("title", [" " * 16, "", "A\x00B", "A\\B", "\x1b[31m", "é"])
def test_titles_outside_their_value_representation_are_not_recognised(title):
    assert decide(request(title), LOOPBACK) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED


@pytest.mark.parametrize("title", ["../../etc", "<b>", "=1+1"])
def test_hostile_looking_titles_are_rejected_unless_listed(title):
    assert decide(request(title), LISTED) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED


def test_reasons_in_their_order():
    assert decide(request(protocol_version=0), LOOPBACK) is Rejection.PROTOCOL_VERSION_NOT_SUPPORTED
    assert decide(request(protocol_version=3), LOOPBACK) is None  # only bit 0 is tested
    assert decide(request(application_context_name="1.2"), LOOPBACK) is Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
    assert decide(request(called="OTHER"), LOOPBACK) is Rejection.CALLED_AE_TITLE_NOT_RECOGNISED
    anyone = AdmissionPolicy(called_ae_titles=(), peers=None)
    assert decide(request(called="OTHER"), anyone) is None


def test_codes_are_those_of_the_standard():
    assert Rejection.CALLED_AE_TITLE_NOT_RECOGNISED.value == (1, 1, 7)
    assert Rejection.LOCAL_LIMIT_EXCEEDED.value == (2, 3, 2)
    assert [r for r in Rejection if r.transient] == [Rejection.LOCAL_LIMIT_EXCEEDED]


def test_a_network_that_is_none_is_refused_at_once():
    with pytest.raises(ValueError, match="host bits"):
        AllowedPeer("A", "10.1.2.3/8")


BOUND = AdmissionPolicy(
    called_ae_titles=("NODE",),
    peers=(AllowedPeer("CR1", certificate="DNS:cr1.example"), AllowedPeer("CT1", "10.2.0.0/16", "CN:ct one")),
)


@pytest.mark.parametrize(
    ("calling", "address", "names", "admitted"),
    [
        ("CR1", "10.9.9.9", {"DNS:cr1.example", "SHA256:00"}, True),
        ("CR1", "10.9.9.9", {"DNS:ct1.example"}, False),
        ("CR1", "10.9.9.9", {"CN:cr1.example"}, False),
        ("CR1", "10.9.9.9", set(), False),
        ("CT1", "10.2.0.1", {"CN:ct one"}, True),
        ("CT1", "10.3.0.1", {"CN:ct one"}, False),
    ],
)
def test_a_title_bound_to_a_certificate_needs_that_certificate(calling, address, names, admitted):
    expected = None if admitted else Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
    asked = request(calling, address=address, certificate_names=frozenset(names))
    assert decide(asked, BOUND) is expected
    assert Rejection.CALLING_AE_TITLE_NOT_RECOGNISED.value == (1, 1, 3)
