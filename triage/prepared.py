"""Statements that are compiled once and run on the driver itself, for the few that every received instance waits for.

SQLAlchemy takes 50 to 150 µs around a statement that SQLite answers in five; all that time Python's lock is held and
nobody else is received. Here Core says what a statement is, once per database and number of values; connection,
transaction and errors stay SQLAlchemy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import sqlalchemy as sa

from triage.columns import Base

Convert = Callable[[Any], Any]
_PARAMETER_STYLES: Final = {"sqlite": "qmark", "postgresql": "format"}
"""By position in both: a row of values then needs no names."""


class Prepared:
    """A statement that takes any number of values, or of rows of values; one per process, safe between threads.

    Parameters
    ----------
    build : callable
        From the number of values (rows) to the statement and its parameters in the order in which :meth:`run` gets
        their values. All other values of the statement must be in it.
    """

    def __init__(self, build: Callable[[int], tuple[sa.Executable, list[sa.BindParameter[Any]]]]) -> None:
        self._build = build
        self._compiled: dict[tuple[str, int], _Compiled] = {}

    def run(self, connection: sa.Connection, count: int, values: Sequence[Any]) -> list[Any]:
        """Run for so many values or rows; returns the rows found, as tuples of what the driver gives.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            As SQLAlchemy raises it.
        """
        compiled = self._compiled.get((connection.dialect.name, count))
        if compiled is None:
            compiled = self._compiled[connection.dialect.name, count] = _Compiled(
                connection.dialect, *self._build(count)
            )
        return compiled.run(connection, values)


class _Compiled:
    def __init__(self, dialect: sa.Dialect, statement: sa.Executable, parameters: list[sa.BindParameter[Any]]) -> None:
        by_position = type(dialect)(paramstyle=_PARAMETER_STYLES[dialect.name])  # type: ignore[call-arg]
        compiled = cast(Any, statement).compile(dialect=by_position)
        self._text = str(compiled)
        place = {parameter.key: number for number, parameter in enumerate(parameters)}
        self._template: list[Any] = []
        self._from: list[tuple[int, int, Convert | None]] = []
        """Place in the statement, place among the values, how the driver wants it."""
        for position, name in enumerate(compiled.positiontup):
            convert = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            if name in place:
                self._template.append(None)
                self._from.append((position, place[name], convert))
            else:
                value = compiled.params[name]
                self._template.append(value if convert is None else convert(value))
        self._straight = len(self._from) == len(self._template) and all(to == at for to, at, _ in self._from)
        self._conversions = [(to, at, convert) for to, at, convert in self._from if convert is not None]

    def run(self, connection: sa.Connection, values: Sequence[Any]) -> list[Any]:
        if self._straight:
            arguments = list(values)
            for to, at, convert in self._conversions:
                arguments[to] = convert(values[at])
        else:
            arguments = self._template.copy()
            for to, at, convert_any in self._from:
                arguments[to] = values[at] if convert_any is None else convert_any(values[at])
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._text, arguments)
            return [] if cursor.description is None else list(cursor.fetchall())
        except connection.dialect.loaded_dbapi.Error as error:
            lost = connection.dialect.is_disconnect(error, cast(Any, connection.connection), cursor)
            if lost:
                connection.invalidate(error)
            raise sa.exc.DBAPIError.instance(
                self._text, None, error, connection.dialect.loaded_dbapi.Error, hide_parameters=True,
                connection_invalidated=lost, dialect=connection.dialect,
            ) from error  # fmt: skip
        finally:
            cursor.close()


def select_in(query: sa.Select[Any], column: sa.ColumnElement[Any]) -> Prepared:
    """A query for rows whose column has one of the values."""

    def build(count: int) -> tuple[sa.Executable, list[sa.BindParameter[Any]]]:
        values = [sa.bindparam(f"value_{number}", type_=column.type) for number in range(count)]
        return query.where(column.in_(values)), values

    return Prepared(build)


def insert_rows(table: type[Base], columns: Sequence[str]) -> Prepared:
    """An insertion of rows in one statement; values are those of ``columns``, row after row, all others defaults."""
    described = cast(sa.Table, table.__table__)
    rest = {
        column.name: _standing(column.default)
        for column in described.columns
        if column.name not in columns and column.default is not None
    }

    def build(count: int) -> tuple[sa.Executable, list[sa.BindParameter[Any]]]:
        rows = [
            {name: sa.bindparam(f"{name}_{number}", type_=described.c[name].type) for name in columns}
            for number in range(count)
        ]
        statement = sa.insert(described).values([row | rest for row in rows])
        return statement, [row[name] for row in rows for name in columns]

    return Prepared(build)


def _standing(default: Any) -> Any:
    """What a default gives every row: a value, or what its function makes, such as an empty list."""
    return default.arg(None) if default.is_callable else default.arg


def one(statement: sa.Executable, parameters: Sequence[sa.BindParameter[Any]]) -> Prepared:
    """A statement that always takes the same parameters."""
    return Prepared(lambda _count: (statement, list(parameters)))
