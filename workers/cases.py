"""One claimed analysis on its way through a worker process."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.bundle import Bundle
from triage.findings import Considered, NotAnalysed
from workers.claims import Claim
from workers.scoring import Ready
from workers.series_screening import Looked


@dataclass(kw_only=True)
class Case:
    """One claimed analysis on its way through this process.

    Attributes
    ----------
    bundle : Bundle or None
        None as long as no image of the study is for a network.
    carried : list of int
        Instance ids whose findings an earlier revision already has.
    other_bundles : set of str
        Bundles that read other images of the study.
    burned_in : bool
        An image says that annotation is burnt into it.
    considered : dict
        SOP Instance UID to what every bundle said to the image.
    series : Looked or None
        Of a bundle that reads series: the volumes that its slices make. ``ready`` and ``carried`` stay empty.
    paths : dict of int to str
        Instance id to the file of each slice, below the archive root.
    """

    claim: Claim
    bundle: Bundle | None = None
    instance_ids: dict[str, int] = field(default_factory=dict)
    left_out: list[NotAnalysed] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)
    other_bundles: set[str] = field(default_factory=set)
    burned_in: bool = False
    considered: dict[str, tuple[Considered, ...]] = field(default_factory=dict)
    series: Looked | None = None
    paths: dict[int, str] = field(default_factory=dict)

    def leave_out(self, image: NotAnalysed) -> None:
        """An image whose header a bundle took: its reason also corrects what that bundle said."""
        self.left_out.append(image)
        self.considered[image.sop_instance_uid] = image.considered
