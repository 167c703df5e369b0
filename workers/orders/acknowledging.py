"""The acknowledgement of an HL7 v2 message that came (chapter 2.9, 2.13): who understood what, and what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from workers.carriers.mllp_link import AckCode
from workers.messages.hl7 import Message, escape, segment

_COMMIT: Final = {
    AckCode.ACCEPTED: AckCode.COMMIT_ACCEPTED,
    AckCode.ERROR: AckCode.COMMIT_ERROR,
    AckCode.REJECTED: AckCode.COMMIT_REJECTED,
}
UNSUPPORTED_TYPE: Final = "200^Unsupported message type^HL70357"
REQUIRED_FIELD_MISSING: Final = "101^Required field missing^HL70357"
APPLICATION_ERROR: Final = "207^Application internal error^HL70357"


def acknowledgement(
    message: Message | None,
    code: AckCode,
    *,
    at: datetime,
    control_id: str,
    text: str = "",
    field: str = "",
    condition: str = "",
) -> bytes:
    """An ACK, encoded, without its frame.

    Parameters
    ----------
    message : Message or None
        What is acknowledged; None for bytes that are no message, which have no control ID to name.
    control_id : str
        Of the acknowledgement itself.
    text : str
        What is wrong and what to do, without values of the message.
    field : str
        Where, such as ``OBR-18``.
    condition : str
        Of table 0357, as CWE.
    """
    header = message.first("MSH") if message else None
    accepted = header is not None and header.text(15).strip().upper() in ("AL", "SU", "ER")
    said = _COMMIT[code] if accepted else code
    version = (header.text(12).strip() if header else "") or "2.5.1"
    trigger = header.text(9, 2).strip() if header else ""
    lines = [
        segment(
            "MSH",
            {
                3: escape(header.text(5)) if header else "",
                4: escape(header.text(6)) if header else "",
                5: escape(header.text(3)) if header else "",
                6: escape(header.text(4)) if header else "",
                7: f"{at:%Y%m%d%H%M%S}+0000",
                9: f"ACK^{escape(trigger)}^ACK" if trigger else "ACK",
                10: control_id,
                11: (escape(header.text(11)) if header else "") or "P",
                12: escape(version),
                18: "UNICODE UTF-8",
            },
        ),
        segment("MSA", {1: said, 2: escape(header.text(10)) if header else "", 3: escape(text[:80])}),
    ]
    if code is not AckCode.ACCEPTED:
        name, _, number = field.partition("-")
        place = f"{name}^1^{number}" if number else name
        lines.append(segment("ERR", {2: place, 3: condition or APPLICATION_ERROR, 4: "E", 8: escape(text)}))
    return "".join(f"{line}\r" for line in lines).encode()
