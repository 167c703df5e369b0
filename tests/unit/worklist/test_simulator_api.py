"""The simulator behind the API and the page: a process of its own, the same answer to the same question, and bounds."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score

from triage.errors import BusyError, SettingsError
from triage.priority import Targets
from triage.repositories import worklist
from worklist import playing
from worklist.playing import Players
from worklist.simulation.cases import draw
from worklist.simulation.scenarios import scenario
from worklist.simulation.trial import MOST_CASES, Trial, play, with_prevalence

API = "/api/v1/simulation"


def group(told: Any, name: str) -> Any:
    return next(one for one in told["groups"] if one["group"] == name)


def test_gain_and_harm_stand_side_by_side_in_figures_and_in_words(client: TestClient) -> None:
    answer = client.get(API, params={"days": 5})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    air, nothing = group(told, "pneumothorax"), group(told, "no finding")
    assert [policy["policy"] for policy in air["policies"]] == ["first in, first out", "class alone", "firstread"]
    assert air["policies"][-1]["change_minutes"] < -10
    assert nothing["policies"][-1]["change_minutes"] > 0
    assert any(words.startswith(f"pneumothorax ({air['cases']}): ") and " less " in words for words in told["gains"])
    assert any(words.startswith("no finding") and " more " in words for words in told["harms"])
    assert (told["inputs"]["readers"], told["inputs"]["seed"]) == (1, 1)
    page = client.get("/simulator", params={"days": 5}).text
    assert told["gains"][0] in page
    assert told["harms"][0] in page
    again = client.get(API, params={"days": 5})
    assert again.json() == told


def test_the_sliders_move_what_they_say(client: TestClient) -> None:
    blind = client.get(API, params={"days": 3, "sensitivity": 0, "specificity": 1}).json()
    assert (blind["gains"], blind["harms"]) == ([], [])
    few, many = (client.get(API, params={"days": 3, "prevalence": share}).json() for share in (0.05, 0.6))
    assert group(few, "pneumothorax")["cases"] < group(many, "pneumothorax")["cases"]
    more = client.get(API, params={"days": 3, "readers": 4}).json()
    assert group(more, "all")["policies"][0]["mean_minutes"] < group(few, "all")["policies"][0]["mean_minutes"]


def test_the_sites_own_past(house: Any, client: TestClient) -> None:
    assert "the least" in client.get(API, params={"source": "history"}).json()["detail"]
    with house.database.write() as session:
        for number in range(60):
            at = NOON - timedelta(hours=5, minutes=-number)
            study = arrive(session, f"n{number}", at=at)
            if number % 10 == 0:
                score(session, study, [Seen("pneumothorax", 0.9)], at=at + timedelta(seconds=9))
            worklist.mark_read(session, study, who="dr", at=at + timedelta(hours=1))
    told = client.get(API, params={"source": "history", "days": 2}).json()
    assert (group(told, "all")["cases"], group(told, "STAT")["cases"]) == (60, 6)
    assert told["gains"][0].startswith("STAT case (6): ")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"readers": 1, "reading_minutes": 60}, "of what the readers can do"), ({"sensitivity": 1.1}, "sensitivity"),
        ({"days": 91}, "days"), ({"source": "mars"}, "source"), ({"prevalence": 0}, "prevalence"),
        ({"reading_minutes": "nan"}, "reading_minutes"), ({"colour": "red"}, "colour"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_said(client: TestClient, asked: dict[str, Any], says: str) -> None:
    answer = client.get(API, params=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert says in client.get("/simulator", params=asked, headers={"Accept": "text/html"}).text


def test_a_trial_travels_as_json(house: Any) -> None:
    chosen = scenario("chest", sensitivity=0.5)
    cases = draw(chosen, days=2, seed=3)
    cases.result_at[::3] = np.inf
    for trial in (
        Trial(targets=Targets(stat=9), scenario=chosen, days=2, seed=3),
        Trial(targets=Targets(), cases=cases, readers=(1,) * 24),
    ):
        there = Trial.from_json(json.loads(json.dumps(trial.as_json())))
        assert there.as_json() == trial.as_json()
        assert play(there) == play(trial)


def test_too_many_cases_are_not_played() -> None:
    with pytest.raises(SettingsError, match=f"{MOST_CASES} at most"):
        play(Trial(targets=Targets(), scenario=scenario("chest"), days=200))


def test_prevalence_keeps_what_findings_there_are_among_each_other() -> None:
    before, after = scenario("chest"), with_prevalence(scenario("chest"), 0.6)
    assert sum(one.prevalence for one in after.conditions) == pytest.approx(0.6)
    ratios = [b.prevalence / a.prevalence for a, b in zip(before.conditions, after.conditions, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 3)


def test_who_comes_while_others_play_hears_that_it_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    playing_now, go_on = threading.Event(), threading.Event()

    def slow(question: str) -> str:
        playing_now.set()
        go_on.wait(20)
        return question

    monkeypatch.setattr(playing, "_play_apart", slow)
    monkeypatch.setattr(playing, "PATIENCE", 0.01)
    players = Players()
    first = threading.Thread(target=players.play, args=("first",), kwargs={"keep": True})
    first.start()
    playing_now.wait(20)
    with pytest.raises(BusyError):
        players.play("second", keep=True)
    go_on.set()
    first.join()
    assert players.play("first", keep=True) == "first"
    assert players.play("second", keep=True) == "second", "nobody's place is lost"


def test_a_play_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch, client: TestClient) -> None:
    monkeypatch.setattr(playing, "SECONDS", 0.01)
    answer = client.get(API)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "took longer" in answer.json()["detail"]
    assert client.get("/fragment/simulator").status_code == 503
