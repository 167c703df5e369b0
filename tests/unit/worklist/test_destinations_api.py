"""Destinations, what one of them gets of a study, and the files, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import PACS, Seen, arrive, score

from triage.peers import Destination
from triage.tables import Delivery, ResultObject

OLD = "OLD@10.0.0.9:104"
ENGINE = "mllp://engine:2575"


@pytest.fixture
def study(house: Any) -> str:
    with house.database.write() as session:
        scored = arrive(session, "anna")
        score(session, scored, [Seen("pneumothorax", 0.9)])
        return str(scored.study_instance_uid)


@pytest.fixture
def asking(house: Any) -> TestClient:
    destinations = (
        Destination(address=PACS, objects=("SR",)),
        Destination(address=OLD, objects=("SR",), series_number=500),
        Destination(address=ENGINE),
    )
    return house.client(destinations=destinations)  # type: ignore[no-any-return]


def test_destinations_are_told_with_what_they_get_and_how_it_stands(house: Any, asking: TestClient, study: str) -> None:
    with house.database.write() as session:
        row = session.query(ResultObject).one()
        row.deliveries.append(Delivery(destination="GONE@h:1", created_at=row.created_at))
    items = asking.get("/api/v1/admin/destinations").json()["items"]
    assert [(item["address"], item["configured"], item["kind"], item["objects"]) for item in items] == [
        (PACS, True, "c-store", ["SR"]), (OLD, True, "c-store", ["SR"]), (ENGINE, True, "mllp", ["HL7"]),
        ("GONE@h:1", False, "", []),
    ]  # fmt: skip
    assert items[0]["counts"] == {"PENDING": 1}
    assert items[1]["profile"]["series_number"] == 500
    assert items[2]["profile"] is None


def preview(asking: TestClient, address: str, study: str) -> Any:
    answer = asking.get("/api/v1/admin/destinations/preview", params={"address": address, "study": study})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_preview_says_what_would_have_to_be_built(house: Any, asking: TestClient, study: str) -> None:
    body = preview(asking, OLD, study)
    assert body["rebuild_needed"]
    assert "does not build" in body["note"]
    (item,) = body["items"]
    assert (item["kind"], item["standing"], item["series_number"]) == ("SR", "not built", 500)
    assert item["series_description"] == f"AI firstread report {item['bundle']}"
    assert item["variant"]
    assert item["file_url"] is None


def test_a_stored_object_can_be_fetched_and_that_is_on_record(house: Any, study: str) -> None:
    asking = house.client(destinations=(Destination(address=PACS),))
    sr = next(item for item in preview(asking, PACS, study)["items"] if item["kind"] == "SR")
    assert (sr["standing"], sr["delivery"]["destination"]) == ("owed", PACS)
    assert asking.get(sr["file_url"]).status_code == 404  # a row without its file
    with house.database.read() as session:
        path = house.settings.results / session.query(ResultObject).one().relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"DICM")
    answer = asking.get(sr["file_url"])
    assert (answer.status_code, answer.content) == (200, b"DICM")
    assert "was fetched" in str(asking.get(f"/api/v1/studies/{study}").json()["timeline"])


def test_who_is_no_destination_gets_no_preview(asking: TestClient, study: str) -> None:
    ask = "/api/v1/admin/destinations/preview"
    assert asking.get(ask, params={"address": "NOBODY@h:1", "study": study}).status_code == 404
    assert asking.get(ask, params={"address": PACS, "study": "1.2.3"}).status_code == 404
    assert asking.get(ask, params={"address": PACS, "study": "x"}).status_code in (400, 422)
    assert asking.get("/api/v1/admin/results/1.2.3/file").status_code == 404


def test_the_page_shows_what_each_gets(asking: TestClient, study: str) -> None:
    assert f"/studies/{study}/preview?to=OLD%4010.0.0.9%3A104" in asking.get(f"/studies/{study}").text
    page = asking.get(f"/studies/{study}/preview", params={"to": OLD}).text
    assert "not built" in page
    assert "does not build" in page
    assert "gets HL7" in asking.get("/deliveries").text
