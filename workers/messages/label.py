"""Which label an Orthanc is to put on a study: the class that all its analyses ask for together."""

from __future__ import annotations

import json
from typing import Final

from triage.findings import Urgency

LABELS: Final = {urgency: f"ai-{urgency.lower()}" for urgency in Urgency}


def build_label(study_instance_uid: str, urgency: Urgency) -> bytes:
    """A JSON document with ``study_instance_uid`` and ``label``."""
    content = {"study_instance_uid": study_instance_uid, "label": LABELS[urgency]}
    return json.dumps(content, indent=1).encode()
