"""Orthanc's REST API: the one place that imports orthanc-api-client, and makes its manners ours.

The client (0.25) sets no timeout, repeats requests that may have been executed, lets some network errors fall
through as an unbound variable, drops the path of a root URL, follows redirects and puts the server's answer into its
exceptions. Behind this seam every request is bounded, stays on the host it was meant for, and fails with an error
of the house that holds no server text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
from orthanc_api_client import OrthancApiClient
from orthanc_api_client import exceptions as client_errors
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from triage.errors import DeliveryError, DicomError, NotFoundError, SettingsError
from triage.identifiers import PeerAddress, dicom_uid

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OrthancSystem:
    """What an Orthanc says about itself."""

    name: str
    version: str
    dicom_ae_title: str
    dicom_port: int


@dataclass(frozen=True, slots=True)
class OrthancInstance:
    """An instance in an Orthanc: its own identifier there, and the standard's."""

    orthanc_id: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


class OrthancPeer:
    """An Orthanc server.

    Parameters
    ----------
    url : str
        Root of the REST API, ``http://host:8042`` or with a path; no user or password in it.
    timeout : float
        Seconds to connect, and between two pieces of an answer.
    trusted : Path, optional
        PEM file with the authorities that its certificate must come from; those of this system where it is not given.

    Raises
    ------
    SettingsError
        Not an HTTP URL, or one with credentials.
    """

    def __init__(
        self, url: str, *, user: str = "", password: str = "", timeout: float = 10.0, trusted: Path | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise SettingsError("The Orthanc URL is not of the form http://host:port without user and password.")
        self._where = f"Orthanc at {parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        # urljoin drops the last part of a root that does not end in a slash
        self._client = _BoundedClient(url.rstrip("/") + "/", user or None, password or None, timeout, trusted)

    def close(self) -> None:
        """Close pooled connections."""
        self._client.close()

    def __enter__(self) -> OrthancPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_alive(self) -> bool:
        """True when it answers and lets us in."""
        try:
            self.system()
        except DeliveryError:
            return False
        return True

    def system(self) -> OrthancSystem:
        """Name, version and DICOM address.

        Raises
        ------
        DeliveryError
            It does not answer, or not to us.
        """

        def request() -> OrthancSystem:
            answer = self._client.get_json("system")
            return OrthancSystem(
                name=str(answer.get("Name", "")),
                version=str(answer["Version"]),
                dicom_ae_title=str(answer.get("DicomAet", "")),
                dicom_port=int(answer.get("DicomPort", 0)),
            )

        return self._ask(request)

    def find_study(self, study_instance_uid: str) -> str | None:
        """Orthanc's identifier of a study, None when it does not hold it.

        Raises
        ------
        IdentifierError
            Not a UID.
        DeliveryError
            No answer, or the study is there under several patient identifiers.
        """
        uid = dicom_uid(study_instance_uid, attribute="StudyInstanceUID")
        found = self._ask(lambda: self._client.lookup(uid, filter="Study"))
        if len(found) > 1:
            raise DeliveryError(
                f"{self._where} holds this study under {len(found)} patient identifiers.",
                retryable=False,
                next_step="Correct the patient identifier there.",
            )
        return str(found[0]) if found else None

    def instances(self, orthanc_study_id: str) -> list[OrthancInstance]:
        """The instances of a study, by series and SOP Instance UID.

        Raises
        ------
        NotFoundError
            No such study.
        DeliveryError
            No answer.
        """
        study = f"studies/{quote(orthanc_study_id, safe='')}"

        def request() -> list[OrthancInstance]:
            series = self._client.get_json(f"{study}/series")
            series_uids = {entry["ID"]: entry["MainDicomTags"].get("SeriesInstanceUID", "") for entry in series}
            return [
                OrthancInstance(
                    orthanc_id=entry["ID"],
                    series_instance_uid=series_uids.get(entry["ParentSeries"], ""),
                    sop_instance_uid=entry["MainDicomTags"].get("SOPInstanceUID", ""),
                    sop_class_uid=self._sop_class(entry["ID"]),
                )
                for entry in self._client.get_json(f"{study}/instances")
            ]

        return sorted(self._ask(request), key=lambda i: (i.series_instance_uid, i.sop_instance_uid))

    def upload(self, path: Path) -> str:
        """Store a DICOM file; returns Orthanc's identifier of the instance. Uploading it again changes nothing.

        Raises
        ------
        DicomError
            Orthanc does not take it for a DICOM file, or it cannot be read.
        DeliveryError
            No answer.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DicomError(f"{path.name} cannot be read ({error.strerror}).") from error
        found = self._ask(lambda: self._client.upload(content))
        return str(found[0])

    def register_modality(self, alias: str, peer: PeerAddress) -> None:
        """Tell Orthanc a DICOM node to send to; an existing one of that alias is replaced.

        Raises
        ------
        DeliveryError
            No answer.
        """
        body = {"AET": peer.ae_title, "Host": peer.host, "Port": peer.port}
        self._ask(lambda: self._client.put(f"modalities/{quote(alias, safe='')}", json=body))

    def send_study(self, orthanc_study_id: str, modality_alias: str, *, timeout: float = 300.0) -> None:
        """Have Orthanc C-STORE a study to a registered node; returns when it is done.

        Raises
        ------
        NotFoundError
            No such study or alias.
        DeliveryError
            No answer, or the node refused.
        """
        body = {"Resources": [orthanc_study_id], "Synchronous": True, "Timeout": max(1, int(timeout))}
        path = f"modalities/{quote(modality_alias, safe='')}/store"
        self._ask(lambda: self._client.post(path, json=body, timeout=timeout))

    def add_label(self, orthanc_study_id: str, label: str) -> None:
        """Put a label on a study (Orthanc 1.12 and later).

        Raises
        ------
        NotFoundError
            No such study, or an Orthanc too old to know labels.
        DeliveryError
            No answer.
        """
        self._ask(lambda: self._client.put(_label_path(orthanc_study_id, label)))

    def labels(self, orthanc_study_id: str) -> frozenset[str]:
        """The labels of a study.

        Raises
        ------
        NotFoundError
            No such study, or an Orthanc too old to know labels.
        DeliveryError
            No answer.
        """
        path = f"studies/{quote(orthanc_study_id, safe='')}/labels"
        return self._ask(lambda: frozenset(str(label) for label in self._client.get_json(path)))

    def remove_label(self, orthanc_study_id: str, label: str) -> None:
        """Take a label from a study; one that is not there is no error.

        Raises
        ------
        NotFoundError
            No such study.
        DeliveryError
            No answer.
        """
        self._ask(lambda: self._client.delete(_label_path(orthanc_study_id, label)))

    def _sop_class(self, orthanc_id: str) -> str:
        content = self._client.get_binary(f"instances/{orthanc_id}/metadata/SopClassUid")
        return str(content.decode("ascii", errors="replace").strip())

    def _ask(self, request: Callable[[], _T]) -> _T:
        try:
            return request()
        except client_errors.NotAuthorized:
            raise DeliveryError(
                f"{self._where} refuses our user.", retryable=False, next_step="Correct user and password."
            ) from None
        except client_errors.BadFileFormat:
            raise DicomError(f"{self._where} does not take the file for a DICOM file.") from None
        except client_errors.ResourceNotFound:
            raise NotFoundError(f"{self._where} does not have that.", next_step="Check the identifier.") from None
        except client_errors.HttpError as error:
            status = error.http_status_code or 0
            raise DeliveryError(
                f"{self._where} answers HTTP {status}.", retryable=status >= 500 or status in (408, 429)
            ) from None
        except client_errors.TimeoutError:
            raise DeliveryError(f"{self._where} did not answer in time.") from None
        except _TlsError:
            raise DeliveryError(
                f"{self._where} does not speak TLS with us, or its certificate is not trusted.",
                retryable=False,
                next_step="Set `trusted_file` to the authority of its certificate, or correct the host in the address.",
            ) from None
        except client_errors.OrthancApiException:
            raise DeliveryError(f"{self._where} cannot be reached.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DeliveryError(f"{self._where} answers something that is not Orthanc's.", retryable=False) from None


def _label_path(orthanc_study_id: str, label: str) -> str:
    return f"studies/{quote(orthanc_study_id, safe='')}/labels/{quote(label, safe='')}"


class _TlsError(client_errors.ConnectionError):  # type: ignore[misc]
    pass


class _BoundedClient(OrthancApiClient):  # type: ignore[misc]
    def __init__(
        self, root_url: str, user: str | None, password: str | None, timeout: float, trusted: Path | None
    ) -> None:
        super().__init__(root_url, user=user, pwd=password)
        if trusted is not None:
            self._http_session.verify = str(trusted)
        self._timeout = timeout
        self._http_session.trust_env = False  # no proxy from the environment, no password from ~/.netrc
        # The client repeats any request three times when no answer came, also one that sends a whole study.
        retry = Retry(total=None, connect=1, read=False, status=0, redirect=0, other=0, backoff_factor=0.2)
        for scheme in ("http://", "https://"):
            self._http_session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(self, endpoint: str, **options: Any) -> Any:
        return super().get(endpoint, **self._bounded(options))

    def post(self, endpoint: str, **options: Any) -> Any:
        return super().post(endpoint, **self._bounded(options))

    def put(self, endpoint: str, **options: Any) -> Any:
        return super().put(endpoint, **self._bounded(options))

    def delete(self, endpoint: str, **options: Any) -> Any:
        return super().delete(endpoint, **self._bounded(options))

    def _bounded(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"timeout": self._timeout, "allow_redirects": False, **options}

    def _translate_exception(self, request_exception: requests.RequestException, url: str) -> None:
        if isinstance(request_exception, requests.Timeout):  # ConnectTimeout is a ConnectionError too
            raise client_errors.TimeoutError(url=url)
        if isinstance(request_exception, requests.exceptions.SSLError):
            raise _TlsError(url=url)
        raise client_errors.ConnectionError(url=url)
