"""Saved views: named queries of the list, each person's own."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from triage.repositories import saved_views

VIEWS = "/api/v1/worklist/views"
TOKENS = ("ada:ada-ada-ada-ada-ada-ada-ada", "bob:bob-bob-bob-bob-bob-bob-bob")


def _save(client: TestClient, name: str, **more: Any) -> Any:
    answer = client.post(VIEWS, json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_view_is_kept_changed_and_deleted(client: TestClient) -> None:
    view = _save(client, " CT of the night ", query={"modality": "CT", "overdue": True, "limit": 50})
    assert view["name"] == "CT of the night"
    assert view["query"] == {"modality": "CT", "overdue": True}
    assert client.get(view["url"]).status_code == 200
    changed = client.patch(f"{VIEWS}/{view['id']}", json={"name": "CT", "query": {"modality": "CT"}}).json()
    assert (changed["name"], changed["query"]) == ("CT", {"modality": "CT"})
    assert client.get(VIEWS).json()["items"] == [changed]
    assert client.delete(f"{VIEWS}/{view['id']}").status_code == 204
    assert client.get(VIEWS).json()["items"] == []
    assert client.delete(f"{VIEWS}/{view['id']}").status_code == 404


def test_one_default_at_most_and_the_list_opens_with_it(client: TestClient) -> None:
    first = _save(client, "a", query={"urgency": "STAT"}, default=True)
    second = _save(client, "b", query={"modality": "CT"}, default=True)
    assert [(v["name"], v["default"]) for v in client.get(VIEWS).json()["items"]] == [("b", True), ("a", False)]
    opened = client.get("/", follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, second["url"])
    assert client.get("/?status=OPEN", follow_redirects=False).status_code == 200, "everything stays within reach"
    client.patch(f"{VIEWS}/{second['id']}", json={"default": False})
    assert client.get("/", follow_redirects=False).status_code == 200
    assert first["url"] == "/?urgency=STAT"


def test_nobody_sees_or_touches_the_views_of_others(house: Any) -> None:
    ada, bob = (house.client(http_tokens=TOKENS) for _ in TOKENS)
    for client, token in zip((ada, bob), TOKENS, strict=True):
        client.headers["Authorization"] = f"Bearer {token.partition(':')[2]}"
    view = _save(ada, "mine", default=True)
    _save(bob, "mine")
    assert [item["default"] for item in bob.get(VIEWS).json()["items"]] == [False]
    for answer in (bob.patch(f"{VIEWS}/{view['id']}", json={"name": "x"}), bob.delete(f"{VIEWS}/{view['id']}")):
        assert answer.status_code == 404
    assert ada.get(VIEWS).json()["items"] == [view]


def test_two_views_of_one_name_are_refused_in_words(client: TestClient) -> None:
    _save(client, "a")
    other = _save(client, "b")
    for answer in (
        client.post(VIEWS, json={"name": "a"}),
        client.patch(f"{VIEWS}/{other['id']}", json={"name": "a"}),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (409, "You have a view of this name.")
    assert [view["name"] for view in client.get(VIEWS).json()["items"]] == ["a", "b"]


def test_views_have_an_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_views, "MOST", 2)
    for number in range(2):
        _save(client, f"view {number}")
    assert client.post(VIEWS, json={"name": "one more"}).status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": " "},
        {"name": "a\nb"},
        {"name": "x" * 61},
        {"name": "a", "query": {"urgency": "NOW"}},
        {"name": "a", "query": {"sort": "name"}},
        {"name": "a", "query": "urgency=STAT"},
        {"name": "a", "who": "bob"},
    ],
)
def test_what_is_no_view_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post(VIEWS, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "query",
    ["waiting=-1", "waiting=x", "positive=perhaps", "overdue=2", f"ae={'A' * 17}", "no=1"],
)
def test_filters_that_mean_nothing_are_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/api/v1/worklist?{query}").status_code == 422


def test_empty_fields_of_the_form_filter_nothing(client: TestClient) -> None:
    assert client.get("/?waiting=&positive=&overdue=&reader=&urgency=&body_part=&ae=&finding=").status_code == 200
