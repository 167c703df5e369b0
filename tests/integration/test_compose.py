"""`docker-compose.yml` and `Dockerfile`, held against the program and the settings that they configure.

No container engine is needed: what they name must exist, what they run must parse, what they set must load.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from peers.node import SCALED_PARTS
from typer.testing import CliRunner

from firstread.cli import app
from firstread.way_in import require_way_in
from triage.database import Database
from triage.errors import SettingsError
from triage.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("firstread:")}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>[A-Z_]+)(?P<rest>[^}]*)\}")

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
LIST = {"type": "array", "items": {"type": "string"}, "minItems": 1}
TIME = {"type": "string", "pattern": r"^\d+(s|m)$"}
SERVICE_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image", "restart", "read_only", "cap_drop", "security_opt", "stop_grace_period", "networks"],
    "properties": {
        "image": {"type": "string", "pattern": r"^[a-z0-9/]+:[^:]*\d[^:]*$"},
        "build": {"const": "."},
        "command": LIST,
        "entrypoint": LIST,
        "environment": STRINGS,
        "volumes": LIST,
        "tmpfs": LIST,
        "ports": LIST,
        "networks": LIST,
        "user": {"type": "string"},
        "init": {"type": "boolean"},
        "restart": {"enum": ["unless-stopped", "no"]},
        "read_only": {"const": True},
        "cap_drop": {"const": ["ALL"]},
        "security_opt": {"const": ["no-new-privileges:true"]},
        "stop_grace_period": {"const": "60s"},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["condition"],
                "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
            },
        },
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "required": ["test", "interval", "timeout", "start_period"],
            "properties": {"test": LIST, "interval": TIME, "timeout": TIME, "start_period": TIME},
        },
    },
}
"""What this file uses of the Compose Specification, and what it promises: every service is confined."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A filled in `.env`."""
    values = dict.fromkeys(_names_in_example(), "0123456789abcdef01234567")
    values |= {"FIRSTREAD_CALLING_AE_TITLES": "ORTHANC,CT1@10.0.0.0/8", "FIRSTREAD_HTTP_TOKENS": f"reader:{'x' * 24}"}
    for name in list(values):
        monkeypatch.delenv(name, raising=False)
    return values


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_well_formed_and_confined(name: str) -> None:
    Draft202012Validator(SERVICE_SCHEMA).validate(SERVICES[name])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_names_only_what_exists(name: str) -> None:
    service = SERVICES[name]
    for network in service["networks"]:
        assert network in COMPOSE["networks"]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (source.startswith("./") and (ROOT / source).exists()), source
    for other, wait in service.get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", OURS)
def test_a_command_of_ours_is_one_that_the_program_knows(name: str) -> None:
    answer = CliRunner().invoke(app, [*SERVICES[name]["command"], "--help"])
    assert answer.exit_code == 0, answer.output


def test_the_parts_are_those_that_the_end_to_end_tests_start() -> None:
    ours = {tuple(service["command"]) for service in OURS.values()}
    assert ours == {*map(tuple, SCALED_PARTS.values()), ("db", "upgrade")}


@pytest.mark.parametrize("name", OURS)
def test_its_variables_are_settings_and_load(
    name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _started(name, environment, monkeypatch)
    assert settings.data == Path("/data")
    assert settings.database.startswith("postgresql+psycopg://")
    assert not settings.embedded
    assert [destination.address for destination in settings.destinations] == ["ORTHANC@orthanc:4242"]
    assert settings.on_loopback == ("ports" not in SERVICES[name]), "only published parts are reachable"


@pytest.mark.parametrize("name", ["listener", "api"])
def test_an_open_part_does_not_start_without_saying_who_may_send(
    name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="calling_ae_titles"):
        _started(name, {**environment, "FIRSTREAD_CALLING_AE_TITLES": ""}, monkeypatch)


def test_the_open_page_does_not_start_while_nobody_can_sign_in(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'firstread.sqlite'}")
    database.migrate()
    now = datetime.now(UTC)
    require_way_in(_started("api", environment, monkeypatch), database, now)
    with pytest.raises(SettingsError, match="nobody can sign in"):
        require_way_in(_started("api", {**environment, "FIRSTREAD_HTTP_TOKENS": ""}, monkeypatch), database, now)
    database.dispose()


def test_nothing_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = {match["name"]: match["rest"] for match in VARIABLE.finditer(text)}
    assert used.pop("PUBLISH_ON") == ":-127.0.0.1"
    assert used.keys() == set(_names_in_example())
    assert all(rest.startswith(":?") for rest in used.values()), used
    for line in (ROOT / ".env.example").read_text().splitlines():
        if any(word in line for word in ("PASSWORD", "TOKENS", "USER")) and not line.startswith("#"):
            assert line.endswith("="), line


def test_ports_are_published_for_what_people_use_only_and_on_this_machine() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"listener", "api", "orthanc"}
    for name in published:
        assert all(port.startswith("${PUBLISH_ON:-127.0.0.1}:") for port in SERVICES[name]["ports"])
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["inside"]


def test_every_part_sees_the_same_archive() -> None:
    assert {volume for service in OURS.values() for volume in service["volumes"]} == {
        "firstread-data:/data",
        "firstread-data:/data:ro",
    }


def test_orthanc_gets_the_variables_that_its_configuration_reads() -> None:
    folder = ROOT / "orthanc"
    read = {m["name"] for file in folder.glob("*.json") for m in VARIABLE.finditer(file.read_text())}
    given = set(SERVICES["orthanc"]["environment"])
    assert given <= read
    assert read - given == {"ORTHANC_STORAGE"}, "the image's own folder"
    configuration = json.loads((folder / "orthanc.json").read_text())
    assert all((folder / script).is_file() for script in configuration["LuaScripts"])
    assert not configuration.keys() & json.loads((folder / "remote.json").read_text()).keys()


def test_the_image_copies_what_is_there_and_runs_as_nobody() -> None:
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M) for name in line.split()[:-1]]
    admitted = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name in admitted, name
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.M)
    assert users == ["10001:10001"]
    assert {service["user"] for service in OURS.values()} == set(users)
    assert "--require-hashes -r requirements.lock" in DOCKERFILE


def _names_in_example() -> list[str]:
    return re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)


def _started(name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a service, as its container would read them."""
    for variable, value in SERVICES[name]["environment"].items():
        assert variable.removeprefix(PREFIX).lower() in Settings.model_fields, variable
        monkeypatch.setenv(variable, VARIABLE.sub(lambda match: environment[match["name"]], value))
    return load_settings()
