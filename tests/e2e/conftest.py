"""The houses of the end-to-end tests: started once, sent to many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from houses import House, Phantoms, read_phantoms
from peers.dcmtk import storescp, with_meta
from peers.node import Node, embedded, scaled
from peers.orthanc_server import dicomweb_where_installed, orthanc
from peers.postgres import postgres
from peers.redis_server import redis

from models.phantom import write_phantoms

BRISK = {"FIRSTREAD_QUIET_SECONDS": "0.5"}
"""Studies other than radiographs are complete after half a second, not a minute."""
Start = Callable[[Path, list[str]], AbstractContextManager[Node]]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """Five phantoms: one with a pneumothorax, three without a finding."""
    folder = tmp_path_factory.mktemp("phantoms")
    return read_phantoms(write_phantoms(folder, 5, seed=2, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC), size=1024))


@pytest.fixture(scope="session")
def radiographs(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real frontal chest radiographs, in all their transfer syntaxes and character sets."""
    real = test_data / "radiograph"
    fuji = tmp_path_factory.mktemp("fuji") / "fuji.dcm"
    return [
        real / "RG1_J2KI.dcm",
        with_meta(real / "CR-MONO1-10-chest.dcm", fuji),
        *sorted((real / "nih-derived").glob("*.dcm")),
    ]


@contextmanager
def house_of(folder: Path, start: Start) -> Iterator[House]:
    """A node that sends its results to a storescp and to an Orthanc."""
    with (
        storescp(folder / "dcmtk") as receiver,
        orthanc(folder / "orthanc", configuration={"Plugins": dicomweb_where_installed()}) as archive,
        start(folder / "node", [receiver.address, archive.address]) as node,
    ):
        yield House(node, receiver, archive)
        assert not node.errors(), node.errors()


@pytest.fixture(scope="session")
def embedded_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """`firstread up`: SQLite, no broker."""

    def start(folder: Path, destinations: list[str]) -> AbstractContextManager[Node]:
        return embedded(folder, destinations, **BRISK)

    with house_of(tmp_path_factory.mktemp("embedded"), start) as house:
        yield house


@pytest.fixture(scope="session")
def scaled_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """PostgreSQL, Redis and a process for every part."""
    folder = tmp_path_factory.mktemp("scaled")

    def start(place: Path, destinations: list[str]) -> AbstractContextManager[Node]:
        return scaled(
            place, destinations, database_url=database_url, broker_url=broker_url,
            **BRISK,
        )  # fmt: skip

    with postgres() as database_url, redis(folder / "redis") as broker_url, house_of(folder, start) as house:
        yield house


@pytest.fixture(scope="session", params=["embedded", "scaled"])
def house(request: pytest.FixtureRequest) -> House:
    """Both ways to run the product; the tests are the same."""
    found: House = request.getfixturevalue(f"{request.param}_house")
    return found
