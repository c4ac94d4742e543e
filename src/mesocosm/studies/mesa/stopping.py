"""Early stopping of the conjugate gradients in a gated mesa layer: solver steps and output errors."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.nn import gated_mesa
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Stopping

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
FIXED_STEPS = (1, 2, 4, 8, 15, 30)
LAYERS = {"forgetting": (True, 1.0), "no forgetting": (False, 1.0), "regulariser / 100": (True, 0.01)}  # (forgets, factor on the regulariser)
QUARTERS = 4


class Stopped(NamedTuple):
    """Mean steps per token and relative output errors (of the whole sequence and each quarter) by tolerance; the errors also by fixed number of steps."""

    steps: Array
    error: Array
    quarter_error: Array
    fixed_error: Array
    fixed_quarter_error: Array


def measure_stopping(config: Stopping, context: Context) -> Tables:
    """Random layers, one per replicate; also without forgetting, and with almost no regulariser (the control for the number of steps)."""
    tables = []
    for name, (forgets, shrink) in LAYERS.items():
        stopped = context.evaluate(Partial(_stopped, config, forgets, shrink), context.keys("init"))
        tolerances = {"tolerance": TOLERANCES}
        tables.append(
            (
                context.rows(tolerances, layer=name, steps=stopped.steps, error=stopped.error),
                context.rows({**tolerances, "quarter": range(1, 1 + QUARTERS)}, layer=name, error=stopped.quarter_error),
                context.rows({"steps": FIXED_STEPS}, layer=name, error=stopped.fixed_error),
                context.rows({"steps": FIXED_STEPS, "quarter": range(1, 1 + QUARTERS)}, layer=name, error=stopped.fixed_quarter_error),
            )
        )
    names = ("stopping", "stopping_by_quarter", "fixed_steps", "fixed_steps_by_quarter")
    return {name: pl.concat(parts) for name, parts in zip(names, zip(*tables, strict=True), strict=True)}


def _stopped(config: Stopping, forgets: bool, shrink: float | Array, key: PRNGKeyArray) -> Stopped:
    def relative(result: Array, exact: Array) -> tuple[Array, Array]:
        """Relative root mean square error over heads, tokens and channels: of all tokens, and of each quarter."""
        squares = jnp.sum((result - exact) ** 2, axis=-1), jnp.sum(exact**2, axis=-1)
        whole = jnp.sqrt(squares[0].mean() / squares[1].mean())
        cut = [s.reshape(s.shape[0], QUARTERS, -1).mean((0, 2)) for s in squares]
        return whole, jnp.sqrt(cut[0] / cut[1])

    tokens = jax.vmap(partial(_tokens, config, forgets, shrink))(jax.random.split(key, config.sequences * config.heads))
    solve = jax.vmap(lambda t, steps, tolerance: gated_mesa(*t, steps=steps, tolerance=tolerance), in_axes=(0, None, None))
    exact = solve(tokens, 4 * config.key_dim, 1e-7).output
    by_tolerance = [solve(tokens, 4 * config.key_dim, tolerance) for tolerance in TOLERANCES]
    by_steps = [solve(tokens, steps, 0.0) for steps in FIXED_STEPS]
    error, quarter_error = zip(*(relative(r.output, exact) for r in by_tolerance), strict=True)
    fixed_error, fixed_quarter_error = zip(*(relative(r.output, exact) for r in by_steps), strict=True)
    steps = jnp.stack([r.steps.mean() for r in by_tolerance])
    return Stopped(steps, jnp.stack(error), jnp.stack(quarter_error), jnp.stack(fixed_error), jnp.stack(fixed_quarter_error))


def _tokens(config: Stopping, forgets: bool, shrink: float | Array, key: PRNGKeyArray) -> tuple[Array, ...]:
    """Inputs of one head: keys and queries are correlated over time and share a direction, as after a convolution and SiLU; forgetting is slow."""
    keys = jax.random.split(key, 5)
    n, d = config.length, config.key_dim

    def unit(x: Array) -> Array:
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    noise = jax.random.normal(keys[0], (2, n + 3, d))
    smooth = sum(noise[:, i : i + n] for i in range(4)) / 2
    query, key_ = unit(jax.nn.silu(smooth))
    value = jax.random.normal(keys[1], (n, d))
    log_forget = jnp.log(jax.random.uniform(keys[2], (n,), minval=0.97, maxval=0.999)) if forgets else jnp.zeros(n)
    input_gate = jax.random.uniform(keys[3], (n,), minval=0.3, maxval=1.0)
    return query, key_, value, log_forget, input_gate, shrink * jax.random.uniform(keys[4], (d,), minval=0.25, maxval=1.0)
