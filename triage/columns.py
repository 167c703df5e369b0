"""How Python values lie in columns: UTC times, enumerations as text, names of constraints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from triage.assessment import Opinion, OpinionReason
from triage.findings import Laterality, NotAnalysedReason, ScoreKind, Urgency
from triage.people import Role
from triage.states import (
    AnalysisStatus,
    CommitmentStatus,
    DeliveryStatus,
    ErrandKind,
    ErrandStatus,
    Proof,
    ReadingStatus,
    RenderingStatus,
    StudyStatus,
    WorkitemStatus,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC without zone: SQLite has no zones, and both databases must sort alike."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return _without_zone(value)

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], Any]:
        """Both steps in one, ours and the driver's: an instance that is received brings its time to four places."""
        return _as_text if dialect.name == "sqlite" else _without_zone

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Both steps in one, the driver's and ours: a page of the reading list has some hundred times."""
        return _from_text if dialect.name == "sqlite" else _in_utc


def _without_zone(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("naive datetime: times in the database are aware and in UTC")
    return value.astimezone(UTC).replace(tzinfo=None)


@lru_cache(maxsize=64)
def _as_text(value: datetime | None) -> str | None:
    naive = _without_zone(value)
    return None if naive is None else naive.isoformat(" ", "microseconds")


def _from_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


def _in_utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


def _text_enum(kind: type[StrEnum]) -> sa.Enum:
    return sa.Enum(
        kind,
        native_enum=False,
        length=32,
        create_constraint=False,
        values_callable=lambda e: [m.value for m in e],
    )


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's declarative hook
        datetime: UtcDateTime(),
        Urgency: _text_enum(Urgency),
        StudyStatus: _text_enum(StudyStatus),
        AnalysisStatus: _text_enum(AnalysisStatus),
        DeliveryStatus: _text_enum(DeliveryStatus),
        Proof: _text_enum(Proof),
        CommitmentStatus: _text_enum(CommitmentStatus),
        ReadingStatus: _text_enum(ReadingStatus),
        WorkitemStatus: _text_enum(WorkitemStatus),
        ErrandKind: _text_enum(ErrandKind),
        ErrandStatus: _text_enum(ErrandStatus),
        RenderingStatus: _text_enum(RenderingStatus),
        ScoreKind: _text_enum(ScoreKind),
        NotAnalysedReason: _text_enum(NotAnalysedReason),
        Laterality: _text_enum(Laterality),
        Opinion: _text_enum(Opinion),
        OpinionReason: _text_enum(OpinionReason),
        Role: _text_enum(Role),
        dict[str, Any]: sa.JSON(),
        list[Any]: sa.JSON(),
        int: sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    }
