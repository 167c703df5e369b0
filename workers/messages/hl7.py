"""The encoding of HL7 v2 (v2.5.1 chapter 2): delimiters, escapes, character sets, segments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from triage.errors import DicomError

END: Final = "\r"
CHARACTER_SETS: Final[Mapping[str, str]] = {
    "UNICODE UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "KS X 1001": "euc_kr",
    "ASCII": "ascii",
}
"""MSH-18 (table 0211) and the codec of each, as far as we write them: no letter of theirs holds a delimiter's byte."""
READABLE: Final[Mapping[str, str]] = {
    **CHARACTER_SETS, "GB 18030-2000": "gb18030", "BIG-5": "big5", "ISO IR6": "ascii", "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
}  # fmt: skip
"""The same for messages that come: they are decoded before they are taken apart."""


class MessageError(DicomError):
    """Bytes that are not the HL7 message they should be."""

    next_step = "Check what listens at the destination's address: it does not answer as an HL7 v2 receiver does."


class Encoded(str):
    """Text of a field in which delimiters mean something; everything else is escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @classmethod
    def of(cls, message: str) -> Self:
        """The delimiters that a message declares; what MSH-2 leaves out has its usual sign.

        Raises
        ------
        MessageError
            No MSH segment, or one sign with two meanings.
        """
        if not message.startswith("MSH") or len(message) < 5:
            raise MessageError("The message does not begin with MSH.")
        field = message[3]
        declared = message[4:].split(field, 1)[0].split(END, 1)[0][:4]
        signs = (field, *declared, *"^~\\&"[len(declared) :])
        if len(set(signs)) < 5 or any(sign.isalnum() for sign in signs):
            raise MessageError("The delimiters of MSH-1 and MSH-2 are no delimiters.")
        return cls(*signs)


OURS: Final = Delimiters()

_NAMES: Final = {"F": "field", "S": "component", "T": "subcomponent", "R": "repetition", "E": "escape"}
_UNSAFE: Final = re.compile(r"[|^~\\&\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BY_SIGN: Final = {getattr(OURS, name): letter for letter, name in _NAMES.items()}


def escape(text: str, character_set: str = "UNICODE UTF-8") -> Encoded:
    r"""The text as part of a field, for our delimiters (2.7): ``a|b`` becomes ``a\F\b``, a line end ``\X0D\``.

    What the character set has no sign for is replaced first, see :func:`fitting`. A text that is two quotation marks
    is escaped as a whole: bare they would delete the receiver's value.
    """
    fit = fitting(text, character_set)
    if fit == '""':
        return Encoded("\\X2222\\")
    codec = CHARACTER_SETS[character_set]

    def escaped(match: re.Match[str]) -> str:
        sign = match[0]
        letter = _BY_SIGN.get(sign)
        return f"\\{letter}\\" if letter else f"\\X{sign.encode(codec).hex().upper()}\\"

    return Encoded(_UNSAFE.sub(escaped, fit))


def unescape(text: str, delimiters: Delimiters = OURS, character_set: str = "UNICODE UTF-8") -> str:
    """The reverse of :func:`escape`; escapes that mean nothing here (highlighting, local ones) stay as they are."""
    sign = re.escape(delimiters.escape)
    codec = READABLE[character_set]

    def plain(match: re.Match[str]) -> str:
        letters = match[1]
        if letters in _NAMES:
            return str(getattr(delimiters, _NAMES[letters]))
        if letters.startswith("X"):
            try:
                return bytes.fromhex(letters[1:]).decode(codec)
            except ValueError:
                return match[0]
        return match[0]

    return re.sub(rf"{sign}([A-Za-z0-9.+-]+){sign}", plain, text)


def fitting(text: str, character_set: str) -> str:
    """The text in signs of a character set: spelled with those it has, else ``?``.

    Example
    -------
    >>> fitting("Møller^Łukasz Žák=Пётр", "8859/1")
    'Møller^Lukasz Zák=Petr'
    """
    codec = CHARACTER_SETS[character_set]
    if codec == "utf-8":
        return text.encode(codec, errors="replace").decode(codec)
    from dicom_node.results.transliteration import in_codec  # noqa: PLC0415 - who only listens does without its weight

    return in_codec(text, codec)


def segment(name: str, fields: dict[int, str]) -> str:
    """A segment of encoded fields by their numbers, without the empty ones at its end."""
    last = max((number for number, text in fields.items() if text), default=0)
    if name == "MSH":  # MSH-1 is the delimiter itself
        return "|".join(("MSH", "^~\\&", *(fields.get(number, "") for number in range(3, last + 1))))
    return "|".join((name, *(fields.get(number, "") for number in range(1, last + 1))))


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it came, fields still encoded."""

    name: str
    fields: Sequence[str]
    delimiters: Delimiters
    character_set: str

    def field(self, number: int) -> str:
        """Field ``number`` as it stands, "" where there is none."""
        place = number - 2 if self.name == "MSH" else number - 1
        return self.fields[place] if 0 <= place < len(self.fields) else ""

    def text(self, number: int, component: int = 1, *, repetition: int = 1, subcomponent: int = 1) -> str:
        """One value, unescaped; "" where there is none."""
        d = self.delimiters
        text = self.field(number)
        for sign, wanted in ((d.repetition, repetition), (d.component, component), (d.subcomponent, subcomponent)):
            parts = text.split(sign)
            text = parts[wanted - 1] if 0 < wanted <= len(parts) else ""
        return unescape(text, d, self.character_set)


@dataclass(frozen=True, slots=True)
class Message:
    """A message that came."""

    segments: Sequence[Segment]

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read a message; tolerant of line feeds, of empty segments and of bytes outside its character set.

        Raises
        ------
        MessageError
            It does not begin with MSH.
        """
        rough = content.decode("latin-1").lstrip("\r\n")
        delimiters = Delimiters.of(rough)
        declared = (rough.split(END, 1)[0].split(delimiters.field)[17:18] or [""])[0]
        names = [name.strip() for name in declared.split(delimiters.repetition)]
        name = next((each for each in reversed(names) if each in READABLE), "")  # the richest stands last
        name = name or ("UNICODE UTF-8" if _is_utf8(content) else "8859/1")  # undeclared, or unknown to us
        codec = READABLE[name]
        lines = content.decode(codec, errors="replace").replace("\n", END).split(END)
        found = []
        for line in filter(None, (line.strip("\x00 ") for line in lines)):
            title, *fields = line.split(delimiters.field)
            found.append(Segment(title, fields, delimiters, name))
        return cls(tuple(found))

    def first(self, name: str) -> Segment | None:
        """The first segment of a name."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> Sequence[Segment]:
        """All segments of a name, in their order."""
        return tuple(each for each in self.segments if each.name == name)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
