"""The short way into the tables for what almost every instance is: new, in a new or a growing study, of one patient.

:mod:`triage.repositories.intake` says what recording means, whatever comes; this module writes the same rows for
the plain case with statements that are built once and cover all instances of a transaction. What is not plain is
handed over. A test records the same arrivals both ways and compares the tables.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.columns import UtcDateTime
from triage.completion import RADIOGRAPHY, StudyFacts, judge
from triage.errors import DatabaseUnavailableError
from triage.identifiers import DERIVED_ROOT, OWN_MANUFACTURER, names_nobody
from triage.instances import Arrival, IntakeOutcome, Received
from triage.prepared import Prepared, insert_rows, one, select_in
from triage.priority import Claims, place
from triage.repositories.intake import INSTANCE, NOT_AN_IMAGE, STUDY, IntakeRules, record_instances
from triage.repositories.orders import without_orders
from triage.repositories.ruling import facts_of_arrivals
from triage.repositories.upsert import insert_or_ignore_all
from triage.states import AnalysisStatus, StudyStatus
from triage.tables import Analysis, Association, Event, Instance, Study

REMEMBERED: Final = 4096
"""Series and associations of which the owner or the row is remembered."""

_at: Final = sa.bindparam("at", type_=UtcDateTime())
_study: Final = sa.bindparam("study", type_=sa.Integer())
_arrived: Final = sa.bindparam("arrived", type_=sa.Integer())
_studies: Final = cast(sa.Table, Study.__table__)
_instances: Final = cast(sa.Table, Instance.__table__)
_analyses: Final = cast(sa.Table, Analysis.__table__)
_associations: Final = cast(sa.Table, Association.__table__)

_FACTS: Final = ("id", "study_instance_uid", "modality", "status", "status_reason", "expected_instances", *STUDY)
_PATIENT_ID: Final = _FACTS.index("patient_id")
_SELECT_STUDIES: Final = (
    sa.select(*(_studies.c[name] for name in _FACTS))
    .order_by(_studies.c.study_instance_uid)
    .with_for_update(key_share=True)
)
_SELECT_OWNERS: Final = sa.select(_instances.c.series_instance_uid, sa.func.min(_instances.c.study_id)).group_by(
    _instances.c.series_instance_uid
)
_SELECT_ASSOCIATIONS: Final = sa.select(
    _associations.c.association_uid, _associations.c.id, _associations.c.closed_at.is_not(None)
)
_CLOSED: Final = 0
_SELECT_OPEN_ANALYSES: Final = sa.select(_analyses.c.study_id, _analyses.c.due).where(
    _analyses.c.status.in_(
        [sa.literal(s, _analyses.c.status.type) for s in (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)]
    )
)
_GROW_STUDY: Final = (
    sa.update(_studies)
    .where(_studies.c.id == _study)
    .values(
        instance_count=_studies.c.instance_count + _arrived,
        last_received_at=sa.case((_studies.c.last_received_at < _at, _at), else_=_studies.c.last_received_at),
    )
)
_HEADER: Final = attrgetter(*INSTANCE)
_INSTANCE_ROW: Final = (
    *INSTANCE,
    "study_id",
    "association_id",
    "transfer_syntax_uid",
    "relative_path",
    "digest",
    "size",
    "calling_ae_title",
    "received_at",
)
_EVENT_ROW: Final = ("study_id", "at", "kind", "who", "detail")
_ASSOCIATION_ROW: Final = (
    "association_uid",
    "listener",
    "calling_ae_title",
    "called_ae_title",
    "peer_address",
    "opened_at",
)
_ANALYSIS_ROW: Final = ("study_id", "revision", "queued_at", "due")
_MOST_ROWS: Final = 32
"""Rows of one statement; PostgreSQL takes 65,535 parameters, SQLite 32,766."""


class _Facts(NamedTuple):
    """What the row of a known study says, as the database has it."""

    id: int
    study_instance_uid: str
    modality: str
    status: str
    status_reason: str
    expected_instances: int | None
    patient_id: str
    lacking: list[str]
    """Attributes of :data:`STUDY` that no instance has filled in yet."""


class Recorder:
    """Records instances as :func:`triage.repositories.intake.record_instances` does, the plain ones in fewer steps.

    One per process. It remembers which study owns a series and which row an association has: neither ever changes,
    and both are remembered only once another transaction has committed them.
    """

    def __init__(self, rules: IntakeRules) -> None:
        self._rules = rules
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._associations: OrderedDict[str, int] = OrderedDict()
        self._select_known = select_in(sa.select(_instances.c.sop_instance_uid), _instances.c.sop_instance_uid)
        self._select_studies = select_in(_SELECT_STUDIES, _studies.c.study_instance_uid)
        self._select_owners = select_in(_SELECT_OWNERS, _instances.c.series_instance_uid)
        self._select_associations = select_in(_SELECT_ASSOCIATIONS, _associations.c.association_uid)
        self._select_open_analyses = select_in(_SELECT_OPEN_ANALYSES, _analyses.c.study_id)
        self._insert_associations = insert_rows(Association, _ASSOCIATION_ROW)
        self._insert_analyses = insert_rows(Analysis, _ANALYSIS_ROW)
        self._insert_instances = insert_rows(Instance, _INSTANCE_ROW)
        self._insert_events = insert_rows(Event, _EVENT_ROW)
        self._grow_study = one(_GROW_STUDY, (_study, _arrived, _at))

    def __call__(self, connection: sa.Connection, received: Sequence[Received]) -> list[IntakeOutcome]:
        """Record instances in order; their senders may be answered once the transaction is committed."""
        plain = self._plain(connection, received)
        others = [item for item in received if id(item) not in plain]
        if not others:
            return [IntakeOutcome.STORED] * len(received)
        with Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
            recorded = record_instances(session, others, self._rules)
            session.flush()
        outcomes = {id(item): outcome for item, outcome in zip(others, recorded, strict=True)}
        return [outcomes.get(id(item), IntakeOutcome.STORED) for item in received]

    def _plain(self, connection: sa.Connection, received: Sequence[Received]) -> set[int]:
        """Record the plain ones; returns which these are."""
        groups = _by_study(received)
        named = [item.header.sop_instance_uid for item in received]
        known = {uid for (uid,) in self._select_known.run(connection, len(named), named)}
        studies = self._facts_of(groups, connection)
        owners = self._owners_of({item.header.series_instance_uid for item in received}, connection)
        associations = self._rows_of({item.arrival.association_uid for item in received}, connection)
        if len(received) > 1:
            known |= _ambiguous(received)
        fresh, growing = {}, {}
        for uid, items in groups.items():
            study = studies.get(uid)
            study_id = None if study is None else study.id
            if not _is_plain(items, known, associations, owners, study_id):
                continue
            if study is None:
                if self._rules.site_rules.claim(facts_of_arrivals(items)) is None:
                    fresh[uid] = items
            elif _grows_plainly(study, items):
                growing[study.id] = items
        if fresh:
            fresh = without_orders(connection, fresh)
        if growing:
            growing = self._with_open_analysis(connection, growing)
        ids = self._create(connection, fresh) if fresh else {}
        groups_by_id = {ids[uid]: items for uid, items in fresh.items() if uid in ids} | growing
        if groups_by_id:
            missing = _without_rows(groups_by_id.values(), associations)
            if missing:
                associations |= self._open(connection, missing)
            self._append(connection, groups_by_id, associations)
        for study_id, items in growing.items():
            latest = max(item.arrival.received_at for item in items)
            self._grow_study.run(connection, 1, (study_id, len(items), latest))
        return {id(item) for items in groups_by_id.values() for item in items}

    def _facts_of(self, uids: Iterable[str], connection: sa.Connection) -> dict[str, _Facts]:
        """The studies that have rows, locked until the commit (PostgreSQL) in the order of their UIDs."""
        facts = {}
        for row in _found(self._select_studies, connection, sorted(uids)):
            plain, study = row[: -len(STUDY)], row[-len(STUDY) :]
            lacking = [name for name, value in zip(STUDY, study, strict=True) if not value]
            facts[row[1]] = _Facts._make((*plain, row[_PATIENT_ID], lacking))
        return facts

    def _with_open_analysis(
        self, connection: sa.Connection, growing: dict[int, list[Received]]
    ) -> dict[int, list[Received]]:
        """Those whose analysis is open, and due where it has to be."""
        due = dict(_found(self._select_open_analyses, connection, sorted(growing)))
        return {
            study_id: items
            for study_id, items in growing.items()
            if study_id in due and (due[study_id] or not any(item.header.modality in RADIOGRAPHY for item in items))
        }

    # --- what is remembered

    def _owners_of(self, series: set[str], connection: sa.Connection) -> dict[str, int]:
        """Series to the row of the study that has instances of it."""
        found = {uid: self._owners[uid] for uid in series if uid in self._owners}
        unknown = sorted(series - found.keys())
        if unknown:
            for uid, study_id in _found(self._select_owners, connection, unknown):
                found[uid] = study_id
                _remember(self._owners, uid, study_id)
        return found

    def _rows_of(self, associations: set[str], connection: sa.Connection) -> dict[str, int]:
        """Associations to their rows, :data:`_CLOSED` for one that ended; those without a row are left out."""
        found = {uid: self._associations[uid] for uid in associations if uid in self._associations}
        unknown = sorted(associations - found.keys())
        if unknown:
            for uid, row_id, closed in _found(self._select_associations, connection, unknown):
                if closed:
                    found[uid] = _CLOSED
                    continue
                found[uid] = row_id
                _remember(self._associations, uid, row_id)
        return found

    def _open(self, connection: sa.Connection, missing: dict[str, Arrival]) -> dict[str, int]:
        """Rows of new associations. Not remembered yet: this transaction may still be rolled back."""
        listener = self._rules.listener
        rows = [
            (uid, listener, sender.calling_ae_title, sender.called_ae_title, sender.peer_address, sender.received_at)
            for uid, sender in sorted(missing.items())
        ]
        _insert(self._insert_associations, connection, rows)
        return {uid: row_id for uid, row_id, _ in _found(self._select_associations, connection, sorted(missing))}

    # --- what is written

    def _create(self, connection: sa.Connection, fresh: dict[str, list[Received]]) -> dict[str, int]:
        """Rows of new studies with their first analysis.

        Raises
        ------
        DatabaseUnavailableError
            Another listener began one of them at the same moment. The transaction has to begin anew, because the rows
            that it did insert count their instances already; it will find all of them there.
        """
        rows = [self._new_study(uid, items) for uid, items in sorted(fresh.items())]
        if insert_or_ignore_all(connection, Study, rows) != len(rows):
            raise DatabaseUnavailableError("Another listener began the same study at this moment.")
        ids = {uid: facts.id for uid, facts in self._facts_of(fresh, connection).items()}
        analyses = [
            (ids[uid], 1, items[0].arrival.received_at, any(item.header.modality in RADIOGRAPHY for item in items))
            for uid, items in fresh.items()
        ]
        _insert(self._insert_analyses, connection, analyses)
        return ids

    def _new_study(self, uid: str, items: list[Received]) -> dict[str, Any]:
        first, last = items[0].arrival, items[-1].arrival
        facts: dict[str, Any] = {
            name: next(filter(None, (getattr(item.header, name) for item in items)), "") for name in STUDY
        }
        modalities = {item.header.modality for item in items} - {""}
        placement = place(
            Claims(order=None, rule=None, ai=None, ai_reason="", manual=None, manual_by="", manual_reason=""),
            first.received_at,
            self._rules.targets,
        )
        verdict = judge(
            StudyFacts(
                modalities=frozenset(modalities),
                received=len(items),
                expected=None,
                opened_at=first.received_at,
                last_received_at=last.received_at,
                open_associations=[item.arrival.calling_ae_title for item in items],
            ),
            last.received_at,
            self._rules.completion,
        )
        return {
            **facts,
            "study_instance_uid": uid,
            "modality": "\\".join(sorted(modalities)),
            "calling_ae_title": first.calling_ae_title,
            "status_reason": verdict.reason,
            "look_at": verdict.look_at,
            "opened_at": first.received_at,
            "received_at": first.received_at,
            "last_received_at": max(item.arrival.received_at for item in items),
            "instance_count": len(items),
            "flags": ["no_identity"] if names_nobody(facts["patient_id"]) else [],
            "urgency": placement.urgency,
            "tier": placement.tier,
            "due_at": placement.due_at,
            "explanation": placement.explanation,
        }

    def _append(
        self, connection: sa.Connection, groups: dict[int, list[Received]], associations: dict[str, int]
    ) -> None:
        rows, events = [], []
        for study_id, items in groups.items():
            for item in items:
                header, stored, arrival = item.header, item.stored, item.arrival
                who, at = arrival.calling_ae_title, arrival.received_at
                place = (study_id, associations[arrival.association_uid])
                file = (stored.transfer_syntax_uid, stored.relative_path, stored.digest, stored.size)
                rows.append((*_HEADER(header), *place, *file, who, at))
                detail = {"sop_instance_uid": header.sop_instance_uid, "modality": header.modality}
                events.append((study_id, at, "instance_stored", who, detail))
        _insert(self._insert_instances, connection, rows)
        _insert(self._insert_events, connection, events)


def _by_study(received: Iterable[Received]) -> dict[str, list[Received]]:
    groups: dict[str, list[Received]] = {}
    for item in received:
        groups.setdefault(item.header.study_instance_uid, []).append(item)
    return groups


def _ambiguous(received: Iterable[Received]) -> set[str]:
    """SOP instances that occur twice, or whose series occurs in two studies: here the order of arrival decides."""
    seen = Counter(item.header.sop_instance_uid for item in received)
    studies_of: dict[str, set[str]] = {}
    for item in received:
        studies_of.setdefault(item.header.series_instance_uid, set()).add(item.header.study_instance_uid)
    return {
        item.header.sop_instance_uid
        for item in received
        if seen[item.header.sop_instance_uid] > 1 or len(studies_of[item.header.series_instance_uid]) > 1
    }


def _without_rows(groups: Iterable[list[Received]], associations: dict[str, int]) -> dict[str, Arrival]:
    """The first arrival over each association that has no row yet."""
    missing: dict[str, Arrival] = {}
    for item in chain.from_iterable(groups):
        if item.arrival.association_uid not in associations:
            missing.setdefault(item.arrival.association_uid, item.arrival)
    return missing


def _is_plain(
    items: list[Received], known: set[str], associations: dict[str, int], owners: dict[str, int], study_id: int | None
) -> bool:
    """True when every instance is new, in its place, somebody else's image of one patient, and announces nothing."""
    patient_id = items[0].header.patient_id
    for item in items:
        header = item.header
        if (
            header.sop_instance_uid in known
            or header.patient_id != patient_id
            or header.number_of_study_related_instances
            or header.requested_procedure_priority
            or header.modality in NOT_AN_IMAGE
            or header.manufacturer == OWN_MANUFACTURER
            or header.sop_instance_uid.startswith(DERIVED_ROOT)  # it may be ours
            or owners.get(header.series_instance_uid, study_id) != study_id
            or associations.get(item.arrival.association_uid) == _CLOSED
        ):
            return False
    return True


def _grows_plainly(study: _Facts, items: list[Received]) -> bool:
    """True when nothing of the study's row changes but the number of its instances."""
    if study.status != StudyStatus.RECEIVING or study.expected_instances is not None:
        return False
    modalities = ("", *study.modality.split("\\"))
    for item in items:
        header = item.header
        if (
            header.modality not in modalities
            or header.patient_id not in ("", study.patient_id)
            or study.status_reason != f"{item.arrival.calling_ae_title} is still sending"
        ):
            return False
        if study.lacking and any(getattr(header, name) for name in study.lacking):
            return False
    return True


def _found(query: Prepared, connection: sa.Connection, values: Iterable[Any]) -> list[Any]:
    wanted = list(values)
    return query.run(connection, len(wanted), wanted)


def _insert(statement: Prepared, connection: sa.Connection, rows: Sequence[Sequence[Any]]) -> None:
    for begin in range(0, len(rows), _MOST_ROWS):
        part = rows[begin : begin + _MOST_ROWS]
        statement.run(connection, len(part), [value for row in part for value in row])


def _remember(memory: OrderedDict[str, int], name: str, row_id: int) -> None:
    memory[name] = row_id
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
