"""Events in words."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from worklist_rows import NOON

import triage.repositories
from worklist.schemas.cases import TimelineEntry
from worklist.timeline import _SENTENCES, condensed, sentence


def test_every_event_that_a_repository_names_has_a_sentence() -> None:
    """Kinds put together from a state ("analysis_failed") are covered by the states of the next test."""
    named: set[str] = set()
    for file in Path(triage.repositories.__file__).parent.glob("*.py"):
        source = file.read_text()
        named |= set(re.findall(r'events\.record\(\s*session,\s*"(\w+)"', source))
        named |= set(re.findall(r'_event\(session, delivery, "(\w+)"', source))
    assert {"study_complete", "result_sent", "case_read"} <= named
    assert named - _SENTENCES.keys() == set()


@pytest.mark.parametrize(
    ("kind", "detail", "text"),
    [
        ("analysis_not_analysed", {"reason": "colour image"}, "Not analysed: colour image"),
        ("analysis_failed", {"reason": "x"}, "Analysis failed; the case keeps its place: x"),
        ("instance_conflict", {}, "Other content under a known SOP Instance UID: kept aside, refused"),
        (
            "delivery_dead",
            {"destination": "A@b:1", "kind_of_object": "SC", "reason": "0xA900"},
            "A@b:1 did not take the SC; given up: 0xA900",
        ),
        (
            "delivery_retried",
            {"destination": "A@b:1", "kind_of_object": "SR", "reason": "A@b:1: nothing listens"},
            "A@b:1 did not take the SR; again later: nothing listens",
        ),
        ("something_new", {"reason": "why"}, "Something new: why"),
        ("something_new", {}, "Something new"),
    ],
)
def test_sentences(kind: str, detail: dict[str, str], text: str) -> None:
    assert sentence(kind, detail) == text


def test_runs_of_the_same_are_told_once() -> None:
    texts = ["CT received", "CT received", "CT received", "Study complete", "CT received"]
    entries = [
        TimelineEntry(at=NOON + timedelta(seconds=number), kind=text, who="CT1", text=text)
        for number, text in enumerate(texts)
    ]
    told = condensed(entries)
    assert [entry.text for entry in told] == ["3 × CT received", "Study complete", "CT received"]
    assert told[0].at == NOON + timedelta(seconds=2)


def test_what_is_tried_by_turns_is_told_once_each_and_steps_keep_their_order() -> None:
    """A PACS that is away for a day must not bury the rest of the case."""
    steps = [("delivery_retried", "no SR"), ("delivery_retried", "no SC")] * 40
    steps += [("urgency_changed", "A → B"), ("urgency_changed", "B → A"), ("urgency_changed", "A → B")]
    entries = [
        TimelineEntry(at=NOON + timedelta(seconds=number), kind=kind, who="w", text=text)
        for number, (kind, text) in enumerate(steps)
    ]
    told = condensed(entries)
    assert [entry.text for entry in told] == ["40 × no SR", "40 × no SC", "A → B", "B → A", "A → B"]
    assert [entry.at for entry in told] == sorted(entry.at for entry in told)
