"""The site's own bundles on disk, and its decisions about all of them: whole or not at all, one writer at a time.

========================  ===============================================================================
``NAME/``                 a bundle
``site.json``             :class:`models.site.SiteState`: replaced as a whole, last, so that a worker that
                          sees it finds the folder as it says
``.kept/NAME-DIGEST/``    bundles that were replaced or removed: an analysis is finished by the version
                          that began it, and a report stays explainable
``.lock``                 held by the writer
========================  ===============================================================================

All of it lies in one folder of one file system, so every step is a rename.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from models import acceptance, site
from models.bundle import EVALUATION, WEIGHTS, Bundle, Override
from models.registry import SHIPPED, Registry
from models.self_test import verify, verify_architecture
from models.site import Acceptance, Change, OperatingPoint, SiteState, Standing
from models.unpacking import LARGEST, unpack
from triage.durable import sync_folder
from triage.errors import BundleError, StateError, StorageFullError
from triage.findings import Urgency
from workers import bundle_folder

LONGEST_REASON = 200
_LOCK = ".lock"
_NOT_ADDED = "Nothing was added. Ask its maker for a sound one; docs/models.md says what is looked at."


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """What became of a bundle that was brought.

    Attributes
    ----------
    known : bool
        It lay here already, byte for byte: nothing was changed.
    kept : Path or None
        Where the version before it lies now.
    lapsed : tuple of str
        Findings whose site threshold was set for other weights and has no effect on these.
    """

    bundle: Bundle
    known: bool = False
    kept: Path | None = None
    lapsed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BundleStore:
    """A folder of bundles, and who works on it.

    Attributes
    ----------
    folder : Path
        Made when something is written.
    who : str
        Stands in the history.
    reserve : int
        Bytes of the file system that stay free: receiving images goes before adding a model.
    seen : int, optional
        Revision of the state that a change is meant for: refused when somebody has changed it since.
    """

    folder: Path
    clock: Callable[[], datetime]
    who: str
    reserve: int = 0
    seen: int | None = None
    shipped: Path = SHIPPED

    def registry(self, *, check_files: bool = True) -> Registry:
        return Registry.of_site(self.folder, self.shipped, check_files=check_files)

    def state(self) -> SiteState:
        return site.read_state(self.folder)

    def add(self, source: Path, *, replace: bool = False, enable: bool = False) -> Added:
        """Take a bundle in once it is verified on this machine; disabled, unless ``enable``.

        Raises
        ------
        BundleError
            It is no sound bundle, the name is taken, or (with ``enable``) its criteria are not met. Nothing changed.
        StorageFullError
            It would leave too little room.
        """
        with self._writing() as state, bundle_folder.workplace(self.folder) as work:
            with _said_of(source, work):
                unpack(source, work, largest=self._room())
                bundle = Bundle.load(work)
                verify(bundle)
                verify_architecture(bundle)
                acceptance.read_evaluation(work / EVALUATION)
            return self._install(state, bundle, replace=replace, enable=enable)

    def remove(self, name: str, *, reason: str = "") -> Path:
        """Move a disabled bundle of the site aside; returns where it lies.

        A shipped bundle of the same name stays disabled until somebody enables it.

        Raises
        ------
        BundleError
            It is enabled, ships with the product, or is not there.
        """
        with self._writing() as state:
            entry = self.registry(check_files=False).entry(name)
            if entry.directory.parent != self.folder:
                raise BundleError(
                    f"{name} ships with firstread and stays.", next_step=f"`firstread models disable {name} --reason …`"
                )
            if entry.enabled:
                raise BundleError(
                    f"{name} is enabled: images wait for it or will.",
                    next_step=f"`firstread models disable {name} --reason …` first.",
                )
            bundle = Bundle.load(entry.directory)
            kept = bundle_folder.keep(self.folder, bundle.directory, bundle_folder.label(bundle))
            ships = (self.shipped / name).is_dir()
            after = Standing(enabled=False, reason=f"the site's own {name} was removed") if ships else Standing()
            self._write(state, name, after, "removed", before=bundle.metadata.version, reason=reason)
            return kept

    def accept(self, name: str, *, evaluation: Path | None, data: str = "", shipped: bool = False) -> Acceptance:
        """Hold a bundle against its criteria on this machine and record what came out, met or not.

        Parameters
        ----------
        evaluation : Path or None
            A report of `firstread models evaluate` about these weights; None: what was recorded before, else the
            maker's figures.
        data : str
            Where the figures come from, in words.

        Raises
        ------
        BundleError
            The self-test fails, or the report is none, or about other weights.
        """
        with self._writing() as state:
            bundle = self._named(name, shipped=shipped)
            verify(bundle)
            record = acceptance.assess(
                bundle,
                known=state.standing(name).acceptance,
                report=evaluation,
                data=data,
                at=self.clock(),
                who=self.who,
                points=_points_of(state.standing(name), bundle.metadata.files[WEIGHTS]),
            )
            standing = state.standing(name).model_copy(update={"acceptance": record})
            self._write(
                state, name, standing, "accepted" if record.met else "not accepted", after=acceptance.summary(record)
            )
            return record

    def enable(self, name: str, *, shipped: bool = False) -> None:
        """Let a bundle read from now on.

        Raises
        ------
        AcceptanceError
            No acceptance that was met is on record for these very files; :meth:`accept` makes one.
        """
        with self._writing() as state:
            bundle = self._named(name, shipped=shipped)
            standing = state.standing(name)
            acceptance.require_met(bundle, standing.acceptance)
            source: Literal["site", "shipped"] = "shipped" if bundle.directory.parent == self.shipped else "site"
            after = _enabled(standing, bundle, source)
            self._write(state, name, after, "enabled", before=_switch(standing), after=_version(bundle))

    def disable(self, name: str, *, reason: str) -> None:
        """Let a bundle read no more; what it has found stays where it is."""
        with self._writing() as state:
            self.registry(check_files=False).entry(name)
            standing = state.standing(name)
            after = standing.model_copy(update={"enabled": False, "reason": reason})
            self._write(state, name, after, "disabled", before=_switch(standing), reason=reason)

    def set_point(
        self, name: str, key: str, *, threshold: float | None = None, urgency: Urgency | None = None, reason: str = ""
    ) -> None:
        """Set the site's threshold or urgency of a finding, for images that are read from now on."""
        Override(urgency=urgency, threshold=threshold)  # refuses what is no threshold
        with self._writing() as state:
            weights = self._weights_for(name, key)
            standing = state.standing(name)
            before = standing.findings.get(key, OperatingPoint())
            after = OperatingPoint(
                threshold=before.threshold if threshold is None else threshold,
                weights_sha256=before.weights_sha256 if threshold is None else weights,
                urgency=before.urgency if urgency is None else urgency,
            )
            self._write_points(
                state, name, {**standing.findings, key: after}, key, _point(before), _point(after), reason
            )

    def reset_points(self, name: str, key: str | None = None, *, reason: str = "") -> None:
        """Go back to the bundle's own operating points, of one finding or of all."""
        with self._writing() as state:
            if key is not None:
                self._weights_for(name, key)
            points = state.standing(name).findings
            gone = {k: point for k, point in points.items() if key in (None, k)}
            left = {k: point for k, point in points.items() if k not in gone}
            before = ", ".join(f"{k} {_point(point)}" for k, point in gone.items()) or "the bundle's own"
            self._write_points(state, name, left, key or "all findings", before, "the bundle's own", reason)

    # --- the steps ---

    def _install(self, state: SiteState, bundle: Bundle, *, replace: bool, enable: bool) -> Added:
        name = bundle.metadata.name
        earlier, damaged = self._earlier(name, replace=replace)
        if earlier is not None:
            if earlier.digest == bundle.digest:
                return Added(bundle=earlier, known=True)
            self._require_successor(earlier, bundle, replace=replace)
        standing = state.standing(name)
        record = acceptance.assess(bundle, known=None, report=None, data="", at=self.clock(), who=self.who)
        after = standing.model_copy(update={"acceptance": record})
        if enable:
            acceptance.require_met(bundle, record)
            after = _enabled(after, bundle, "site")
        elif standing.enabled and standing.source == "site":
            reason = f"{_version(bundle)} came in place of the version that was enabled"
            after = after.model_copy(update={"enabled": False, "reason": reason})
        kept = None
        if earlier is not None:
            kept = bundle_folder.keep(self.folder, earlier.directory, bundle_folder.label(earlier))
        elif damaged is not None:
            label = f"{name}-damaged-{self.clock():%Y%m%dT%H%M%S}"
            kept = bundle_folder.keep(self.folder, damaged, label)
        bundle_folder.put(self.folder, bundle.directory, name)
        what = "added" if kept is None else "replaced"
        self._write(
            state, name, after, f"{what} and enabled" if enable else what,
            before=_version(earlier) if earlier else "", after=_version(bundle),
        )  # fmt: skip
        weights = bundle.metadata.files[WEIGHTS]
        lapsed = (k for k, p in standing.findings.items() if p.threshold is not None and p.weights_sha256 != weights)
        return Added(bundle=Bundle.load(self.folder / name), kept=kept, lapsed=tuple(lapsed))

    def _earlier(self, name: str, *, replace: bool) -> tuple[Bundle | None, Path | None]:
        """The site's bundle of that name, or the directory of that name that is no bundle any more."""
        try:
            return bundle_folder.find(self.folder, name), None
        except BundleError as error:
            if not replace:
                raise BundleError(
                    f"{self.folder / name} is here already and damaged: {error}", next_step="Add it with --replace."
                ) from error
            return None, self.folder / name

    def _require_successor(self, earlier: Bundle, bundle: Bundle, *, replace: bool) -> None:
        name, version = bundle.metadata.name, bundle.metadata.version
        if not replace:
            raise BundleError(
                f"a bundle named {name} is here already, version {earlier.metadata.version}.",
                next_step="Give it another name, or add it with --replace.",
            )
        if version == earlier.metadata.version:
            raise BundleError(
                f"{name} {version} is here already with other content.",
                next_step="Reports name the version: give the new one a version of its own.",
            )

    def _named(self, name: str, *, shipped: bool) -> Bundle:
        """The bundle as it lies on disk, without the site's operating points: the site's own before the shipped."""
        own = None if shipped else bundle_folder.find(self.folder, name)
        bundle = own or bundle_folder.find(self.shipped, name)
        if bundle is None:
            raise BundleError(f"there is no bundle {name}.", next_step="`firstread models list` names them.")
        return bundle

    def _weights_for(self, name: str, key: str) -> str:
        """SHA-256 of the weights that a finding's threshold is set for."""
        bundle = self.registry(check_files=False).entry(name).bundle
        keys = [finding.key for finding in bundle.metadata.findings] if bundle else []
        if bundle is None or key not in keys:
            raise BundleError(f"{name} has no finding {key}.", next_step=f"Its findings are {', '.join(keys)}.")
        return bundle.metadata.files[WEIGHTS]

    def _room(self) -> int:
        free = shutil.disk_usage(self.folder).free - self.reserve
        if free <= 0:
            raise StorageFullError("There is too little room to add a bundle.")
        return min(LARGEST, free)

    def _write_points(
        self, state: SiteState, name: str, points: dict[str, OperatingPoint], what: str, before: str, after: str,
        reason: str,
    ) -> None:  # fmt: skip
        standing = state.standing(name).model_copy(update={"findings": {k: p for k, p in points.items() if p}})
        self._write(state, name, standing, f"operating point of {what}", before=before, after=after, reason=reason)

    def _write(
        self, state: SiteState, name: str, standing: Standing, what: str, *, before: str = "", after: str = "",
        reason: str = "",
    ) -> None:  # fmt: skip
        if len(reason) > LONGEST_REASON or not reason.isprintable():
            raise BundleError(f"A reason is one line of at most {LONGEST_REASON} characters.", next_step="Shorten it.")
        change = Change(
            at=self.clock(), who=self.who, what=what, bundle=name, before=before, after=after, reason=reason
        )
        content = state.changed(name, standing, change).model_dump_json(indent=1) + "\n"
        path = self.folder / site.STATE
        work = path.with_name(f".{site.STATE}.new")
        with work.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        work.replace(path)
        sync_folder(self.folder)

    @contextmanager
    def _writing(self) -> Iterator[SiteState]:
        """The state, with the folder to ourselves."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / _LOCK).open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise BundleError(
                        f"Another command is changing {self.folder}.", next_step="Try again when it has ended."
                    ) from error
                state = self.state()
                if self.seen not in (None, state.revision):
                    raise StateError(
                        "The bundles have changed since you looked.", next_step="Look again, then decide again."
                    )
                yield state
        except OSError as error:
            raise StorageFullError(
                f"{self.folder} cannot be written: {error.strerror}.",
                next_step="The folder of the site's bundles must be writable for this user, with room.",
            ) from error


@contextmanager
def _said_of(source: Path, work: Path) -> Iterator[None]:
    """What is wrong with the copy is said of what somebody brought: the copy is gone when the message is read."""
    try:
        yield
    except BundleError as error:
        known_better = error.next_step != BundleError.next_step
        advice = error.next_step if known_better else _NOT_ADDED
        raise BundleError(str(error).replace(str(work), str(source)), next_step=advice) from error


def _points_of(standing: Standing, weights: str) -> dict[str, float]:
    """The site's thresholds that are in force for these weights."""
    return {
        key: point.threshold
        for key, point in standing.findings.items()
        if point.threshold is not None and point.weights_sha256 == weights
    }


def _enabled(standing: Standing, bundle: Bundle, source: Literal["site", "shipped"]) -> Standing:
    digest = bundle.digest if source == "site" else ""
    return standing.model_copy(update={"enabled": True, "source": source, "digest": digest, "reason": ""})


def _switch(standing: Standing) -> str:
    return {True: "enabled", False: "disabled", None: ""}[standing.enabled]


def _version(bundle: Bundle) -> str:
    return f"{bundle.metadata.version} ({bundle.digest[:12]})"


def _point(point: OperatingPoint) -> str:
    said = [f"{point.threshold:g}"] if point.threshold is not None else []
    return " ".join([*said, point.urgency or ""]).strip() or "the bundle's own"
