"""What models said of the cases of a period, and what people said of that: by model, and by scanner.

Read case by case, so that memory does not grow with the period. People say little beside what models
say: it is read first, and a case of which nobody said anything costs no more than its images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.assessment import Opinion
from triage.repositories.statistics import Scope
from triage.tables import Analysis, AnalysisImage, Finding, FindingVerdict, Instance, MissedFinding, Study

ELSEWHERE: Final = ""
"""Key of what people saw and the model does not look for."""
AT_ONCE: Final = 5_000
"""Rows in memory together."""
_VALUES: Final = 500
"""Of one IN list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One finding of one bundle version; of one scanner where that was asked."""

    bundle: str
    version: str
    research: bool
    key: str
    meaning: str
    manufacturer: str = ""
    ae_title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Cases that a bundle looked at, by what it said and what people said last: None is nobody.

    Attributes
    ----------
    marked : int
        Negative cases that a person marked: the finding is there. They count as DISAGREE in ``negative``.
    """

    model: Model
    positive: Mapping[Opinion | None, int]
    negative: Mapping[Opinion | None, int]
    marked: int = 0


class _Look(NamedTuple):
    """What a bundle version said of an image, and which scanner that is from."""

    bundle: str
    version: str
    research: bool
    manufacturer: str
    ae_title: str
    said: str
    """Keys of its findings, each with + or -, separated by commas, in any order."""


class _Said(NamedTuple):
    """A person's latest verdict on one finding of a case."""

    bundle: str
    version: str
    research: bool
    key: str
    manufacturer: str
    ae_title: str
    positive: bool
    verdict: int
    opinion: Opinion


_Group = tuple[str, ...]
"""(bundle, version, "research" or "", key), of scanners with manufacturer and AE title behind."""


@dataclass(slots=True)
class _Case:
    """What people said of a case."""

    said: list[_Said] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Tally:
    """Counts of one way of grouping."""

    by_scanner: bool
    opinions: dict[_Group, Counter[tuple[bool, Opinion | None]]] = field(default_factory=lambda: defaultdict(Counter))
    marked: Counter[_Group] = field(default_factory=Counter)

    def group(self, of: _Look | _Said, key: str) -> _Group:
        model = (of.bundle, of.version, "research" if of.research else "", key)
        return (*model, of.manufacturer, of.ae_title) if self.by_scanner else model

    def untold(self, look: _Look, cases: int) -> None:
        """Cases of one image of which nobody said anything."""
        for key, positive in _parsed(look.said):
            self.opinions[self.group(look, key)][positive, None] += cases

    def told(self, looks: Sequence[_Look], case: _Case) -> None:
        """A case: positive where any image is, judged by the latest verdict on one of those."""
        positive: dict[_Group, bool] = {}
        for look in looks:
            for key, over in _parsed(look.said):
                group = self.group(look, key)
                positive[group] = positive.get(group, False) or over
        latest: dict[_Group, _Said] = {}
        for said in sorted(case.said, key=lambda said: said.verdict):
            group = self.group(said, said.key)
            if said.positive or not positive.get(group, False):
                latest[group] = said
        for group, over in positive.items():
            opinion = latest[group].opinion if group in latest else None
            if not over and group[3] in case.marks:
                opinion = Opinion.DISAGREE
                self.marked[group] += 1
            self.opinions[group][over, opinion] += 1

    def result(self, meanings: Mapping[tuple[str, str, str], str]) -> list[Judged]:
        return [
            Judged(
                model=Model(
                    bundle=group[0], version=group[1], research=bool(group[2]), key=group[3],
                    meaning=meanings.get((group[0], group[1], group[3]), group[3]),
                    manufacturer=group[4] if self.by_scanner else "", ae_title=group[5] if self.by_scanner else "",
                ),
                positive={opinion: n for (over, opinion), n in found.items() if over},
                negative={opinion: n for (over, opinion), n in found.items() if not over},
                marked=self.marked[group],
            )
            for group, found in sorted(self.opinions.items())
        ]  # fmt: skip


def judged(session: Session, scope: Scope) -> tuple[list[Judged], list[Judged]]:
    """What each bundle version said of how many cases and what people said to that: over all, and by scanner.

    A case counts once for each finding, whatever the number of its images and of looks at it: it is positive when any
    image was, and judged by the latest verdict on one of those images. A negative case of which a person marked the
    finding as missed counts as disagreed with.

    What people marked and no model looks for is counted over all under the key :data:`ELSEWHERE`, for the bundle whose
    report does not say it.
    """
    told = _told(session, scope)
    every, scanners = _Tally(by_scanner=False), _Tally(by_scanner=True)
    untold: Counter[tuple[Any, ...]] = Counter()
    samples: dict[tuple[Any, ...], int] = {}
    for study, rows in groupby(_looks(session, scope), key=itemgetter(0)):
        looks = [(row[1], tuple(row[2:])) for row in rows if row[-1]]
        for image, look in looks:
            samples.setdefault(look, image)
        if len(looks) == 1 and study not in told:
            untold[looks[0][1]] += 1
        else:
            for tally in (every, scanners):
                tally.told([_Look(*look) for _, look in looks], told.get(study) or _Case())
    for look, count in untold.items():
        for tally in (every, scanners):
            tally.untold(_Look(*look), count)
    meanings = _meanings(session, samples)
    return every.result(meanings) + _elsewhere(session, scope), scanners.result(meanings)


def _looks(session: Session, scope: Scope) -> Iterator[Any]:
    """(study, image, then as in :class:`_Look`) of the scored images of the studies, those of a study together."""
    sign = sa.case((Finding.positive, "+"), else_="-")
    said = (
        sa.select(sa.func.aggregate_strings(Finding.key.concat(sign), ","))
        .where(Finding.image_id == AnalysisImage.id)
        .correlate(AnalysisImage)
        .scalar_subquery()
    )
    query = (
        sa.select(
            Study.id, AnalysisImage.id, Analysis.bundle_name, Analysis.bundle_version, Analysis.research,
            Instance.manufacturer, Study.calling_ae_title, said,
        )
        .select_from(Study)
        .join(Analysis, Analysis.study_id == Study.id)
        .join(AnalysisImage, AnalysisImage.analysis_id == Analysis.id)
        .join(Instance, Instance.id == AnalysisImage.instance_id)
        .where(*scope.conditions, AnalysisImage.reason.is_(None))
    )  # fmt: skip
    # In the order of the index that the question begins at, so that a case's rows stand together.
    return iter(session.execute(query.order_by(Study.received_at, Study.id).execution_options(yield_per=AT_ONCE)))


@lru_cache(maxsize=4096)
def _parsed(said: str) -> tuple[tuple[str, bool], ...]:
    return tuple((each[:-1], each[-1] == "+") for each in said.split(","))


def _told(session: Session, scope: Scope) -> dict[int, _Case]:
    """What people said of cases of the period, by study."""
    cases: defaultdict[int, _Case] = defaultdict(_Case)
    last = sa.select(sa.func.max(FindingVerdict.id)).group_by(FindingVerdict.finding_id)
    opinions = {finding: (verdict, opinion) for finding, verdict, opinion in session.execute(
        sa.select(FindingVerdict.finding_id, FindingVerdict.id, FindingVerdict.opinion)
        .where(FindingVerdict.id.in_(last)))}  # fmt: skip
    for ids in _parts(sorted(opinions)):
        query = (
            sa.select(
                Study.id, Finding.id, Analysis.bundle_name, Analysis.bundle_version, Analysis.research, Finding.key,
                Instance.manufacturer, Study.calling_ae_title, Finding.positive,
            )
            .select_from(Finding)
            .join(AnalysisImage, AnalysisImage.id == Finding.image_id)
            .join(Instance, Instance.id == AnalysisImage.instance_id)
            .join(Analysis, Analysis.id == AnalysisImage.analysis_id)
            .join(Study, Study.id == Analysis.study_id)
            .where(Finding.id.in_(ids), *scope.conditions)
        )  # fmt: skip
        for study, finding, bundle, version, research, key, maker, title, positive in session.execute(query):
            verdict = opinions[finding]
            cases[study].said.append(_Said(bundle, version, research, key, maker, title, positive, *verdict))
    for study, key, _ in _marks(session, scope):
        if key != ELSEWHERE:
            cases[study].marks.add(key)
    return dict(cases)


def _marks(session: Session, scope: Scope) -> Iterator[tuple[int, str, int]]:
    """(study, key, analysis) of what people marked as missed and did not take back."""
    standing = (
        sa.select(MissedFinding.study_id, MissedFinding.key, MissedFinding.analysis_id)
        .where(MissedFinding.withdrawn_at.is_(None))
        .order_by(MissedFinding.id)
    )
    marks: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for study, key, analysis in session.execute(standing):
        marks[study].append((key, analysis))
    for ids in _parts(sorted(marks)):
        for study in session.scalars(sa.select(Study.id).where(Study.id.in_(ids), *scope.conditions)):
            yield from ((study, *mark) for mark in marks[study])


def _elsewhere(session: Session, scope: Scope) -> list[Judged]:
    """What people marked and no model looks for, by the bundle whose report does not say it: cases."""
    cases = {(study, analysis) for study, key, analysis in _marks(session, scope) if key == ELSEWHERE}
    models: dict[int, tuple[str, str, bool]] = {}
    for ids in _parts(sorted({analysis for _, analysis in cases})):
        query = sa.select(Analysis.id, Analysis.bundle_name, Analysis.bundle_version, Analysis.research)
        found = session.execute(query.where(Analysis.id.in_(ids)))
        models |= {row: (bundle, version, research) for row, bundle, version, research in found}
    count = Counter(model for _, model in {(study, models[analysis]) for study, analysis in cases})
    return [
        Judged(
            model=Model(bundle=bundle, version=version, research=research, key=ELSEWHERE, meaning="something else"),
            positive={}, negative={Opinion.DISAGREE: number}, marked=number,
        )
        for (bundle, version, research), number in sorted(count.items())
    ]  # fmt: skip


def _meanings(session: Session, samples: Mapping[tuple[Any, ...], int]) -> dict[tuple[str, str, str], str]:
    """(bundle, version, key) to the words of the finding, from one image of each kind of answer."""
    owners = {image: (look[0], look[1]) for look, image in samples.items()}
    meanings = {}
    for ids in _parts(sorted(owners)):
        query = sa.select(Finding.image_id, Finding.key, Finding.code_meaning).where(Finding.image_id.in_(ids))
        for image, key, meaning in session.execute(query):
            meanings[*owners[image], key] = meaning
    return meanings


def _parts(values: Sequence[int]) -> Iterator[Sequence[int]]:
    return (values[begin : begin + _VALUES] for begin in range(0, len(values), _VALUES))
