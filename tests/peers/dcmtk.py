"""OFFIS DCMTK: the senders and the receiver that every hospital knows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset

from peers.certificates import Identity
from peers.processes import await_port, free_port, program, run, running

PROMPT = {**os.environ, "TCP_NODELAY": "1"}  # DCMTK's Nagle otherwise costs 40 ms a message

PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""storescu's option for proposing a transfer syntax."""


@dataclass(frozen=True)
class StoreScp:
    """A running storescp."""

    ae_title: str
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    def received(self) -> list[FileDataset]:
        """Everything it holds; a file still being written is left out."""
        objects = []
        for path in sorted(self.folder.iterdir()):
            try:
                objects.append(dcmread(path))
            except (EOFError, OSError, ValueError):
                continue
        return objects


@contextmanager
def storescp(folder: Path, *, ae_title: str = "DCMTK", options: Sequence[str | Path] = ()) -> Iterator[StoreScp]:
    """A receiver that keeps objects as they come, one file per SOP Instance UID."""
    kept = folder / "received"
    kept.mkdir(parents=True)
    port = free_port()
    log = folder / "storescp.log"
    command = [program("storescp"), "-aet", ae_title, "+xa", "+B", *options, "-od", kept, str(port)]
    with running(*command, log=log, env=PROMPT) as process:
        await_port(process, port, log)
        yield StoreScp(ae_title, port, kept)


def tls(identity: Identity, trusted: Path) -> list[str | Path]:
    """Options of DCMTK's tools for TLS with a certificate, trusting an authority."""
    return ["+tls", identity.key, identity.certificate, "+cf", trusted]


def send(
    path: Path, port: int, *, called: str = "FIRSTREAD", calling: str = "MODALITY", options: Sequence[str | Path] = ()
) -> str:
    """Send one file in the transfer syntax it has."""
    syntax = str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    return run(
        program("storescu"), "-v", "-R", PROPOSE[syntax], *options, "-aet", calling, "-aec", called, "127.0.0.1",
        str(port), path, env=PROMPT,
    )  # fmt: skip


def send_study(paths: list[Path], port: int, *, called: str = "FIRSTREAD", calling: str = "MODALITY") -> str:
    """Send uncompressed files over one association."""
    return run(
        program("storescu"), "-v", "-R", "-aet", calling, "-aec", called, "127.0.0.1", str(port), *paths, env=PROMPT
    )


def with_meta(path: Path, target: Path) -> Path:
    """A copy of an implicit little endian data set that has no File Meta Information, with it."""
    run(program("dcmconv"), "-f", "-ti", path, target)
    return target


def rendered_report(path: Path) -> str:
    """An SR document as HTML by dsr2html, which checks what it renders.

    In its own character set, or converted to UTF-8: DCMTK knows some sets only for the one, some only for the other.
    """
    try:
        return run(program("dsr2html"), path)
    except AssertionError:
        return run(program("dsr2html"), "+U8", path)


def with_pdf(target: Path) -> Path:
    """An Encapsulated PDF object around an empty page."""
    pdf = target.with_suffix(".pdf")
    pdf.write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"
    )
    run(program("pdf2dcm"), pdf, target)
    return target
