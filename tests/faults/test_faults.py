"""The catalogue of faults against the running product. A few run with every test run, all with `make faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import kills
from faults.catalogue import CATALOGUE, NOT_INJECTED
from faults.fork_server import ForkServer
from faults.lab import Fault, Lab

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=f.id, marks=() if f.ci else pytest.mark.faults) for f in CATALOGUE],
)
@pytest.mark.timeout(900)
def test_after_a_fault_every_invariant_holds(fault: Fault, fork_server: ForkServer, tmp_path: Path) -> None:
    verdict = fault.run(Lab(tmp_path / "lab", fork_server))
    assert verdict.holds, str(verdict)


@pytest.mark.timeout(600)
def test_random_kills_lose_and_double_nothing(fork_server: ForkServer, tmp_path: Path) -> None:
    tally = kills.run(tmp_path / "kills", fork_server, 12, print, seed=7)
    assert tally.kills >= 12
    assert tally.verdict.holds, str(tally.verdict)
    assert tally.verdict.receipts > 0


def test_the_catalogue_has_every_number_once() -> None:
    numbers = [fault.id for fault in CATALOGUE] + list(NOT_INJECTED)
    assert sorted(numbers, key=lambda name: int(name[1:])) == [f"F{n}" for n in range(1, 41)]
