"""A department's worklist of years: many read cases, some open ones, written in bulk.

Every study has its analysis and its arrival in the audit trail. The open ones, and four times as many of the latest
read ones, also have instance, image, findings, report and delivery, which is what a page of the list looks at.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa

from triage.columns import Base
from triage.database import Database
from triage.findings import Urgency
from triage.priority import Targets
from triage.searching import positives_text, search_text
from triage.tables import (
    Analysis,
    AnalysisImage,
    Delivery,
    Event,
    Finding,
    Instance,
    ResultObject,
    Study,
)

SYLLABLES: Final = (
    "ba",
    "der",
    "el",
    "fra",
    "gu",
    "hol",
    "in",
    "ka",
    "lo",
    "mer",
    "no",
    "ost",
    "pe",
    "ri",
    "schu",
    "wa",
)
GIVEN: Final = ("ANNA", "BERND", "CARLA", "DAVID", "ELIF", "FRIDA", "GEORG", "HANA", "IVAN", "JANE", "KARIM", "LENA")
MODALITIES: Final = ("DX", "DX", "DX", "CR", "CR", "CT", "MR", "US")
DESCRIPTIONS: Final = (
    "Chest PA",
    "Chest AP bedside",
    "Chest PA and lateral",
    "Hand left",
    "Head native",
    "Abdomen",
    "Pelvis",
)
FINDINGS: Final = ("pneumothorax", "pleural_effusion", "nodule")
WARDS: Final = ("ICU 1", "ICU 2", "Emergency", "Surgery 3", "Surgery 4", "Medicine 5", "Paediatrics", "")
FULL_SHARE: Final = 5
"""So many times the open cases have all their rows."""
TARGETS: Final = {urgency: Targets().of(urgency) for urgency in Urgency}
_SPACING: Final = timedelta(seconds=20)
"""Between two arrivals: 1,000,000 in 230 days."""


@dataclass(frozen=True, slots=True)
class Population:
    """How many studies there are, how many of them are not read, and when the latest came."""

    studies: int
    unread: int
    latest: datetime


def name_of(number: int) -> str:
    """Family and given name of study ``number``, components separated by carets: some 4,000 families."""
    mixed = _mixed(number)
    family = "".join(SYLLABLES[mixed >> shift & 15] for shift in (0, 4, 8))
    return f"{family.upper()}^{GIVEN[(mixed >> 12) % len(GIVEN)]}"


def _mixed(number: int) -> int:
    """32 bits that look random, the same in every run."""
    mixed = number * 0x9E3779B1 & 0xFFFFFFFF
    return (mixed ^ mixed >> 15) * 0x85EBCA6B >> 3 & 0xFFFFFFFF


def accession_of(number: int) -> str:
    return f"A2026{number:08d}"


def uid_of(kind: int, number: int) -> str:
    return f"2.25.7{kind}{number:010d}"


def populate(database: Database, population: Population) -> None:
    """Fill the empty tables of a database at the current schema."""
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        if database.is_sqlite:
            driver.execute("PRAGMA synchronous=OFF")
            driver.execute("PRAGMA cache_size=-400000")
            driver.execute("BEGIN")
            for table, rows in _tables(population, _text).items():
                _sqlite_rows(driver, table, rows)
            driver.execute("COMMIT")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            for table, rows in _tables(population, _naive).items():
                _postgres_rows(driver, table, rows)
            driver.commit()
            driver.autocommit = True
            driver.execute("VACUUM ANALYZE")
        connection.invalidate()


Rows = Iterator[Mapping[str, Any]]
Moment = Callable[[datetime], Any]
"""How the driver wants a time."""


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _tables(population: Population, moment: Moment) -> dict[type[Base], Rows]:
    numbers = range(1, population.studies + 1)
    full = range(max(1, population.studies - FULL_SHARE * population.unread + 1), population.studies + 1)

    def at(number: int) -> Any:
        return moment(_arrival(population, number))

    return {
        Study: (_study(population, number, moment) for number in numbers),
        Analysis: (
            {
                "id": number, "study_id": number, "revision": 1, "bundle_name": "chest", "bundle_version": "1.0",
                "weights_sha256": "ab" * 32, "status": "SUCCEEDED", "due": False,
                **dict.fromkeys(("queued_at", "started_at", "scored_at", "finished_at"), at(number)),
            }
            for number in numbers
        ),
        Event: (
            {"id": number, "study_id": number, "at": at(number), "kind": "study_received", "who": "CR_ROOM1"}
            for number in numbers
        ),
        Instance: (
            {
                "id": number, "study_id": number, "sop_instance_uid": uid_of(2, number), "received_at": at(number),
                "series_instance_uid": uid_of(3, number), "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
                "transfer_syntax_uid": "1.2.840.10008.1.2.1", "modality": "DX", "relative_path": "x", "digest": "x",
                "size": 1000,
            }
            for number in full
        ),
        AnalysisImage: ({"id": number, "analysis_id": number, "instance_id": number} for number in full),
        Finding: (
            {
                "id": 3 * number + index, "image_id": number, "key": key, "code_value": f"99{index}",
                "code_scheme": "99FIRSTREAD", "code_meaning": _meaning(key),
                "value": 0.9 if key in _positives(number) else 0.1, "threshold": 0.6,
                "kind": "CALIBRATED_PROBABILITY", "urgency": "STAT", "positive": key in _positives(number),
            }
            for number in full
            for index, key in enumerate(FINDINGS)
        ),
        ResultObject: (
            {
                "id": number, "analysis_id": number, "kind": "SR", "sop_instance_uid": uid_of(4, number),
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33", "series_instance_uid": uid_of(5, number),
                "transfer_syntax_uid": "1.2.840.10008.1.2.1", "relative_path": "x", "sha256": "cd" * 32, "size": 10,
                "created_at": at(number),
            }
            for number in full
        ),
        Delivery: (
            {
                "id": number, "result_object_id": number, "destination": "PACS@10.0.0.5:104", "status": "COMMITTED",
                "attempt_count": 1, "proof": "COMMITTED",
                **dict.fromkeys(("created_at", "sent_at", "proven_at"), at(number)),
            }
            for number in full
        ),
    }  # fmt: skip


def _positives(number: int) -> tuple[str, ...]:
    """Findings over their threshold: one case in 50, one in 25, and hardly any."""
    every = zip(FINDINGS, (50, 25, 10_007), strict=True)
    return tuple(key for key, one_in in every if number % one_in == 1)


def _meaning(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _arrival(population: Population, number: int) -> datetime:
    return population.latest - (population.studies - number) * _SPACING


def _study(population: Population, number: int, moment: Moment) -> Mapping[str, Any]:
    mixed, arrived = _mixed(-number), _arrival(population, number)
    at, patient_id, name = moment(arrived), f"{mixed % 10**7:08d}", name_of(number)
    accession_number, description = accession_of(number), DESCRIPTIONS[mixed % len(DESCRIPTIONS)]
    ward = WARDS[mixed >> 4 & 7]
    full = number > population.studies - FULL_SHARE * population.unread
    positive = [(key, _meaning(key)) for key in _positives(number)] if full else []
    # Of 50 open cases one is STAT and four are URGENT; a department reads roughly in order.
    urgency = Urgency.STAT if number % 50 == 0 else Urgency.URGENT if number % 50 < 5 else Urgency.ROUTINE
    unread = number > population.studies - population.unread
    return {
        "id": number, "study_instance_uid": uid_of(1, number), "patient_id": patient_id,
        "patient_name": name, "patient_birth_date": f"19{30 + mixed % 70}0614",
        "patient_sex": "FM"[number % 2], "accession_number": accession_number, "study_date": f"{arrived:%Y%m%d}",
        "study_description": description,
        "search_text": search_text(patient_id, name, accession_number, description, ward),
        "ward": ward, "positives": positives_text(positive),
        "modality": MODALITIES[mixed >> 8 & 7],
        "body_part_examined": "CHEST", "calling_ae_title": "CR_ROOM1", "status": "COMPLETE", "opened_at": at,
        "received_at": at, "last_received_at": at, "completed_at": at, "instance_count": 1, "urgency": urgency.value,
        "ai_urgency": urgency.value, "tier": 0 if urgency is Urgency.STAT else 1,
        "due_at": moment(arrived + TARGETS[urgency]),
        "explanation": f"AI finding → {urgency}; due {arrived:%H:%M}", "reading_status": "UNREAD" if unread else "READ",
        "reader": "" if unread else "dr_day", "read_at": None if unread else moment(arrived + timedelta(minutes=40)),
    }  # fmt: skip


def _whole(table: type[Base], rows: Rows) -> tuple[list[str], Iterator[list[Any]]]:
    """Names of all columns with a value, and rows in their order, defaults filled in."""
    first = next(rows)
    names, fixed = list(first), []
    for column in cast(sa.Table, table.__table__).columns:
        if column.name not in first and column.default is not None:
            default = cast(Any, column.default).arg
            names.append(column.name)
            fixed.append(_plain(default(None) if callable(default) else default))
    return names, ([*row.values(), *fixed] for row in itertools.chain([first], rows))


def _sqlite_rows(driver: sqlite3.Connection, table: type[Base], rows: Rows) -> None:
    names, whole = _whole(table, rows)
    places = ", ".join("?" * len(names))
    driver.executemany(f"INSERT INTO {table.__tablename__} ({', '.join(names)}) VALUES ({places})", whole)  # noqa: S608


def _postgres_rows(driver: psycopg.Connection[Any], table: type[Base], rows: Rows) -> None:
    names, whole = _whole(table, rows)
    name = table.__tablename__
    with driver.cursor() as cursor, cursor.copy(f"COPY {name} ({', '.join(names)}) FROM STDIN") as copy:
        while lines := "".join(_line(row) for row in itertools.islice(whole, 1000)):
            copy.write(lines)
    driver.execute(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))")  # noqa: S608


def _plain(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return str(value) if isinstance(value, StrEnum) else value


def _line(row: Sequence[Any]) -> str:
    """COPY's text format; psycopg's own way of writing it takes longer than the database."""
    fields = (r"\N" if value is None else str(value).replace("\\", r"\\").replace("\n", r"\n") for value in row)
    return "\t".join(fields) + "\n"
