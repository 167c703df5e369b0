"""``/api/v1/admin/users``: accounts of people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.concurrency import run_in_threadpool

from triage.database import Database
from triage.errors import StateError
from triage.passwords import LONGEST, SHORTEST, check_password
from triage.people import LONGEST_DISPLAY_NAME, LONGEST_NAME, Role, user_name
from triage.repositories import users
from triage.setting_rules import token_names
from triage.tables import User
from worklist.context import Here, Who
from worklist.signin import NOBODY_SIGNS_IN
from worklist.signing_in import SignIn

UserName = Annotated[str, Path(max_length=LONGEST_NAME, description="Name of the account, in whatever spelling.")]
Password = Annotated[
    SecretStr, Field(max_length=LONGEST, description=f"At least {SHORTEST} characters, not an obvious one.")
]


class UserOut(BaseModel):
    """An account, without its secret."""

    name: str
    display_name: str
    role: Role
    kept_by: Literal["firstread", "identity provider"]
    disabled: bool
    created_at: datetime
    password_changed_at: datetime | None
    last_sign_in_at: datetime | None


class UsersOut(BaseModel):
    """All accounts, by name."""

    items: list[UserOut]


class UserIn(BaseModel):
    """A new account."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    role: Role
    password: Password
    display_name: Annotated[str, Field(max_length=LONGEST_DISPLAY_NAME)] = ""


class UserChange(BaseModel):
    """What is to be different; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    disabled: bool | None = None
    display_name: Annotated[str, Field(max_length=LONGEST_DISPLAY_NAME)] | None = None


class PasswordIn(BaseModel):
    """A new password."""

    model_config = ConfigDict(extra="forbid")

    password: Password


def user_routes(door: SignIn) -> APIRouter:
    """Routes of an administrator for accounts; they share the door's bounds on hashing."""
    router = APIRouter(prefix="/admin/users", tags=["admin"])

    @router.get("", summary="Accounts of people")
    def list_users(here: Here) -> UsersOut:
        """Whoever has signed in through the identity provider stands here too."""
        return UsersOut(items=read_users(here.database))

    @router.post("", summary="Make an account", status_code=201)
    async def add_user(here: Here, who: Who, asked: UserIn) -> UserOut:
        """409 when the name is taken, 422 for a name or password that will not do."""
        name = user_name(asked.name)
        hashed = await _hashed(door, name, asked.password)

        def store() -> UserOut:
            with here.database.write() as session:
                if who == NOBODY_SIGNS_IN and asked.role is not Role.ADMIN:
                    raise StateError(
                        "From the first account on everybody signs in, so it is an administrator's.",
                        next_step="Make that one first.",
                    )
                user = users.add(
                    session, name, asked.role, hashed, at=here.clock(), who=who, shown_as=asked.display_name,
                    taken=token_names(here.settings.http_tokens),
                )  # fmt: skip
                return user_out(user)

        return await run_in_threadpool(store)

    @router.patch("/{name}", summary="Change role or name, disable or enable")
    def change_user(here: Here, who: Who, name: UserName, asked: UserChange) -> UserOut:
        """The person is signed out at once where role or admission change. 409 for the last local administrator."""
        now = here.clock()
        with here.database.write() as session:
            user = users.by_name(session, name)
            if asked.display_name is not None:
                users.set_display_name(session, user, asked.display_name, at=now, who=who)
            if asked.role is not None:
                users.set_role(session, user, asked.role, at=now, who=who)
            if asked.disabled is not None:
                users.set_disabled(session, user, asked.disabled, at=now, who=who)
            return user_out(user)

    @router.put("/{name}/password", summary="Set a new password")
    async def set_password(here: Here, who: Who, name: UserName, asked: PasswordIn) -> UserOut:
        """The person is signed out everywhere. 409 for an account of the identity provider."""

        def known() -> str:
            with here.database.look() as session:
                return users.by_name(session, name).name

        hashed = await _hashed(door, await run_in_threadpool(known), asked.password)

        def store() -> UserOut:
            with here.database.write() as session:
                user = users.by_name(session, name)
                users.set_password(session, user, hashed, at=here.clock(), who=who)
                return user_out(user)

        return await run_in_threadpool(store)

    @router.delete("/{name}", summary="Remove an account", status_code=204)
    def remove_user(here: Here, who: Who, name: UserName) -> Response:
        """What the person did stays in the audit trail. 409 for the last local administrator."""
        with here.database.write() as session:
            users.remove(session, users.by_name(session, name), at=here.clock(), who=who)
        return Response(status_code=204)

    return router


def read_users(database: Database) -> list[UserOut]:
    """All accounts, by name."""
    with database.look() as session:
        return [user_out(user) for user in users.listed(session)]


def user_out(user: User) -> UserOut:
    return UserOut(
        name=user.name,
        display_name=user.display_name,
        role=user.role,
        kept_by="firstread" if user.subject is None else "identity provider",
        disabled=user.disabled,
        created_at=user.created_at,
        password_changed_at=user.password_changed_at,
        last_sign_in_at=user.last_sign_in_at,
    )


async def _hashed(door: SignIn, name: str, password: SecretStr) -> str:
    check_password(password.get_secret_value(), name=name)
    return await door.hash(password.get_secret_value())
