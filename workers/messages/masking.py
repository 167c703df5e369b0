"""What a receiver said, without what it repeats of the patient: it goes into rows, logs and lists."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

LONGEST: Final = 160
HIDDEN: Final = "…"

_NUMBER: Final = re.compile(r"\d[\d.:/-]{2,}\d|\d{3,}")
_WORD: Final = re.compile(r"\w{2,}")


def masked(text: str, identity: Collection[str]) -> str:
    """A receiver's words as one printable line of at most :data:`LONGEST` characters.

    Words of the identity are hidden, in whatever case, and so is every longer number: dates, identifiers, times. That
    also makes the same complaint the same text each time, by which the outbox counts.

    Parameters
    ----------
    identity : collection of str
        Patient identifier, names, dates, accession number, as the message holds them.

    Example
    -------
    >>> masked("Patient DOE^JANE (4711) unknown", ["Doe^Jane", "4711"])
    'Patient …^… (…) unknown'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * LONGEST]).split())
    words = {word.casefold() for value in identity for word in _WORD.findall(value)}
    whole = sorted((value for value in identity if len(value) > 1), key=len, reverse=True)
    for value in whole:
        line = re.sub(re.escape(value), HIDDEN, line, flags=re.IGNORECASE)
    line = _WORD.sub(lambda match: HIDDEN if match[0].casefold() in words else match[0], line)
    line = _NUMBER.sub(HIDDEN, line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}{HIDDEN}"
