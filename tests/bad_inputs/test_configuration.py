"""Settings, files and machines that are wrong: the program says which, what to do, and does not start."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from peers.node import FIRSTREAD, Node, embedded
from peers.processes import eventually, program, run
from site_bundles import enable_all

from bad_inputs.cases import case, one
from bad_inputs.forked import Ended, firstread, mount, needs_root
from firstread import ground
from models.phantom import write_phantoms
from models.registry import SHIPPED
from triage import release
from triage.database import Database, alembic_config
from triage.errors import SettingsError
from triage.settings import Settings

UNUSABLE = 78  # EX_CONFIG
TOKEN = "r7Kq" * 6


def refused(ended: Ended, *named: str) -> None:
    """It did not start, said so in one line, and named what is wrong."""
    assert ended.status == UNUSABLE, ended
    assert len(ended.lines) == 1, ended.output
    for name in named:
        assert name in ended.output
    assert "Traceback" not in ended.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with an empty database of this version."""
    folder = tmp_path / "data"
    assert firstread("db", "upgrade", "--data", folder, cwd=tmp_path).status == 0
    return folder


def up(cwd: Path, *words: str | Path, toml: str = "", **settings: str) -> Ended:
    """`firstread up` in a folder with this `firstread.toml`, which is closed to others."""
    file = cwd / "firstread.toml"
    file.write_text(toml)
    file.chmod(0o600)
    return firstread(
        "up", *words, "--dicom-port", "0", "--http-port", "0", cwd=cwd,
        settings={f"FIRSTREAD_{name.upper()}": value for name, value in settings.items()},
    )  # fmt: skip


# --- names, types, ranges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        one("C1", 'ae_titel = "X"', ("ae_titel", "unknown setting"), name="unknown key"),
        one("C1", 'analysis_attempts = "eleven"', ("analysis_attempts", "integer"), name="text for a number"),
        one("C1", "analysis_attempts = 2.5", ("analysis_attempts", "integer"), name="fraction for a number"),
        one("C1", "log_json = 7", ("log_json", "boolean"), name="number for a switch"),
        one("C1", "ae_title = 1", ("ae_title", "string"), name="number for text"),
        one("C1", '[[destinations]]\naddress = "A@h:1"\nport = 2', ("destinations.0.port",), name="unknown in a table"),
        one("C1", "ae_title = ", ("firstread.toml", "TOML"), name="no TOML"),
        one("C3", 'ae_title = "MORE_THAN_16_CHARS"', ("AE title", "16"), name="too long"),
        one("C3", 'ae_title = ""', ("AE title",), name="empty"),
        one("C3", 'ae_title = "   "', ("AE title",), name="blanks"),
        one("C3", 'ae_title = "A\\\\B"', ("AE title",), name="backslash"),
        one("C3", 'calling_ae_titles = ["MORE_THAN_16_CHARS"]', ("AE title",), name="of a peer"),
        one("C7", f'http_tokens = ["reader:{TOKEN[:23]}"]', ("http_tokens", "24"), name="short"),
        one("C7", 'http_tokens = ["reader:"]', ("http_tokens",), name="empty"),
        one(
            "C7",
            'http_tokens = ["a:<at least 24 random characters>"]',
            ("http_tokens", "placeholder"),
            name="of the manual",
        ),
        one("C7", 'http_tokens = ["a:change-me-change-me-change-me"]', ("http_tokens", "placeholder"), name="default"),
        one("C7", 'database_url = "postgresql://firstread:firstread@db/firstread"', ("database_url",), name="database"),
        one(
            "C7",
            'database_url = "postgresql://u:4t9@db/f"\nbroker_url = "redis://redis/0"',
            ("broker_url",),
            name="broker",
        ),
        one(
            "C9", 'ae_title = "NODE"\ndestinations = ["NODE@localhost:11112"]', ("this node itself",), name="localhost"
        ),
        one("C9", 'destinations = ["FIRSTREAD@127.0.0.1:11112"]', ("this node itself",), name="127.0.0.1"),
        one("C11", "quiet_seconds = 0", ("quiet_seconds", "greater than 0"), name="quiet"),
        one("C11", "quiet_seconds_radiograph = -1", ("quiet_seconds_radiograph",), name="quiet radiograph"),
        one("C11", "max_open_minutes = 0", ("max_open_minutes",), name="open"),
        one("C11", "target_minutes_stat = 0", ("target_minutes_stat",), name="target"),
        one("C11", "analysis_attempts = 0", ("analysis_attempts",), name="attempts"),
        one("C11", "delivery_hours = -72", ("delivery_hours",), name="delivery"),
        one("C11", "min_free_megabytes = -1", ("min_free_megabytes",), name="room"),
        one("C11", "max_associations = -1", ("max_associations",), name="associations"),
        one("C11", "max_associations = 0", ("max_associations",), name="no association"),
        one("C11", "ai_stat_share = nan", ("ai_stat_share",), name="NaN"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, toml: str, named: tuple[str, ...]) -> None:
    file = tmp_path / "firstread.toml"
    file.write_text(toml)
    file.chmod(0o600)
    refused(firstread("up", "--data", tmp_path / "data", cwd=tmp_path), *named)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        one("C1", "FIRSTREAD_AETITLE", "X", name="unknown variable"),
        one("C1", "FIRSTREAD_HTTP_PORT", "eighty", name="variable of a wrong type"),
        one("C1", "FIRSTREAD_CONFIG", "/nowhere/firstread.toml", name="no such file"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    ended = firstread("up", cwd=tmp_path, settings={name: value})
    refused(ended)
    assert name in ended.output or name.removeprefix("FIRSTREAD_").lower() in ended.output


@case("C7")
def test_secrets_in_a_file_that_everybody_reads_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "firstread.toml"
    file.write_text(f'http_tokens = ["reader:{TOKEN}"]')
    file.chmod(0o644)
    ended = firstread("up", cwd=tmp_path)
    refused(ended, "firstread.toml", "http_tokens", "chmod 600")
    assert TOKEN not in ended.output
    file.write_text('ae_title = "NODE"')  # no secret: anybody may read it
    assert firstread("db", "upgrade", "--data", tmp_path / "data", cwd=tmp_path).status == 0


# --- ports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "setting"), [one("C2", "listen", "dicom_port"), one("C2", "serve", "http_port")])
def test_a_port_that_is_taken_is_one_line(tmp_path: Path, data: Path, part: str, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {"FIRSTREAD_DATA": str(data), f"FIRSTREAD_{setting.upper()}": port}
        ended = firstread(part, cwd=tmp_path, settings=settings)
    assert ended.status == UNUSABLE, ended
    assert "Traceback" not in ended.output
    (line,) = [line for line in ended.lines if port in line and "cannot" in line]
    assert "127.0.0.1" in line


@case("C2")
def test_a_port_that_is_not_ours_to_open_is_one_line(tmp_path: Path, data: Path) -> None:
    needs_root()
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 900:
        pytest.skip("any user of this machine may open any port")
    ended = subprocess.run(
        [program("setpriv"), "--bounding-set=-net_bind_service", FIRSTREAD, "listen"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "FIRSTREAD_DATA": str(data), "FIRSTREAD_DICOM_PORT": "890"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == UNUSABLE, ended
    assert "890" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


# --- the data directory ---------------------------------------------------------------------------------------------


@case("C4")
def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file" / "data", Path("/proc/firstread")):
        refused(firstread("up", "--data", place, cwd=tmp_path), str(place), "cannot be used")


@case("C4")
def test_a_missing_data_directory_is_made_and_closed_to_others(tmp_path: Path, data: Path) -> None:
    assert {path.name for path in data.iterdir()} >= {"archive", "results", "firstread.sqlite"}
    assert data.stat().st_mode & 0o077 == 0


@case("C4")
def test_a_read_only_data_directory_is_refused(tmp_path: Path) -> None:
    needs_root()
    ended = firstread(
        "up", "--data", tmp_path / "ro", cwd=tmp_path, before=mount("tmpfs", tmp_path / "ro", read_only=True)
    )
    refused(ended, "cannot be used", "Read-only")


@pytest.mark.parametrize("folder", [one("C4", name, name=name) for name in ("incoming", "store", "quarantine")])
def test_an_archive_on_two_file_systems_is_refused(tmp_path: Path, data: Path, folder: str) -> None:
    needs_root()
    place = data / "archive" / folder
    for words in (("up", "--data", data), ("listen",)):
        settings = {"FIRSTREAD_DATA": str(data)}
        refused(firstread(*words, cwd=tmp_path, settings=settings, before=mount("tmpfs", place)), str(place), "renamed")


@case("C4")
def test_memory_and_network_file_systems_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(ground, "_MOUNTS", mounts)
    here = tmp_path / "a folder"
    here.mkdir()

    def on(kind: str) -> list[str]:
        named = str(here).replace(" ", "\\040")
        mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / {named} rw,nosuid shared:3 - {kind} b rw\n")
        return [doubt for doubt, _ in ground.doubts(Settings(data=here / "data"))]

    assert on("ext4") == on("xfs") == on("btrfs") == []
    for kind in ("tmpfs", "overlay", "nfs4", "cifs"):
        (doubt,) = on(kind)
        assert kind in doubt
    with pytest.raises(SettingsError, match="SQLite"):
        ground.make_folders(Settings(data=here / "data"))
    ground.make_folders(Settings(data=here / "data", database_url="postgresql://u@db/f"))


@case("C4")
def test_the_doctor_warns_of_a_data_directory_in_memory(tmp_path: Path) -> None:
    needs_root()
    place = tmp_path / "memory"
    ended = firstread("doctor", "--data", place, cwd=tmp_path, before=mount("tmpfs", place))
    assert any("tmpfs" in line for line in ended.lines), ended.output


# --- schema, clock, two nodes ---------------------------------------------------------------------------------------


@case("C10")
def test_a_newer_schema_is_refused(tmp_path: Path, data: Path) -> None:
    with closing(sqlite3.connect(data / "firstread.sqlite")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for words in (("up", "--data", data), ("db", "upgrade", "--data", data), ("worklist", "--data", data)):
        refused(firstread(*words, cwd=tmp_path), "9999", "newer")
    for part in ("listen", "work", "serve"):
        refused(firstread(part, cwd=tmp_path, settings={"FIRSTREAD_DATA": str(data)}), "9999")


@case("C10")
def test_an_older_schema_is_changed_by_command_only_and_after_a_copy(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    database = Database(f"sqlite:///{data / 'firstread.sqlite'}")
    with database.engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    refused(firstread("up", "--data", data, cwd=tmp_path), "0001", "db upgrade")
    assert database.revision()[0] == "0001"

    ended = firstread("db", "upgrade", "--data", data, cwd=tmp_path)
    assert ended.status == 0, ended
    found, needed = database.revision()
    assert found == needed
    (copy,) = data.glob("firstread.sqlite.0001.*")
    assert str(copy) in ended.output
    assert copy.stat().st_mode & 0o077 == 0
    with sa.create_engine(f"sqlite:///{copy}").connect() as kept:
        assert kept.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0001"
    database.dispose()


@case("C10")
@pytest.mark.parametrize("part", ["up", "listen", "work", "serve", "doctor"])
def test_a_database_that_knows_nothing_of_the_archive_is_refused(tmp_path: Path, data: Path, part: str) -> None:
    """Lost, or another one: the list would be empty and nobody would miss what was acknowledged."""
    kept = data / "archive" / "store" / "ab" / "ab.dcm"
    kept.parent.mkdir(parents=True)
    kept.touch()
    if part == "up":
        (data / "firstread.sqlite").unlink()
    os.utime(kept, (0, 0))
    ended = firstread(part, cwd=tmp_path, settings={"FIRSTREAD_DATA": str(data), "FIRSTREAD_DICOM_PORT": "0"})
    assert "fsck --reindex" in " ".join(ended.output.split())
    if part == "doctor":
        assert "knows of no image" in " ".join(ended.output.split())
        return
    refused(ended, "knows of no image", str(data / "archive"))
    assert part != "up" or not (data / "firstread.sqlite").exists(), "a start that is refused makes none"


@case("C10")
def test_a_file_without_a_row_of_a_first_start_is_no_lost_database(tmp_path: Path) -> None:
    """Killed between the first file and the first row, the node starts again."""
    settings = Settings(data=tmp_path)
    kept = settings.archive / "store" / "ab" / "ab.dcm"
    kept.parent.mkdir(parents=True)
    kept.touch()
    ground.require_memory(settings, datetime.now(UTC))
    with pytest.raises(SettingsError):
        ground.require_memory(settings, datetime.now(UTC) + timedelta(hours=2))
    (settings.results / "ab").mkdir(parents=True)
    (settings.results / "ab" / "ab.dcm").touch()
    with pytest.raises(SettingsError):
        ground.require_memory(settings, datetime.now(UTC))


@case("C12")
@pytest.mark.parametrize("part", ["up", "listen", "work", "serve"])
def test_a_clock_from_before_this_version_is_refused(tmp_path: Path, data: Path, part: str) -> None:
    def back_then() -> None:
        release.DATE = datetime(2999, 1, 1, tzinfo=UTC)

    ended = firstread(part, cwd=tmp_path, settings={"FIRSTREAD_DATA": str(data)}, before=back_then)
    refused(ended, "clock", "2999-01-01")


@case("C12")
def test_the_release_is_not_in_the_future() -> None:
    assert datetime.now(UTC) >= release.DATE


# --- a node with a damaged model; a second one beside it ------------------------------------------------------------


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose site bundle has one wrong bit in its weights."""
    folder = tmp_path_factory.mktemp("configured")
    write_phantoms(folder / "phantoms", 1, seed=5, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC), size=512)
    bundle = folder / "bundles" / "phantom-cxr"
    shutil.copytree(SHIPPED / "phantom-cxr", bundle)
    enable_all(bundle.parent)
    weights = bytearray((bundle / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(weights)
    with embedded(folder / "node", [], FIRSTREAD_BUNDLES=str(bundle.parent)) as running:
        yield running


@case("C5")
def test_altered_weights_stop_nothing_but_the_model(node: Node, tmp_path: Path) -> None:
    phantoms = (node.data.parents[1] / "phantoms").glob("*.dcm")
    run(FIRSTREAD, "send", *phantoms, "--to", f"FIRSTREAD@127.0.0.1:{node.dicom_port}")
    (listed,) = eventually(node.worklist, within=30, what="the study is listed")
    settled = node.settled(listed["study_instance_uid"])
    assert settled["analysis_status"] == "NOT_ANALYSED"
    assert "the model is missing or altered" in settled["not_analysed"]
    assert settled["findings"] == []
    environment = {"FIRSTREAD_BUNDLES": node.environment["FIRSTREAD_BUNDLES"]}
    verified = firstread("models", "verify", cwd=tmp_path, settings=environment)
    assert verified.status != 0
    assert "checksum" in verified.output
    doctor = firstread("doctor", "--data", node.data, cwd=tmp_path, settings=environment)
    assert any("phantom-cxr" in line and "checksum" in line for line in doctor.lines), doctor.output


@case("C13")
def test_a_second_node_on_the_same_data_is_refused(node: Node, tmp_path: Path) -> None:
    assert node.supervisor is not None
    ended = up(tmp_path, "--data", node.data)
    refused(ended, "Another `firstread up`", str(node.data), f"process {node.supervisor.pid}")

    listener = node.parts()["listen"]
    ports = {"FIRSTREAD_DICOM_PORT": "0", "FIRSTREAD_DATA": str(node.data)}
    refused(firstread("listen", cwd=tmp_path, settings=ports), "Another listener", f"process {listener}")

    elsewhere = {**ports, "FIRSTREAD_DATA": str(tmp_path / "elsewhere")}
    elsewhere["FIRSTREAD_DATABASE_URL"] = f"sqlite:///{node.data / 'firstread.sqlite'}"
    refused(firstread("listen", cwd=tmp_path, settings=elsewhere), "Another listener")
    held = (node.data / "firstread.sqlite.listen.lock").read_text().split()
    assert held == [str(listener), Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    assert node.get("/readyz")["status"] == "ready"


@case("C13")
def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("4711 of-an-earlier-boot\n")
    ground.hold(file, "node").close()


# --- bundles --------------------------------------------------------------------------------------------------------


def _spoiled(change: dict[str, Any], tmp_path: Path) -> Path:
    bundle = tmp_path / "bundles" / "mine"
    shutil.copytree(SHIPPED / "phantom-cxr", bundle)
    metadata = json.loads((bundle / "metadata.json").read_text())
    metadata["name"] = "mine"
    metadata["findings"][0].update(change)
    (bundle / "metadata.json").write_text(json.dumps(metadata))
    return bundle


@pytest.mark.parametrize(
    ("change", "named"),
    [
        one("C6", {"threshold": 1.5}, "threshold", name="1.5"),
        one("C6", {"threshold": float("nan")}, "threshold", name="NaN"),
        one("C6", {"threshold": -0.1}, "threshold", name="negative"),
        one("C6", {"urgency": "VERY"}, "urgency", name="unknown class"),
        one("C6", {"key": "Not A Key!"}, "key", name="no label"),
        one("C6", {"label": "x"}, "label", name="unknown field"),
    ],
)
def test_a_bundle_that_says_nonsense_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    bundle = _spoiled(change, tmp_path)
    ended = firstread("models", "verify", cwd=tmp_path, settings={"FIRSTREAD_BUNDLES": str(bundle.parent)})
    assert ended.status != 0
    assert "Traceback" not in ended.output
    assert named in ended.output
