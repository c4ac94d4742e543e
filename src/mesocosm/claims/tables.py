"""Declares tables, columns and trials as objects, so that a misspelt name is an error in the source, not a check that is silently not judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

import polars as pl

from mesocosm.claims.view import View, matching


class Column(str):
    """The name of a column: a string that also knows its table."""

    table: type[Table]

    def __new__(cls, name: str, table: type[Table]) -> Column:
        """A column of this name."""
        column = super().__new__(cls, name)
        column.table = table
        return column


class Axis(Column):
    """A column that identifies rows; rows are selected by it."""


class Value(Column):
    """A column that holds a measured value."""


class Estimate(Value):
    """A measured value whose standard error is the column NAME_error, which is implicit."""

    @property
    def error(self) -> Column:
        """The column of its standard errors."""
        return Value(f"{self}_error", self.table)


class Table:
    """A table that trials write. A subclass declares the columns, and its name gives the table's name:

        class PositionLoss(Table):
            position: Axis
            loss: Value

    is the table `position_loss`, and `PositionLoss.loss` is a column of it. The columns `trial` and `seed` are implicit.
    """

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Name the table after the class and make the columns."""
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        for column, kind in get_type_hints(cls).items():
            if column == "name" and kind not in _KINDS:
                continue
            if column in _TAKEN or kind not in _KINDS:
                words = f"annotate it as Axis, Value or Estimate, and do not call it {' or '.join(sorted(_TAKEN))}"
                raise TypeError(f"{cls.__name__}.{column} is not a column: {words}")
            setattr(cls, column, kind(column, cls))

    @classmethod
    def columns(cls) -> dict[str, Column]:
        """Name -> column, the declared ones."""
        return {name: column for name in dir(cls) if isinstance(column := getattr(cls, name), Column)}

    @classmethod
    def rows(cls, trial: Trials | None = None, **where: Any) -> Rows:
        """The rows of some trials, or all, in which the axes have these values.

        Args:
            trial: whose rows.
            where: axis -> a value, several of them (a tuple or a list), or a function of the config that gives either.

        Raises:
            TypeError: a name in `where` is not an axis of this table.
        """
        axes = [name for name, column in cls.columns().items() if isinstance(column, Axis)]
        if odd := [name for name in where if name not in axes]:
            raise TypeError(f"the table {cls.name!r} has no axis {odd[0]!r}; it has {', '.join(axes) or 'none'}")
        if not (trial is None or isinstance(trial, Trials)):
            raise TypeError(f"rows of the table {cls.name!r} belong to Trials(...), not to {trial!r}")
        return Rows(cls, trial, where)

    @classmethod
    def lacking(cls, columns: Sequence[str]) -> list[str]:
        """The declared columns that a written table lacks; it may have further ones, which claims do not read."""
        errors = {column.error for column in cls.columns().values() if isinstance(column, Estimate)}
        return sorted((cls.columns().keys() | errors) - set(columns))


_KINDS = (Axis, Value, Estimate)
_TAKEN = {name for name in vars(Table) if not name.startswith("_")} | {"name"}


@dataclass(frozen=True)
class Trials:
    """One or several trials of a study: their names, or a function from the config to the names."""

    of: str | Callable[[Any], str | tuple[str, ...]]

    def names(self, config: Any) -> tuple[str, ...]:
        """The names for this config."""
        found = self.of(config) if callable(self.of) else self.of
        return (found,) if isinstance(found, str) else found


@dataclass(frozen=True)
class Rows:
    """Some rows of a table; made by `Table.rows`."""

    table: type[Table]
    trial: Trials | None
    where: Mapping[str, Any]

    def read(self, view: View) -> pl.DataFrame:
        """Read the rows.

        Raises:
            NotJudged: no finished trial wrote the table, or no row matches.
        """
        names = () if self.trial is None else self.trial.names(view.config)
        chosen = {axis: value(view.config) if callable(value) else value for axis, value in self.where.items()}
        table = view.table(self.table.name)
        for axis, wanted in {**({"trial": names} if names else {}), **chosen}.items():
            several = wanted if isinstance(wanted, tuple | list) else (wanted,)
            table = pl.concat([matching(table, self.table.name, axis, value) for value in several])
        return table
