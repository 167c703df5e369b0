"""Names for systems that read few characters: each letter by itself, by its Latin spelling, or visibly as ``?``."""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from typing import Final

from triage.profiles import CharacterSet

_LATIN: Final = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ł": "l", "Ł": "L", "ı": "i", "ŋ": "n", "Ŋ": "N", "’": "'", "‘": "'",
    "–": "-", "—": "-", "ʼ": "'",
}  # fmt: skip
_CYRILLIC: Final = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыэюяіїєґ",
        "a b v g d e e zh z i i k l m n o p r s t u f kh ts ch sh shch ie y e iu ia i i ie g".split(),  # noqa: SIM905
        strict=True,
    )
)
"""As in passports (ICAO Doc 9303, part 3)."""
_GREEK: Final = dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        "a v g d e z i th i k l m n x o p r s s t y f ch ps o".split(),  # noqa: SIM905
        strict=True,
    )
)
"""Letter by letter (ELOT 743)."""
_SMALL: Final = _GREEK | _CYRILLIC | {"ь": ""}  # the soft sign has no letter
_SOUNDS: Final = re.compile("[\u3041-\u30ff\uff66-\uff9f]+|[\uac00-\ud7a3]+")
"""Kana, and Hangul syllables."""
_CODECS: Final = {"utf-8": "utf-8", "latin-1": "latin-1", "ascii": "ascii"}


def spelled(text: str, character_set: CharacterSet) -> str:
    """The text in characters that the set has.

    Example
    -------
    >>> spelled("Łukasz Müller, Пётр", "ascii"), spelled("Łukasz Müller", "latin-1"), spelled("山田", "ascii")
    ('Lukasz Muller, Petr', 'Lukasz Müller', '??')
    >>> spelled("ﾔﾏﾀﾞ^キョウコ", "ascii"), spelled("홍^길동", "ascii")
    ('Yamada^Kyouko', 'Hong^Gildong')
    """
    if character_set in ("source", "utf-8"):
        return text
    return in_codec(text, _CODECS[character_set])


def in_codec(text: str, codec: str) -> str:
    """The text in characters that one of Python's codecs has."""
    by_sound = partial(_by_sound, codec=codec)
    return "".join(_letter(c, codec) for c in _SOUNDS.sub(by_sound, unicodedata.normalize("NFC", text)))


def spelled_name(name: str, character_set: CharacterSet) -> str:
    """A person name (PN, PS3.5 6.2) in characters that the set has.

    Ideographic and phonetic groups that the set cannot hold are left out where the alphabetic group says the name.
    """
    first, *others = name.split("=")
    alphabetic = spelled(first, character_set)
    written = [spelled(group, character_set) for group in others]
    if alphabetic.strip("^ ") and "?" not in alphabetic:
        pairs = zip(written, others, strict=True)
        written = ["" if made != group else made for made, group in pairs]
    return "=".join([alphabetic, *written]).rstrip("=")


def _letter(character: str, codec: str) -> str:
    if _has(codec, character):
        return character
    for spelling in (_LATIN.get(character), _by_table(character), _bare(character)):
        if spelling is not None:
            return spelling
    return "?"


def _by_sound(run: re.Match[str], *, codec: str) -> str:
    """Kana and Hangul by the sounds that Unicode names their letters after (ISO 3602 strict; Revised Romanization).

    Half-width kana (ISO-IR 13) are the letters that they stand for, voice marks joined.
    """
    if all(_has(codec, letter) for letter in run[0]):
        return run[0]
    written, doubled = "", False
    for letter in unicodedata.normalize("NFKC", run[0]):
        *kind, sound = unicodedata.name(letter, "?").lower().split(" ")
        if not {"letter", "syllable"} & set(kind):
            if letter != "ー":  # a long vowel, which is not written
                written += letter
            continue
        if "small" in kind and sound == "tu":
            doubled = True
            continue
        if "small" in kind and sound[0] == "y" and written.endswith("i"):
            written = written[:-1]
        written += sound[0] * doubled + sound
        doubled = False
    return written[:1].upper() + written[1:]


def _by_table(character: str) -> str | None:
    """Cyrillic or Greek, in the case of the letter, with or without accent."""
    bare = unicodedata.normalize("NFD", character)[:1]
    for one in (character, bare):
        small = _SMALL.get(one.lower())
        if small is not None:
            return small if one.islower() else small.capitalize()
    return None


def _bare(character: str) -> str | None:
    """Without its accents, or as what it stands for (full-width letters); None where that is not ASCII."""
    apart = unicodedata.normalize("NFKD", character)
    left = "".join(c for c in apart if not unicodedata.combining(c))
    return left if left.isascii() and (left or apart) and left.isprintable() and "\\" not in left else None


def _has(codec: str, character: str) -> bool:
    if not character.isprintable() and ord(character) > 0x7F:
        return False
    try:
        character.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
