"""Who may use page and API: roles of people, scopes of tokens, and what their names may look like."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from triage.errors import IdentifierError

LONGEST_NAME: Final = 64
LONGEST_DISPLAY_NAME: Final = 120
RESERVED: Final = frozenset(
    {"local", "ai", "completion rule", "decoder", "delivery", "restore", "retention", "settings", "sweep", "worker"}
    | {"orders", "workitems", "anonymous", "nobody"}
)
"""Names under which the house itself stands in the audit trail."""
_NAME: Final = re.compile(r"[^\W_](?:[\w.@'-]| (?! ))*(?<! )")
_ADVICE: Final = f"Take 1 to {LONGEST_NAME} letters, digits and . - _ @ ', beginning with a letter or digit."


class Role(StrEnum):
    """What a person is here for; :mod:`worklist.permissions` says what each may do."""

    READER = "reader"
    TECHNOLOGIST = "technologist"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a token is made for."""

    WORKLIST_READ = "worklist:read"
    WORKLIST_WRITE = "worklist:write"
    OPERATE = "operate"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeOuts:
    """When a session ends by itself: after so long without anything done, and in any case."""

    idle: timedelta
    absolute: timedelta


def user_name(text: str) -> str:
    """A name to sign in with, in NFKC: shown as it was given, compared by :func:`name_key`.

    Raises
    ------
    IdentifierError
        Too long, empty, with characters that look like nothing or like markup, or a name of the house.
    """
    name = unicodedata.normalize("NFKC", text).strip()
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise IdentifierError("name: not one that somebody can sign in with.", next_step=_ADVICE)
    if name_key(name) in RESERVED:
        raise IdentifierError(
            "name: the audit trail uses this one for firstread itself.", next_step="Take another name."
        )
    return name


def name_key(name: str) -> str:
    """What two spellings of one name have in common (NFKC, case folded)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def display_name(text: str) -> str:
    """A name for people, one line.

    Raises
    ------
    IdentifierError
        Too long, or with characters that are not printed.
    """
    name = unicodedata.normalize("NFKC", text).strip()
    if len(name) > LONGEST_DISPLAY_NAME or not name.isprintable():
        raise IdentifierError(
            "display_name: not one line of printable text.",
            next_step=f"Take at most {LONGEST_DISPLAY_NAME} characters.",
        )
    return name
