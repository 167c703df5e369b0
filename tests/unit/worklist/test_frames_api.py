"""Frames of multi-frame images over HTTP: asked for near the one that is looked at, a few at a time."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import arrive

from triage.repositories import renderings

FACTS = {
    "rows": 2, "columns": 3, "source_rows": 2, "source_columns": 3, "frames": 500, "samples": 1, "slope": 1.0,
    "intercept": 0.0, "unit": "", "inverted": False, "windows": [[40, 80, ""]], "aspect": 1.0, "position": None,
}  # fmt: skip


def make(house: Any, most: int = 999) -> list[int]:
    """What a worker does; the frames in the order in which it takes them."""
    with house.database.write() as session:
        asked = renderings.claim(session, house.clock(), most)
        for one in asked:
            facts = FACTS | {"intercept": float(one.frame)}
            renderings.conclude(session, one.id, f"{one.instance_id}.{one.frame}.gz", facts)
        return [one.frame for one in asked]


@pytest.fixture
def image(house: Any, client: TestClient) -> str:
    """The address of an image of 500 frames, of which the first one is made."""
    with house.database.write() as session:
        study = arrive(session, "alpha")
        renderings.ask(session, study, at=house.clock())
        uid = study.study_instance_uid
    views = client.get(f"/api/v1/studies/{uid}/views").json()
    (view,) = views["series"][0]["images"]
    assert view["frames"] == 1, "nobody knows yet"
    assert make(house) == [1]
    return f"/api/v1/studies/{uid}/instances/{view['sop_instance_uid']}"


def test_a_case_tells_how_many_frames_there_are_and_no_frame_but_the_first(client: TestClient, image: str) -> None:
    views = client.get(f"{image.partition('/instances')[0]}/views").json()
    (view,) = views["series"][0]["images"]
    assert (view["frames"], view["frame"]["intercept"], views["pending"]) == (500, 1.0, 0)


def test_frames_are_made_near_the_one_that_is_looked_at(house: Any, client: TestClient, image: str) -> None:
    told = client.get(f"{image}/frames", params={"near": 300}).json()
    assert told["count"] == 500
    assert [frame["number"] for frame in told["frames"]] == list(range(284, 317))
    assert {frame["status"] for frame in told["frames"]} == {None}, "asking is another matter than looking"
    asked = client.post(f"{image}/frames", json={"near": 300})
    assert (asked.status_code, asked.json()["pending"]) == (202, 33)
    assert client.post(f"{image}/frames", json={"near": 300}).json()["pending"] == 33, "repeating does no harm"
    assert make(house)[:3] == [300, 299, 301]
    told = client.get(f"{image}/frames", params={"near": 300}).json()
    assert told["pending"] == 0
    shown = told["frames"][16]
    assert (shown["number"], shown["frame"]["intercept"]) == (300, 300.0), "each frame has its own window and scale"
    path = shown["url"]
    (house.settings.results / "1.300.gz").write_bytes(gzip.compress(bytes(range(12))))
    assert client.get(path).content == bytes(range(12))
    assert client.get(f"{image}/words?frame=2").status_code == 404


def test_who_scrolls_on_waits_for_none_of_the_frames_that_were_passed(
    house: Any, client: TestClient, image: str
) -> None:
    client.post(f"{image}/frames", json={"near": 100})
    client.post(f"{image}/frames", json={"near": 400})
    assert make(house, 3) == [400, 399, 401]
    assert len(make(house)) == 33 + 33 - 3, "what was passed is made after it"


def test_at_both_ends_there_are_fewer_neighbours(client: TestClient, image: str) -> None:
    for near, numbers in ((1, range(1, 18)), (500, range(484, 501))):
        told = client.get(f"{image}/frames", params={"near": near}).json()
        assert [frame["number"] for frame in told["frames"]] == list(numbers)


def test_frames_go_with_the_case(house: Any, client: TestClient, image: str) -> None:
    client.post(f"{image}/frames", json={"near": 9})
    make(house)
    with house.database.write() as session:
        paths = renderings.forget_unseen(session, house.clock() + 2 * renderings.KEPT, 999)
    assert len(paths) == 25
    assert client.get(f"{image}/frames").status_code == 404


def test_what_is_no_frame_is_refused(house: Any, client: TestClient, image: str) -> None:
    for near, status in ((0, 422), (-1, 422), ("x", 422), (65537, 422), (501, 404)):
        assert client.get(f"{image}/frames", params={"near": near}).status_code == status, near
        assert client.post(f"{image}/frames", json={"near": near}).status_code == status, near
    assert client.get(f"{image}/words", params={"frame": 10**30}).status_code == 422
    assert client.post(f"{image}/frames", json={"near": 1, "more": 2}).status_code == 422
    assert client.get(f"{image[:-2]}99/frames").status_code == 404
    with house.database.write() as session:
        fresh = arrive(session, "beta")
        renderings.ask(session, fresh, at=house.clock())
        uid, sop = fresh.study_instance_uid, fresh.instances[0].sop_instance_uid
    answer = client.post(f"/api/v1/studies/{uid}/instances/{sop}/frames", json={"near": 1})
    assert answer.status_code == 404
    assert "being made ready" in answer.json()["detail"]


def test_a_first_frame_of_an_earlier_version_is_told(house: Any, client: TestClient, image: str) -> None:
    with house.database.write() as session:
        session.connection().exec_driver_sql("UPDATE renderings SET facts = json_remove(facts, '$.samples')")
    views = client.get(f"{image.partition('/instances')[0]}/views").json()
    assert views["series"][0]["images"][0]["frame"]["samples"] == 1
