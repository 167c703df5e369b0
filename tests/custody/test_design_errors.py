"""Each of twelve design errors is caught: by the machine led through a short history, and by random ones on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import Phase, settings

from custody.errors import ERRORS
from custody.grounds import SqliteGround
from custody.machine import Custody, Seed
from custody.test_custody import run
from triage.crash_points import CrashPoint

History = Callable[[Custody], None]


def power_fails(machine: Custody) -> None:
    machine.store(name="a", content="X", sender="M", die_at=None)
    machine.house.lose_power(lambda: False)


def dies_after_the_answer(machine: Custody) -> None:
    machine.store(name="a", content="X", sender="M", die_at=CrashPoint.ANSWERED)


def other_pixels_under_a_known_uid(machine: Custody) -> None:
    machine.store(name="a", content="X", sender="M", die_at=None)
    machine.store(name="a", content="Y", sender="M", die_at=None)


def late_instance(machine: Custody) -> None:
    machine.examination(name="a", sender="M")
    machine.all_is_done()
    machine.store(name="b", content="X", sender="M", die_at=None)


def worker_dies(machine: Custody) -> None:
    begun(machine)
    machine.worker_dies(number=0)


def messages_get_lost(machine: Custody) -> None:
    machine.examination(name="a", sender="M")
    machine.house.broker.messages.clear()


def message_comes_twice(machine: Custody) -> None:
    machine.examination(name="a", sender="M")
    machine.broker_doubles(number=0)
    machine.worker_hears(number=0)
    machine.worker_hears(number=len(machine.house.broker.messages) - 1)


def worker_is_late(machine: Custody) -> None:
    begun(machine)
    machine.time_passes(seconds=61)
    begun(machine)
    machine.worker_goes_on(number=1, die_at=None)
    machine.worker_goes_on(number=0, die_at=None)


def dies_with_results_built(machine: Custody) -> None:
    begun(machine)
    machine.worker_goes_on(number=0, die_at=CrashPoint.BUILT)
    machine.time_passes(seconds=61)
    machine.all_is_done()


def kills_every_worker(machine: Custody) -> None:
    for _ in range(5):
        begun(machine)
        machine.worker_dies(number=0)
        machine.time_passes(seconds=61)


def pacs_is_away(machine: Custody) -> None:
    machine.examination(name="a", sender="M")
    machine.house.pacs.up = False
    machine.all_is_done()
    machine.deliveries_go_out(up=False, answers=False, die_at=None)


def begun(machine: Custody) -> None:
    """A study is there and, if anything of it is due, a worker has begun with it."""
    machine.house.broker.messages.clear()
    machine.examination(name="a", sender="M")
    machine.worker_hears(number=0)


HISTORIES: Final[dict[str, tuple[History, str]]] = {
    "NO_FSYNC": (power_fails, "I1|I2"),
    "NO_DIRSYNC": (power_fails, "I2: .* no file"),
    "ACK_EARLY": (dies_after_the_answer, "I1: answered and not stored"),
    "OVERWRITE": (other_pixels_under_a_known_uid, "I1: .* other bytes"),
    "LATE_IGNORED": (late_instance, "I7"),
    "NO_SWEEPER": (worker_dies, "I6: for ever"),
    "MARK_BEFORE_PUBLISH": (messages_get_lost, "I6: for ever"),
    "NO_CLAIM": (message_comes_twice, "within its lease"),
    "NO_FENCE": (worker_is_late, "I3|a worker broke down"),
    "RANDOM_UID": (dies_with_results_built, "I4: .* named its"),
    "NO_QUARANTINE": (kills_every_worker, "I5: . attempts"),
    "FORGET_ON_FAIL": (pacs_is_away, "I6: a result never arrived"),
}
"""A history that shows the error, and what is said of it."""


@pytest.fixture(scope="module")
def ground() -> Iterator[SqliteGround]:
    with SqliteGround() as made:
        yield made


def live_through(ground: SqliteGround, history: History, seed: Seed | None) -> None:
    """A history from its beginning to rest, with what holds looked at after it and in the end."""
    machine: Custody = type("Led", (Custody,), {"ground": ground, "seed": seed and staticmethod(seed)})()
    try:
        machine.start()
        history(machine)
        machine.custody_holds()
    except BaseException:
        machine.give_up()
        raise
    machine.teardown()


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_is_caught(ground: SqliteGround, name: str) -> None:
    history, said = HISTORIES[name]
    with pytest.raises(AssertionError, match=said):
        live_through(ground, history, ERRORS[name])


@pytest.mark.parametrize(
    "history", dict.fromkeys(history for history, _ in HISTORIES.values()), ids=lambda history: history.__name__
)
def test_the_right_design_holds_in_the_same_history(ground: SqliteGround, history: History) -> None:
    live_through(ground, history, None)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted(ERRORS.keys() - {"RANDOM_UID"}))  # a death between two lines: led only
def test_random_histories_catch_it_too(ground: SqliteGround, name: str) -> None:
    if settings.get_current_profile_name() != "deep":
        pytest.skip("takes minutes: --hypothesis-profile=deep")
    with pytest.raises(AssertionError):
        run(ground, examples=25, steps=50, seed=ERRORS[name], derandomize=True, phases=[Phase.generate])
