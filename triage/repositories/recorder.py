"""The short way into the tables for what almost every instance is: new, in a new or a growing study, of one patient.

:mod:`triage.repositories.intake` says what recording means, whatever comes; this module writes the same rows for
the plain case with statements that are built once and cover all instances of a transaction. What is not plain is
handed over. A test records the same arrivals both ways and compares the tables.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.columns import UtcDateTime
from triage.completion import RADIOGRAPHY, StudyFacts, judge
from triage.errors import DatabaseUnavailableError
from triage.identifiers import DERIVED_ROOT, OWN_MANUFACTURER, names_nobody
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, Received
from triage.priority import Claims, place
from triage.repositories.intake import INSTANCE, NOT_AN_IMAGE, STUDY, IntakeRules, record_instances
from triage.repositories.upsert import insert_or_ignore_all
from triage.states import AnalysisStatus, StudyStatus
from triage.tables import Analysis, Association, Event, Instance, Study

REMEMBERED: Final = 4096
"""Series and associations of which the owner or the row is remembered."""

_uids: Final[sa.BindParameter[Any]] = sa.bindparam("uids", expanding=True)
_ids: Final[sa.BindParameter[Any]] = sa.bindparam("ids", expanding=True)
_at: Final = sa.bindparam("at", type_=UtcDateTime())
_studies: Final = cast(sa.Table, Study.__table__)
_instances: Final = cast(sa.Table, Instance.__table__)
_analyses: Final = cast(sa.Table, Analysis.__table__)

_FACTS: Final = ("id", "study_instance_uid", *STUDY, "modality", "status", "status_reason", "expected_instances")
_SELECT_STUDIES: Final = (
    sa.select(*(_studies.c[name] for name in _FACTS))
    .where(_studies.c.study_instance_uid.in_(_uids))
    .order_by(_studies.c.study_instance_uid)
    .with_for_update(key_share=True)
)
_SELECT_STUDY_IDS: Final = sa.select(_studies.c.study_instance_uid, _studies.c.id).where(
    _studies.c.study_instance_uid.in_(_uids)
)
_SELECT_KNOWN: Final = sa.select(_instances.c.sop_instance_uid).where(_instances.c.sop_instance_uid.in_(_uids))
_SELECT_OWNERS: Final = (
    sa.select(_instances.c.series_instance_uid, sa.func.min(_instances.c.study_id))
    .where(_instances.c.series_instance_uid.in_(_uids))
    .group_by(_instances.c.series_instance_uid)
)
_SELECT_ASSOCIATIONS: Final = sa.select(Association.association_uid, Association.id, Association.closed_at).where(
    Association.association_uid.in_(_uids)
)
_INSERT_ASSOCIATIONS: Final = sa.insert(cast(sa.Table, Association.__table__))
_CLOSED: Final = 0
_SELECT_OPEN_ANALYSES: Final = sa.select(_analyses.c.study_id, _analyses.c.due).where(
    _analyses.c.study_id.in_(_ids), _analyses.c.status.in_((AnalysisStatus.QUEUED, AnalysisStatus.RUNNING))
)
_INSERT_INSTANCES: Final = sa.insert(_instances)
_INSERT_EVENTS: Final = sa.insert(cast(sa.Table, Event.__table__))
_INSERT_ANALYSES: Final = sa.insert(_analyses)
_GROW_STUDIES: Final = (
    sa.update(_studies)
    .where(_studies.c.id == sa.bindparam("study"))
    .values(
        instance_count=_studies.c.instance_count + sa.bindparam("arrived"),
        last_received_at=sa.case((_studies.c.last_received_at < _at, _at), else_=_studies.c.last_received_at),
    )
)


class Recorder:
    """Records instances as :func:`triage.repositories.intake.record_instances` does, the plain ones in fewer steps.

    One per process. It remembers which study owns a series and which row an association has: neither ever changes,
    and both are remembered only once another transaction has committed them.
    """

    def __init__(self, rules: IntakeRules) -> None:
        self._rules = rules
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._associations: OrderedDict[str, int] = OrderedDict()

    def __call__(self, session: Session, received: Sequence[Received]) -> list[IntakeOutcome]:
        """Record instances in order; their senders may be answered once the session is committed."""
        plain = self._plain(session.connection(), received)
        others = [item for item in received if id(item) not in plain]
        recorded = record_instances(session, others, self._rules) if others else []
        outcomes = {id(item): outcome for item, outcome in zip(others, recorded, strict=True)}
        return [outcomes.get(id(item), IntakeOutcome.STORED) for item in received]

    def _plain(self, connection: sa.Connection, received: Sequence[Received]) -> set[int]:
        """Record the plain ones; returns which these are."""
        groups = _by_study(received)
        known = set(connection.scalars(_SELECT_KNOWN, {"uids": [item.header.sop_instance_uid for item in received]}))
        studies = {row.study_instance_uid: row for row in connection.execute(_SELECT_STUDIES, {"uids": sorted(groups)})}
        owners = self._owners_of({item.header.series_instance_uid for item in received}, connection)
        associations = self._rows_of({item.arrival.association_uid for item in received}, connection)
        known |= _ambiguous(received)
        fresh, growing = {}, {}
        for uid, items in groups.items():
            study = studies.get(uid)
            if not _is_plain(items, known, associations):
                continue
            if any(owners.get(item.header.series_instance_uid, _id(study)) != _id(study) for item in items):
                continue
            if study is None:
                fresh[uid] = items
            elif _grows_plainly(study, items):
                growing[study.id] = items
        if growing:
            growing = _with_open_analysis(connection, growing)
        ids = self._create(connection, fresh) if fresh else {}
        groups_by_id = {ids[uid]: items for uid, items in fresh.items() if uid in ids} | growing
        if groups_by_id:
            senders = {
                item.arrival.association_uid: item.arrival
                for items in groups_by_id.values()
                for item in reversed(items)
            }
            missing = {uid: arrival for uid, arrival in senders.items() if uid not in associations}
            if missing:
                associations |= self._open(connection, missing)
            self._append(connection, groups_by_id, associations)
        if growing:
            connection.execute(_GROW_STUDIES, [_growth(study_id, items) for study_id, items in growing.items()])
        return {id(item) for items in groups_by_id.values() for item in items}

    # --- what is remembered

    def _owners_of(self, series: set[str], connection: sa.Connection) -> dict[str, int]:
        """Series to the row of the study that has instances of it."""
        found = _recall(self._owners, series)
        unknown = sorted(series - found.keys())
        if unknown:
            for uid, study_id in _pairs(connection, _SELECT_OWNERS, {"uids": unknown}).items():
                found[uid] = study_id
                _remember(self._owners, uid, study_id)
        return found

    def _rows_of(self, associations: set[str], connection: sa.Connection) -> dict[str, int]:
        """Associations to their rows, :data:`_CLOSED` for one that ended; those without a row are left out."""
        found = _recall(self._associations, associations)
        unknown = sorted(associations - found.keys())
        if unknown:
            for row in connection.execute(_SELECT_ASSOCIATIONS, {"uids": unknown}):
                if row.closed_at is not None:
                    found[row.association_uid] = _CLOSED
                    continue
                found[row.association_uid] = row.id
                _remember(self._associations, row.association_uid, row.id)
        return found

    def _open(self, connection: sa.Connection, missing: dict[str, Arrival]) -> dict[str, int]:
        """Rows of new associations. Not remembered yet: this transaction may still be rolled back."""
        rows = [
            {
                "association_uid": uid,
                "listener": self._rules.listener,
                "calling_ae_title": arrival.calling_ae_title,
                "called_ae_title": arrival.called_ae_title,
                "peer_address": arrival.peer_address,
                "opened_at": arrival.received_at,
            }
            for uid, arrival in sorted(missing.items())
        ]
        connection.execute(_INSERT_ASSOCIATIONS, rows)
        return {
            row.association_uid: row.id for row in connection.execute(_SELECT_ASSOCIATIONS, {"uids": sorted(missing)})
        }

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
        ids = _pairs(connection, _SELECT_STUDY_IDS, {"uids": sorted(fresh)})
        connection.execute(
            _INSERT_ANALYSES,
            [
                {
                    "study_id": ids[uid],
                    "revision": 1,
                    "queued_at": items[0].arrival.received_at,
                    "due": any(item.header.modality in RADIOGRAPHY for item in items),
                }
                for uid, items in fresh.items()
            ],
        )
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
                row = {name: getattr(header, name) for name in INSTANCE}
                row |= {
                    "study_id": study_id,
                    "association_id": associations[arrival.association_uid],
                    "transfer_syntax_uid": stored.transfer_syntax_uid,
                    "relative_path": stored.relative_path.as_posix(),
                    "digest": stored.digest,
                    "size": stored.size,
                    "calling_ae_title": arrival.calling_ae_title,
                    "received_at": arrival.received_at,
                }
                rows.append(row)
                events.append(
                    {
                        "study_id": study_id,
                        "at": arrival.received_at,
                        "kind": "instance_stored",
                        "who": arrival.calling_ae_title,
                        "detail": {"sop_instance_uid": header.sop_instance_uid, "modality": header.modality},
                    }
                )
        connection.execute(_INSERT_INSTANCES, rows)
        connection.execute(_INSERT_EVENTS, events)


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


def _is_plain(items: list[Received], known: set[str], associations: dict[str, int]) -> bool:
    """True when every instance is new, an image of somebody else and of one patient, and none announces anything."""
    headers = [item.header for item in items]
    return (
        not any(header.sop_instance_uid in known for header in headers)
        and len({header.patient_id for header in headers}) == 1
        and not any(
            header.number_of_study_related_instances or header.requested_procedure_priority for header in headers
        )
        and all(header.modality not in NOT_AN_IMAGE and not _may_be_ours(header) for header in headers)
        and all(associations.get(item.arrival.association_uid) != _CLOSED for item in items)
    )


def _may_be_ours(header: InstanceHeader) -> bool:
    return header.manufacturer == OWN_MANUFACTURER or header.sop_instance_uid.startswith(DERIVED_ROOT)


def _grows_plainly(study: sa.Row[Any], items: list[Received]) -> bool:
    """True when nothing of the study's row changes but the number of its instances."""
    return (
        study.status is StudyStatus.RECEIVING
        and study.expected_instances is None
        and all(
            item.header.modality in ("", *study.modality.split("\\"))
            and item.header.patient_id in ("", study.patient_id)
            and study.status_reason == f"{item.arrival.calling_ae_title} is still sending"
            and all(getattr(study, name) or not getattr(item.header, name) for name in STUDY)
            for item in items
        )
    )


def _with_open_analysis(connection: sa.Connection, growing: dict[int, list[Received]]) -> dict[int, list[Received]]:
    """Those whose analysis is open, and due where it has to be."""
    due = _pairs(connection, _SELECT_OPEN_ANALYSES, {"ids": sorted(growing)})
    return {
        study_id: items
        for study_id, items in growing.items()
        if study_id in due and (due[study_id] or not any(item.header.modality in RADIOGRAPHY for item in items))
    }


def _growth(study_id: int, items: list[Received]) -> dict[str, Any]:
    return {"study": study_id, "arrived": len(items), "at": max(item.arrival.received_at for item in items)}


def _id(study: sa.Row[Any] | None) -> int | None:
    return None if study is None else int(study.id)


def _pairs(connection: sa.Connection, query: sa.Select[Any, Any], values: dict[str, Any]) -> dict[Any, Any]:
    """The first column of each row to its second."""
    return {row[0]: row[1] for row in connection.execute(query, values)}


def _recall(memory: OrderedDict[str, int], names: Iterable[str]) -> dict[str, int]:
    return {name: memory[name] for name in names if name in memory}


def _remember(memory: OrderedDict[str, int], name: str, row_id: int) -> None:
    memory[name] = row_id
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
