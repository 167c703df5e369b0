"""DICOM C-STORE: deliveries over one association, proof by storage commitment or C-FIND."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from dicom_node.scu import SendOutcome, StoreSession, contexts_of, echo
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.outbox import judge
from triage.peers import Destination
from triage.repositories import deliveries
from triage.repositories.deliveries import Attempt
from triage.settings import Settings
from triage.tables import Delivery
from workers.carriers.dimse_proof import prove
from workers.carriers.protocol import CarrierKind, Checked
from workers.reaching import PATIENCE, Line
from workers.transport import tls_towards

if TYPE_CHECKING:
    from workers.workbench import Workbench

RENEW_AFTER: Final = timedelta(seconds=30)
"""With a lease of 240 s this leaves a single wait 210."""

log = get_logger(__name__)


class CStoreCarrier:
    """Sends over one association, which also learns by what the destination can prove that it holds an object.

    Raises
    ------
    SettingsError
        Our certificate or key cannot be used.
    """

    def __init__(self, bench: Workbench, destination: Destination, batch: Sequence[Delivery]) -> None:
        self._line = Line.to(bench, destination)
        contexts = {
            c for d in batch for c in contexts_of(d.result_object.sop_class_uid, d.result_object.transfer_syntax_uid)
        }
        self._session = StoreSession(
            self._line.peer,
            calling_ae_title=bench.settings.ae_title,
            timeouts=PATIENCE,
            tls=self._line.tls,
            also=contexts.union(self._line.proof_contexts),
            on_progress=self._get_on,
        )
        self._bench, self._token, self._renewed_at = bench, batch[0].token, bench.clock()
        self._out_of_reach: Attempt | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def provable(self) -> bool:
        """It serves what proves, or nothing less than commitment will do."""
        commitment = self._line.destination.commitment
        return commitment == "required" or any(map(self._session.serves, self._line.proofs))

    def send(self, delivery: Delivery, path: Path) -> Attempt:  # noqa: ARG002 - the file holds all that C-STORE needs
        """One C-STORE."""
        if self._out_of_reach is not None:
            return self._out_of_reach
        (outcome,) = self._session.send([path])
        attempt = attempt_of(outcome)
        if outcome.unreachable:
            self._out_of_reach = attempt
        return attempt

    def _get_on(self) -> None:
        """Hold the batch while the destination takes an object, however slowly: nobody else sends it meanwhile."""
        now = self._bench.clock()
        if now - self._renewed_at < RENEW_AFTER:
            return
        self._renewed_at = now
        try:
            with self._bench.database.write() as session:
                deliveries.renew(session, self._token, now)
        except DatabaseUnavailableError as error:
            log.warning("lease_not_renewed", advice=error.advice())


def attempt_of(outcome: SendOutcome) -> Attempt:
    """What the outbox makes of an outcome on the network."""
    verdict = judge(
        stored=outcome.stored,
        status=outcome.status,
        retryable=outcome.retryable,
        needs_attention=outcome.needs_attention,
    )
    return Attempt(verdict=verdict, dicom_status=outcome.status, error=outcome.error, note=outcome.remark)


def check(settings: Settings, destination: Destination, now: datetime) -> Checked:
    """C-ECHO, over TLS where it is set."""
    tls = tls_towards(settings, destination, now)
    outcome = echo(destination.peer, calling_ae_title=settings.ae_title, timeout=5.0, tls=tls)
    if outcome.ok:
        return Checked(ok=True, message=f"answers C-ECHO in {outcome.milliseconds:.0f} ms")
    return Checked(ok=False, message=outcome.problem, next_step=outcome.advice)


KIND = CarrierKind(open=CStoreCarrier, check=check, prove=prove)
