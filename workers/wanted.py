"""What the destinations want of an analysis, each thing once: for whoever builds and whoever owes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from triage.peers import Destination
from triage.profiles import DEFAULT, Kind, MessageKind, Profile, ResultKind
from triage.settings import Settings

SERVED_HERE: Final = Destination(address="fhir+http://localhost")
"""Nothing is sent there: whoever fetches a FHIR bundle from this node gets it in the default form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A DICOM object in one variant, and a profile that has it."""

    kind: ResultKind
    profile: Profile

    @property
    def variant(self) -> str:
        return self.profile.variant(self.kind)

    @property
    def always(self) -> bool:
        """Built for every analysis whatever destinations want: the page and the custody checks rely on it."""
        return not self.variant and self.kind in DEFAULT.objects


def wanted_objects(settings: Settings) -> tuple[Wanted, ...]:
    """What is to be built, by kind; the default report and heat map are always among it, before their variants."""
    profiles = [DEFAULT, *(d.profile for d in settings.destinations if d.kind.message is None)]
    found: dict[tuple[ResultKind, str], Wanted] = {}
    for kind in ResultKind:
        for profile in profiles:
            if kind in profile.kinds:
                found.setdefault((kind, profile.variant(kind)), Wanted(kind=kind, profile=profile))
    return tuple(found.values())


def wanted_messages(settings: Settings) -> Mapping[tuple[MessageKind, str], Destination]:
    """Messages to be built, each with a destination whose options shape it."""
    here = (SERVED_HERE,) if settings.serve_fhir else ()
    return {
        (kind, variant): destination
        for destination in (*here, *reversed(settings.destinations))
        for kind, variant in destination.wanted
        if isinstance(kind, MessageKind)
    }


def owed(settings: Settings) -> Mapping[str, frozenset[tuple[Kind, str]]]:
    """Address of each destination to what an analysis owes it: (kind, variant)."""
    return {destination.address: destination.wanted for destination in settings.destinations}
