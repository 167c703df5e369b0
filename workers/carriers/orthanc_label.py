"""Labels in an Orthanc: the AI's class of a study, where the people who work with Orthanc filter by it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from dicom_node.orthanc import OrthancPeer
from triage.errors import DeliveryError, NotFoundError
from triage.outbox import Verdict
from triage.peers import Destination
from triage.profiles import MessageKind
from triage.repositories import results
from triage.repositories.deliveries import Attempt
from triage.secret_files import read_secret
from triage.settings import Settings
from triage.tables import Delivery
from workers.carriers.protocol import CarrierKind, Checked
from workers.messages.label import LABELS

if TYPE_CHECKING:
    from workers.workbench import Workbench

PATIENCE: Final = 10.0
"""Seconds to connect, and between two pieces of an answer."""
OLDEST: Final = (1, 12)
"""Version of Orthanc that first knew labels."""
_NONE: Final = "answers, but not as an Orthanc does"
_ADDRESS: Final = "Give the root of its REST API as the address, such as orthanc+http://host:8042."
_UPDATE: Final = f"Update it to {'.'.join(map(str, OLDEST))} or later."


class LabelCarrier:
    """Puts one of the labels on a study and takes the others away.

    Raises
    ------
    SettingsError
        The password cannot be read.
    """

    provable = False

    def __init__(self, bench: Workbench, destination: Destination, batch: Sequence[Delivery]) -> None:  # noqa: ARG002
        self._bench = bench
        self._peer = _peer(bench.settings, destination, timeout=PATIENCE)
        self._out_of_reach: Attempt | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.close()

    def send(self, delivery: Delivery, path: Path) -> Attempt:
        """Label the study; one that Orthanc does not hold yet is waited for."""
        if self._out_of_reach is not None:
            return self._out_of_reach
        with self._bench.database.read() as session:
            study_id = delivery.result_object.analysis.study_id
            newer = results.newest(session, study_id, MessageKind.LABEL) != delivery.result_object_id
        if newer:  # the one of a later analysis counts, whatever order they go out in
            return Attempt(verdict=Verdict.DELIVERED, note="Left to the newer label of this study.")
        message = json.loads(path.read_bytes())
        try:
            study = self._peer.find_study(message["study_instance_uid"])
            if study is None:
                return Attempt(verdict=Verdict.TRANSIENT, error="Orthanc does not hold the study yet.")
            self._label(study, message["label"])
        except NotFoundError:
            return self._without_labels()
        except DeliveryError as error:
            return self._failed(error)
        return Attempt(verdict=Verdict.DELIVERED)

    def _without_labels(self) -> Attempt:
        """Why there is no such route: its version is too old, or the study went away a moment ago."""
        try:
            reason = _too_old(self._peer.system().version)
        except NotFoundError:
            return Attempt(verdict=Verdict.UNWELCOME, error=f"It {_NONE}. {_ADDRESS}")
        except DeliveryError as error:
            return self._failed(error)
        if reason:
            return Attempt(verdict=Verdict.UNWELCOME, error=f"It {reason}. {_UPDATE}")
        return Attempt(verdict=Verdict.TRANSIENT, error="Orthanc has just lost the study.")

    def _failed(self, error: DeliveryError) -> Attempt:
        verdict = Verdict.TRANSIENT if error.retryable else Verdict.UNWELCOME
        attempt = Attempt(verdict=verdict, error=f"{error} {_advice(error)}")
        if error.retryable:
            self._out_of_reach = attempt
        return attempt

    def _label(self, study: str, label: str) -> None:
        """The new label first: the study is never without."""
        there = self._peer.labels(study)
        if label not in there:
            self._peer.add_label(study, label)
        for former in there.intersection(LABELS.values()) - {label}:
            self._peer.remove_label(study, former)


def check(settings: Settings, destination: Destination, now: datetime) -> Checked:  # noqa: ARG001
    """Version and credentials, by REST."""
    began = time.monotonic()
    try:
        with _peer(settings, destination, timeout=5.0) as peer:
            system = peer.system()
    except NotFoundError:
        return Checked(ok=False, message=_NONE, next_step=_ADDRESS)
    except DeliveryError as error:
        return Checked(ok=False, message=str(error), next_step=_advice(error))
    if reason := _too_old(system.version):
        return Checked(ok=False, message=reason, next_step=_UPDATE)
    milliseconds = (time.monotonic() - began) * 1000
    return Checked(ok=True, message=f"is Orthanc {system.version}, answers in {milliseconds:.0f} ms")


def _peer(settings: Settings, destination: Destination, *, timeout: float) -> OrthancPeer:
    password = read_secret(destination.password_file) if destination.password_file else ""
    trusted = destination.trusted_file or settings.dicom_tls_trusted
    return OrthancPeer(
        destination.where.url, user=destination.user, password=password, timeout=timeout, trusted=trusted
    )


def _advice(error: DeliveryError) -> str:
    """The class's own advice is for C-STORE."""
    own = error.next_step != DeliveryError.next_step
    return error.next_step if own else "Check that it runs, and its address; `firstread doctor` asks it again."


def _too_old(version: str) -> str:
    """What is wrong with an Orthanc of this version; "" where it knows labels."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return f"is Orthanc {version}, which knows no labels" if numbers and numbers < OLDEST else ""


KIND = CarrierKind(open=LabelCarrier, check=check)
