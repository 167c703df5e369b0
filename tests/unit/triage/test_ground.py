"""Identifiers, state machines, errors and logs: the small rules that everything stands on."""

from __future__ import annotations

import io
import json
import sys
from enum import StrEnum

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID

from triage import errors
from triage.errors import FirstreadError, IdentifierError, StateError
from triage.findings import NotAnalysedReason, Score, ScoreKind, Urgency
from triage.identifiers import (
    PeerAddress,
    accession_number,
    ae_title,
    certificate_name,
    derive_uid,
    dicom_uid,
    names_nobody,
)
from triage.logging import configure, get_logger
from triage.states import MACHINES, advance


@pytest.mark.parametrize("bad", ["", "1..2", "01.2", "1.2.", "x", "../x", "1." + "2" * 64, "1.2\n"])
def test_what_is_no_uid_is_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(IdentifierError) as caught:
        dicom_uid(bad, attribute="StudyInstanceUID")
    assert "StudyInstanceUID" in str(caught.value)


@pytest.mark.parametrize("padded", ["1.2.840\x00", "1.2.840 ", " 1.2.840"])
def test_padding_of_a_uid_is_removed(padded: str) -> None:
    assert dicom_uid(padded, attribute="UID") == "1.2.840"


@given(st.lists(st.text(), max_size=5))
def test_a_derived_uid_is_valid_and_always_the_same(parts: list[str]) -> None:
    assert UID(derive_uid(*parts)).is_valid
    assert derive_uid(*parts) == derive_uid(*parts)


def test_derived_uids_differ_when_any_part_does() -> None:
    assert derive_uid("a", "bc") != derive_uid("ab", "c")


@pytest.mark.parametrize("text", ["", "0", "000-000", "UNKNOWN", "unknown", "n/a", "(none)", " ", "---", "Anonymous"])
def test_some_patient_ids_name_nobody(text: str) -> None:
    assert names_nobody(text)


@pytest.mark.parametrize("text", ["1", "0001", "P-0", "UNKNOWN-17", "Ü", "42", "TESTA"])
def test_the_others_name_somebody(text: str) -> None:
    assert not names_nobody(text)


@pytest.mark.parametrize("bad", ["", "X" * 17, "A\\B", "A\x00", "Ü"])
def test_what_is_no_ae_title_is_refused(bad: str) -> None:
    with pytest.raises(IdentifierError):
        ae_title(bad)


@given(st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True), st.integers(1, 65535))
def test_a_peer_address_reads_back_what_it_prints(title: str, port: int) -> None:
    for host in ("pacs.local", "10.0.0.1", "::1"):
        assert PeerAddress.parse(str(PeerAddress(title, host, port))) == PeerAddress(title, host, port)


@pytest.mark.parametrize("bad", ["PACS", "PACS@host", "PACS@host:0", "PACS@host:x", "@host:104", "PACS@:104"])
def test_what_is_no_peer_address_is_refused(bad: str) -> None:
    with pytest.raises(IdentifierError):
        PeerAddress.parse(bad)


def test_a_long_accession_number_is_tolerated_and_a_backslash_is_not() -> None:
    assert accession_number(" " + "9" * 40) == "9" * 40
    with pytest.raises(IdentifierError):
        accession_number("1\\2")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_allows_its_transitions_and_no_others(machine: type[StrEnum]) -> None:
    for current in machine:
        for to in machine:
            if to in MACHINES[machine][current]:
                assert advance(current, to) is to
            else:
                with pytest.raises(StateError):
                    advance(current, to)


@pytest.mark.parametrize(
    "error", [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, FirstreadError)]
)
def test_every_error_says_what_to_do_next(error: type[FirstreadError]) -> None:
    assert error.next_step.endswith(".")
    assert issubclass(error, FirstreadError)


@pytest.mark.parametrize("reason", NotAnalysedReason)
def test_every_reason_has_a_sentence(reason: NotAnalysedReason) -> None:
    assert reason.sentence


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_score_is_a_number_from_0_to_1(value: float) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        Score(value=value, threshold=0.5, kind=ScoreKind.CALIBRATED_PROBABILITY)


def test_the_highest_class_wins_and_silence_is_routine() -> None:
    assert Urgency.highest(None, Urgency.ROUTINE, Urgency.STAT) is Urgency.STAT
    assert Urgency.highest(None, None) is Urgency.ROUTINE


def test_patient_data_never_reaches_a_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure(part="test", as_json=True)
    try:
        raise_with_patient_data()
    except ValueError:
        get_logger("x").error("broke", exc_info=True, patient_name="ZZCANARY^Jane", study_instance_uid="1.2")
    finally:
        structlog.reset_defaults()
    line = json.loads(stream.getvalue())
    assert "ZZCANARY" not in stream.getvalue()
    assert (line["event"], line["part"], line["exception"], line["study_instance_uid"]) == (
        "broke", "test", "ValueError", "1.2",
    )  # fmt: skip


def test_no_library_quotes_an_element_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure(part="test", as_json=True)
    try:
        Dataset().PatientBirthDate = "ZZCANARY-1950"
    finally:
        structlog.reset_defaults()
    assert stream.getvalue() == ""


def raise_with_patient_data() -> None:
    raise ValueError("ZZCANARY^Jane is not a date")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("DNS:CT1.Hospital.example", "DNS:ct1.hospital.example"),
        ("dns:ct1", "DNS:ct1"),
        ("IP:10.0.0.5", "IP:10.0.0.5"),
        ("ip:FD00:0::1", "IP:fd00::1"),
        ("URI:urn:oid:1.2.3", "URI:urn:oid:1.2.3"),
        (" CN:CT one ", "CN:CT one"),
        ("sha256:" + ":".join(["AB"] * 32), "SHA256:" + "ab" * 32),
        ("SHA256:" + "0" * 64, "SHA256:" + "0" * 64),
    ],
)
def test_a_name_of_a_certificate_has_one_spelling(text: str, name: str) -> None:
    assert certificate_name(text) == name
    assert certificate_name(name) == name


@pytest.mark.parametrize(
    "text",
    ["", "ct1.example", "DNS:", "DNS:*.example", "DNS:a b", "IP:10.0.0.0/8", "SHA256:abc", "CN:", "CN:\n", "O:x"],
)
def test_what_names_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(IdentifierError) as caught:
        certificate_name(text)
    assert "SHA256:64 hexadecimal digits" in caught.value.next_step
