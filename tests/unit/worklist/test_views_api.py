"""What the viewer is told, and missed findings, over HTTP."""

from __future__ import annotations

import gzip
from typing import Any

from starlette.testclient import TestClient
from worklist_rows import Seen, arrive, score

from triage.repositories import outcomes, renderings

FACTS = {
    "rows": 2, "columns": 3, "source_rows": 20, "source_columns": 30, "frames": 1, "slope": 1.0, "intercept": -1024.0,
    "unit": "HU", "inverted": False, "windows": [[40, 80, "BRAIN"]], "aspect": 1.0, "position": None,
}  # fmt: skip


def case(house: Any, *, count: int = 1, places: list[float] | None = None) -> str:
    """A study whose frames are made, at these places in space."""
    with house.database.write() as session:
        study = arrive(session, "alpha", count=count)
        score(session, study, [Seen("pneumothorax", 0.94), Seen("nodule", 0.1)],
              previews=outcomes.Previews(image="a.jpg", heat={"pneumothorax": "p.heat.png"}))  # fmt: skip
        renderings.ask(session, study, at=house.clock())
        session.flush()
        for number, asked in enumerate(renderings.claim(session, house.clock(), 99)):
            facts = FACTS | {"position": places[number] if places else None}
            renderings.conclude(session, asked.id, f"{number}.u16.gz", facts)
        return study.study_instance_uid


def views(client: TestClient, uid: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/studies/{uid}/views")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_nothing_is_made_before_somebody_asks(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        uid = arrive(session, "alpha", count=2).study_instance_uid
    told = views(client, uid)
    assert told["pending"] == 0
    assert [image["status"] for image in told["series"][0]["images"]] == [None, None]
    asked = client.post(f"/api/v1/studies/{uid}/views", json={})
    assert asked.status_code == 202
    assert asked.json()["pending"] == 2
    assert views(client, uid)["pending"] == 2
    image = told["series"][0]["images"][0]["sop_instance_uid"]
    missing = client.get(f"/api/v1/studies/{uid}/instances/{image}/words")
    assert missing.status_code == 404
    assert "being made ready" in missing.json()["detail"]


def test_the_words_come_as_they_lie_and_are_made_again_when_lost(house: Any, client: TestClient) -> None:
    uid = case(house)
    (house.settings.results / "0.u16.gz").write_bytes(gzip.compress(bytes(range(12))))
    (image,) = views(client, uid)["series"][0]["images"]
    answer = client.get(image["url"])
    assert answer.content == bytes(range(12))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert image["frame"]["windows"] == [{"centre": 40, "width": 80, "name": "BRAIN"}]
    (house.settings.results / "0.u16.gz").unlink()
    assert client.get(image["url"]).status_code == 404
    assert views(client, uid)["pending"] == 1


def test_marks_are_the_positive_findings(house: Any, client: TestClient) -> None:
    uid = case(house)
    (house.settings.results / "p.heat.png").write_bytes(b"png")
    (mark,) = views(client, uid)["series"][0]["images"][0]["marks"]
    assert (mark["meaning"], mark["score"]) == ("Pneumothorax", 0.94)
    assert client.get(mark["heat_url"]).content == b"png"
    assert client.get(f"/api/v1/studies/{uid}/findings/{mark['finding_id'] + 1}/heat").status_code == 404


def test_slices_come_in_the_order_of_space(house: Any, client: TestClient) -> None:
    uid = case(house, count=3, places=[10.0, -5.0, 0.0])
    images = views(client, uid)["series"][0]["images"]
    assert [image["url"] is not None for image in images] == [True] * 3
    with house.database.read() as session:
        arrived = [i.sop_instance_uid for i in outcomes.current_instances(session, 1)]
    assert [image["sop_instance_uid"] for image in images] == [arrived[1], arrived[2], arrived[0]]


def test_a_path_that_leaves_the_results_is_not_served(house: Any, client: TestClient) -> None:
    uid = case(house)
    with house.database.write() as session:
        session.connection().exec_driver_sql("UPDATE renderings SET relative_path = '../firstread.sqlite'")
    (image,) = views(client, uid)["series"][0]["images"]
    assert client.get(image["url"]).status_code == 404


def test_a_missed_finding_is_coded_where_the_ai_looks_for_it(house: Any, client: TestClient) -> None:
    uid = case(house)
    answer = client.post(f"/api/v1/studies/{uid}/missed", json={"key": "nodule", "laterality": "R", "text": "apex"})
    assert answer.status_code == 201, answer.text
    (own,) = answer.json()["missed"]
    assert (own["code"], own["meaning"], own["laterality"], own["who"]) == ("996", "Nodule", "R", "local")
    entry = answer.json()["timeline"][-1]
    assert entry["text"] == "Marked as missed by the AI: Nodule", "no free text in events"
    for _ in range(2):
        answer = client.post(f"/api/v1/studies/{uid}/missed/{own['id']}/withdraw")
    assert answer.json()["missed"][0]["withdrawn_by"] == "local"
    assert [e["kind"] for e in answer.json()["timeline"]].count("missed_withdrawn") == 1


def test_what_is_missed_must_be_named_and_belong_to_a_reported_case(house: Any, client: TestClient) -> None:
    uid = case(house)
    for body, status in (
        ({}, 422), ({"key": "unicorn"}, 422), ({"text": "x\n"}, 201), ({"text": "a\x00b"}, 422),
        ({"key": "nodule", "more": 1}, 422), ({"text": "x" * 201}, 422), ({"laterality": "X", "text": "x"}, 422),
    ):  # fmt: skip
        assert client.post(f"/api/v1/studies/{uid}/missed", json=body).status_code == status, body
    assert client.post(f"/api/v1/studies/{uid}/missed/999/withdraw").status_code == 404
    with house.database.write() as session:
        fresh = arrive(session, "beta").study_instance_uid
    assert client.post(f"/api/v1/studies/{fresh}/missed", json={"text": "x"}).status_code == 409


def test_only_the_reader_of_a_claimed_case_marks_what_was_missed(house: Any, client: TestClient) -> None:
    uid = case(house)
    with house.database.write() as session:
        session.connection().exec_driver_sql("UPDATE studies SET reading_status = 'CLAIMED', reader = 'bea'")
    answer = client.post(f"/api/v1/studies/{uid}/missed", json={"text": "x"})
    assert answer.status_code == 409
    assert "bea has claimed this case" in answer.json()["detail"]
