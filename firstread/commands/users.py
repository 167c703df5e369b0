"""``firstread users …``: accounts of people, from the machine itself."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from triage.database import Database
    from triage.settings import Settings
    from triage.tables import User

app = typer.Typer(help="Accounts of people who use page and API (docs/sign-in.md).", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
Name = Annotated[str, typer.Argument(help="Name to sign in with.")]
RoleName = Annotated[str, typer.Option("--role", help="reader, technologist or admin.")]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="File that holds the password, closed to others; else asked for.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def settings_of(data: Path | None) -> Settings:
    from triage.settings import load_settings  # noqa: PLC0415

    return load_settings({} if data is None else {"data": data})


@contextmanager
def opened(data: Path | None, *, make: bool = False) -> Iterator[Database]:
    """The node's database; ``make``: also where there is none yet, as for the first account before the first start."""
    from firstread import ground, schema  # noqa: PLC0415
    from triage.database import Database  # noqa: PLC0415
    from triage.logging import configure  # noqa: PLC0415

    configure(part="users", as_json=False, level="CRITICAL")
    settings = settings_of(data)
    if make:
        ground.make_folders(settings)
        schema.make_or_require(settings)
    database = Database(settings.database)
    try:
        database.require_current()
        yield database
    finally:
        database.dispose()


@contextmanager
def changing(data: Path | None, name: str) -> Iterator[tuple[Session, User, dict[str, Any]]]:
    """An account to change, with who does so and when."""
    from triage.repositories import users  # noqa: PLC0415

    with opened(data) as database, database.write() as session:
        yield session, users.by_name(session, name), {"at": datetime.now(UTC), "who": operator()}


def operator() -> str:
    """Who stands in the audit trail: the account of this machine."""
    return f"cli:{getpass.getuser()}"


@app.command()
def add(
    name: Name,
    role: RoleName,
    display_name: Annotated[str, typer.Option("--display-name", help="What people call this person.")] = "",
    password_file: PasswordFile = None,
    data: Data = None,
) -> None:
    """Make an account. The password is asked for on the terminal, or read from a file; it is never an argument.

    Example: `firstread users add m.lang --role admin`
    """
    from triage.errors import SettingsError  # noqa: PLC0415
    from triage.passwords import Passwords  # noqa: PLC0415
    from triage.people import Role, user_name  # noqa: PLC0415
    from triage.repositories import users  # noqa: PLC0415
    from triage.setting_rules import token_names  # noqa: PLC0415

    chosen, name = _role(role), user_name(name)
    hashed = Passwords().hash(new_password(name, password_file))
    taken = token_names(settings_of(data).http_tokens)
    with opened(data, make=True) as database, database.write() as session:
        first = not users.exist(session)
        if first and chosen is not Role.ADMIN:
            raise SettingsError(
                "From the first account on everybody signs in, so it is an administrator's.",
                next_step="Make that one first, with `--role admin`.",
            )
        users.add(
            session, name, chosen, hashed, at=datetime.now(UTC), who=operator(), shown_as=display_name, taken=taken
        )
    said = f"{name} can sign in now as {chosen}."
    if first:
        said += " This is the first account: from now on everybody signs in, also on this machine."
    Console().print(said, highlight=False, soft_wrap=True)


@app.command(name="list")
def list_(data: Data = None, as_json: AsJson = False) -> None:
    """List all accounts: role, where the password is kept, last sign-in.

    Example: `firstread users list`
    """
    from triage.repositories import users  # noqa: PLC0415

    with opened(data) as database, database.read() as session:
        rows = users.listed(session)
        items = [
            {
                **users.described(user),
                "created_at": user.created_at.isoformat(),
                "password_changed_at": user.password_changed_at.isoformat() if user.password_changed_at else None,
                "last_sign_in_at": user.last_sign_in_at.isoformat() if user.last_sign_in_at else None,
            }
            for user in rows
        ]
    if as_json:
        Console().print_json(data=items)
        return
    table = Table("Name", "Called", "Role", "From", "Last sign-in (UTC)", "")
    for user in rows:
        last = f"{user.last_sign_in_at:%Y-%m-%d %H:%M}" if user.last_sign_in_at else "never"
        source = "identity provider" if user.subject is not None else "here"
        table.add_row(user.name, user.display_name, user.role, source, last, "disabled" if user.disabled else "")
    Console().print(table if rows else "There is no account yet: `firstread users add NAME --role admin`.")


@app.command()
def role(name: Name, role: RoleName, data: Data = None) -> None:
    """Give a person another role; open pages sign in again.

    Example: `firstread users role m.lang --role reader`
    """
    from triage.repositories import users  # noqa: PLC0415

    chosen = _role(role)
    with changing(data, name) as (session, user, by):
        users.set_role(session, user, chosen, **by)
    Console().print(f"{user.name} has the role {chosen}.", highlight=False)


@app.command()
def disable(name: Name, data: Data = None) -> None:
    """Shut a person out, at once and everywhere.

    Example: `firstread users disable m.lang`
    """
    from triage.repositories import users  # noqa: PLC0415

    with changing(data, name) as (session, user, by):
        users.set_disabled(session, user, True, **by)
    Console().print(f"{user.name} can no longer sign in and is signed out everywhere.", highlight=False)


@app.command()
def enable(name: Name, data: Data = None) -> None:
    """Let a disabled person in again.

    Example: `firstread users enable m.lang`
    """
    from triage.repositories import users  # noqa: PLC0415

    with changing(data, name) as (session, user, by):
        users.set_disabled(session, user, False, **by)
    Console().print(f"{user.name} can sign in again.", highlight=False)


@app.command()
def password(name: Name, password_file: PasswordFile = None, data: Data = None) -> None:
    """Set a new password; the person is signed out everywhere.

    Example: `firstread users password m.lang`
    """
    from triage.passwords import Passwords  # noqa: PLC0415
    from triage.repositories import users  # noqa: PLC0415

    with opened(data) as database, database.read() as session:
        known = users.by_name(session, name).name
    hashed = Passwords().hash(new_password(known, password_file))
    with changing(data, name) as (session, user, by):
        users.set_password(session, user, hashed, **by)
    Console().print(f"{user.name} has a new password and is signed out everywhere.", highlight=False)


@app.command()
def remove(name: Name, data: Data = None) -> None:
    """Take an account away. What the person did stays in the audit trail. To shut somebody out, `disable` is enough.

    Example: `firstread users remove m.lang`
    """
    from triage.repositories import users  # noqa: PLC0415

    with changing(data, name) as (session, user, by):
        users.remove(session, user, **by, may_be_last=True)
        session.flush()
        left = users.exist(session)
    Console().print(f"{name} is removed.", highlight=False)
    if not left:
        said = "There is no account any more: a node on loopback asks nobody to sign in."
        Console(stderr=True).print(f"[bold yellow]{said}[/]", highlight=False, soft_wrap=True)


def new_password(name: str, file: Path | None) -> str:
    """A new password from a file closed to others, or typed twice without echo.

    Raises
    ------
    SettingsError
        The file is no secret, there is no terminal, or the two differ.
    IdentifierError
        Too easy.
    """
    from triage.errors import SettingsError  # noqa: PLC0415
    from triage.passwords import check_password  # noqa: PLC0415
    from triage.secret_files import read_secret  # noqa: PLC0415

    if file is not None:
        given = read_secret(file)
    elif sys.stdin.isatty():
        given = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != given:
            raise SettingsError("The two passwords differ.", next_step="Type the same one twice.")
    else:
        raise SettingsError(
            "There is no terminal to ask for the password.", next_step="Name a file with --password-file."
        )
    check_password(given, name=name)
    return given


def _role(text: str) -> Any:
    from triage.errors import SettingsError  # noqa: PLC0415
    from triage.people import Role  # noqa: PLC0415

    try:
        return Role(text)
    except ValueError:
        raise SettingsError(f"There is no role of this name: {', '.join(Role)}.", next_step="Name one.") from None
