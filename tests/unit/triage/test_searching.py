"""How texts are compared when cases are searched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.searching import GRAM, LONGEST, TAIL, folded, grams, search_text, tail


@pytest.mark.parametrize("same", ["Müller^Anna", "MÜLLER, ANNA", " muller  anna", "Mu\u0308ller^Anna", "müller=anna"])
def test_case_accents_and_separators_make_no_difference(same: str) -> None:
    assert folded(same) == "muller anna"


@given(st.text("aB ^=,\x00\n\tÄẞİŉ\u0308ﬁΐ山Ⅷ\u00ad"))
def test_what_is_folded_stays_so_and_has_nothing_that_a_database_refuses(text: str) -> None:
    once = folded(text)
    assert folded(once) == once
    assert "\x00" not in once
    assert "\n" not in once


@given(before=st.text("abc ^", max_size=8), middle=st.text("abcü", min_size=1, max_size=8), after=st.text("abc ^"))
def test_a_part_of_a_name_is_found_in_it(before: str, middle: str, after: str) -> None:
    assert folded(middle) in search_text("", before + middle + after, "", "")


def test_texts_are_kept_apart_and_bounded() -> None:
    assert search_text("P1", "A^B", "X-7", "Chest PA").split("\n") == ["p1", "a b", "x-7", "chest pa"]
    assert len(search_text("P1", "N" * 5000, "X", "Y")) == LONGEST


@given(st.text("abc", max_size=12))
def test_pieces_are_of_the_text(text: str) -> None:
    pieces = grams(text)
    assert len(set(pieces)) == len(pieces)
    assert all(len(piece) == GRAM and piece in text for piece in pieces)
    assert bool(pieces) == (len(text) >= GRAM)
    assert len(pieces) <= len(text) // GRAM + 1
    assert set("".join(pieces)) == (set(text) if pieces else set())
    assert text.endswith(tail(text))
    assert len(tail(text)) <= TAIL
