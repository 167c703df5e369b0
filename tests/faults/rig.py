"""A product, its PACS and its senders, ready to be broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.pacs import Pacs, pacs
from peers.postgres import postgres
from peers.redis_server import redis

from faults.exams import Exams
from faults.fork_server import ForkServer
from faults.invariants import Verdict, verify
from faults.product import PARTS, Product, product
from faults.senders import Receipts, Sender


@dataclass
class Rig:
    """Everything a fault needs."""

    product: Product
    archives: dict[str, Pacs]
    exams: Exams
    receipts: Receipts = field(default_factory=Receipts)
    seed: int = 0

    @property
    def pacs(self) -> Pacs:
        """The first destination."""
        return next(iter(self.archives.values()))

    def sender(self, **options: Any) -> Sender:
        return Sender(self.product.settings.dicom_port, self.receipts, **options)

    def verify(self, **options: Any) -> Verdict:
        return verify(self.product, self.receipts, self.archives, **options)

    def check(self, **options: Any) -> Verdict:
        """V holds, or the test fails with what does not."""
        verdict = self.verify(**options)
        assert verdict.holds, str(verdict)
        return verdict


@contextmanager
def rig(
    folder: Path,
    *,
    scaled: bool = False,
    seed: int = 1,
    destinations: int = 1,
    fork_server: ForkServer | None = None,
    parts: Sequence[str] = PARTS,
    ready: bool = True,
    **variables: str,
) -> Iterator[Rig]:
    """A rig on an empty folder.

    Parameters
    ----------
    scaled : bool
        PostgreSQL and Redis instead of SQLite and no broker.
    destinations : int
        How many PACS get the results.
    """
    with ExitStack() as stack:
        archives = [stack.enter_context(pacs(f"PACS{number}")) for number in range(1, destinations + 1)]
        if scaled:
            variables.setdefault("FIRSTREAD_DATABASE_URL", stack.enter_context(postgres()))
            variables.setdefault("FIRSTREAD_BROKER_URL", stack.enter_context(redis(folder / "redis")))
        running = stack.enter_context(
            product(
                folder, [archive.address for archive in archives], fork_server=fork_server, parts=parts, ready=ready,
                **variables,
            )
        )  # fmt: skip
        yield Rig(running, {archive.address: archive for archive in archives}, Exams(seed), seed=seed)
