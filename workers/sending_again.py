"""A study's results for one destination, when a person asks: what it would get, and owing it what it has not got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from triage.errors import FirstreadError, NotFoundError
from triage.peers import Destination
from triage.repositories import events, previews, results
from triage.repositories.previews import Previewed, Standing
from triage.repositories.results import BuiltObject, NotBuilt
from triage.tables import Analysis
from workers.rebuilding import Keep, Rebuilt, rebuild
from workers.result_files import store_message, store_object
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class Owed:
    """What came of asking for a study to be sent.

    Attributes
    ----------
    owed : int
        Objects that are on their way from now on.
    built : int
        How many of these had to be built.
    already : int
        Objects that the destination had been owed before; these are sent again only by `results resend`.
    """

    owed: int
    built: int
    already: int
    not_built: tuple[NotBuilt, ...]


def look(bench: Workbench, study_instance_uid: str, destination: Destination) -> list[Previewed]:
    """What the destination has, gets or would get; see :func:`triage.repositories.previews.preview`."""
    with bench.database.read() as session:
        return previews.preview(session, study_instance_uid, destination)


def build_missing(
    bench: Workbench, destination: Destination, items: Sequence[Previewed], keep: Keep
) -> tuple[dict[int, list[BuiltObject]], list[NotBuilt]]:
    """Build what is not built, analysis by analysis; what cannot be built says why. Returns objects by analysis id."""
    by_analysis: defaultdict[int, list[Previewed]] = defaultdict(list)
    for item in items:
        by_analysis[item.analysis.id].append(item)
    built: dict[int, list[BuiltObject]] = {}
    failed: list[NotBuilt] = []
    for analysis_id, of_it in by_analysis.items():
        try:
            built[analysis_id], missing = rebuild(bench, destination, of_it, keep)
            failed += missing
        except FirstreadError as error:
            failed += [
                NotBuilt(kind=item.kind, variant=item.variant, reason=error.advice())
                for item in of_it
                if item.standing is Standing.NOT_BUILT
            ]
    return built, failed


def owe_study(bench: Workbench, study_instance_uid: str, destination: Destination, *, who: str) -> Owed:
    """Owe a destination everything of a study that it wants and was never owed, building what is missing.

    Raises
    ------
    NotFoundError
        No such study, or it has no result.
    """
    items = look(bench, study_instance_uid, destination)
    if not items:
        raise NotFoundError("The study has no result yet.", next_step="`firstread worklist` says how it stands.")
    built, failed = build_missing(bench, destination, items, lambda made: _stored(bench, made))
    now = bench.clock()
    owed = 0
    with bench.database.write() as session:
        rows = [row for item in items if item.standing is Standing.HERE and (row := item.row) is not None]
        waiting = [session.merge(row, load=True) for row in rows]
        for analysis_id, objects in built.items():
            waiting += results.record_objects(session, session.get_one(Analysis, analysis_id), objects, at=now)
        waiting.sort(key=lambda row: (row.source_instance_id is None, row.id))
        wanted = {destination.address: destination.wanted}
        for row in waiting:
            if all(delivery.destination != destination.address for delivery in row.deliveries):
                results.owe(session, [row], wanted, at=now)
                owed += 1
        if owed:
            study = session.get_one(Analysis, items[0].analysis.id).study
            events.record(
                session, "results_owed", at=now, study=study, who=who, destination=destination.address, objects=owed
            )
    return Owed(
        owed=owed,
        built=sum(map(len, built.values())),
        already=sum(item.standing is Standing.OWED for item in items),
        not_built=tuple(failed),
    )


def _stored(bench: Workbench, made: Rebuilt) -> BuiltObject:
    root = bench.settings.results
    if isinstance(made.content, Dataset):
        return store_object(
            root, made.content, made.kind, variant=made.variant, source_instance_id=made.source_instance_id
        )
    return store_message(root, made.content, made.kind, variant=made.variant, identity=made.identity or {})
