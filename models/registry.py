"""The bundles of this installation, and which of them reads an image, or why none does.

A bad bundle never takes the others down: it is listed as unavailable, with its reason. But an image that a bad
bundle would have read is not quietly given to another model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.bundle import METADATA, Bundle, Override
from models.image_facts import ImageFacts
from models.routing import Refusal, addressed_to, remarks, screen
from triage.errors import BundleError
from triage.findings import NotAnalysedReason

SHIPPED = Path(__file__).parent / "bundles"
"""The bundles that come with the product; a site's own directories go before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One bundle directory.

    Attributes
    ----------
    bundle : Bundle or None
        None where even the metadata cannot be read.
    problem : str
        Why it is unavailable; empty where all is well.
    enabled : bool
        False where the site has switched it off.
    """

    directory: Path
    bundle: Bundle | None
    problem: str = ""
    enabled: bool = True

    @property
    def available(self) -> bool:
        return self.bundle is not None and self.enabled and not self.problem


@dataclass(frozen=True, slots=True)
class Route:
    """The bundle that reads an image, and what was missing or unusual in the header."""

    bundle: Bundle
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registry:
    """All bundles, those that are asked first in front."""

    entries: tuple[Entry, ...]

    @classmethod
    def load(
        cls,
        directories: Iterable[Path] = (SHIPPED,),
        *,
        overrides: Mapping[str, Override] | None = None,
        disabled: Collection[str] = frozenset(),
        check_files: bool = True,
    ) -> Registry:
        """Find the bundles.

        Parameters
        ----------
        directories : iterable of Path
            Each holds bundles as sub-directories. Earlier directories are asked first (a site's before
            :data:`SHIPPED`); inside one, the higher rank, then the name.
        overrides : mapping of str to Override, optional
            By "bundle name.finding key".
        disabled : collection of str
            Names of bundles that are listed but not used.
        check_files : bool
            False skips the checksums (for listings; a worker checks).
        """
        entries: list[Entry] = []
        names: set[str] = set()
        for directory in directories:
            found = [_entry(path, overrides or {}, disabled, check_files) for path in _candidates(directory)]
            for entry in sorted(found, key=_precedence):
                entries.append(_unless_known(entry, names))
                if entry.bundle is not None:
                    names.add(entry.bundle.metadata.name)
        return cls(tuple(entries))

    @property
    def available(self) -> tuple[Bundle, ...]:
        return tuple(entry.bundle for entry in self.entries if entry.bundle is not None and entry.available)

    def get(self, name: str) -> Bundle:
        """The available bundle of that name.

        Raises
        ------
        BundleError
            There is none, or it is unavailable.
        """
        for entry in self.entries:
            if entry.bundle is not None and entry.bundle.metadata.name == name:
                if entry.available:
                    return entry.bundle
                raise BundleError(f"bundle {name} is {entry.problem or 'disabled'}.")
        raise BundleError(f"there is no bundle {name}.")

    def route(self, facts: ImageFacts) -> Route | Refusal:
        """The first bundle whose conditions the image meets, or the reason why none reads it."""
        refusals: list[Refusal] = []
        for entry in self.entries:
            if entry.bundle is None or not entry.enabled:
                continue
            conditions = entry.bundle.metadata.routing
            refusal = screen(facts, conditions)
            if refusal is None:
                if entry.problem:
                    name = entry.bundle.metadata.name
                    return Refusal(NotAnalysedReason.MODEL_UNAVAILABLE, f"{name}: {entry.problem}")
                return Route(entry.bundle, remarks(facts, conditions))
            if addressed_to(facts, conditions):
                refusals.append(refusal)
        if refusals:
            # A bundle that reads this modality knows more of what is wrong than one that does not.
            return min(refusals, key=lambda refusal: refusal.reason is NotAnalysedReason.UNSUPPORTED_MODALITY)
        if any(entry.bundle is None for entry in self.entries):
            return Refusal(NotAnalysedReason.MODEL_UNAVAILABLE, "a bundle's metadata cannot be read")
        return Refusal(NotAnalysedReason.NO_BUNDLE)


def _candidates(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return [directory]  # becomes an entry that says so
    return sorted(path for path in directory.iterdir() if path.is_dir() and path.name[0] not in "._")


def _entry(directory: Path, overrides: Mapping[str, Override], disabled: Collection[str], check_files: bool) -> Entry:
    if not (directory / METADATA).is_file():
        return Entry(directory=directory, bundle=None, problem=f"{directory} has no {METADATA}")
    try:
        bundle = Bundle.load(directory)
    except BundleError as error:
        return Entry(directory=directory, bundle=None, problem=str(error))
    enabled = bundle.metadata.name not in disabled
    try:
        bundle = bundle.with_overrides(overrides)
        if check_files and enabled:
            bundle.check_files()
    except BundleError as error:
        return Entry(directory=directory, bundle=bundle, problem=str(error), enabled=enabled)
    return Entry(directory=directory, bundle=bundle, enabled=enabled)


def _precedence(entry: Entry) -> tuple[int, str]:
    if entry.bundle is None:
        return 0, entry.directory.name
    return -entry.bundle.metadata.routing.rank, entry.bundle.metadata.name


def _unless_known(entry: Entry, names: set[str]) -> Entry:
    if entry.bundle is None or entry.bundle.metadata.name not in names:
        return entry
    problem = f"a bundle named {entry.bundle.metadata.name} comes before it"
    return Entry(directory=entry.directory, bundle=entry.bundle, problem=problem, enabled=False)
