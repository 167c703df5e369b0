"""Values of a fixed form: legal ones unchanged, certain ones respelled, the rest refused."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.results.character_sets import legal_terms
from dicom_node.results.forms import respelled


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "expected"),
    [
        ("PatientSex", "CS", b"M ", b"M "),
        ("PatientSex", "CS", b"m", b"M"),
        ("PatientSex", "CS", b"U", None),
        ("PatientSex", "CS", b"", b""),
        ("StudyDate", "DA", b"20250102", b"20250102"),
        ("StudyDate", "DA", b"2025.01.02", b"20250102"),
        ("StudyDate", "DA", b"2025.0102", None),
        ("StudyDate", "DA", b"20250230", None),
        ("StudyDate", "DA", b"yesterday", None),
        ("StudyTime", "TM", b"070809.123", b"070809.123"),
        ("StudyTime", "TM", b"07:08:09", b"070809"),
        ("StudyTime", "TM", b"07", b"07"),
        ("StudyTime", "TM", b"25", None),
        ("PatientAge", "AS", b"081Y", b"081Y"),
        ("PatientAge", "AS", b"81", None),
        ("PatientWeight", "DS", b" 70.5 ", b" 70.5 "),
        ("PatientWeight", "DS", b"heavy", None),
        ("TimezoneOffsetFromUTC", "SH", b"-0400 ", b"-0400 "),
        ("TimezoneOffsetFromUTC", "SH", b"EST ", None),
        ("PatientName", "PN", b"\xff\xfe", b"\xff\xfe"),
        ("AccessionNumber", "SH", b"A" * 20, b"A" * 20),
    ],
)
def test_forms(keyword: str, vr: str, value: bytes, expected: bytes | None) -> None:
    assert respelled(keyword, vr, value) == expected


@given(st.dates(min_value=date(1000, 1, 1)))
def test_every_date_is_legal_and_the_old_form_means_the_same(day: date) -> None:
    value = day.strftime("%Y%m%d").zfill(8).encode()
    assert respelled("StudyDate", "DA", value) == value
    assert respelled("StudyDate", "DA", day.strftime("%Y.%m.%d").zfill(10).encode()) == value


@given(st.binary(max_size=40), st.sampled_from(["CS", "DA", "TM", "AS", "DS", "IS"]))
def test_what_is_respelled_is_legal_afterwards(value: bytes, vr: str) -> None:
    first = respelled("", vr, value)
    assert first is None or respelled("", vr, first) == first


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ((), ()),
        (("ISO_IR 100",), ("ISO_IR 100",)),
        (("ISO_IR 192",), ("ISO_IR 192",)),
        (("GB18030",), ("GB18030",)),
        (("", "ISO 2022 IR 87"), ("", "ISO 2022 IR 87")),
        (("ISO 2022 IR 13", "ISO 2022 IR 87"), ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        (("ISO 2022 IR 6", "ISO 2022 IR 87"), ("ISO 2022 IR 6", "ISO 2022 IR 87")),
        (("ISO_IR 6",), ()),
        (("ISO 2022 IR 149",), ("", "ISO 2022 IR 149")),
        (("ISO 2022 IR 100",), ("ISO_IR 100",)),
        (("ISO-IR 100",), ("ISO_IR 100",)),
        (("UTF-8",), ("ISO_IR 192",)),
        (("ISO_IR 192", "ISO 2022 IR 87"), ("ISO_IR 192",)),
        (("ISO_IR 100", "ISO 2022 IR 87"), ("ISO 2022 IR 100", "ISO 2022 IR 87")),
        (("WINDOWS-1252",), ()),
    ],
)
def test_character_set_terms(terms: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert legal_terms(terms) == expected


@given(st.lists(st.text(max_size=16), max_size=3).map(tuple))
def test_terms_once_made_legal_stay(terms: tuple[str, ...]) -> None:
    legal = legal_terms(terms)
    assert legal_terms(legal) == legal
