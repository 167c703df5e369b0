"""``firstread send`` and ``firstread echo``: any DICOM file to any peer, with a bar, a summary and an honest exit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dicom_node.scu import SendOutcome, echo, send
from dicom_node.tls import PeerTls
from triage.errors import DeliveryError, NotFoundError
from triage.identifiers import PeerAddress

SHOWN = 10
"""Failures printed one by one; the rest is counted."""


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Every file named or below a folder named, sorted; directory records and hidden files are left out.

    Raises
    ------
    NotFoundError
        A path does not exist, or there is no file at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (item for item in path.rglob("*") if item.is_file())
            found += sorted(i for i in inside if i.name != "DICOMDIR" and not i.name.startswith("."))
        elif path.is_file():
            found.append(path)
        else:
            raise NotFoundError(f"{path} does not exist.", next_step="Check the path.")
    if not found:
        raise NotFoundError("There is no file to send.", next_step="Name files or a folder that holds some.")
    return found


def send_files(
    paths: Sequence[Path],
    peer: PeerAddress,
    *,
    calling_ae_title: str,
    console: Console,
    tls: PeerTls | None = None,
) -> None:
    """Send files over one association and print what became of them.

    Raises
    ------
    DeliveryError
        Something was not stored; says how many.
    """
    files = find_files(paths)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"to {peer}", total=len(files))

        def advance(_outcome: SendOutcome) -> None:
            bar.advance(task)

        outcomes = send(peer, files, calling_ae_title=calling_ae_title, progress=advance, tls=tls)
    failed = [outcome for outcome in outcomes if not outcome.stored]
    for outcome in failed[:SHOWN]:
        which = outcome.sop_instance_uid or "not DICOM"
        console.print(f"[red]not stored[/] {which}: {escape(_without_retries(outcome.error))}", highlight=False)
    console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} stored.", highlight=False)
    if failed:
        kinds = Counter("no answer" if o.status is None else f"status 0x{o.status:04X}" for o in failed)
        summary = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())
        raise DeliveryError(
            f"{len(failed)} of {len(outcomes)} objects were not stored ({summary}).",
            next_step="Mend the cause and send them again: what the peer has already does no harm.",
        )


def _without_retries(text: str) -> str:
    """What went wrong, without the advice about deliveries: by hand, nothing is tried again by itself."""
    return text.removesuffix(DeliveryError.next_step).strip()


def echo_peer(peer: PeerAddress, *, calling_ae_title: str, console: Console, tls: PeerTls | None = None) -> None:
    """C-ECHO and print the answer.

    Raises
    ------
    DeliveryError
        No or a bad answer.
    """
    outcome = echo(peer, calling_ae_title=calling_ae_title, tls=tls)
    if not outcome.ok:
        raise DeliveryError(outcome.problem, next_step=outcome.advice)
    how = " over TLS" if tls is not None else ""
    console.print(f"[green]{escape(outcome.message)}[/] ({outcome.milliseconds:.0f} ms{how})", highlight=False)
