"""Shared by the identity trials of all studies: exact statements, tested on random instances beside a named mutant whose error must be large."""

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
    """The largest entrywise error of a statement and of its mutant."""

    error: Any
    mutant: Any


@runtime_checkable
class Sized(Protocol):
    """A config with a number of random instances."""

    @property
    def instances(self) -> int:
        """The number of random instances."""
        ...


def relative_error(found: Array, wanted: Array) -> Float[Array, ""]:
    """The largest absolute difference divided by the largest absolute entry."""
    return jnp.max(jnp.abs(found - wanted)) / jnp.max(jnp.abs(wanted))


def instance_keys(context: Context, number: int, instances: int) -> Array:
    """One key per instance, for the statement with this number."""
    return jax.random.split(jax.random.fold_in(context.evaluation_key, number), instances)


def on_instances(statement: Callable[..., Any], config: Any, *given: Any) -> Any:
    """`statement(config, *fixed, key)` for each key, twenty at a time; the keys are the last argument."""
    *fixed, keys = given
    return jax.lax.map(partial(statement, config, *fixed), keys, batch_size=20)


def at_once(statement: Callable[..., Any], config: Any, given: Any) -> Any:
    """`statement(config, one)` for all instances in one batch: for statements that solve, since solves in a compiled loop can deadlock XLA on CPU."""
    return jax.vmap(partial(statement, config))(given)


def statement_rows(
    context: Context, config: Sized, statement: Callable[..., Errors], *given: Any, labels: Mapping[str, str], over: Callable[..., Any] = on_instances
) -> pl.DataFrame:
    """One row per instance of a statement, with its two errors."""
    errors = context.evaluate(Partial(over, statement, config), shared=given)
    return context.rows({"instance": range(config.instances)}, **labels, error=errors.error, mutant=errors.mutant)


def check_statements(context: Context, config: Sized, statements: Mapping[str, Callable[..., Errors]], *fixed: Any, label: str = "identity") -> pl.DataFrame:
    """Test every statement on its own random instances.

    Args:
        context: the trial's.
        config: the first argument of every statement.
        statements: name -> function `(config, *fixed, key) -> Errors`.
        fixed: arrays passed to every statement.
        label: the column that holds the names.
    """
    return pl.concat(
        statement_rows(context, config, statement, *fixed, instance_keys(context, number, config.instances), labels={label: name})
        for number, (name, statement) in enumerate(statements.items())
    )
