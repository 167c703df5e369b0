"""The life of a case in sentences, from its event rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from triage.tables import Event
from worklist.schemas.cases import TimelineEntry

Detail = Mapping[str, Any]

_OPINIONS: Final = {"AGREE": "Agrees with", "DISAGREE": "Disagrees with", "CANNOT_TELL": "Cannot tell about"}
_SENTENCES: Final[Mapping[str, Callable[[Detail], str]]] = {
    "instance_stored": lambda d: f"{d.get('modality') or 'Instance'} received",
    "instance_resent": lambda _: "The same instance again, already here",
    "instance_versioned": lambda _: "The same pixels with a corrected header: a new version counts",
    "instance_conflict": lambda _: "Other content under a known SOP Instance UID: kept aside, refused",
    "file_damaged": lambda d: f"The stored {_kept(d)} is {d.get('damage')}: it has to come again",
    "file_sound_again": lambda d: f"The stored {_kept(d)} is sound again",
    "instance_reindexed": lambda _: "Recorded again from its file",
    "custody_repaired": lambda d: _because("Mended by fsck", d),
    "identity_changed": lambda d: _because("Patient identity changed by the sender", d, "attributes"),
    "study_complete": lambda d: _because("Study complete", d),
    "study_reopened": lambda _: "More came: study open again",
    "analysis_requested": lambda _: "Another analysis asked for",
    "analysis_succeeded": lambda d: _because("Analysis done", d),
    "analysis_not_analysed": lambda d: _because("Not analysed", d),
    "analysis_failed": lambda d: _because("Analysis failed; the case keeps its place", d),
    "analysis_retried": lambda d: _because("Analysis is tried again", d),
    "image_not_decodable": lambda d: _because("An image cost its decoder and is left out", d),
    "lease_expired": lambda _: "A worker went silent; the analysis goes to another one",
    "urgency_changed": lambda d: f"Class {d.get('before')} → {d.get('after')}",
    "order_claimed": lambda d: _because(f"{d.get('after')} ordered", d, "sender"),
    "ward_ordered": lambda d: _because(f"Ward by the order: {d.get('ward') or 'none'}", d, "sender"),
    "order_withdrawn": lambda _: "What was ordered stands no more",
    "order_of_another_patient": lambda d: _because(
        "An order for this accession number names another patient", d, "sender"
    ),
    "rule_claimed": lambda d: _because(f"{d.get('after')} asked for", d),
    "rules_changed": lambda d: f"Site rules changed: {d.get('cases')} open cases judged anew",
    "priority_set": lambda d: _because(f"Set to {d.get('after')}", d),
    "priority_withdrawn": lambda d: _because("Class set by hand withdrawn", d),
    "priority_undone": lambda d: f"Class by hand undone: {d.get('before') or 'none'} → {d.get('after') or 'none'}",
    "breaker_tripped": lambda _: "Too many STAT by AI lately: entered as URGENT",
    "result_sent": lambda d: f"{d.get('kind_of_object', 'Result')} sent to {d.get('destination')}",
    "results_owed": lambda d: f"{d.get('objects')} results to be sent to {d.get('destination')}",
    "result_fetched": lambda d: f"The {_object(d)} was fetched",
    "object_not_built": lambda d: _because(f"No {_object(d)} for the destinations that want one", d),
    "key_images_stand": lambda d: (
        f"Nothing is positive any more, but key images of revision {d.get('revision')} stay at {d.get('destination')} "
        "until a person withdraws them there"
    ),
    "delivery_retried": lambda d: _because(f"{d.get('destination')} did not take the {_object(d)}; again later", d),
    "delivery_dead": lambda d: _because(f"{d.get('destination')} did not take the {_object(d)}; given up", d),
    "delivery_held": lambda d: _because(f"{_object(d)} is not sent to {d.get('destination')}", d),
    "delivery_identity_confirmed": lambda d: f"{_object(d)} for {d.get('destination')}: identity confirmed",
    "delivery_unproven": lambda d: _because(f"{_object(d)} is to be sent to {d.get('destination')} again", d),
    "delivery_never_proven": lambda d: _because(
        f"{d.get('destination')} never proved that it holds the {_object(d)}", d
    ),
    "result_committed": lambda d: f"{d.get('destination')} has taken responsibility for the {_object(d)}",
    "result_read_back": lambda d: f"{d.get('destination')} lists the {_object(d)}",
    "commitment_unknown": lambda _: "A storage commitment report about an unknown transaction",
    "delivery_resent": lambda d: f"{_object(d)} to be sent to {d.get('destination')} again",
    "workitem_claimed": lambda d: f"Workitem of {d.get('manager')} claimed",
    "workitem_completed": lambda d: f"Workitem of {d.get('manager')} completed with the results",
    "workitem_canceled": lambda d: _because(f"Workitem of {d.get('manager')} canceled", d),
    "workitem_left": lambda d: _because(f"Workitem of {d.get('manager')} left to others", d),
    "reading_task_outdated": lambda d: _because(f"Reading task at {d.get('destination')} is to be changed", d),
    "files_removed": lambda d: _because("Files removed by retention; findings and reports stay", d),
    "identity_restored": lambda _: "The node has its identity back",
    "identity_renewed": lambda _: "The node has a new identity, after an older state was restored",
    "instance_quarantined": lambda d: _because("Bytes that could not become an instance are kept aside", d),
    "quarantine_dismissed": lambda d: _because("An entry of the quarantine was dealt with", d),
    "quarantine_fetched": lambda _: "The bytes of an entry of the quarantine were fetched",
    "verdict_given": lambda d: _because(f"{_OPINIONS.get(str(d.get('verdict')), 'Verdict on')} {d.get('finding')}", d),
    "finding_missed": lambda d: f"Marked as missed by the AI: {d.get('finding')}",
    "missed_withdrawn": lambda d: f"No longer marked as missed: {d.get('finding')}",
    "assessment_issued": lambda _: "The verdicts on the AI's report were made a document of their own",
    "assessment_failed": lambda d: _because("The verdicts could not be made a document", d),
    "house_changed": lambda d: f"{str(d.get('action')).replace('_', ' ').capitalize()}: {d.get('subject')}",
    "bundles_listed": lambda _: "The bundles stand otherwise than before",
    "case_claimed": lambda _: "Claimed for reading",
    "claim_ran_out": lambda d: f"Claim of {d.get('reader')} ran out: no sign for {d.get('silent_minutes')} min",
    "case_released": lambda _: "Released to the list",
    "case_reopened": lambda _: "To be read again",
    "case_read": lambda _: "Read",
}


_BY_TURNS: Final = frozenset({"delivery_retried", "instance_stored", "instance_resent"})
"""Kinds of which several run beside each other; the order of one among the others says nothing."""


def sentence(kind: str, detail: Detail) -> str:
    """An event in words; a kind without a sentence of its own is told by its name and reason."""
    tell = _SENTENCES.get(kind)
    return tell(detail) if tell else _because(kind.replace("_", " ").capitalize(), detail)


def timeline(events: Iterable[Event]) -> list[TimelineEntry]:
    """One entry per event, oldest first."""
    return [
        TimelineEntry(at=event.at, kind=event.kind, who=event.who, text=sentence(event.kind, event.detail))
        for event in events
    ]


def condensed(entries: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    """The same for people: a run of equal entries is one, with their number and the time of the last.

    What is tried or comes again and again is so also by turns: the report and the heat map at a PACS that is away.
    """
    told: list[TimelineEntry] = []
    for _, run in groupby(entries, key=lambda e: (e.kind, e.who, "" if e.kind in _BY_TURNS else e.text)):
        same: dict[str, list[TimelineEntry]] = {}
        for entry in run:
            same.setdefault(entry.text, []).append(entry)
        told += sorted((_counted(each) for each in same.values()), key=lambda entry: entry.at)
    return told


def _counted(same: Sequence[TimelineEntry]) -> TimelineEntry:
    many = len(same)
    return same[-1].model_copy(update={"text": f"{many} × {same[-1].text}"}) if many > 1 else same[0]


def _because(text: str, detail: Detail, field: str = "reason") -> str:
    if not detail.get(field):
        return text
    why = str(detail[field]).removeprefix(f"{detail.get('destination')}: ")  # which is named in the text already
    return f"{text}: {why}"


def _kept(detail: Detail) -> str:
    kind = str(detail.get("kind_of_object", "instance"))
    return "image" if kind == "instance" else kind


def _object(detail: Detail) -> str:
    return str(detail.get("kind_of_object", "result"))
