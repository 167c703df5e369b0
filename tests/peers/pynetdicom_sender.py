"""pynetdicom as a sender of bytes that no sender should send."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE, _config


def send_bytes(path: Path, port: int, monkeypatch: pytest.MonkeyPatch, *, called: str = "FIRSTREAD") -> int:
    """Send whatever follows the File Meta Information, unread, as the instance that it announces; the status."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    meta = dcmread(path, force=True, specific_tags=[], stop_before_pixels=True).file_meta
    sender = AE("MODALITY")
    sender.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    try:
        return int(association.send_c_store(path).Status)
    finally:
        association.release()
