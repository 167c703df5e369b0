"""Profiles: what each option changes, what is refused, and that equal objects share a variant."""

from __future__ import annotations

import string
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from triage.profiles import DEFAULT, CharacterSet, Compression, Profile, ResultKind

RECOMMENDED = {
    "series_number": 500,
    "series_description": "{bundle} {version}: {kind}",
    "character_set": "utf-8",
}
profiles = st.builds(
    Profile,
    objects=st.sets(st.sampled_from(ResultKind), min_size=1).map(lambda s: (*sorted(s), ResultKind.REPORT)),
    heat_map=st.booleans(),
    series_number=st.sampled_from((9001, 500)),
    character_set=st.sampled_from(get_args(CharacterSet)),
    compression=st.sampled_from(get_args(Compression)),
)


def test_the_default_is_no_variant_of_anything() -> None:
    assert {DEFAULT.variant(kind) for kind in ResultKind} == {""}
    assert DEFAULT.kinds == (ResultKind.REPORT, ResultKind.HEAT_MAP)


@pytest.mark.parametrize(("option", "value"), RECOMMENDED.items())
def test_what_shows_in_every_object_varies_every_object(option: str, value: Any) -> None:
    profile = Profile(**{option: value})
    variants = {profile.variant(kind) for kind in ResultKind}
    assert "" not in variants
    assert all(len(variant) == 12 and set(variant) <= set(string.hexdigits) for variant in variants)


def test_compression_varies_pictures_and_what_refers_to_them() -> None:
    profile = Profile(objects=tuple(ResultKind), compression="jpeg")
    varied = {kind for kind in ResultKind if profile.variant(kind)}
    assert varied == {ResultKind.REPORT, ResultKind.HEAT_MAP, ResultKind.SEGMENTATION}


def test_a_report_without_its_picture_is_another_report() -> None:
    assert Profile(heat_map=False).variant(ResultKind.REPORT)
    assert Profile(objects=("SR",)).variant(ResultKind.REPORT) == Profile(heat_map=False).variant(ResultKind.REPORT)


def test_a_report_that_names_more_is_another_report() -> None:
    """Segmentation and map are named in it, key images and presentation states are not."""
    names = {objects: Profile(objects=objects).variant(ResultKind.REPORT) for objects in (
        ("SR", "SC", "KO", "PR"), ("SR", "SC", "SEG"), ("SR", "SC", "PM"), ("SR", "SC", "SEG", "PM"), ("SR", "SEG"),
    )}  # fmt: skip
    assert names["SR", "SC", "KO", "PR"] == ""
    assert len(set(names.values())) == len(names)
    fractional = Profile(objects=("SR", "SC", "SEG"), segmentation="fractional")
    assert fractional.variant(ResultKind.REPORT) not in names.values()


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ({"compression": "jpeg"}, "add76946e4d9"),
        ({"heat_map": False}, "a96e9caa7bf2"),
        ({"series_number": 500, "character_set": "ascii"}, "f031f6b7d7d7"),
    ],
)
def test_variants_keep_their_names(options: dict[str, Any], variant: str) -> None:
    """What a PACS holds under a name is not made again under another after an upgrade."""
    assert Profile(**options).variant(ResultKind.REPORT) == variant


@given(profiles, profiles)
def test_a_variant_tells_objects_apart_by_what_is_in_them_alone(one: Profile, other: Profile) -> None:
    if one == other:
        assert [one.variant(kind) for kind in ResultKind] == [other.variant(kind) for kind in ResultKind]
    common = (one.series_number, one.series_description, one.character_set)
    same = common == (other.series_number, other.series_description, other.character_set)
    assert (one.variant(ResultKind.PARAMETRIC_MAP) == other.variant(ResultKind.PARAMETRIC_MAP)) == same


def test_kinds_come_once_and_in_order() -> None:
    assert Profile(objects=("SEG", "SR", "SEG")).objects == (ResultKind.REPORT, ResultKind.SEGMENTATION)


def test_marks_can_be_switched_off() -> None:
    profile = Profile(objects=("SR", "SC", "SEG", "PR", "PDF", "KO"), heat_map=False)
    assert profile.kinds == (ResultKind.REPORT, ResultKind.PDF, ResultKind.KEY_OBJECTS)


def test_series_follow_the_report() -> None:
    profile = Profile(series_number=700)
    numbers = [profile.series_number_of(kind) for kind in ResultKind]
    assert numbers == list(range(700, 707))


def test_a_description_is_made_of_its_template() -> None:
    profile = Profile(series_description="KI {kind} ({bundle} {version})")
    text = profile.description_of(ResultKind.HEAT_MAP, bundle="cxr{x}", version="1.2")
    assert text == "KI heat map (cxr{x} 1.2)"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"series_description": "{patient}"}, "none of"),
        ({"series_description": "{kind.__class__}"}, "none of"),
        ({"series_description": "{kind!r}"}, "none of"),
        ({"series_description": "{kind:>80}"}, "none of"),
        ({"series_description": "{"}, "braces"),
        ({"series_description": "  "}, "printable ASCII"),
        ({"series_description": "a\\b"}, "backslash"),
        ({"series_description": "Künstlich"}, "ASCII"),
        ({"series_description": "x" * 65}, "64 characters"),
        ({"objects": ("SC",), "heat_map": False}, "nothing would be sent"),
        ({"objects": ()}, "nothing would be sent"),
        ({"objects": ("RTSTRUCT",)}, "SR"),
        ({"objects": ("SR", "PM"), "eight_bit": True}, "eight_bit"),
        ({"series_number": 0}, "greater than"),
        ({"character_set": "ebcdic"}, "utf-8"),
        ({"compression": "zip"}, "jpeg-2000"),
        ({"colour": "red"}, "not permitted"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Profile(**options)
