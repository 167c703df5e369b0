"""One object in the forms that destinations want: names, text in other character sets, what is never changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_sources import ODD, SCRIPTS
from pydicom.dataset import Dataset
from result_cases import ALGORITHM, CREATED_AT, NODE, heat_map, negative, positive, radiograph

from dicom_node.results import build_key_objects, build_report, is_own_result
from dicom_node.results.transliteration import spelled, spelled_name
from triage.errors import ResultError
from triage.findings import AnalysisResult
from triage.profiles import Profile


def report(header: Dataset, profile: Profile | None = None) -> Dataset:
    image = positive(header)
    return build_report(
        [header],
        AnalysisResult(algorithm=ALGORITHM, images=(image,)),
        heat_maps={},
        node=NODE,
        revision=1,
        predecessor=None,
        created_at=CREATED_AT,
        **({} if profile is None else {"profile": profile}),
    )


def words(document: Dataset) -> str:
    return "\n".join(str(element.value) for element in document.iterall() if element.keyword == "TextValue")


def test_the_default_keeps_the_names_it_always_had() -> None:
    header = radiograph()
    picture, document = heat_map(header, positive(header)), report(header, Profile())
    assert (picture.SOPInstanceUID, picture.SeriesInstanceUID) == (
        "2.25.215039377615650183879695046295653882039", "2.25.30119090538921693959072558842653421614",
    )  # fmt: skip
    assert (document.SOPInstanceUID, document.SeriesInstanceUID) == (
        "2.25.260060952418928822954991505387617334940", "2.25.10505168049892221212378503052305453479",
    )  # fmt: skip
    assert (document.SeriesNumber, document.SeriesDescription) == (9001, "AI firstread report cxr-research")
    assert (picture.SeriesNumber, picture.SeriesDescription) == (9002, "AI firstread heat map cxr-research")
    assert document == report(header)


def test_a_variant_has_names_and_a_series_of_its_own() -> None:
    header = radiograph()
    profile = Profile(series_number=500, series_description="KI {kind} {version}")
    plain, varied = report(header), report(header, profile)
    assert (varied.SeriesNumber, varied.SeriesDescription) == (500, "KI report 1.2.0")
    assert varied.SOPInstanceUID != plain.SOPInstanceUID
    assert varied.SeriesInstanceUID != plain.SeriesInstanceUID
    assert varied.StudyInstanceUID == plain.StudyInstanceUID
    assert is_own_result(varied)
    assert report(header, profile) == varied


def test_a_report_does_not_miss_a_picture_that_nobody_wants() -> None:
    header = radiograph()
    assert "No heat map shows" in words(report(header))
    assert "No heat map shows" not in words(report(header, Profile(heat_map=False)))


@pytest.mark.parametrize(
    ("source", "name", "wanted", "term", "written"),
    [
        ("ISO_IR 100", "Müller^Jörg", "utf-8", "ISO_IR 192", "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg", "ascii", None, "Muller^Jorg"),
        ("ISO_IR 192", "Łukasz^Müller", "latin-1", "ISO_IR 100", "Lukasz^Müller"),
        ("ISO_IR 144", "Пётр^Щукин", "ascii", None, "Petr^Shchukin"),
        ("ISO_IR 126", "Διονυσιος", "ascii", None, "Dionysios"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ｷｮｳｺ=山田^京子", "ascii", None, "Yamada^Kyouko"),
        ("ISO_IR 192", "ハットリ^ジロー", "latin-1", "ISO_IR 100", "Hattori^Ziro"),
        ("ISO_IR 192", "홍^길동", "ascii", None, "Hong^Gildong"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东", "ascii", None, "Wang^XiaoDong"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东", "utf-8", "ISO_IR 192", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "王^小东", "latin-1", "ISO_IR 100", "?^??"),
        ("GB18030", "Wang^XiaoDong=王^小东", "utf-8", "ISO_IR 192", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_are_written_anew(
    source: str | list[str], name: str, wanted: str, term: str | None, written: str
) -> None:
    header = radiograph(SpecificCharacterSet=source, PatientName=name, ReferringPhysicianName="Weiss^A")
    made = report(header, Profile(character_set=wanted))
    assert made.get("SpecificCharacterSet") == term
    assert str(made.PatientName) == written
    assert {element.value for element in made.iterall() if element.keyword == "SpecificCharacterSet"} <= {term}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_names_in_every_script_are_written_anew(script: str) -> None:
    """Also where the source switches between sets by escape sequences (ISO 2022)."""
    header = ODD[f"{script} name"].make()
    result = AnalysisResult(algorithm=ALGORITHM, images=(positive(header),))
    names = {}
    for wanted in ("utf-8", "latin-1", "ascii"):
        profile = Profile(character_set=wanted)
        made = build_key_objects([header], result, node=NODE, revision=1, created_at=CREATED_AT, profile=profile)
        names[wanted] = bytes(made.get_item("PatientName").value).rstrip().decode(wanted)
    assert names["utf-8"] == SCRIPTS[script][1]
    for name in names.values():
        assert name.isprintable()
        assert name.count("^") in (1, names["utf-8"].count("^"))


def test_an_undeclared_character_set_is_read_as_the_list_reads_it() -> None:
    header = radiograph(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg")
    del header.SpecificCharacterSet
    assert str(report(header, Profile(character_set="utf-8")).PatientName) == "Müller^Jörg"


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID", "AccessionNumber"])
def test_an_identifier_is_never_spelled_otherwise(keyword: str) -> None:
    header = radiograph(SpecificCharacterSet="ISO_IR 192", **{keyword: "Ä-1"})
    with pytest.raises(ResultError, match="does not have"):
        report(header, Profile(character_set="ascii"))
    assert getattr(report(header, Profile(character_set="utf-8")), keyword) == "Ä-1"
    assert getattr(report(header, Profile(character_set="latin-1")), keyword) == "Ä-1"


def test_a_picture_is_written_anew_like_a_report() -> None:
    header = radiograph()
    made = heat_map(header, negative(header), profile=Profile(character_set="ascii", compression="jpeg"))
    assert str(made.PatientName) == "Muller^Jorg"
    assert len(made.pixel_array.shape) == 3


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_what_is_spelled_can_be_encoded(text: str) -> None:
    assert spelled(text, "ascii").isascii()
    spelled(text, "latin-1").encode("latin-1")
    spelled_name(text, "ascii").encode("ascii")
    assert spelled(text, "utf-8") == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_ascii_stays_as_it_is(text: str) -> None:
    assert spelled(text, "ascii") == spelled(text, "latin-1") == text
