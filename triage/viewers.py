"""Viewers that a case can be opened in: a name and a URL with fields, declared in the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_VIEWERS: Final = 12
SCHEMES: Final = frozenset({"http", "https", "weasis", "radiant", "osirix", "horos", "imagej", "slicer", "visage"})
"""Of a URL: the web, and what viewers on a workstation register for themselves. Nothing that runs a script."""
FIELDS: Final = ("study_uid", "accession_number", "patient_id", "study_date", "modality")
"""What a URL may name in braces."""

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):")
_AUTHORITY: Final = re.compile(r"[a-z]+://[^/?#]*")


class ViewerLink(BaseModel):
    """One viewer. ``{study_uid}`` and the other :data:`FIELDS` stand for the values of a case, percent-encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f]+$")]
    url: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[\x21-\x7e]+$")]

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        unknown = [name for name in _FIELD.findall(url) if name not in FIELDS]
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}")
        if "{" in _FIELD.sub("", url) or "}" in _FIELD.sub("", url):
            raise ValueError("a brace stands alone")
        if url.startswith("/") and not url.startswith(("//", "/\\")):
            return url  # a path of our own
        scheme = _SCHEME.match(url)
        if scheme is None or scheme[1] not in SCHEMES:
            raise ValueError(f"begins with none of {', '.join(sorted(SCHEMES))}, and is no path")
        authority = _AUTHORITY.match(url)
        if authority is not None and "{" in authority[0] and scheme[1] in ("http", "https"):
            raise ValueError("the host must not depend on the case")
        return url

    def link(self, case: Mapping[str, str]) -> str:
        """The URL for a case; every value is percent-encoded whole, so that none can change its meaning.

        Parameters
        ----------
        case : mapping of str to str
            Value of each of :data:`FIELDS`; what is missing is empty.
        """
        return _FIELD.sub(lambda field: quote(case.get(field[1], ""), safe=""), self.url)
