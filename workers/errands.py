"""Errands: what a person asks for on the page, carried out here, because it touches the network, models or files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dicom_node.scu import echo
from triage.errors import FirstreadError, LeaseLostError, NotFoundError
from triage.findings import Urgency
from triage.identifiers import PeerAddress
from triage.logging import get_logger
from triage.repositories import audit, errands
from triage.states import ErrandKind
from triage.tables import Errand
from workers import bundle_listing, quarantine
from workers.bundle_audit import record_changes
from workers.carriers.kinds import carrier_kind
from workers.pulse import process_name
from workers.transport import tls_for_address

if TYPE_CHECKING:
    from workers.workbench import Workbench

ECHO_SECONDS: Final = 5.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an errand; ``next_step`` is empty where all is well."""

    ok: bool
    message: str
    next_step: str = ""


def run_due(bench: Workbench) -> None:
    """Carry out one errand, the oldest; the bell rings again while others wait."""
    with bench.database.write() as session:
        errand = errands.claim(session, bench.clock(), holder=process_name("errand"))
    if errand is None:
        return
    answer = _carry_out(bench, errand)
    try:
        with bench.database.write() as session:
            errands.conclude(
                session,
                errand.id,
                errand.token,
                ok=answer.ok,
                message=answer.message,
                next_step=answer.next_step,
                at=bench.clock(),
            )
    except LeaseLostError as error:
        log.warning("errand_late", errand=errand.kind, advice=error.advice())


def _carry_out(bench: Workbench, errand: Errand) -> Answer:
    try:
        return _DOING[errand.kind](bench, errand)
    except FirstreadError as error:
        return Answer(False, str(error), error.next_step)
    except Exception as error:  # the boundary: whoever asked gets an answer
        log.error("errand_failed", errand=errand.kind, error=type(error).__name__, exc_info=error)
        return Answer(False, f"It failed ({type(error).__name__}).", "See the log of the worker.")


def _echo(bench: Workbench, errand: Errand) -> Answer:
    wish, settings = errand.wish, bench.settings
    peer = PeerAddress(wish["ae_title"], wish["host"], wish["port"])
    tls = tls_for_address(settings, peer, bench.clock(), tls=wish["tls"], certificate=wish["certificate"])
    outcome = echo(peer, calling_ae_title=settings.ae_title, timeout=ECHO_SECONDS, tls=tls)
    if outcome.ok:
        return Answer(True, f"{peer} answers C-ECHO in {outcome.milliseconds:.0f} ms.")
    advice = f"Check host and port, and that it admits {settings.ae_title} as calling AE title."
    return Answer(False, outcome.problem or outcome.message, advice)


def _check_destination(bench: Workbench, errand: Errand) -> Answer:
    address = errand.wish["address"]
    found = next((destination for destination in bench.settings.destinations if destination.address == address), None)
    if found is None:
        raise NotFoundError(f"{address} is not in the settings of this worker.", next_step="Restart it, or set it.")
    checked = carrier_kind(found.kind).check(bench.settings, found, bench.clock())
    return Answer(checked.ok, f"{address} {checked.message}" if checked.ok else checked.message, checked.next_step)


def _retry_quarantined(bench: Workbench, errand: Errand) -> Answer:
    number = errand.wish["id"]
    tried = quarantine.retry(bench, number, who=errand.asked_by)
    with bench.database.write() as session:
        audit.record(
            session,
            at=bench.clock(),
            who=errand.asked_by,
            action="quarantine_retried",
            subject=f"quarantined:{number}",
            before={"waiting": True},
            after={"waiting": bool(tried.problem), "problem": tried.problem},
        )
    if tried.problem:
        return Answer(False, tried.problem, "Mend it at the sender and send it again, or dismiss this entry.")
    return Answer(True, "It is in the archive now.")


def _change_bundle(bench: Workbench, errand: Errand) -> Answer:
    from triage.room import Room  # noqa: PLC0415
    from workers.bundle_store import BundleStore  # noqa: PLC0415 - loads what runs networks, which few errands need

    wish, settings = errand.wish, bench.settings
    folder = settings.site_bundles
    store = BundleStore(
        folder=folder,
        clock=bench.clock,
        who=errand.asked_by,
        reserve=settings.room_policy.lower(Room.of(settings.archive)),
        seen=wish["revision"],
    )
    before = store.state().revision
    try:
        return Answer(True, _CHANGES[wish["change"]](store, wish))
    finally:
        with bench.database.write() as session:
            record_changes(session, store.state().history[before:])
        bench.bundles_published = None
        bundle_listing.publish(bench)


def _enable(store: Any, wish: Mapping[str, Any]) -> str:
    name, shipped = wish["bundle"], wish["shipped"]
    store.accept(name, evaluation=None, shipped=shipped)
    replace(store, seen=None).enable(name, shipped=shipped)
    return f"{name} reads from the next analysis on."


def _disable(store: Any, wish: Mapping[str, Any]) -> str:
    store.disable(wish["bundle"], reason=wish["reason"])
    return f"{wish['bundle']} reads no more, from the next analysis on. What it has found stays."


def _set_point(store: Any, wish: Mapping[str, Any]) -> str:
    name, key, urgency = wish["bundle"], wish["finding"], wish["urgency"]
    store.set_point(
        name, key, threshold=wish["threshold"], urgency=Urgency(urgency) if urgency else None, reason=wish["reason"]
    )
    return f"{name} reads {key} at this operating point from the next analysis on. No open case changes its class."


def _reset_points(store: Any, wish: Mapping[str, Any]) -> str:
    store.reset_points(wish["bundle"], wish["finding"], reason=wish["reason"])
    return f"{wish['bundle']} goes back to its own operating point. No open case changes its class."


_CHANGES: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "enable": _enable,
    "disable": _disable,
    "set_point": _set_point,
    "reset_points": _reset_points,
}
_DOING: Final[Mapping[ErrandKind, Callable[[Workbench, Errand], Answer]]] = {
    ErrandKind.ECHO: _echo,
    ErrandKind.CHECK_DESTINATION: _check_destination,
    ErrandKind.CHANGE_BUNDLE: _change_bundle,
    ErrandKind.RETRY_QUARANTINED: _retry_quarantined,
}
