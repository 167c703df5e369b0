"""Specific Character Set (0008,0005): kept as the source wrote it, or respelled where no reader could know it."""

from __future__ import annotations

import re

UTF_8 = "ISO_IR 192"

_SINGLE_BYTE = frozenset(("100", "101", "109", "110", "126", "127", "138", "144", "148", "166", "203", "13"))
_MULTI_BYTE = frozenset(("87", "159", "149", "58"))
_WHOLE = frozenset((UTF_8, "GB18030", "GBK"))
"""Terms that stand alone (PS3.3 Table C.12-5)."""

_REGISTRATION = re.compile(r"ISO[ _-]*(?:2022[ _-]*)?IR[ _-]*(\d+)", re.IGNORECASE)
_WHOLE_NAMES = {"UTF-8": UTF_8, "UTF8": UTF_8, "GB 18030": "GB18030", "GB-18030": "GB18030"}


def legal_terms(terms: tuple[str, ...]) -> tuple[str, ...]:
    """The defined terms of PS3.3 C.12.1.1.2 that mean what the source's terms mean; the same tuple when legal.

    ``ISO_IR 6`` becomes the default repertoire, which it names; misspelt terms are respelled; an unknown term, with
    which nobody can read the text anyway, is dropped. No byte of text changes.
    """
    if _are_legal(terms):
        return terms
    whole = next((w for w in map(_as_whole, terms) if w), None)
    if whole is not None:
        return (whole,)
    numbers = [match[1] if (match := _REGISTRATION.fullmatch(term)) else "" for term in terms]
    first, others = numbers[0], tuple(n for n in numbers[1:] if n in _SINGLE_BYTE | _MULTI_BYTE)
    if first in _MULTI_BYTE:
        first, others = "", (first, *others)
    if first not in _SINGLE_BYTE:
        first = ""
    if not others:
        return (f"ISO_IR {first}",) if first else ()
    return (f"ISO 2022 IR {first}" if first else "", *(f"ISO 2022 IR {n}" for n in others))


def _are_legal(terms: tuple[str, ...]) -> bool:
    if len(terms) <= 1:
        return not terms or terms[0] in _WHOLE or terms[0].removeprefix("ISO_IR ") in _SINGLE_BYTE
    first, *others = (term.removeprefix("ISO 2022 IR ") for term in terms)
    return (first in {"", "6"} or first in _SINGLE_BYTE) and all(o in _SINGLE_BYTE | _MULTI_BYTE for o in others)


def _as_whole(term: str) -> str | None:
    name = _WHOLE_NAMES.get(term.upper(), term.upper())
    if match := _REGISTRATION.fullmatch(name):
        name = f"ISO_IR {match[1]}"
    return name if name in _WHOLE else None
