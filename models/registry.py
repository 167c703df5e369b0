"""The bundles of this installation, and which of them reads an image, or why none does.

A bad bundle never takes the others down: it is listed as unavailable, with its reason. But an image that a bad
bundle would have read is not quietly given to another model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.bundle import METADATA, Bundle, Override
from models.image_facts import ImageFacts
from models.metadata import BundleMetadata
from models.routing import Refusal, addressed_to, remarks, screen
from models.site import SiteState, Verdict, read_state, verdict
from triage.errors import BundleError
from triage.findings import Considered, NotAnalysedReason

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
        False where the site has switched it off, or not yet on.
    note : str
        Why it is not enabled.
    """

    directory: Path
    bundle: Bundle | None
    problem: str = ""
    enabled: bool = True
    note: str = ""

    @property
    def available(self) -> bool:
        return self.bundle is not None and self.enabled and not self.problem


@dataclass(frozen=True, slots=True)
class Route:
    """The bundle that reads an image, and what was missing or unusual in the header."""

    bundle: Bundle
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Who reads an image, and what became of every bundle that was asked, in the order of asking."""

    verdict: Route | Refusal
    considered: tuple[Considered, ...] = ()


_Judge = Callable[[Bundle], Verdict]
_Overrides = Callable[[Bundle], Mapping[str, Override]]


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

        def judge(bundle: Bundle) -> Verdict:
            return Verdict(bundle.metadata.name not in disabled, "disabled")

        return cls(_found([(path, judge) for path in directories], lambda _: overrides or {}, check_files))

    @classmethod
    def of_site(cls, folder: Path, shipped: Path = SHIPPED, *, check_files: bool = True) -> Registry:
        """The bundles of an installation as its site has decided about them (:mod:`models.site`).

        Where that decision cannot be read no bundle is used: one that was disabled must not come back by itself.

        Parameters
        ----------
        folder : Path
            The site's own bundles and ``site.json``; it need not exist.
        """
        problem = ""
        try:
            state = read_state(folder)
        except BundleError as error:
            state, problem = SiteState(), str(error)
        directories: list[tuple[Path, _Judge]] = [(shipped, lambda bundle: verdict(state, bundle, shipped=True))]
        if folder.is_dir():
            directories.insert(0, (folder, lambda bundle: verdict(state, bundle, shipped=False)))
        entries = _found(directories, state.overrides, check_files and not problem)
        if problem:
            entries = tuple(replace(entry, problem=problem, enabled=True, note="") for entry in entries)
        present = {
            entry.bundle.metadata.name if entry.bundle else entry.directory.name for entry in entries if entry.enabled
        }
        gone = (
            Entry(directory=folder / name, bundle=None, problem=f"{name} is enabled and not in {folder}")
            for name, standing in state.bundles.items()
            if standing.enabled and standing.source == "site" and name not in present
        )
        return cls((*gone, *entries))

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
        entry = self.entry(name)
        if entry.bundle is not None and entry.available:
            return entry.bundle
        raise BundleError(f"bundle {name} is {_state(entry)}.")

    def entry(self, name: str) -> Entry:
        """The bundle of that name: the enabled one where there are several, else the first.

        Raises
        ------
        BundleError
            There is none.
        """
        named = [entry for entry in self.entries if entry.bundle is not None and entry.bundle.metadata.name == name]
        if not named:
            raise BundleError(f"there is no bundle {name}.", next_step="`firstread models list` names them.")
        return next((entry for entry in named if entry.enabled), named[0])

    def route(self, facts: ImageFacts) -> Route | Refusal:
        """The first bundle whose conditions the image meets, or the reason why none reads it."""
        return self.decide(facts).verdict

    def decide(self, facts: ImageFacts) -> Decision:
        """:meth:`route`, with every bundle's answer."""
        chosen: Route | None = None
        unavailable: Refusal | None = None
        switched_off: Refusal | None = None
        refusals: list[Refusal] = []
        considered: list[Considered] = []
        for entry in self.entries:
            if entry.bundle is None:
                continue
            metadata = entry.bundle.metadata
            refusal = screen(facts, metadata.routing)
            noted = remarks(facts, metadata.routing) if refusal is None else ()
            if refusal is None and not entry.enabled:
                refusal = Refusal(NotAnalysedReason.NO_BUNDLE, f"{metadata.name}: {entry.note}")
                switched_off = switched_off or refusal
            elif refusal is None and entry.problem:
                refusal = Refusal(NotAnalysedReason.MODEL_UNAVAILABLE, f"{metadata.name}: {entry.problem}")
                unavailable = unavailable or (None if chosen else refusal)
            elif refusal is None and (chosen or unavailable):
                refusal = Refusal(NotAnalysedReason.OTHER_BUNDLE, "one that is asked first takes the image")
            elif refusal is None:
                chosen = Route(entry.bundle, noted)
            elif entry.enabled and addressed_to(facts, metadata.routing):
                refusals.append(refusal)
            considered.append(_considered(metadata, refusal, noted))
        if unavailable is not None:  # an image meant for a bundle that cannot read is not given to another one
            return Decision(unavailable, tuple(considered))
        return Decision(chosen or self._none(refusals, switched_off), tuple(considered))

    def _none(self, refusals: Sequence[Refusal], switched_off: Refusal | None) -> Refusal:
        # A bundle that reads this modality, even one that is switched off, knows more than one that does not.
        knowing = [refusal for refusal in refusals if refusal.reason is not NotAnalysedReason.UNSUPPORTED_MODALITY]
        if refusals:
            return next(iter(knowing), switched_off or refusals[0])
        lost = next((entry for entry in self.entries if entry.bundle is None), None)
        if lost is not None:
            return Refusal(NotAnalysedReason.MODEL_UNAVAILABLE, lost.problem)
        return switched_off or Refusal(NotAnalysedReason.NO_BUNDLE)


def _considered(metadata: BundleMetadata, refusal: Refusal | None, noted: tuple[str, ...]) -> Considered:
    return Considered(
        bundle=metadata.name,
        version=metadata.version,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else "",
        remarks=noted,
    )


def _state(entry: Entry) -> str:
    if entry.problem:
        return f"unavailable: {entry.problem}"
    return "available" if entry.enabled else entry.note


def _found(directories: Iterable[tuple[Path, _Judge]], overrides: _Overrides, check_files: bool) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    names: set[str] = set()
    for directory, judge in directories:
        found = [_entry(path, overrides, judge, check_files) for path in _candidates(directory)]
        for entry in sorted(found, key=_precedence):
            entries.append(_unless_known(entry, names))
            if entry.bundle is not None and entry.enabled:
                names.add(entry.bundle.metadata.name)
    return tuple(entries)


def _candidates(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return [directory]  # becomes an entry that says so
    return sorted(path for path in directory.iterdir() if path.is_dir() and path.name[0] not in "._")


def _entry(directory: Path, overrides: _Overrides, judge: _Judge, check_files: bool) -> Entry:
    if not (directory / METADATA).is_file():
        return Entry(directory=directory, bundle=None, problem=f"{directory} has no {METADATA}")
    try:
        bundle = Bundle.load(directory)
    except BundleError as error:
        return Entry(directory=directory, bundle=None, problem=str(error))
    enabled, note, problem = judge(bundle)
    try:
        bundle = bundle.with_overrides(overrides(bundle))
        if check_files and enabled:
            bundle.check_files()
    except BundleError as error:
        problem = problem or str(error)
    return Entry(directory=directory, bundle=bundle, problem=problem, enabled=enabled, note="" if enabled else note)


def _precedence(entry: Entry) -> tuple[int, str]:
    if entry.bundle is None:
        return 0, entry.directory.name
    return -entry.bundle.metadata.routing.rank, entry.bundle.metadata.name


def _unless_known(entry: Entry, names: set[str]) -> Entry:
    if entry.bundle is None or entry.bundle.metadata.name not in names or not entry.enabled:
        return entry
    problem = f"a bundle named {entry.bundle.metadata.name} comes before it"
    return Entry(directory=entry.directory, bundle=entry.bundle, problem=problem, enabled=False, note=problem)
