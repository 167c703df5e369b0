"""A process that hangs ends and says why where it can; what it held goes on elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from triage.repositories import analyses
from triage.states import AnalysisStatus
from workers.claims import give_back, take
from workers.tenure import RENEW_AFTER, Tenure
from workers.watchdog import STATUS

Draw = Callable[..., Dataset]

PROGRAM = """
import re, sys, threading, time
from pathlib import Path
from workers import watchdog

watchdog.GRACE = 1.0
said = Path(sys.argv[1])
dog = watchdog.Watchdog(0.5)
dog.begin(lambda reason: said.write_text(reason))
"""


def ran(said: Path, body: str) -> int:
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", program, str(said)], timeout=180, check=False).returncode


def test_a_process_that_hangs_says_why_and_ends(tmp_path: Path) -> None:
    assert ran(tmp_path / "said", "threading.Event().wait()") == STATUS
    assert (tmp_path / "said").read_text() == "no step within 0.5 s: the worker process was ended"


def test_a_process_that_lets_no_thread_run_is_ended_by_the_system(tmp_path: Path) -> None:
    assert ran(tmp_path / "said", 're.match(r"(a+)+$", "a" * 60 + "b")') == -signal.SIGALRM
    assert not (tmp_path / "said").exists()


def test_a_process_that_hangs_while_it_says_why_is_ended_by_the_system(tmp_path: Path) -> None:
    body = "dog.begin(lambda reason: threading.Event().wait())\nthreading.Event().wait()"
    assert ran(tmp_path / "said", body) == -signal.SIGALRM


def test_steps_keep_a_process_alive_and_the_end_of_the_work_ends_the_watch(tmp_path: Path) -> None:
    body = """
    for _ in range(8):
        time.sleep(0.2)
        dog.step()
    dog.end()
    time.sleep(2)
    sys.exit(3)
    """
    assert ran(tmp_path / "said", body) == 3
    assert not (tmp_path / "said").exists()


def test_work_that_gets_on_keeps_its_lease(node: Node, phantom: Draw) -> None:
    node.receive(phantom(1))
    claims = take(node.bench)
    with Tenure(node.bench, claims) as tenure:
        for _ in range(6):
            node.clock.pass_by(seconds=40)
            tenure.step()
        assert take(node.bench) == []
        node.clock.pass_by(seconds=61)
        assert len(take(node.bench)) == 1  # no step for longer than the lease
        tenure.step()  # the lease is lost, and the successor's is not touched


def test_a_step_leaves_the_database_alone_while_the_lease_is_young(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.receive(phantom(1))
    claims = take(node.bench)
    with Tenure(node.bench, claims) as tenure:
        monkeypatch.setattr(analyses, "renew", lambda *_: pytest.fail("renewed"))
        node.clock.now += RENEW_AFTER - timedelta(seconds=1)
        tenure.step()


def test_what_a_hanging_process_held_is_tried_again_and_given_up_with_its_reason(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    node.receive(dataset)
    for _ in range(node.bench.settings.analysis_attempts):
        claims = take(node.bench)
        assert len(claims) == 1
        give_back(node.bench, tuple(claims), "no step within 45 s: the worker process was ended")
        node.clock.pass_by(minutes=5)
    assert take(node.bench) == []
    (analysis,) = node.study(dataset).analyses
    assert (analysis.status, analysis.reason) == (
        AnalysisStatus.FAILED,
        "no step within 45 s: the worker process was ended",
    )
