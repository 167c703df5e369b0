"""Webhook: a signed POST of the JSON document."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dicom_node.http_peer import HttpTlsError
from triage.errors import DeliveryError, SettingsError
from triage.outbox import Verdict, judge_http, said_http
from triage.peers import Destination
from triage.repositories.deliveries import Attempt
from triage.secret_files import read_secret
from triage.settings import Settings
from triage.tables import Delivery
from workers.carriers.message_carrier import MessageCarrier, Told
from workers.carriers.protocol import CarrierKind, Checked
from workers.carriers.web import CHECKING, PATIENCE, base_path, later, peer_of
from workers.messages.webhook import signed_headers

if TYPE_CHECKING:
    from workers.workbench import Workbench

SHORTEST_KEY: Final = 24
"""Bytes (Standard Webhooks: 24 to 64)."""
SIGNATURE: Final = "If it does not trust the signature: secret_file has to hold its key, and both clocks the same time."
"""400, too, is what receivers say to a wrong signature: a setting, not the document."""
_PREFIX: Final = "whsec_"


class WebhookCarrier(MessageCarrier):
    """Signs each document when it is sent, and posts it.

    Raises
    ------
    SettingsError
        The key, the token or a certificate file cannot be used.
    """

    def __init__(self, bench: Workbench, destination: Destination, _batch: Sequence[Delivery]) -> None:
        super().__init__(bench)
        self._key = key_of(destination)
        self._http = peer_of(bench.settings, destination, PATIENCE)
        self._path = base_path(destination)

    def close(self) -> None:
        self._http.close()

    def tell(self, delivery: Delivery, content: bytes) -> Told:  # noqa: ARG002 - the document says whose it is
        now = self._bench.clock()
        headers = {
            "Content-Type": "application/json",
            **signed_headers(json.loads(content)["id"], content, self._key, now),
        }
        try:
            answer = self._http.exchange("POST", self._path, headers=headers, body=content)
        except DeliveryError as error:
            verdict = Verdict.UNWELCOME if isinstance(error, HttpTlsError) else Verdict.TRANSIENT
            return Told(attempt=Attempt(verdict=verdict, error=error.advice()), answered=False)
        verdict = Verdict.UNWELCOME if answer.status == 400 else judge_http(answer.status)
        if verdict is Verdict.DELIVERED:
            return Told(attempt=Attempt(verdict=verdict))
        advice = SIGNATURE if answer.status in (400, 401, 403) else ""
        said = f"{said_http(self._http.where, answer.status)} {advice}".strip()
        attempt = Attempt(verdict=verdict, error=said, retry_after=later(answer, now))
        return Told(attempt=attempt, answered=answer.status not in (429, 503))


def key_of(destination: Destination) -> bytes:
    """The signing key: what stands in ``secret_file``, as ``whsec_`` and base64 or as it is.

    Raises
    ------
    SettingsError
        No file, one that everybody can read, or too short a key.
    """
    if destination.secret_file is None:
        raise SettingsError(f"Destination {destination.address} needs secret_file, the key that signs what is sent.")
    return _key(read_secret(destination.secret_file), destination.secret_file)


def _key(text: str, file: Path) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else text.encode()
    except binascii.Error:
        raise SettingsError(f"{file}: what stands behind {_PREFIX} is not base64.") from None
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"{file} holds a key of {len(key)} bytes, which is too short.",
            next_step="Make one with `openssl rand -hex 24`, for both ends.",
        )
    return key


def check(settings: Settings, destination: Destination, now: datetime) -> Checked:  # noqa: ARG001 - as for every kind
    """Whether the server answers at all: a document that only tests would be taken for a result."""
    key_of(destination)
    with peer_of(settings, destination, CHECKING) as http:
        try:
            answer = http.exchange("GET", base_path(destination))
        except DeliveryError as error:
            return Checked(ok=False, message=str(error), next_step=error.next_step)
    if answer.status >= 500:
        return Checked(ok=False, message=said_http(http.where, answer.status), next_step="Look into its log.")
    return Checked(ok=True, message=f"answers (HTTP {answer.status} to a GET; it is told results by POST)")


KIND = CarrierKind(open=WebhookCarrier, check=check)
