"""A PACS that remembers: every object it was sent, under which UID, with which bytes. Misbehaves when told to."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from peers.digests import data_set_digest
from peers.pynetdicom_server import serving

SUCCESS: Final = 0x0000
Manner = Callable[[Any], int]
"""Decides the status of a C-STORE; gets pynetdicom's event and may do worse than answer."""


def _well(_event: Any) -> int:
    return SUCCESS


@dataclass
class Pacs:
    """What it took. Thread-safe.

    Attributes
    ----------
    contents : dict
        SOP Instance UID to the digest of each data set that came under it and was kept.
    manner : callable
        How it answers from now on. What it refuses (0xA... or 0xC...) it does not keep.
    asked : list of float
        Monotonic time of every C-STORE request, refused ones too.
    """

    ae_title: str
    port: int
    manner: Manner = _well
    contents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    taken: int = 0
    asked: list[float] = field(default_factory=list)
    associations: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    def held(self) -> dict[str, set[str]]:
        with self._changed:
            return {uid: set(digests) for uid, digests in self.contents.items()}

    def behave(self, manner: Manner | int | None = None) -> None:
        """Answer like this from now on: by a function, with a status, or well."""
        if manner is None:
            self.manner = _well
        elif callable(manner):
            self.manner = manner
        else:
            self.manner = lambda _event: manner

    def store(self, event: Any) -> int:
        with self._changed:
            self.asked.append(time.monotonic())
        status = self.manner(event)
        if status == SUCCESS or status & 0xF000 == 0xB000:
            digest = data_set_digest(event.request.DataSet.getvalue())
            with self._changed:
                self.contents[str(event.request.AffectedSOPInstanceUID)].add(digest)
                self.taken += 1
                self._changed.notify_all()
        return status

    def established(self, _event: Any) -> None:
        with self._changed:
            self.associations += 1


@contextmanager
def pacs(ae_title: str = "PACS", *, port: int = 0) -> Iterator[Pacs]:
    """A Storage provider for everything, in a thread of this process."""
    ae = AE(ae_title)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
    ae.add_supported_context(Verification)
    ae.maximum_associations = 50
    here = Pacs(ae_title, port)
    handlers = [(evt.EVT_C_STORE, here.store), (evt.EVT_ESTABLISHED, here.established)]
    with serving(ae, handlers, port=port) as here.port:
        yield here
