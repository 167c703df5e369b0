"""Passwords of local accounts: which are taken (NIST SP 800-63B: length and no obvious ones, no rules of composition),
how they are kept (Argon2id, RFC 9106) and compared.
"""

from __future__ import annotations

import itertools
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from triage.errors import IdentifierError
from triage.people import name_key

SHORTEST: Final = 12
LONGEST: Final = 256
"""Characters. Room for any passphrase; what is longer only costs work."""
_FEWEST_DIFFERENT: Final = 5
_OBVIOUS: Final = frozenset(
    {"password", "passwort", "passw0rd", "qwerty", "qwertz", "asdfgh", "zxcvbn", "letmein", "welcome", "changeme"}
    | {"iloveyou", "administrator", "admin", "hospital", "radiology", "radiologie", "radiologist", "firstread"}
    | {"correcthorsebatterystaple", "pacs", "dicom", "worklist", "123456789", "abcdefgh", "geheim", "secret", "default"}
)
"""Words that everybody tries; a password has to have more than these and the account's own name."""
_ENOUGH_BESIDES: Final = 6
_ADVICE: Final = f"Take at least {SHORTEST} characters; a few words that nobody would guess together are best."


def normalised(password: str) -> str:
    """The password in NFKC, so that every keyboard gives the same one (SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, *, name: str) -> None:
    """Refuse what is guessed first.

    Parameters
    ----------
    name : str
        Of the account; a password is not made of it.

    Raises
    ------
    IdentifierError
        Says which rule is broken; never quotes the password.
    """
    text = normalised(password[: 4 * LONGEST])
    if len(text) < SHORTEST:
        raise IdentifierError(f"password: shorter than {SHORTEST} characters.", next_step=_ADVICE)
    if max(len(text), len(password)) > LONGEST:
        raise IdentifierError(
            f"password: longer than {LONGEST} characters.", next_step=f"Take {LONGEST} characters at most."
        )
    if not text.isprintable():
        raise IdentifierError("password: holds characters that no keyboard types.", next_step=_ADVICE)
    if len(set(text.casefold())) < _FEWEST_DIFFERENT or _runs(text):
        raise IdentifierError("password: repeats or counts the same few characters.", next_step=_ADVICE)
    if _besides(text, {*_OBVIOUS, name_key(name), *_parts(name)}) < _ENOUGH_BESIDES:
        raise IdentifierError("password: the account's name, or one of those that everybody tries.", next_step=_ADVICE)


class Passwords:
    """Hashes and compares; each takes 64 MiB and some 0.2 s of a core, so the caller bounds how many at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._nobody = ""

    def hash(self, password: str) -> str:
        """Argon2id of the normalised password, with its parameters and salt."""
        return self._hasher.hash(normalised(password))

    def matches(self, password_hash: str, password: str) -> bool:
        """True for the right password.

        For an account that has none or does not exist (``password_hash`` empty) the same work is done and the answer
        is no: how long it takes tells nobody which names exist.
        """
        if not password_hash:
            self._nobody = self._nobody or self._hasher.hash("nobody has this password")
        text = normalised(password[: 4 * LONGEST])[: LONGEST + 1]
        try:
            return self._hasher.verify(password_hash or self._nobody, text) and bool(password_hash)
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, password_hash: str) -> bool:
        """True when it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)


def _parts(name: str) -> set[str]:
    """Words of a name that are long enough to be a crutch ("maria.lang@ward" has maria, lang and ward)."""
    words = "".join(c if c.isalnum() else " " for c in name_key(name)).split()
    return {word for word in words if len(word) >= 4}


def _besides(text: str, known: set[str]) -> int:
    """How many letters and digits a password has besides known words, the longest taken first."""
    rest = "".join(c for c in name_key(text) if c.isalnum() or not c.isascii())
    for word in sorted(("".join(c for c in word if c.isalnum()) for word in known), key=len, reverse=True):
        if word:
            rest = rest.replace(word, "")
    return len(rest)


def _runs(text: str) -> bool:
    """True for "abcdefghijkl", "210987654321" and the like: nearly every step is the same small one."""
    steps = [ord(b) - ord(a) for a, b in itertools.pairwise(text)]
    return any(sum(step == same for step in steps) > 0.7 * len(steps) for same in (-1, 0, 1))
