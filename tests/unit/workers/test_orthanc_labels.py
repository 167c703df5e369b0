"""Labels in an Orthanc: put there, raised, waited for, and never left beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_under_test import Node
from peers.labelling_orthanc import LabellingOrthanc, labelling_orthanc
from peers.orthanc_server import orthanc
from peers.web_server import Answer, web_server
from pydicom.dataset import Dataset

from triage.peers import Destination
from triage.states import DeliveryStatus
from triage.tables import Delivery
from workers.analysis import analyse_due
from workers.carriers.kinds import carrier_kind
from workers.delivery import deliver_due
from workers.messages.label import LABELS

pytestmark = pytest.mark.timeout(120)
Draw = Callable[..., Dataset]
USER, PASSWORD = "firstread", "a long one for this test"


@pytest.fixture(scope="module")
def server() -> Iterator[LabellingOrthanc]:
    with labelling_orthanc(USER, PASSWORD) as running:
        yield running


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    return path


@pytest.fixture
def destination(server: LabellingOrthanc, password: Path) -> Destination:
    return Destination(address=f"orthanc+{server.url}", user=USER, password_file=password)


def analysed(node: Node, destination: Destination, *datasets: Dataset) -> None:
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": (destination,)})
    node.receive(*datasets)
    assert analyse_due(node.bench) == 1


def owed(node: Node, dataset: Dataset) -> list[Delivery]:
    rows = [row for analysis in node.study(dataset).analyses for row in analysis.result_objects]
    return [delivery for row in rows for delivery in row.deliveries if row.kind == "LABEL"]


def test_a_study_is_labelled_once_orthanc_holds_it(
    node: Node, phantom: Draw, server: LabellingOrthanc, destination: Destination
) -> None:
    dataset = phantom(1, {"pneumothorax"})
    analysed(node, destination, dataset)
    assert deliver_due(node.bench, destination.address) == 0
    (waiting,) = owed(node, dataset)
    assert (waiting.status, waiting.reason) == (DeliveryStatus.PENDING, "Orthanc does not hold the study yet.")
    server.studies[str(dataset.StudyInstanceUID)] = set()
    node.clock.pass_by(minutes=1)
    assert deliver_due(node.bench, destination.address) == 1
    assert server.studies[str(dataset.StudyInstanceUID)] == {"ai-stat"}
    (sent,) = owed(node, dataset)
    assert sent.status is DeliveryStatus.SENT


def test_a_former_label_goes_after_the_new_one_came_and_others_stay(
    node: Node, phantom: Draw, server: LabellingOrthanc, destination: Destination
) -> None:
    dataset = phantom(2)
    labels = server.studies[str(dataset.StudyInstanceUID)] = {"ai-stat", "teaching"}
    server.log.clear()
    analysed(node, destination, dataset)
    assert deliver_due(node.bench, destination.address) == 1
    assert labels == {"ai-routine", "teaching"}
    assert server.log == ["PUT ai-routine", "DELETE ai-stat"]


def test_the_newest_label_counts_in_whatever_order_they_go_out(
    node: Node, phantom: Draw, server: LabellingOrthanc, destination: Destination
) -> None:
    first, second = phantom(3), phantom(4, {"pneumothorax"})
    second.StudyInstanceUID, second.PatientID = first.StudyInstanceUID, first.PatientID
    second.PatientName, second.PatientBirthDate = first.PatientName, first.PatientBirthDate
    server.studies[str(first.StudyInstanceUID)] = set()
    server.log.clear()
    analysed(node, destination, first)
    analysed(node, destination, second)
    assert deliver_due(node.bench, destination.address) == 2
    assert server.log == ["PUT ai-stat"]
    assert [delivery.note != "" for delivery in owed(node, first)] == [True, False]


def test_what_is_no_orthanc_is_said_to_be_none(node: Node) -> None:
    with web_server(lambda _: Answer(404)) as server:
        destination = Destination(address=f"orthanc+http://127.0.0.1:{server.port}/elsewhere")
        found = carrier_kind(destination.kind).check(node.bench.settings, destination, node.clock())
    assert (found.ok, found.message) == (False, "answers, but not as an Orthanc does")


@pytest.mark.peer
def test_a_real_orthanc_is_asked_by_its_rules(node: Node, phantom: Draw, password: Path, tmp_path: Path) -> None:
    """One that is too old for labels says so; one that is new enough takes them."""
    configuration = {"AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}}
    dataset = phantom(5)
    dataset.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    with orthanc(tmp_path / "orthanc", configuration=configuration) as real:
        real.http.auth = (USER, PASSWORD)
        held = real.upload(tmp_path / "image.dcm")["ParentStudy"]
        url = str(real.http.base_url).rstrip("/")
        destination = Destination(address=f"orthanc+{url}", user=USER, password_file=password)
        analysed(node, destination, dataset)
        knows_labels = not real.get("/system")["Version"].startswith(("1.10.", "1.11."))
        assert deliver_due(node.bench, destination.address) == int(knows_labels)
        (delivery,) = owed(node, dataset)
        if knows_labels:
            (label,) = real.get(f"/studies/{held}/labels")
            assert label in LABELS.values()
        else:
            assert re.search(r"Orthanc 1\.\d+\.\d+, which knows no labels\. Update it to 1\.12", delivery.reason)
        check = carrier_kind(destination.kind).check
        found = check(node.bench.settings, destination, node.clock())
        assert found.ok is knows_labels, found
        assert "Orthanc 1." in found.message
        password.write_text("guessed")
        refused = check(node.bench.settings, destination, node.clock())
        assert not refused.ok
        assert "refuses our user" in refused.message
