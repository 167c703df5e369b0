"""``firstread tokens …``: tokens of programs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from firstread.commands.users import AsJson, Data, opened, operator
from triage.errors import IdentifierError

app = typer.Typer(help="Tokens for programs that use the API (docs/sign-in.md).", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the token is for, such as pacs-export.")]
_SPAN: Final = re.compile(r"([1-9][0-9]{0,4})([hdwy])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}


@app.command()
def add(
    name: Name,
    scopes: Annotated[
        str, typer.Option("--scopes", help="worklist:read, worklist:write, operate, metrics, admin; with commas.")
    ],
    expires: Annotated[str, typer.Option("--expires", help="After 12h, 90d, 4w, 1y, or never.")] = "90d",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once: only its digest is kept.

    Example: `firstread tokens add pacs-export --scopes worklist:read --expires 90d`
    """
    from triage.people import Scope  # noqa: PLC0415
    from triage.repositories import api_tokens  # noqa: PLC0415

    now, asked = datetime.now(UTC), [scope.strip() for scope in scopes.split(",") if scope.strip()]
    unknown = sorted(set(asked) - set(Scope))
    if unknown:
        raise IdentifierError(f"There is no scope {unknown[0]}.", next_step=f"Scopes are {', '.join(Scope)}.")
    with opened(data, make=True) as database, database.write() as session:
        token, secret = api_tokens.add(
            session, name, [Scope(scope) for scope in asked], expires_at=_end(expires, now), at=now, who=operator()
        )
        described = api_tokens.described(token)
    if as_json:
        Console().print_json(data={**described, "token": secret})
        return
    Console().print(secret, highlight=False, soft_wrap=True, markup=False)
    Console(stderr=True).print(
        "Keep it in a file closed to others; it is not shown again. Send it as `Authorization: Bearer …`.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command(name="list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also revoked ones.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List tokens: what each may, until when, and when it was last used.

    Example: `firstread tokens list`
    """
    from triage.repositories import api_tokens  # noqa: PLC0415

    with opened(data) as database, database.read() as session:
        rows = api_tokens.listed(session, revoked=everything)
    if as_json:
        items: list[dict[str, Any]] = [
            {
                **api_tokens.described(row),
                "created_at": row.created_at.isoformat(),
                "created_by": row.created_by,
                "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
            }
            for row in rows
        ]
        Console().print_json(data=items)
        return
    table = Table("Name", "Begins with", "Scopes", "Until (UTC)", "Last used (UTC)", "By")
    now = datetime.now(UTC)
    for row in rows:
        until = f"{row.expires_at:%Y-%m-%d %H:%M}" if row.expires_at else "for ever"
        if row.revoked_at is not None:
            until = "revoked"
        elif row.expires_at is not None and row.expires_at <= now:
            until += " (over)"
        used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never"
        table.add_row(row.name, row.prefix, ", ".join(row.scopes), until, used, row.created_by)
    Console().print(table if rows else "There are no tokens.")


@app.command()
def revoke(name: Name, data: Data = None) -> None:
    """End a token at once.

    Example: `firstread tokens revoke pacs-export`
    """
    from triage.repositories import api_tokens  # noqa: PLC0415

    with opened(data) as database, database.write() as session:
        api_tokens.revoke(session, name, at=datetime.now(UTC), who=operator())
    Console().print(f"{name} is revoked.", highlight=False)


def _end(text: str, now: datetime) -> datetime | None:
    if text == "never":
        return None
    span = _SPAN.fullmatch(text)
    if span is None:
        raise IdentifierError("--expires: not a span.", next_step="Take for instance 12h, 90d, 1y or never.")
    return now + int(span[1]) * _UNITS[span[2]]
