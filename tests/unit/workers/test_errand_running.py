"""Errands carried out for real: C-ECHO, destinations asked, bundles switched, quarantine emptied; all of it audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_second_chances import strict

from dicom_node.stand_in_pacs import StandInPacs
from models.site import read_state
from triage.findings import Urgency
from triage.peers import Destination
from triage.repositories import audit, bundle_listing, errands, quarantine
from triage.repositories.audit import AuditFilter
from triage.states import ErrandKind, ErrandStatus
from triage.tables import AuditEntry, Errand
from workers.bundle_listing import publish
from workers.errands import run_due

__all__ = ["strict"]
SHIPPED = "phantom-cxr"


def run(node: Any, kind: ErrandKind, subject: str, **wish: Any) -> Errand:
    with node.bench.database.write() as session:
        asked = errands.ask(session, kind, subject, wish, at=node.clock(), who="anna")
    run_due(node.bench)
    with node.bench.database.read() as session:
        return errands.by_id(session, asked.id)


def change(node: Any, what: str, **wish: Any) -> Errand:
    wish = {"bundle": SHIPPED, "revision": read_state(node.bench.settings.site_bundles).revision} | wish
    return run(node, ErrandKind.CHANGE_BUNDLE, f"bundle:{SHIPPED}", change=what, **wish)


def audited(node: Any) -> list[AuditEntry]:
    with node.bench.database.read() as session:
        return list(reversed(audit.listed(session, AuditFilter(subject=f"bundle:{SHIPPED}"))))


def listed(node: Any) -> Any:
    with node.bench.database.read() as session:
        listing = bundle_listing.current(session)
    assert listing is not None
    return next(row for row in listing.bundles if row["name"] == SHIPPED)


def echo_to(port: int, **more: Any) -> dict[str, Any]:
    return {"ae_title": "STANDIN", "certificate": None, "host": "127.0.0.1", "port": port, "tls": False} | more


def test_a_peer_is_asked_by_c_echo(node: Any, tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "pacs") as pacs:
        answered = run(node, ErrandKind.ECHO, "peer:STANDIN", **echo_to(pacs.address.port))
    assert (answered.status, answered.next_step) == (ErrandStatus.DONE, "")
    assert answered.message.startswith(f"STANDIN@127.0.0.1:{pacs.address.port} answers C-ECHO in ")
    silent = run(node, ErrandKind.ECHO, "peer:STANDIN", **echo_to(pacs.address.port))
    assert silent.status is ErrandStatus.FAILED
    assert "FIRSTREAD" in silent.next_step
    without = run(node, ErrandKind.ECHO, "peer:STANDIN", **echo_to(1, tls=True))
    assert (without.status, "certificate" in without.message) == (ErrandStatus.FAILED, True)


def test_a_destination_is_asked_and_nothing_is_left_there(node: Any, tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "pacs") as pacs:
        address = str(pacs.address)
        update = {"destinations": (Destination(address=address),)}
        node.bench.settings = node.bench.settings.model_copy(update=update)
        answered = run(node, ErrandKind.CHECK_DESTINATION, f"destination:{address}", address=address)
        assert (answered.status, pacs.received) == (ErrandStatus.DONE, [])
    gone = run(node, ErrandKind.CHECK_DESTINATION, f"destination:{address}", address=address)
    assert (gone.status, bool(gone.next_step)) == (ErrandStatus.FAILED, True)
    other = run(node, ErrandKind.CHECK_DESTINATION, "destination:X@h:1", address="X@h:1")
    assert "not in the settings" in other.message


def test_a_bundle_is_switched_off_and_on_as_the_command_does(node: Any) -> None:
    publish(node.bench)
    assert listed(node)["enabled"]
    off = change(node, "disable", reason="no phantoms here")
    assert (off.status, off.next_step) == (ErrandStatus.DONE, "")
    state = read_state(node.bench.settings.site_bundles)
    assert (state.standing(SHIPPED).enabled, state.history[-1].who) == (False, "anna")
    assert (listed(node)["enabled"], listed(node)["note"]) == (False, "disabled: no phantoms here")
    node.bench.refresh()
    assert SHIPPED not in [bundle.metadata.name for bundle in node.bench.registry.available]
    assert change(node, "enable", shipped=True).status is ErrandStatus.DONE
    assert listed(node)["available"]
    assert listed(node)["acceptance"]["met"]
    assert [(entry.who, entry.action) for entry in audited(node)] == [
        ("anna", "bundle_disabled"), ("anna", "bundle_accepted"), ("anna", "bundle_enabled"),
    ]  # fmt: skip


def test_an_operating_point_is_set_and_reset_with_before_and_after(node: Any) -> None:
    publish(node.bench)
    own = next(point for point in listed(node)["points"] if point["finding"] == "pneumothorax")
    assert own["sensitivity"] > 0.9
    wish = {"finding": "pneumothorax", "reason": "too many alarms"}
    assert change(node, "set_point", threshold=0.5, urgency="URGENT", **wish).status is ErrandStatus.DONE
    now = next(point for point in listed(node)["points"] if point["finding"] == "pneumothorax")
    assert (now["threshold"], now["urgency"], now["bundle_threshold"]) == (
        0.5, Urgency.URGENT, own["bundle_threshold"],
    )  # fmt: skip
    assert change(node, "reset_points", **wish).status is ErrandStatus.DONE
    first, second = audited(node)
    assert (first.action, first.before, first.after) == (
        "bundle_operating_point",
        {"finding": "pneumothorax", "standing": "the bundle's own"},
        {"finding": "pneumothorax", "standing": "0.5 URGENT", "reason": "too many alarms"},
    )
    assert second.after is not None
    assert second.after["standing"] == "the bundle's own"


def test_a_change_for_an_older_state_is_refused(node: Any) -> None:
    change(node, "disable", reason="a")
    late = change(node, "disable", reason="b", revision=0)
    assert (late.status, "changed since" in late.message) == (ErrandStatus.FAILED, True)
    assert read_state(node.bench.settings.site_bundles).standing(SHIPPED).reason == "a"
    unknown = change(node, "disable", reason="b", bundle="no-such-bundle")
    assert (unknown.status, unknown.next_step) == (ErrandStatus.FAILED, "`firstread models list` names them.")


def test_an_entry_of_the_quarantine_is_fed_through_intake_again(node: Any, strict: Any) -> None:
    _, number = strict
    done = run(node, ErrandKind.RETRY_QUARANTINED, f"quarantined:{number}", id=number)
    assert (done.status, done.message) == (ErrandStatus.DONE, "It is in the archive now.")
    with node.bench.database.read() as session:
        assert quarantine.listed(session) == []
        (entry,) = audit.listed(session, AuditFilter(subject=f"quarantined:{number}"))
    assert (entry.who, entry.after) == ("anna", {"waiting": False, "problem": ""})
    again = run(node, ErrandKind.RETRY_QUARANTINED, f"quarantined:{number}", id=number)
    assert (again.status, "dealt with" in again.message) == (ErrandStatus.FAILED, True)


@pytest.mark.parametrize("times", [1, 2])
def test_nothing_to_do_is_nothing_done(node: Any, times: int) -> None:
    for _ in range(times):
        run_due(node.bench)
        publish(node.bench)
    assert listed(node)["name"] == SHIPPED
