"""A change of a case: for the version that the client saw (If-Match), once however often sent (Idempotency-Key)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response
from sqlalchemy.orm import Session

from triage.errors import IdentifierError, StateError
from triage.repositories import claims, requests, worklist
from triage.tables import Study
from worklist import describe
from worklist.context import Context, Here, StudyUid, Who
from worklist.schemas.cases import WorklistItem

REPLAYED: Final = "Idempotency-Replayed"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')

IfMatch = Annotated[
    str, Header(max_length=1000, description="`ETag` of the case as you saw it; 409 when it has changed since.")
]
IdempotencyKey = Annotated[
    str,
    Header(
        max_length=255,
        description="Of your choice, the same for each try of one request: it is carried out once. A repeat changes "
        f"nothing and gets the case as it stands, with `{REPLAYED}: true`.",
    ),
]


def etag(version: int) -> str:
    """Entity tag of a case at this version (RFC 9110 8.8.3)."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is asked for.

    Attributes
    ----------
    if_match : str
        The header, empty for any version.
    key, content : str
        Digests of the idempotency key (empty without one) and of all that makes two requests the same.
    """

    here: Context
    who: str
    study_uid: str
    response: Response
    if_match: str
    key: str
    content: str

    @property
    def now(self) -> datetime:
        return self.here.clock()

    def make(self, change: Callable[[Session, Study], object]) -> WorklistItem:
        """Change the case in one transaction, unless this very request did so before; the case as it stands then.

        Raises
        ------
        NotFoundError
            No such study.
        StateError
            The case is no longer the one that the client saw, or does not allow the change.
        IdentifierError
            The key was used for another request.
        """
        with self.here.database.write() as session:
            study = worklist.study_by_uid(session, self.study_uid, to_change=True)
            if self._was_made(session, study):
                self.response.headers[REPLAYED] = "true"
            else:
                version = requests.version(session, study) if self.if_match or self.key else 0
                if self.if_match and not _matches(self.if_match, version):
                    raise StateError("The case has changed since the version that If-Match names.")
                claims.settle(session, study, who=self.who, lasts=self.here.settings.claim_lasts, at=self.now)
                change(session, study)
                if self.key:
                    requests.sign(session, study, after=version, who=self.who, key=self.key, content=self.content)
            session.flush()
            case = worklist.listed_case(session, study)
            self.response.headers["ETag"] = etag(case.version)
            return describe.item(case)

    def _was_made(self, session: Session, study: Study) -> bool:
        made = requests.content_of(session, study, who=self.who, key=self.key) if self.key else None
        if made not in (None, self.content):
            raise IdentifierError(
                "Idempotency-Key: already used for another request.", next_step="Take a new key for each request."
            )
        return made is not None


async def _change(
    request: Request,
    response: Response,
    here: Here,
    who: Who,
    study_uid: StudyUid,
    if_match: IfMatch = "",
    idempotency_key: IdempotencyKey = "",
) -> Change:
    if idempotency_key and not _KEY.fullmatch(idempotency_key):
        raise IdentifierError("Idempotency-Key: not visible ASCII characters.", next_step="A UUID is a good key.")
    key = _digest(idempotency_key.encode()) if idempotency_key else ""
    content = _digest(f"{request.method} {request.url.path}\n".encode() + await request.body())
    return Change(here, who, study_uid, response, if_match.strip(), key, content)


def _matches(header: str, version: int) -> bool:
    """Strong comparison (RFC 9110 13.1.1); a header that is no list of tags names no version."""
    if header == "*":
        return True
    tags = (_TAG.fullmatch(part.strip()) for part in header.split(","))
    return any(tag is not None and not tag[1] and tag[2] == str(version) for tag in tags)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


Changing = Annotated[Change, Depends(_change)]
