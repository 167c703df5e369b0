"""The conformance statement (PS3.2), with IHE's integration statement, printed from the lists that the code uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID

from dicom_node import commitment, contexts, elements, store_scp, tls
from dicom_node.admission import Rejection
from dicom_node.conversation import MAXIMUM_ANSWER
from dicom_node.integration_statement import integration_statement
from dicom_node.listener import ListenerConfig
from dicom_node.markdown import table
from dicom_node.negotiation import MAXIMUM_CONTEXTS
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.proposal import MAXIMUM_ITEMS
from dicom_node.query_conformance import query_services
from dicom_node.requestor import LARGEST_PDU, Timeouts
from dicom_node.results.classes import SOP_CLASS
from dicom_node.scu import StatusClass, classify
from dicom_node.upper_layer import MINIMUM_RATE
from dicom_node.web_conformance import web_services
from triage.profiles import DEFAULT, ResultKind


@dataclass(frozen=True, slots=True)
class CreatedClass:
    """A SOP class that the node creates, for the table of the user side."""

    sop_class_uid: str
    purpose: str


_PURPOSE: Final[Mapping[ResultKind, str]] = {
    ResultKind.REPORT: "report (TID 1500), and a reader's assessment of it",
    ResultKind.HEAT_MAP: "heat map as a picture",
    ResultKind.SEGMENTATION: "region of a finding",
    ResultKind.PARAMETRIC_MAP: "heat map in the geometry of the image; not of projection radiographs",
    ResultKind.PRESENTATION_STATE: "outline and text on the source image",
    ResultKind.PDF: "report for people",
    ResultKind.KEY_OBJECTS: "images that made the case urgent",
}
_CREATED: Final = tuple(
    CreatedClass(SOP_CLASS[kind], purpose + ("" if kind in DEFAULT.objects else "; by choice of the destination"))
    for kind, purpose in _PURPOSE.items()
)


def statement(config: ListenerConfig, *, created: Iterable[CreatedClass] = _CREATED) -> str:
    """The statement as Markdown; the same input gives the same text.

    Parameters
    ----------
    config : ListenerConfig
        The limits that it quotes.
    created : iterable of CreatedClass
        What the node sends.
    """
    return "\n".join(
        (
            _HEAD,
            table(
                ("", "value"),
                (
                    ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
                    ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
                    ("Application Context Name", "1.2.840.10008.3.1.1.1"),
                    ("AE title (default)", config.ae_title),
                    ("Port (default)", str(config.port)),
                    ("Port with TLS (default)", "none" if config.tls_port is None else str(config.tls_port)),
                    ("Maximum PDU length announced", f"{config.maximum_pdu} bytes"),
                    ("Longest PDU sent", f"{LARGEST_PDU} bytes"),
                    ("Simultaneous associations", str(config.maximum_associations)),
                    ("Asynchronous operations window", "1, 1"),
                ),
            ),
            "\n## Association acceptance\n",
            _ADMISSION,
            table(
                ("rejection", "result", "source", "reason"),
                ((r.name.replace("_", " ").lower().replace(" ae ", " AE "), *map(str, r.value)) for r in Rejection),
            ),
            _limits(config),
            "## Services accepted (provider)\n",
            "Verification (1.2.840.10008.1.1) and Storage of every SOP class below. Storage SOP classes that are not "
            "in this table are accepted too when they are private or lie below 1.2.840.10008.5.1.4.1.1: a refused "
            "class makes some senders give up a whole study. An instance needs Study, Series and SOP Instance UID and "
            "SOP Class UID.\n",
            table(("SOP class", "UID"), ((UID(uid).name, uid) for uid in contexts.STORAGE_SOP_CLASSES)),
            "\n### Transfer syntaxes, in order of choice\n",
            f"The first of these that a presentation context offers is accepted. Data sets are kept byte for byte as "
            f"received. Of a deflated data set at most {elements.INFLATE_LIMIT} bytes are inflated to read its "
            "header.\n",
            table(("transfer syntax", "UID"), ((UID(uid).name, uid) for uid in contexts.TRANSFER_SYNTAXES)),
            "\n### Statuses of C-STORE\n",
            _statuses(),
            "",
            query_services(),
            "## Services used (user)\n",
            _SENDING,
            table(
                ("SOP class", "UID", "purpose"),
                ((UID(c.sop_class_uid).name, c.sop_class_uid, c.purpose) for c in created),
            ),
            "\nEach object is offered in its own transfer syntax, and in Explicit and Implicit VR Little Endian.\n",
            "### Reaction to statuses\n",
            table(
                ("status", "taken as"),
                (
                    ("0x0000", classify(0x0000).value),
                    ("0xB000 to 0xBFFF, 0x0001, 0x0107, 0x0111, 0x0116", classify(0xB000).value),
                    ("0xA700 to 0xA7FF, 0x0110, 0x0213", classify(0xA700).value),
                    ("any other", StatusClass.PERMANENT.value),
                ),
            ),
            f"\nTime limits: {Timeouts().connect:g} s to connect, {Timeouts().association:g} s for the association, "
            f"{Timeouts().response:g} s for a response.\n",
            _PROOF,
            table(
                ("SOP class", "UID", "roles", "use"),
                (
                    (
                        _name(contexts.STORAGE_COMMITMENT),
                        contexts.STORAGE_COMMITMENT,
                        "SCU",
                        "N-ACTION, N-EVENT-REPORT",
                    ),
                    (_name(contexts.STUDY_ROOT_FIND), contexts.STUDY_ROOT_FIND, "SCU", "C-FIND at IMAGE level"),
                ),
            ),
            "\n### Statuses of N-EVENT-REPORT\n",
            table(
                ("status", "when"),
                (
                    ("0x0000", "recorded; also for a report that came before"),
                    (f"{commitment.INVALID_ARGUMENT_VALUE:#06x}", "unknown Transaction UID, or not readable"),
                    (f"{commitment.NO_SUCH_EVENT_TYPE:#06x}", "Event Type ID other than 1 and 2"),
                    (f"{commitment.RESOURCE_LIMITATION:#06x}", f"data set over {MAXIMUM_ANSWER} bytes"),
                    (f"{store_scp.PROCESSING_FAILURE:#06x}", "cannot be recorded now; report again"),
                    (f"{commitment.UNRECOGNIZED_OPERATION:#06x}", "N-ACTION: this node is no provider"),
                    (f"{store_scp.NOT_AUTHORIZED:#06x}", "the peer was removed while the association was open"),
                ),
            ),
            "",
            web_services(),
            _SECURITY,
            _CHARACTER_SETS,
            integration_statement(),
        )
    )


def _limits(config: ListenerConfig) -> str:
    limits = config.association_limits
    return (
        f"\nTime limits: {config.artim_seconds:g} s for the association request (ARTIM), {config.idle_seconds:g} s "
        f"without a message, {config.stall_seconds:g} s of silence inside a message, which as a whole has to come with "
        f"at least {MINIMUM_RATE // 1024} KiB/s. Beyond them the association is aborted. Between two messages this "
        f"node asks for release when the association is older than {limits.seconds / 3600:g} h, has carried more than "
        f"{limits.received_bytes // 1024**3} GiB, or has stored nothing for {limits.seconds_without_store / 60:g} min. "
        f"A request may have {MAXIMUM_CONTEXTS} presentation contexts, and {MAXIMUM_ITEMS} sub-items in any of its "
        "items.\n"
    )


def _name(uid: str) -> str:
    return UID(uid).name


def _statuses() -> str:
    """The table in :mod:`dicom_node.store_scp`'s own words."""
    lines = (store_scp.__doc__ or "").splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


_HEAD = """# DICOM conformance statement

Printed by `firstread conformance` from the lists that the node negotiates with; do not edit.

## Implementation
"""

_ADMISSION = """Bound to a loopback address, any calling AE title is admitted; bound to any other, only listed ones,
each optionally from one address or network, and each optionally for some services only: `store`, `find`, `worklist`
(other presentation contexts are then refused, result 1). Where a peer is removed, or loses a service, while an
association is open, the message under way is finished, the next one is answered 0x0124, and without any admission left
this node asks for release. The called AE title has to be ours. The first rule that a
request breaks decides:
"""

_SENDING = """One association per batch and destination, one at a time, kept open while there is something to send. The
classes of *Proof of delivery* are proposed with it, to learn whether the destination serves them. No extended
negotiation.
"""

_PROOF = """## Proof of delivery

After C-STORE the destination is asked, on another association, whether it holds the objects: by Storage Commitment
(PS3.4 annex J), or by C-FIND for each SOP Instance UID under its Study and Series Instance UID where it offers no
commitment, refuses the request, or did not report in time (`commitment_hours`). Failed and unproven objects are sent
again with the same UIDs. A report is heard on the association of the request for a moment, and afterwards on any
association of an admitted peer that proposes Storage Commitment with SCP/SCU role selection (SCU 0, SCP 1), or without
a selection.
"""

_SECURITY = f"""## Security profiles

TLS on a port of its own (`dicom_tls_port`) and towards each destination that is set so, by the BCP 195 RFC 8996, 9325
TLS Secure Transport Connection Profile (PS3.15 annex B), as acceptor and as requestor: TLS 1.2 and 1.3, for 1.2 the
suites `{tls.CIPHERS}`, no older version, no way down to a connection without TLS. Both sides show a certificate that
comes from a trusted authority. As requestor the node checks that it names the host of the destination, or bears the
name or fingerprint that is set for it. An AE title may be bound to a certificate; whoever claims it with another one,
or without TLS, is rejected (1, 1, 3). A handshake has the time of ARTIM.
"""

_CHARACTER_SETS = """## Character sets

Received text is kept as encoded. For the index it is decoded by Specific Character Set (0008,0005), single-byte,
ISO 2022 and multi-byte (ISO_IR 192, GB18030, GBK); bytes that the declared set does not have are read as UTF-8 or
Latin-1.
"""
