"""``/api/v1/admin/tokens``: tokens of programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from triage.database import Database
from triage.people import LONGEST_NAME, Scope
from triage.repositories import api_tokens
from triage.tables import ApiToken
from worklist.context import Here, Who

router = APIRouter(prefix="/admin/tokens", tags=["admin"])
TokenName = Annotated[str, Path(max_length=LONGEST_NAME)]


class TokenOut(BaseModel):
    """A token, without its secret; `prefix` is what it begins with."""

    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewTokenOut(TokenOut):
    """A new token with its secret, which is not shown again."""

    token: str


class TokensOut(BaseModel):
    """Tokens by name."""

    items: list[TokenOut]


class TokenIn(BaseModel):
    """A token that is asked for."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, description="What it is for: `pacs-export`.")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_at: Annotated[AwareDatetime | None, Field(description="null: it lasts until it is revoked.")]


@router.get("", summary="Tokens of programs")
def list_tokens(
    here: Here, revoked: Annotated[bool, Query(description="Also those that are revoked.")] = False
) -> TokensOut:
    """Tokens of the settings (`http_tokens`) do not stand here."""
    return TokensOut(items=read_tokens(here.database, revoked=revoked))


@router.post("", summary="Make a token", status_code=201)
def add_token(here: Here, who: Who, asked: TokenIn) -> NewTokenOut:
    """The secret is in this answer and nowhere else. 409 when the name was used before."""
    with here.database.write() as session:
        token, secret = api_tokens.add(
            session, asked.name, asked.scopes, expires_at=asked.expires_at, at=here.clock(), who=who
        )
        return NewTokenOut(**token_out(token).model_dump(), token=secret)


@router.delete("/{name}", summary="Revoke a token", status_code=204)
def revoke_token(here: Here, who: Who, name: TokenName) -> Response:
    """At once, on every process. 404 when no token of this name is in use."""
    with here.database.write() as session:
        api_tokens.revoke(session, name, at=here.clock(), who=who)
    return Response(status_code=204)


def read_tokens(database: Database, *, revoked: bool = False) -> list[TokenOut]:
    """Tokens by name."""
    with database.look() as session:
        return [token_out(token) for token in api_tokens.listed(session, revoked=revoked)]


def token_out(token: ApiToken) -> TokenOut:
    return TokenOut(
        name=token.name,
        prefix=token.prefix,
        scopes=[str(scope) for scope in token.scopes],
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )
