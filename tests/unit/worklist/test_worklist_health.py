"""Is the house at work, and how much is there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, deliver, score

from triage.repositories import heartbeats, worklist
from triage.tables import Quarantined


def _beat(house: Any, part: str, *, seconds_ago: float, name: str = "") -> None:
    with house.database.write() as session:
        at = house.clock() - timedelta(seconds=seconds_ago)
        heartbeats.beat(session, name or f"{part}@host:1", part, at=at)


def test_healthz_asks_nobody(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok\n"


def test_ready_when_listener_and_worker_live(house: Any, client: TestClient) -> None:
    _beat(house, "listen", seconds_ago=3)
    _beat(house, "work", seconds_ago=7)
    _beat(house, "work", seconds_ago=900, name="work@host:dead")  # the freshest of a part counts
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["parts"] == {"database": 0.0, "listen": 3.0, "work": 7.0}


def test_not_ready_names_the_silent_part_and_its_age(house: Any, client: TestClient) -> None:
    _beat(house, "listen", seconds_ago=1)
    _beat(house, "work", seconds_ago=100)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "No sign of life from work."
    assert answer.json()["parts"] == {"database": 0.0, "listen": 1.0, "work": 100.0}


def test_not_ready_before_anything_started(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.json()["detail"] == "No sign of life from listen and work."
    assert answer.json()["parts"]["listen"] is None


def test_the_page_says_when_ai_is_down(house: Any, client: TestClient) -> None:
    _beat(house, "listen", seconds_ago=1)
    assert "AI is down" in client.get("/").text
    _beat(house, "work", seconds_ago=1)
    page = client.get("/").text
    assert "AI is down" not in page
    assert "Nothing can arrive" not in page


def test_metrics_count_rows_and_waits(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        stat = arrive(session, "a", at=NOON, count=2)
        score(session, stat, [Seen("pneumothorax", 0.9)])
        deliver(session, at=NOON + timedelta(seconds=10))
        arrive(session, "b", at=NOON + timedelta(minutes=4), modality="CT")
        worklist.mark_read(session, arrive(session, "c", at=NOON - timedelta(hours=1)), who="x", at=NOON)
        session.add(
            Quarantined(at=NOON, reason="empty", dicom_status=0xC000, relative_path="q", digest="0" * 64, size=1)
        )
    _beat(house, "work", seconds_ago=2)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name.removeprefix("firstread_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples[("instances",)] == 4
    assert samples[("quarantined_total",)] == 1
    assert samples[("damaged_files", "instance")] == 0
    assert samples[("studies", "RECEIVING")] == 1
    assert samples[("studies", "COMPLETE")] == 2
    assert samples[("cases", "READ")] == 1
    assert samples[("open_cases", "STAT")] == 1
    assert samples[("open_cases", "URGENT")] == 0
    assert samples[("analyses", "SUCCEEDED")] == 1
    assert samples[("analyses", "QUEUED")] == 2
    assert samples[("deliveries", "SENT")] == 1
    assert samples[("oldest_wait_seconds", "reading")] == 600
    assert samples[("oldest_wait_seconds", "analysis")] == 600 + 3600
    assert samples[("oldest_wait_seconds", "delivery")] == 0
    assert samples[("heartbeat_age_seconds", "work")] == 2
    assert "KELLER" not in answer.text
