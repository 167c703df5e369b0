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
from peers.orthanc_server import orthanc
from peers.postgres import postgres
from peers.redis_server import redis

from models.phantom import write_phantoms
from models.registry import SHIPPED

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


@pytest.fixture(scope="session")
def site_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's bundle for real radiographs, until one ships."""
    import torch  # noqa: PLC0415

    from models import bundle, metadata, networks  # noqa: PLC0415
    from triage.findings import Code, ScoreKind  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("bundles")
    if (SHIPPED / "nih-cxr-research").is_dir():
        return folder
    torch.manual_seed(1)
    told = metadata.BundleMetadata(
        format_version=1, name="random-cxr", version="0.0.1", manufacturer="firstread", licence="Apache-2.0",
        intended_use="Tests.", limits=("Random weights.",), research=True, disclaimer="NOT FOR DIAGNOSIS",
        architecture="shufflenet_v2_x1_0", input=metadata.InputSpec(height=320, width=320, mean=0.5, std=0.25),
        findings=(metadata.FindingSpec(
            key="pleural_effusion", code=Code(value="60046008", scheme="SCT", meaning="Pleural effusion"),
            threshold=0.99,
        ),),
        calibration=metadata.Calibration(score_kind=ScoreKind.UNCALIBRATED_PROBABILITY, method="none"),
        routing=metadata.RoutingConditions(manufacturer_not=("firstread phantom",)),
        training=metadata.TrainingSummary(data="none", images=0, seed=1, date="2026-01-01"),
    )  # fmt: skip
    network = networks.build(told.architecture, len(told.findings))
    bundle.write_bundle(folder / told.name, told, network.state_dict(), evaluation={}, model_card="Tests.")
    return folder


@contextmanager
def house_of(folder: Path, start: Start) -> Iterator[House]:
    """A node that sends its results to a storescp and to an Orthanc."""
    with (
        storescp(folder / "dcmtk") as receiver,
        orthanc(folder / "orthanc") as archive,
        start(folder / "node", [receiver.address, archive.address]) as node,
    ):
        yield House(node, receiver, archive)
        assert not node.errors(), node.errors()


@pytest.fixture(scope="session")
def embedded_house(tmp_path_factory: pytest.TempPathFactory, site_bundles: Path) -> Iterator[House]:
    """`firstread up`: SQLite, no broker."""

    def start(folder: Path, destinations: list[str]) -> AbstractContextManager[Node]:
        return embedded(folder, destinations, FIRSTREAD_BUNDLES=str(site_bundles))

    with house_of(tmp_path_factory.mktemp("embedded"), start) as house:
        yield house


@pytest.fixture(scope="session")
def scaled_house(tmp_path_factory: pytest.TempPathFactory, site_bundles: Path) -> Iterator[House]:
    """PostgreSQL, Redis and a process for every part."""
    folder = tmp_path_factory.mktemp("scaled")

    def start(place: Path, destinations: list[str]) -> AbstractContextManager[Node]:
        return scaled(
            place, destinations, database_url=database_url, broker_url=broker_url, FIRSTREAD_BUNDLES=str(site_bundles)
        )

    with postgres() as database_url, redis(folder / "redis") as broker_url, house_of(folder, start) as house:
        yield house


@pytest.fixture(scope="session", params=["embedded", "scaled"])
def house(request: pytest.FixtureRequest) -> House:
    """Both ways to run the product; the tests are the same."""
    found: House = request.getfixturevalue(f"{request.param}_house")
    return found
