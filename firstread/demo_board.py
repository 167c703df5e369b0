"""What the demo knows of its studies, and the live picture of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dicom_node.scu import send
from dicom_node.stand_in_pacs import ReceivedObject
from firstread.worklist_table import COLOURS
from triage.errors import FirstreadError
from triage.identifiers import PeerAddress
from triage.repositories.listed_cases import ListedCase
from triage.states import AnalysisStatus, DeliveryStatus

KINDS = {"SR": "report", "OT": "heat map"}
"""Modality of the objects that must come back, and what they are."""


@dataclass
class Journey:
    """One study on its way, as seen from outside the product.

    Attributes
    ----------
    truth : tuple of str
        Keys of the findings that were drawn into it; empty for a normal one.
    sent_at : float or None
        Monotonic time at which C-STORE of the last image was answered.
    stored : dict
        Modality of a result to the monotonic time at which it was in the stand-in PACS.
    """

    name: str
    study_instance_uid: str
    file: Path
    truth: tuple[str, ...]
    sent_at: float | None = None
    stored: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """From the last image to the last result in the PACS, None before."""
        if self.sent_at is None or not KINDS.keys() <= self.stored.keys():
            return None
        return max(self.stored.values()) - self.sent_at


class Board:
    """Sends the studies, hears from the stand-in PACS, draws both beside the list."""

    def __init__(self, journeys: Sequence[Journey]) -> None:
        self.journeys = journeys
        self.problem = ""
        self._by_study = {journey.study_instance_uid: journey for journey in journeys}
        self._lock = threading.Lock()

    def received(self, item: ReceivedObject) -> None:
        """The stand-in PACS has a result."""
        journey = self._by_study.get(item.header.study_instance_uid)
        if journey is not None:
            with self._lock:
                journey.stored.setdefault(item.header.modality, time.monotonic())

    def send_all(self, peer: PeerAddress, calling_ae_title: str, pause: float, stop: threading.Event) -> None:
        """Send one study after the other, as a modality does."""
        for journey in self.journeys:
            try:
                (outcome,) = send(peer, [journey.file], calling_ae_title=calling_ae_title)
            except FirstreadError as error:
                self.problem = f"{journey.name} could not be sent: {error}"
                return
            if not outcome.stored:
                self.problem = f"{journey.name} was not accepted: {outcome.error}"
                return
            journey.sent_at = time.monotonic()
            if stop.wait(pause):
                return

    def missing(self, cases: Sequence[ListedCase]) -> list[str]:
        """What each study that is not through still lacks."""
        listed = {case.study.study_instance_uid: case for case in cases}
        return [
            f"{journey.name}: {lack}"
            for journey in self.journeys
            if (lack := self._lack(journey, listed.get(journey.study_instance_uid)))
        ]

    def _lack(self, journey: Journey, case: ListedCase | None) -> str:
        if journey.sent_at is None:
            return "not sent yet"
        if case is None:
            return "not in the list"
        if case.analysis_status in (AnalysisStatus.NOT_ANALYSED, AnalysisStatus.FAILED):
            return f"{case.analysis_status.lower().replace('_', ' ')}: {case.analysis_reason}"
        absent = [what for modality, what in KINDS.items() if modality not in journey.stored]
        if absent:
            return f"{' and '.join(absent)} not in the PACS yet"
        return "" if _committed(case) else "not committed by the PACS yet"

    def draw(self, cases: Sequence[ListedCase]) -> RenderableType:
        """The studies in reading order, those still to come below; arrival, truth and answer side by side."""
        place = {case.study.study_instance_uid: number for number, case in enumerate(cases)}
        listed = {case.study.study_instance_uid: case for case in cases}
        arrival = {journey.study_instance_uid: number for number, journey in enumerate(self.journeys, start=1)}
        table = Table(
            box=SIMPLE, header_style="bold", title="Reading worklist, most urgent first", title_justify="left"
        )
        for heading in ("Read", "Came", "Class", "Due", "Truth", "AI says", "Report", "Map", "Took", "Kept"):
            table.add_column(heading)
        for journey in sorted(self.journeys, key=lambda j: place.get(j.study_instance_uid, len(self.journeys))):
            uid = journey.study_instance_uid
            case = listed.get(uid)
            table.add_row(
                str(place[uid] + 1) if case else "",
                str(arrival[uid]),
                Text(case.study.urgency, style=COLOURS[case.study.urgency]) if case else "",
                f"{case.study.due_at:%H:%M}" if case else "",
                ", ".join(map(_words, journey.truth)) or "normal",
                _says(case),
                *("✓" if modality in journey.stored else "" for modality in KINDS),
                "" if journey.seconds is None else f"{journey.seconds * 1000:.0f} ms",
                "✓" if _committed(case) else "",
                style="default" if journey.sent_at else "dim",
            )
        return table

    def agreement(self, cases: Sequence[ListedCase]) -> tuple[int, int, list[float]]:
        """(studies whose positives equal the truth, studies, sorted seconds to result)."""
        listed = {case.study.study_instance_uid: case for case in cases}
        right = sum(
            {f.key for f in listed[j.study_instance_uid].findings if f.positive} == set(j.truth)
            for j in self.journeys
            if j.study_instance_uid in listed
        )
        return right, len(self.journeys), sorted(j.seconds for j in self.journeys if j.seconds is not None)


def _says(case: ListedCase | None) -> Text:
    if case is None:
        return Text("")
    positives = ", ".join(f"{_words(f.key)} {f.value:.2f}" for f in case.findings if f.positive)
    return Text(positives or ("nothing" if case.findings else "…"))


def _committed(case: ListedCase | None) -> bool:
    """The PACS has taken responsibility for every result of the case (storage commitment)."""
    return case is not None and case.deliveries.get(DeliveryStatus.COMMITTED, 0) == len(KINDS)


def _words(key: str) -> str:
    return key.replace("_", " ")
