"""Text as it is searched: folded here and not by the database, so that every database finds the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 500
"""Characters of a case that are searched; an index entry has to fit a page of every database."""
GRAM: Final = 3
"""Characters of the pieces by which texts are indexed; shorter queries are answered by looking at each case."""
TAIL: Final = 6
_SEPARATORS: Final = str.maketrans(dict.fromkeys("^=,", " "))


def folded(text: str) -> str:
    """``text`` without case, accents, control characters and the separators of person names (PS3.5 6.2.1).

    "Müller^Anna", "MULLER, ANNA" and "muller  anna" are the same then.
    """
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join(c for c in text if not unicodedata.combining(c))
    plain = "".join(c if c.isprintable() else " " for c in text.translate(_SEPARATORS))
    return " ".join(plain.split())


def words(text: str) -> list[str]:
    """The words of a text, folded, each once and the longest first: it leads to the fewest cases."""
    return sorted(dict.fromkeys(folded(text).split()), key=len, reverse=True)


def search_text(
    patient_id: str, patient_name: str, accession_number: str, study_description: str, ward: str = "",
    order_ward: str = "",
) -> str:  # fmt: skip
    """What a case is found by: its texts folded, each on a line of its own; of the wards the one that is shown."""
    texts = [patient_id, patient_name, accession_number, study_description]
    if ward or order_ward:
        texts.insert(0, ward or order_ward)  # first, because it is filtered by too and must not be cut off
    return "\n".join(folded(text) for text in texts)[:LONGEST]


def positives_text(findings: Iterable[tuple[str, str]]) -> str:
    """What a case is found by for its positive findings: key and meaning of each, folded, a line each; "" of none."""
    said = dict.fromkeys(folded(text) for finding in findings for text in finding)
    return "\n".join(filter(None, said))


def tail(wanted: str) -> str:
    """The end of a folded text, which leads to fewer cases than its beginning: numbers begin alike ("A2026…")."""
    return wanted[-TAIL:]


def grams(wanted: str) -> list[str]:
    """Pieces of :data:`GRAM` characters that cover a folded text, in order; none if it is shorter.

    Not all of its pieces: each costs the index a walk, and what holds these and not the text is sorted out anyway.
    """
    last = len(wanted) - GRAM
    return list(dict.fromkeys(wanted[at : at + GRAM] for at in [*range(0, last, GRAM), last])) if last >= 0 else []
