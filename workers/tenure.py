"""The hold of this process on the analyses of one batch, as long as it gets on with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from triage.errors import LeaseLostError
from triage.repositories import analyses
from workers.claims import Claim, give_back
from workers.workbench import Workbench

RENEW_AFTER: Final = timedelta(seconds=10)
"""With a lease of 60 s this leaves a single step at least 50."""


class Tenure:
    """Renews leases at each step; a process that makes none gives its analyses back and ends (:mod:`workers.watchdog`).

    Only work that gets on keeps its lease: a thread that renewed it would keep a hanging analysis from everybody.
    """

    def __init__(self, bench: Workbench, claims: Sequence[Claim]) -> None:
        self._bench, self._claims = bench, tuple(claims)
        self._renewed_at = bench.clock()

    def __enter__(self) -> Self:
        self._bench.watchdog.begin(lambda reason: give_back(self._bench, self._claims, reason))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bench.watchdog.end()

    def step(self) -> None:
        """Say that the next piece of work begins."""
        self._bench.watchdog.step()
        now = self._bench.clock()
        if now - self._renewed_at < RENEW_AFTER:
            return
        self._renewed_at = now
        with self._bench.database.write() as session:
            for claim in self._claims:
                try:
                    analyses.renew(session, claim.analysis_id, claim.token, now)
                except LeaseLostError:
                    continue  # done already, or somebody else's: its own next commit says so
