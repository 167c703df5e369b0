"""Digests as the product writes them, computed without it."""

from __future__ import annotations

from blake3 import blake3


def data_set_digest(data_set: bytes | memoryview) -> str:
    """Digest of an encoded data set, as it stands in the row of its instance and in the name of its file."""
    return f"b3-{blake3(data_set).hexdigest()}"
