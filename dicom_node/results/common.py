"""What every result object has: its name, its time, whose it is and who made it."""

from __future__ import annotations

import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_node.results.equipment import put_equipment
from dicom_node.results.identity import SourceHeader, put_identity
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import plain
from triage.errors import ResultError
from triage.profiles import LONGEST_DESCRIPTION


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """One object in the making: the facts that its modules share.

    Attributes
    ----------
    source : SourceHeader
        Header of the image whose patient and study the object belongs to.
    created_at : datetime
        Time zone aware. Written in the zone that the source declares, else as given: hand it over in the site's zone.
    """

    source: SourceHeader
    names: ResultNames
    created_at: datetime

    def dataset(
        self,
        kind: ResultKind,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        modality: str,
        instance_number: int,
    ) -> tuple[Dataset, tuple[str, ...]]:
        """A data set with the patient, study, series, equipment and SOP common modules, and the adjusted keywords.

        Number and description of the series are those of the profile in :attr:`names`.
        """
        profile, algorithm = self.names.profile, self.names.algorithm
        description = profile.description_of(kind, bundle=algorithm.name, version=algorithm.version)
        target = Dataset()
        adjusted = put_identity(self.source, target)
        moment = _in_declared_zone(self.created_at, target.get("TimezoneOffsetFromUTC"))
        day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
        target.SOPClassUID = sop_class_uid
        target.SOPInstanceUID = sop_instance_uid
        target.InstanceCreationDate = target.SeriesDate = target.ContentDate = day
        target.InstanceCreationTime = target.SeriesTime = target.ContentTime = time
        target.Modality = modality
        target.SeriesInstanceUID = self.names.series(kind)
        target.SeriesNumber = profile.series_number_of(kind)
        target.SeriesDescription = plain(description, LONGEST_DESCRIPTION)
        target.InstanceNumber = instance_number
        put_equipment(target, self.names.node, algorithm, self.source, moment)
        return target, adjusted


@contextmanager
def failures_named(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ResultError that says where, and nothing of what the header holds.

    The cause is dropped on purpose: pydicom quotes values in its messages. ``others`` are the exceptions that a
    library derives from Exception directly.
    """
    expected: tuple[type[Exception], ...] = (
        ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
        ValueError, EOFError, struct.error, *others,
    )  # fmt: skip
    try:
        yield
    except expected as error:
        raise ResultError(f"{what} could not be built: {type(error).__name__} at {_place(error)}.") from None


def _place(error: BaseException) -> str:
    """File and line of this package where the error came up."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).parent == Path(__file__).parent]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _in_declared_zone(moment: datetime, offset: object) -> datetime:
    """The moment in the zone of Timezone Offset From UTC, which holds for all dates and times of an object."""
    if moment.tzinfo is None:
        raise ValueError("created_at needs a time zone")
    if not isinstance(offset, str) or len(offset) < 5:
        return moment
    sign = -1 if offset[0] == "-" else 1
    return moment.astimezone(timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))))
