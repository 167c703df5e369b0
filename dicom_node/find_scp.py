"""The query services as provider: C-FIND in the Study Root, Patient Root and Modality Worklist models.

Matches come in reading order: open cases as the list shows them, behind them (not in the worklist) read ones, latest
first. They are those of one moment, found before the first is sent: a reader that takes its time holds no transaction.

| status | when |
|---|---|
| 0xFF00 Pending | a match, with all attributes that were asked for |
| 0xFF01 Pending | a match; something was asked for that this node does not know |
| 0x0000 Success | all matches were sent |
| 0xFE00 Cancel | C-CANCEL came |
| 0xA700 out of resources | more matches than `max_matches`, behind these; too many queries at once; database away |
| 0xA900 identifier does not match | level or a unique key above it missing or unknown; a date or time that is none |
| 0xC000 unable to process | the identifier is not a data set, or too large |
| 0x0110 processing failure | a defect of this software |
| 0x0124 not authorized | the peer was removed, or this service, while the association was open |
| 0x0122 SOP class not supported | class is not that of the presentation context |
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dicom_node.association import AssociationSummary
from dicom_node.contexts import MODALITY_WORKLIST_FIND, PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dicom_node.dimse import CommandField, CommandSet
from dicom_node.information_models import (
    ABOVE,
    PATIENT_ID,
    PATIENT_LEVEL,
    PATIENT_ROOT,
    QUERY_RETRIEVE_LEVEL,
    SERIES_UID,
    STUDY_LEVEL,
    STUDY_ROOT,
    STUDY_UID,
    WORKLIST,
    Facts,
    Here,
    Level,
)
from dicom_node.match_encoding import Element, encode_match
from dicom_node.negotiation import Roles
from dicom_node.query_conditions import (
    IDENTIFIER_DOES_NOT_MATCH,
    QueryRefusedError,
    accepting,
    narrowed,
    require_one_value,
)
from dicom_node.query_keys import MAXIMUM_IDENTIFIER, Keys, read_identifier
from dicom_node.store_scp import (
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    Answer,
    Operation,
    RefusedOperation,
)
from triage.catalogue import Catalogue, Narrowing, StudyFacts
from triage.errors import DatabaseUnavailableError, DicomError
from triage.logging import get_logger
from triage.matching import KeyRefusedError

PENDING: Final = 0xFF00
PENDING_WITH_UNKNOWN_KEYS: Final = 0xFF01
UNABLE_TO_PROCESS: Final = 0xC000
UNRECOGNIZED_OPERATION: Final = 0x0211
QUERIES_AT_ONCE: Final = 4
"""Of one process; more wait, because each is work that receiving should not feel."""
SEARCH_SECONDS: Final = 20.0
"""For the matches of one query."""
WAIT_FOR_TURN: Final = 10.0
NOT_KEYS: Final = frozenset({0x00080005, 0x00080201, QUERY_RETRIEVE_LEVEL, 0x00080053, 0x00080054})
"""Of an identifier that are no attributes of its level: character set, time zone, level, view, retrieve AE title."""
FIND_CLASSES: Final = (STUDY_ROOT_FIND, PATIENT_ROOT_FIND, MODALITY_WORKLIST_FIND)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Match:
    """A pending response."""

    status: int
    data_set: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """Matches, encoded one by one as they are taken, how many there are, and what ends them."""

    matches: Iterable[Match]
    number: int
    answer: Answer


class FindService:
    """A SOP class of C-FIND on a listener.

    Parameters
    ----------
    maximum_matches : int
        Of one query.
    turns : Semaphore, optional
        Shared with other classes of the same process: :data:`QUERIES_AT_ONCE`.
    """

    requestor = Roles(user=True, provider=False)

    def __init__(
        self,
        sop_class_uid: str,
        catalogue: Catalogue,
        here: Here,
        *,
        maximum_matches: int,
        turns: threading.BoundedSemaphore | None = None,
    ) -> None:
        self._sop_class_uid = sop_class_uid
        self._catalogue = catalogue
        self._here = here
        self._maximum = maximum_matches
        self._turns = turns or threading.BoundedSemaphore(QUERIES_AT_ONCE)

    def begin(self, request: CommandSet, transfer_syntax: str, association: AssociationSummary) -> Operation:
        """Start to take a query."""
        if request.command_field != CommandField.C_FIND_RQ:
            return RefusedOperation(Answer(UNRECOGNIZED_OPERATION))
        if request.affected_sop_class_uid != self._sop_class_uid:
            comment = "Affected SOP Class is not that of the presentation context"
            return RefusedOperation(Answer(SOP_CLASS_NOT_SUPPORTED, comment, (0x0000, 0x0002)))
        if not request.has_data_set:
            return RefusedOperation(Answer(IDENTIFIER_DOES_NOT_MATCH, "C-FIND without an identifier"))

        def ask(data: bytes) -> Found:
            found = self._ask(data, transfer_syntax)
            log.info(
                "query_answered", association=association.association_uid, calling=association.calling_ae_title,
                sop_class=self._sop_class_uid, matches=found.number, status=f"{found.answer.status:#06x}",
            )  # fmt: skip
            return found

        return FindOperation(ask)

    def _ask(self, data: bytes, transfer_syntax: str) -> Found:
        if not self._turns.acquire(timeout=WAIT_FOR_TURN):
            return Found((), 0, Answer(OUT_OF_RESOURCES, "Too many queries at once, ask again"))
        try:
            return self._found(data, transfer_syntax)
        except Exception as error:  # noqa: BLE001 - the boundary: every failure becomes a status
            return Found((), 0, answer_to(error))
        finally:
            self._turns.release()

    def _found(self, data: bytes, transfer_syntax: str) -> Found:
        identifier = read_identifier(data, transfer_syntax)
        keys = identifier.keys
        level, facts = self._facts(keys)
        status = PENDING if _all_known(keys, level) else PENDING_WITH_UNKNOWN_KEYS
        asked_level = () if level is WORKLIST else (_level_element(keys),)

        def match(each: Facts) -> Match:
            elements = (*_answered(each, keys, level, self._here), *asked_level)
            return Match(status, encode_match(elements, transfer_syntax, identifier.character_set))

        sent = facts[: self._maximum]
        answer = Answer(SUCCESS)
        if len(facts) > len(sent):
            answer = Answer(OUT_OF_RESOURCES, f"More than {self._maximum} matches: narrow the query")
        return Found(map(match, sent), len(sent), answer)

    def _facts(self, keys: Keys) -> tuple[Level, Sequence[Facts]]:
        """What the keys match, one more than may be answered at most."""
        if self._sop_class_uid == MODALITY_WORKLIST_FIND:
            return WORKLIST, self._studies(keys, WORKLIST, Narrowing(unread=True))
        name = keys.text(QUERY_RETRIEVE_LEVEL)
        model = PATIENT_ROOT if self._sop_class_uid == PATIENT_ROOT_FIND else STUDY_ROOT
        if name not in model:
            comment = f"Query/Retrieve Level is none of {', '.join(model)}"
            raise QueryRefusedError(IDENTIFIER_DOES_NOT_MATCH, comment, QUERY_RETRIEVE_LEVEL)
        above = ABOVE[name]
        if model is PATIENT_ROOT and name != "PATIENT":
            above = (PATIENT_ID, *above)
        for tag in above:
            require_one_value(keys, tag)
        if name == "PATIENT":
            return PATIENT_LEVEL, self._patients(keys)
        if name == "STUDY":
            return STUDY_LEVEL, self._studies(keys, STUDY_LEVEL, Narrowing())
        study_uid, series_uid = keys.text(STUDY_UID), keys.text(SERIES_UID)
        found: Sequence[Facts] = (
            self._catalogue.series(study_uid) if name == "SERIES" else self._catalogue.instances(study_uid, series_uid)
        )
        accepts = accepting(keys, model[name], self._here)
        return model[name], [facts for facts in found if accepts(facts)][: self._maximum + 1]

    def _studies(self, keys: Keys, level: Level, narrowing: Narrowing) -> Sequence[StudyFacts]:
        accept = _in_time(accepting(keys, level, self._here))
        return self._catalogue.studies(narrowed(keys, narrowing), accept, self._maximum + 1)

    def _patients(self, keys: Keys) -> Sequence[StudyFacts]:
        """One study of each patient: the first in the order."""
        accepts = _in_time(accepting(keys, PATIENT_LEVEL, self._here))
        seen: set[tuple[str, str]] = set()

        def first(facts: StudyFacts) -> bool:
            patient = (facts.patient_id, facts.issuer_of_patient_id)
            if patient in seen or not accepts(facts):
                return False
            seen.add(patient)
            return True

        return self._catalogue.studies(narrowed(keys, Narrowing()), first, self._maximum + 1)


def _in_time(accepts: Callable[[StudyFacts], bool]) -> Callable[[StudyFacts], bool]:
    """Keys that the database cannot look for are compared study by study, beside the C-STOREs of this process."""
    end = time.monotonic() + SEARCH_SECONDS

    def timed(facts: StudyFacts) -> bool:
        if time.monotonic() > end:
            raise QueryRefusedError(OUT_OF_RESOURCES, "The query takes too long: narrow it")
        return accepts(facts)

    return timed


class FindOperation:
    """One C-FIND: takes the identifier, then gives its matches one by one, then the answer that ends them."""

    def __init__(self, ask: Callable[[bytes], Found]) -> None:
        self._ask = ask
        self._data = bytearray()
        self._answer = Answer(PROCESSING_FAILURE)
        self.size = 0

    def write(self, data: memoryview) -> None:
        self.size += len(data)
        if self.size <= MAXIMUM_IDENTIFIER:
            self._data += data

    def matches(self) -> Iterator[Match]:
        """The pending responses; comes before :meth:`finish`. Never raises."""
        if self.size > MAXIMUM_IDENTIFIER:
            self._answer = Answer(UNABLE_TO_PROCESS, "Identifier is larger than this node accepts")
            return
        try:
            found = self._ask(bytes(self._data))
            yield from found.matches
            self._answer = found.answer
        except Exception as error:  # the boundary: what was not sent is not said to be all
            log.error("match_not_encoded", error=type(error).__name__, exc_info=error)

    def finish(self) -> Answer:
        return self._answer

    def abandon(self) -> None:
        """Nothing was begun."""


def answer_to(error: Exception) -> Answer:
    """The status of a query that found nothing because of an error."""
    match error:
        case QueryRefusedError():
            return error.answer
        case KeyRefusedError():
            return Answer(IDENTIFIER_DOES_NOT_MATCH, "A date or time key is none")
        case DicomError():
            return Answer(UNABLE_TO_PROCESS, str(error)[:64])
        case DatabaseUnavailableError():
            return Answer(OUT_OF_RESOURCES, "Database is not available")
        case _:
            log.error("query_failed", error=type(error).__name__, exc_info=error)
            return Answer(PROCESSING_FAILURE, "Internal error, see the log of this node")


def _all_known(keys: Keys, level: Level) -> bool:
    for tag, asked in keys.values.items():
        attribute = level.get(tag)
        if attribute is None and tag not in NOT_KEYS:
            return False
        items = None if attribute is None else attribute.items
        if items is not None and isinstance(asked, Keys) and not _all_known(asked, items):
            return False
    return True


def _answered(facts: Facts, keys: Keys, level: Level, here: Here) -> Iterator[Element]:
    """Every attribute that was asked for and is known."""
    for tag, asked in keys.values.items():
        attribute = level.get(tag)
        if attribute is None:
            continue
        if attribute.items is None:
            value = (attribute.shown or attribute.of)(facts, here)
            yield Element(tag, attribute.vr, value)
        elif isinstance(asked, Keys):
            wanted = asked if asked.values else Keys(dict.fromkeys(attribute.items, ""))
            yield Element(tag, "SQ", [list(_answered(facts, wanted, attribute.items, here))])


def _level_element(keys: Keys) -> Element:
    return Element(QUERY_RETRIEVE_LEVEL, "CS", keys.text(QUERY_RETRIEVE_LEVEL))
