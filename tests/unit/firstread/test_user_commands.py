"""`firstread users` and `firstread tokens`, and a node that nobody could sign in to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from firstread import doctor
from firstread.cli import app
from firstread.commands import users as commands
from firstread.finding import Grade
from firstread.way_in import asks, require_way_in, ways_in
from triage.database import Database
from triage.errors import FirstreadError, SettingsError
from triage.passwords import Passwords
from triage.peers import CallingPeer
from triage.people import Role
from triage.repositories import audit, users
from triage.settings import Settings

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def phrase(tmp_path: Path) -> Path:
    file = tmp_path / "phrase"
    file.write_text("wet lamps hum softly\n")
    file.chmod(0o600)
    return file


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> str:
    answer = run(*words)
    assert answer.exit_code == 0, answer.output
    return str(answer.output)


def refused(*words: object) -> FirstreadError:
    answer = run(*words)
    assert isinstance(answer.exception, FirstreadError), answer.output
    return answer.exception


def test_the_life_of_an_account(data: Path, phrase: Path) -> None:
    said = done("users", "add", "m.lang", "--role", "admin", "--password-file", phrase, "--data", data)
    assert "first account: from now on everybody signs in" in " ".join(said.split())
    assert "wet lamps" not in said
    done("users", "add", "Öz.kan", "--role", "reader", "--display-name", "Özlem Kan", "--password-file", phrase,
         "--data", data)  # fmt: skip
    done("users", "role", "öz.kan", "--role", "technologist", "--data", data)
    done("users", "disable", "öz.kan", "--data", data)
    listed = json.loads(done("users", "list", "--json", "--data", data))
    assert [(item["name"], item["role"], item["disabled"]) for item in listed] == [
        ("m.lang", "admin", False),
        ("Öz.kan", "technologist", True),
    ]
    assert "argon2" not in json.dumps(listed)
    assert "Öz.kan" in done("users", "list", "--data", data)
    done("users", "enable", "öz.kan", "--data", data)
    phrase.write_text("nine dry umbrellas sing")
    done("users", "password", "m.lang", "--password-file", phrase, "--data", data)
    database = Database(Settings(data=data).database)
    with database.read() as session:
        assert Passwords().matches(users.by_name(session, "m.lang").password_hash, "nine dry umbrellas sing")
        trail = [(entry.action, entry.subject) for entry in audit.listed(session, audit.AuditFilter())]
        assert all(entry.who.startswith("cli:") for entry in audit.listed(session, audit.AuditFilter()))
    database.dispose()
    assert ("user_role_changed", "user:Öz.kan") in trail
    done("users", "remove", "öz.kan", "--data", data)
    assert "asks nobody to sign in" in " ".join(done("users", "remove", "m.lang", "--data", data).split())


def test_what_is_refused_about_accounts(data: Path, phrase: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = ("users", "add", "m.lang", "--data", data, "--role")
    assert "no role" in str(refused(*add, "king", "--password-file", phrase))
    assert "no terminal" in str(refused(*add, "admin"))
    phrase.chmod(0o644)
    assert "everybody can use it" in str(refused(*add, "admin", "--password-file", phrase))
    phrase.chmod(0o600)
    phrase.write_text("short")
    assert "shorter" in str(refused(*add, "admin", "--password-file", phrase))
    assert not data.exists(), "nothing is made for an account that is none"
    phrase.write_text("wet lamps hum softly")
    assert "first account" in str(refused(*add, "reader", "--password-file", phrase))
    done(*add, "admin", "--password-file", phrase)
    assert "this name already" in str(refused(*add, "reader", "--password-file", phrase))
    assert "last local administrator" in str(refused("users", "disable", "m.lang", "--data", data))
    assert "no account of this name" in str(refused("users", "disable", "nobody.here", "--data", data))


def test_a_password_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["wet lamps hum softly", "wet lamps hum softlx"])
    monkeypatch.setattr(commands.getpass, "getpass", lambda _prompt: next(typed))
    monkeypatch.setattr(commands.sys.stdin, "isatty", lambda: True)
    with pytest.raises(SettingsError, match="differ"):
        commands.new_password("m.lang", None)


def test_the_life_of_a_token(data: Path) -> None:
    made = json.loads(
        done("tokens", "add", "ris", "--scopes", "worklist:read,metrics", "--expires", "4w", "--json", "--data", data)
    )
    assert made["token"].startswith(made["prefix"])
    assert made["scopes"] == ["metrics", "worklist:read"]
    assert made["token"] not in done("tokens", "list", "--json", "--data", data)
    for wrong, why in (
        (("--scopes", "everything"), "no scope everything"),
        (("--scopes", ""), "none given"),
        (("--scopes", "admin", "--expires", "soon"), "not a span"),
        (("--scopes", "admin", "--expires", "99y"), "ten years"),
    ):
        assert why in str(refused("tokens", "add", "other", *wrong, "--data", data))
    assert "was, a token" in str(refused("tokens", "add", "ris", "--scopes", "admin", "--data", data))
    done("tokens", "revoke", "ris", "--data", data)
    assert json.loads(done("tokens", "list", "--json", "--data", data)) == []
    assert json.loads(done("tokens", "list", "--all", "--json", "--data", data))[0]["revoked"] is True
    assert "No token of this name" in str(refused("tokens", "revoke", "ris", "--data", data))


def test_a_node_in_the_network_does_not_start_while_nobody_can_sign_in(data: Path) -> None:
    here = Settings(data=data)
    data.mkdir()
    database = Database(here.database)
    database.migrate()
    open_ = Settings(data=data, bind="0.0.0.0", calling_ae_titles=(CallingPeer(ae_title="CR1"),), dicom_plain=True)
    require_way_in(here, database, NOW)
    assert not asks(here, database)
    with pytest.raises(SettingsError, match="nobody can sign in") as stopped:
        require_way_in(open_, database, NOW)
    assert "users add" in stopped.value.next_step
    findings = {found.subject: found for found in doctor._sign_in(open_)}
    assert findings["sign-in"].grade is Grade.BAD
    assert {found.grade for found in doctor._sign_in(here)} == {Grade.WARNING}
    require_way_in(open_.model_copy(update={"http_tokens": ("a:" + "x" * 24,)}), database, NOW)
    with database.write() as session:
        users.add(session, "m.lang", Role.ADMIN, "$argon2id$none", at=NOW, who="test")
    require_way_in(open_, database, NOW)
    assert ways_in(open_, database, NOW) == ["1 accounts (1 of administrators)"]
    assert asks(here, database), "the first account ends that nobody signs in"
    assert {found.grade for found in doctor._sign_in(here)} == {Grade.GOOD}
    database.dispose()
