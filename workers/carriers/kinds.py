"""The kinds of destinations that this version can deal with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from triage.addresses import DestinationKind
from triage.errors import SettingsError
from workers.carriers import c_store, dicomweb, fhir, mllp, orthanc_label, ups, webhook
from workers.carriers.protocol import CarrierKind

KINDS: Final[Mapping[DestinationKind, CarrierKind]] = {
    DestinationKind.C_STORE: c_store.KIND,
    DestinationKind.DICOMWEB: dicomweb.KIND,
    DestinationKind.MLLP: mllp.KIND,
    DestinationKind.FHIR: fhir.KIND,
    DestinationKind.UPS: ups.KIND,
    DestinationKind.WEBHOOK: webhook.KIND,
    DestinationKind.ORTHANC: orthanc_label.KIND,
}


def carrier_kind(kind: DestinationKind) -> CarrierKind:
    """How a kind is dealt with.

    Raises
    ------
    SettingsError
        This version cannot.
    """
    found = KINDS.get(kind)
    if found is None:
        raise SettingsError(
            f"This version sends nothing to destinations of the kind {kind}.",
            next_step="Remove the destination, or update firstread and send what waits for it again.",
        )
    return found
