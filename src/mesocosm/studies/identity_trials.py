"""Statements that hold exactly, on random instances: each beside a named mutant of it, whose error must be large. What such trials of all studies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.studies.interface import Context


class Errors(NamedTuple):
    """Errors, largest over entries: of the statement, and of its mutant."""

    error: Any
    mutant: Any


@runtime_checkable
class Sized(Protocol):
    """A config that says how many random instances there are."""

    @property
    def instances(self) -> int:
        """Their number."""
        ...


def relative_error(found: Array, wanted: Array) -> Float[Array, ""]:
    """The largest difference over the largest entry."""
    return jnp.max(jnp.abs(found - wanted)) / jnp.max(jnp.abs(wanted))


def instance_keys(context: Context, number: int, instances: int) -> Array:
    """A key for each instance of the statement of this number."""
    return jax.random.split(jax.random.fold_in(context.evaluation_key, number), instances)


def on_instances(statement: Callable[..., Any], config: Any, *given: Any) -> Any:
    """`statement(config, *fixed, one)` for each key or other instance, twenty at a time; the instances are the last of what is given."""
    *fixed, instances = given
    return jax.lax.map(partial(statement, config, *fixed), instances, batch_size=20)


def statement_rows(context: Context, config: Sized, statement: Callable[..., Errors], *given: Any, labels: Mapping[str, str]) -> pl.DataFrame:
    """A row for each instance of one statement, with its two errors."""
    errors = context.evaluate(Partial(on_instances, statement, config), shared=given)
    return context.rows({"instance": range(config.instances)}, **labels, error=errors.error, mutant=errors.mutant)


def check_statements(context: Context, config: Sized, statements: Mapping[str, Callable[..., Errors]], *fixed: Any, label: str = "identity") -> pl.DataFrame:
    """Every statement on random instances of its own.

    Args:
        context: the trial's.
        config: the first argument of every statement.
        statements: name -> function `(config, *fixed, key) -> Errors`.
        fixed: arrays that all of them are given.
        label: the column that holds the names.
    """
    return pl.concat(
        statement_rows(context, config, statement, *fixed, instance_keys(context, number, config.instances), labels={label: name})
        for number, (name, statement) in enumerate(statements.items())
    )
