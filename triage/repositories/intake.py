"""Recording what arrived: rows that are committed before the sender hears Success."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.completion import RADIOGRAPHY, CompletionPolicy
from triage.errors import StorageFullError
from triage.findings import NotAnalysedReason, Urgency
from triage.identifiers import OWN_MANUFACTURER, names_nobody
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, Received, StoredFile
from triage.orders import urgency_of
from triage.priority import Targets
from triage.repositories import analyses, events, scrubbing
from triage.repositories.completing import reconsider
from triage.repositories.orders import claim_by_orders
from triage.repositories.placing import place_study
from triage.repositories.ruling import claim_by_rules
from triage.repositories.upsert import insert_or_ignore
from triage.rules import RuleSet
from triage.states import StudyStatus, advance
from triage.tables import Association, Event, Instance, ResultObject, Study

NOT_AN_IMAGE: Final = frozenset(
    {"SR", "KO", "PR", "DOC", "SEG", "REG", "RTSTRUCT", "RTPLAN", "PLAN", "AU", "ECG", "HD"}
)
"""Modalities of objects that no network reads and that therefore never re-open a study."""

_PATIENT: Final = ("patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex")
STUDY: Final = (
    *_PATIENT,
    "patient_age",
    "accession_number",
    "study_id",
    "study_date",
    "study_time",
    "study_description",
    "referring_physician_name",
    "ward",
    "body_part_examined",
)
INSTANCE: Final = (
    "sop_instance_uid",
    "series_instance_uid",
    "sop_class_uid",
    "modality",
    "series_number",
    "series_description",
    "instance_number",
    "view_position",
    "manufacturer",
    "patient_id",
)


def _believe(_relative_path: str) -> bool:
    return True


def _trust(_relative_path: str, _digest: str) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeRules:
    """What recording needs of the settings and of the archive.

    Attributes
    ----------
    listener : str
        Name of the process that holds the association.
    pixel_digest : callable
        Digest of the pixels of a stored file, by its relative path. Asked only when a known UID comes with other
        bytes, because it reads the whole file.
    is_here : callable
        Whether a file lies at a relative path. Asked under the study's lock when bytes come again that retention has
        removed: it unlinks under the same lock, perhaps between the arrival of the file and this moment.
    damage : callable
        What is wrong with a file at a relative path that should have a digest, "" when nothing is. Asked before the
        pixels of a known instance are compared: a damaged file says nothing about what it once held. Raises OSError
        when the disk does not say.
    """

    listener: str
    pixel_digest: Callable[[str], str]
    completion: CompletionPolicy
    targets: Targets
    is_here: Callable[[str], bool] = _believe
    damage: Callable[[str, str], str] = _trust
    site_rules: RuleSet = field(default_factory=RuleSet)


def record_instance(
    session: Session, header: InstanceHeader, stored: StoredFile, arrival: Arrival, rules: IntakeRules
) -> IntakeOutcome:
    """:func:`record_instances` for one."""
    return record_instances(session, [Received(header=header, stored=stored, arrival=arrival)], rules)[0]


def record_instances(session: Session, received: Sequence[Received], rules: IntakeRules) -> list[IntakeOutcome]:
    """Record stored SOP instances, in order. The SCP may answer their senders once this commits.

    A resend with the same bytes changes nothing. Another header around the same pixels becomes the current version.
    Other pixels, study, series or class under a known UID are kept beside the first, which stays current. A new UID
    in a series of another study is not recorded at all.

    The number of statements depends on how many studies, series and associations the instances have, hardly on how
    many there are: senders that wait together share a transaction.
    """
    outcomes: list[IntakeOutcome] = []
    for part in _without_repetition(received):
        outcomes += _Batch(session, part, rules).record()
    return outcomes


def _without_repetition(received: Sequence[Received]) -> Iterator[list[Received]]:
    """Parts in which no SOP instance occurs twice: its second arrival has to see the first."""
    part: dict[str, Received] = {}
    for item in received:
        if item.header.sop_instance_uid in part:
            yield list(part.values())
            part = {}
        part[item.header.sop_instance_uid] = item
    yield list(part.values())


class _Batch:
    """Instances with different UIDs on their way into one transaction."""

    def __init__(self, session: Session, received: list[Received], rules: IntakeRules) -> None:
        self._session, self._received, self._rules = session, received, rules
        self._versions = self._known_versions()
        self._owners: dict[str, str] = {}
        self._studies: dict[str, Study] = {}
        self._associations: dict[str, int] = {}
        self._ours: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._wake: dict[int, tuple[Study, Received, bool]] = {}
        self._place: dict[int, tuple[Study, Received]] = {}

    def record(self) -> list[IntakeOutcome]:
        kept = [item for item in self._received if not self._misplaced(item)]
        if kept:
            self._load(kept)
        outcomes = {id(item): self._take(item) for item in kept}
        connection = self._session.connection()
        if self._rows:
            connection.execute(sa.insert(Instance), self._rows)
        if self._events:
            connection.execute(sa.insert(Event), self._events)
        for study, item, due in self._wake.values():
            analyses.queue(self._session, study, at=item.arrival.received_at, due=due)
            reconsider(self._session, study, item.arrival.received_at, self._rules.completion)
        latest = {item.header.study_instance_uid: item for item in kept}
        for uid, study in self._studies.items():
            at = latest[uid].arrival.received_at
            ordered = claim_by_orders(self._session, study, at=at)  # first, because rules may ask for the order's ward
            if claim_by_rules(self._session, study, self._rules.site_rules, at=at) or ordered:
                self._place[study.id] = (study, latest[uid])
        for study, item in self._place.values():
            place_study(
                self._session, study, self._rules.targets, at=item.arrival.received_at,
                who=item.arrival.calling_ae_title,
            )  # fmt: skip
        return [outcomes.get(id(item), IntakeOutcome.MISPLACED) for item in self._received]

    # --- what is there

    def _known_versions(self) -> dict[str, list[Instance]]:
        uids = [item.header.sop_instance_uid for item in self._received]
        query = sa.select(Instance).where(Instance.sop_instance_uid.in_(uids)).order_by(Instance.version)
        versions: dict[str, list[Instance]] = {}
        for instance in self._session.scalars(query):
            versions.setdefault(instance.sop_instance_uid, []).append(instance)
        return versions

    def _misplaced(self, item: Received) -> bool:
        """True for a new instance of a series whose instances are of another study."""
        header = item.header
        if header.sop_instance_uid in self._versions:
            return False
        if header.series_instance_uid not in self._owners:
            first = (
                sa.select(Study.study_instance_uid)
                .join(Study.instances)
                .where(Instance.series_instance_uid == header.series_instance_uid)
                .order_by(Instance.id)
                .limit(1)
            )
            self._owners[header.series_instance_uid] = self._session.scalar(first) or header.study_instance_uid
        return self._owners[header.series_instance_uid] != header.study_instance_uid

    def _load(self, kept: list[Received]) -> None:
        self._load_studies(kept)
        self._load_associations(kept)
        uids = [item.header.sop_instance_uid for item in kept]
        ours = sa.select(ResultObject.sop_instance_uid).where(ResultObject.sop_instance_uid.in_(uids))
        self._ours = set(self._session.scalars(ours))

    def _load_studies(self, kept: list[Received]) -> None:
        """The studies' rows, made if absent, locked until the commit (PostgreSQL; SQLite has one writer anyway).

        Locked in the order of their UIDs, so that two listeners cannot wait for each other.
        """
        first = {item.header.study_instance_uid: item for item in reversed(kept)}
        by_uid = (
            sa.select(Study)
            .where(Study.study_instance_uid.in_(sorted(first)))
            .order_by(Study.study_instance_uid)
            .with_for_update(key_share=True)
        )
        self._studies = {study.study_instance_uid: study for study in self._session.scalars(by_uid)}
        missing = sorted(first.keys() - self._studies.keys())
        if not missing:
            return
        for uid in missing:
            insert_or_ignore(self._session, Study, study_instance_uid=uid, **self._new_study(first[uid]))
        for study in self._session.scalars(by_uid):
            self._studies[study.study_instance_uid] = study
        for uid in missing:
            self._place[self._studies[uid].id] = (self._studies[uid], first[uid])

    def _new_study(self, item: Received) -> dict[str, Any]:
        at = item.arrival.received_at
        return {
            **{name: getattr(item.header, name) for name in STUDY},
            "modality": "",
            "flags": ["no_identity"] if names_nobody(item.header.patient_id) else [],
            "opened_at": at,
            "received_at": at,
            "last_received_at": at,
            "due_at": at + self._rules.targets.of(Urgency.ROUTINE),
            "calling_ae_title": item.arrival.calling_ae_title,
        }

    def _load_associations(self, kept: list[Received]) -> None:
        first = {item.arrival.association_uid: item.arrival for item in reversed(kept)}
        by_uid = sa.select(Association.association_uid, Association.id).where(Association.association_uid.in_(first))
        self._associations = {row.association_uid: row.id for row in self._session.execute(by_uid)}
        missing = first.keys() - self._associations.keys()
        for uid in sorted(missing):
            arrival = first[uid]
            insert_or_ignore(
                self._session, Association, association_uid=uid, listener=self._rules.listener,
                calling_ae_title=arrival.calling_ae_title, called_ae_title=arrival.called_ae_title,
                peer_address=arrival.peer_address, opened_at=arrival.received_at,
            )  # fmt: skip
        if missing:
            self._associations = {row.association_uid: row.id for row in self._session.execute(by_uid)}

    # --- what comes

    def _take(self, item: Received) -> IntakeOutcome:
        header, stored = item.header, item.stored
        study = self._studies[header.study_instance_uid]
        self._complement(study, item)
        versions = self._versions.get(header.sop_instance_uid, [])
        current = next((version for version in versions if version.is_current), None)
        outcome = self._compare(current, study, item)
        again = next((version for version in reversed(versions) if version.digest == stored.digest), None)
        if again is not None and self._is_known_already(study, again, item, outcome):
            return outcome
        row = self._row(study, item, outcome, version=len(versions) + 1)
        self._rows.append(row)
        if outcome is IntakeOutcome.STORED:
            study.instance_count += 1
        elif outcome is IntakeOutcome.VERSIONED and current is not None:
            current.is_current = False
            self._adopt_identity(study, item)
        else:
            _flag(study, "conflict")
        self._event(study, f"instance_{outcome.value.lower()}", item, modality=header.modality)
        if outcome is not IntakeOutcome.CONFLICT:
            self._open_for_analysis(study, item, row)
        return outcome

    def _is_known_already(self, study: Study, again: Instance, item: Received, outcome: IntakeOutcome) -> bool:
        """What follows from bytes that a row has had before; True when they need no row of their own."""
        if again.removed_at is not None and not self._rules.is_here(again.relative_path):
            raise StorageFullError("Retention removed the file while it came again.", next_step="Send it once more.")
        stays = outcome in (IntakeOutcome.DUPLICATE, IntakeOutcome.CONFLICT)
        if stays:
            self._event(study, "instance_resent", item)
        if stays and again.removed_at is not None:  # its time begins anew, what was issued about it stands
            again.removed_at, again.checked_at = None, None
            study.last_received_at = max(study.last_received_at, item.arrival.received_at)
        if again.damage:  # the file is there now, whatever became of it before
            at, who = item.arrival.received_at, item.arrival.calling_ae_title
            scrubbing.record_damage(self._session, Instance, again.id, "", at=at, who=who)
        return stays

    def _complement(self, study: Study, item: Received) -> None:
        """Let the header fill in what the study's row does not say yet."""
        header = item.header
        if study.patient_id and header.patient_id and study.patient_id != header.patient_id:
            _flag(study, "two_patients")
        for name in STUDY:
            if not getattr(study, name) and getattr(header, name):
                setattr(study, name, getattr(header, name))
        if header.modality and header.modality != study.modality:
            study.modality = "\\".join(sorted({*filter(None, study.modality.split("\\")), header.modality}))
        if header.number_of_study_related_instances is not None:
            study.expected_instances = max(study.expected_instances or 0, header.number_of_study_related_instances)
        ordered = urgency_of(header.requested_procedure_priority)
        if ordered is not None and (study.header_urgency is None or ordered.rank < study.header_urgency.rank):
            study.header_urgency = ordered

    def _compare(self, known: Instance | None, study: Study, item: Received) -> IntakeOutcome:
        if known is None:
            return IntakeOutcome.STORED
        if known.digest == item.stored.digest:
            return IntakeOutcome.DUPLICATE
        same_place = (known.study_id, known.series_instance_uid, known.sop_class_uid) == (
            study.id, item.header.series_instance_uid, item.header.sop_class_uid,
        )  # fmt: skip
        if not same_place or known.transfer_syntax_uid != item.stored.transfer_syntax_uid:
            return IntakeOutcome.CONFLICT
        if known.removed_at is not None or self._is_damaged(known, item):
            return IntakeOutcome.VERSIONED  # nothing is left to compare with, and nothing that it could push aside
        digest = self._rules.pixel_digest
        same_pixels = digest(known.relative_path) == digest(item.stored.relative_path)
        return IntakeOutcome.VERSIONED if same_pixels else IntakeOutcome.CONFLICT

    def _is_damaged(self, known: Instance, item: Received) -> bool:
        """Whether the file of a known instance is missing or altered, which is then recorded."""
        try:
            damage = self._rules.damage(known.relative_path, known.digest)
        except OSError as error:
            raise StorageFullError(
                f"The file of the instance that is known cannot be read ({error.strerror}).",
                next_step="Check the disk of the archive; the sender has to send it once more.",
            ) from error
        if damage:
            at, who = item.arrival.received_at, item.arrival.calling_ae_title
            scrubbing.record_damage(self._session, Instance, known.id, damage, at=at, who=who)
        return bool(damage)

    def _row(self, study: Study, item: Received, outcome: IntakeOutcome, *, version: int) -> dict[str, Any]:
        header, stored, arrival = item.header, item.stored, item.arrival
        return {
            **{name: getattr(header, name) for name in INSTANCE},
            "study_id": study.id,
            "association_id": self._associations[arrival.association_uid],
            "version": version,
            "is_current": outcome is not IntakeOutcome.CONFLICT,
            "transfer_syntax_uid": stored.transfer_syntax_uid,
            "relative_path": stored.relative_path,
            "digest": stored.digest,
            "size": stored.size,
            "calling_ae_title": arrival.calling_ae_title,
            "received_at": arrival.received_at,
            "not_analysed": self._never_analysed(header),
        }

    def _never_analysed(self, header: InstanceHeader) -> NotAnalysedReason | None:
        if header.manufacturer == OWN_MANUFACTURER or header.sop_instance_uid in self._ours:
            return NotAnalysedReason.OWN_RESULT
        return NotAnalysedReason.UNSUPPORTED_SOP_CLASS if header.modality in NOT_AN_IMAGE else None

    def _open_for_analysis(self, study: Study, item: Received, row: dict[str, Any]) -> None:
        """Let the arrival count: re-open a complete study, and wake the analysis if a network could start now."""
        at = item.arrival.received_at
        study.last_received_at = max(study.last_received_at, at)
        known_before = study.instance_count > 1 or row["version"] > 1
        if row["not_analysed"] is not None and known_before:
            return  # reports about a study, our own above all, are not new evidence
        if study.status is StudyStatus.COMPLETE:
            study.status = advance(study.status, StudyStatus.RECEIVING)
            study.opened_at, study.completed_at = at, None
            self._event(study, "study_reopened", item, sop_instance_uid=None)
        due = item.header.modality in RADIOGRAPHY
        _, _, already_due = self._wake.get(study.id, (study, item, False))
        self._wake[study.id] = (study, item, due or already_due)

    def _adopt_identity(self, study: Study, item: Received) -> None:
        changed = [name for name in _PATIENT if getattr(study, name) != getattr(item.header, name)]
        if not changed:
            return
        for name in changed:
            setattr(study, name, getattr(item.header, name))
        _flag(study, "identity_changed")
        self._event(study, "identity_changed", item, sop_instance_uid=None, attributes=", ".join(changed))

    def _event(self, study: Study, kind: str, item: Received, **detail: events.Detail) -> None:
        detail = {"sop_instance_uid": item.header.sop_instance_uid, **detail}
        told = {name: value for name, value in detail.items() if value is not None}
        at, who = item.arrival.received_at, item.arrival.calling_ae_title
        self._events.append({"study_id": study.id, "at": at, "kind": kind, "who": who, "detail": told})


def _flag(study: Study, flag: str) -> None:
    if flag not in study.flags:
        study.flags = [*study.flags, flag]
