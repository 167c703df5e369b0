"""``firstread demo``: the whole product, a stand-in PACS, and synthetic patients whose truth is known.

What it prints is read back from the worklist and from the objects that the stand-in PACS received: nothing is staged.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from dicom_node.stand_in_pacs import StandInPacs
from firstread.demo_board import Board, Journey
from firstread.up import Supervisor
from firstread.worklist_table import read_list
from models.phantom import generate, write_dicom
from triage.database import Database
from triage.errors import FirstreadError
from triage.identifiers import PeerAddress
from triage.peers import Destination
from triage.settings import Settings

STORIES: Final[tuple[tuple[str, ...], ...]] = (
    (),
    (),
    ("pleural_effusion",),
    (),
    ("pneumothorax",),
    ("cardiomegaly",),
    ("consolidation",),
    ("nodule_mass",),
)
"""What each patient has, in order of arrival: the urgent one comes fifth and must be read first."""
SEED: Final = 20260301
IMAGE_SIZE: Final = 1600  # pixels of the longer side: a radiograph, and drawn in a moment
PAUSE: Final = 0.8  # seconds between two patients
WITHIN: Final = 120.0  # seconds for all studies to be through


def run_demo(settings: Settings, console: Console, *, once: bool) -> None:
    """Start everything, send the studies, show their way; stay up unless ``once``.

    Raises
    ------
    FirstreadError
        A study did not come through; says which, and which step is missing.
    """
    folder = Path(tempfile.mkdtemp(prefix="firstread-demo-"))
    try:
        with console.status("Drawing synthetic patients …"):
            board = Board(draw_patients(folder))
        port = free_port(settings.dicom_port)
        reports_to = {settings.ae_title: PeerAddress(settings.ae_title, "127.0.0.1", port)}
        with StandInPacs(
            folder / "pacs", ae_title="DEMOPACS", on_received=board.received, reports_to=reports_to
        ) as pacs:
            own = settings.model_copy(
                update={
                    "data": folder / "data",
                    "database_url": "",
                    "broker_url": "",
                    "bind": "127.0.0.1",
                    "dicom_port": port,
                    "http_port": free_port(settings.http_port),
                    "destinations": (Destination(address=str(pacs.address)),),
                }
            )
            _run(own, board, console, folder / "firstread.log", once=once)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def draw_patients(folder: Path) -> list[Journey]:
    """Draw one phantom per story and write it as DICOM."""
    journeys = []
    for index, truth in enumerate(STORIES):
        file = folder / f"patient-{index}.dcm"
        taken_at = datetime.now(UTC) - timedelta(minutes=len(STORIES) - index)
        phantom = generate(SEED, index, size=IMAGE_SIZE, findings=truth)
        dataset = write_dicom(phantom, file, SEED, index, taken_at=taken_at)
        journeys.append(Journey(f"Patient {index + 1}", str(dataset.StudyInstanceUID), file, truth))
    return journeys


def free_port(preferred: int) -> int:
    """The preferred port, or any free one where it is taken: a demo must not fail because something else runs."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise FirstreadError("No free port on loopback.")


def _run(settings: Settings, board: Board, console: Console, log_file: Path, *, once: bool) -> None:
    page = f"http://{settings.bind}:{settings.http_port}/"
    with log_file.open("wb") as log:
        supervisor = Supervisor(settings, output=log)
        try:
            with console.status("Starting listener, workers and page …"):
                supervisor.start()
                supervisor.wait_until_ready()
            console.print(
                f"[bold green]firstread is up.[/] It listens as {settings.ae_title}@{settings.bind}:"
                f"{settings.dicom_port} and sends results to {settings.destinations[0].address}.",
                highlight=False,
            )
            _watch(settings, supervisor, board, console)
            console.print(f"The reading worklist: [bold]{page}[/]", highlight=False)
            if not once:
                console.print("Ctrl-C stops everything and removes the demo's data.")
                supervisor.run()
        except FirstreadError as error:
            console.print(log_file.read_text(errors="replace")[-4000:], style="dim", highlight=False, markup=False)
            raise FirstreadError(f"The demo stopped: {error}", next_step=error.next_step) from error
        finally:
            supervisor.stop()


def _watch(settings: Settings, supervisor: Supervisor, board: Board, console: Console) -> None:
    """Send and show until every study is through."""
    database, stop = Database(settings.database), threading.Event()
    listener = PeerAddress(settings.ae_title, settings.bind, settings.dicom_port)
    sender = threading.Thread(target=board.send_all, args=(listener, "DEMOCR", PAUSE, stop), daemon=True)
    sender.start()
    deadline = time.monotonic() + WITHIN
    try:
        with Live(console=console, refresh_per_second=8) as live:
            while True:
                supervisor.leave_if_stopping()
                supervisor.look_after()
                cases = read_list(database, 100)
                live.update(board.draw(cases))
                missing = board.missing(cases)
                if not missing:
                    break
                if board.problem or time.monotonic() > deadline:
                    raise FirstreadError(board.problem or "; ".join(missing))
                time.sleep(0.1)
        right, total, seconds = board.agreement(cases)
        console.print(
            f"[bold]{total} studies through[/]: report and heat map of each in the PACS and committed by it, there "
            f"{seconds[len(seconds) // 2] * 1000:.0f} ms after the last image (median; longest "
            f"{seconds[-1] * 1000:.0f} ms). Findings equal the drawn truth in {right} of {total}.",
            highlight=False,
        )
    finally:
        stop.set()
        sender.join(timeout=10)
        database.dispose()
