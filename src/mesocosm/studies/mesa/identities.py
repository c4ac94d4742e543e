"""Identities in float64 on random instances: the constructions of Prop. 1 and 2 and the mesa layers' forward and backward formulas.

Each identity maps a key to two relative errors: that of the statement, and that of a named mutant, which must be large.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.numerics.linear_algebra import solve
from mesocosm.studies.identity_trials import Errors, check_statements, instance_keys, on_instances, relative_error
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Identities
from mesocosm.studies.mesa.recursions import RECURSIONS, inverse_growth


def check_identities(config: Identities, context: Context) -> Tables:
    """Check every identity on `config.instances` random instances."""
    keys = instance_keys(context, len(IDENTITIES), config.instances)
    falls, growth = (context.evaluate(Partial(on_instances, statement, config), shared=(keys,)) for statement in (series_falls, inverse_growth))
    return {
        "identities": check_statements(context, config, IDENTITIES),
        "series": context.rows({"instance": range(config.instances)}, smallest_fall=falls.error, mutant=falls.mutant),
        "forgetting": context.rows({"instance": range(config.instances)}, growth=growth.error, constant=growth.mutant),
    }


def _worst(found: tuple[Array, ...], wanted: tuple[Array, ...]) -> Array:
    return jnp.max(jnp.stack([relative_error(a, b) for a, b in zip(found, wanted, strict=True)]))


# --- Prop. 1 and 2 --------------------------------------------------------------------------------------------------


def gradient_step_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C1: a head with explicit weights takes a gradient step on all pairs so far. Mutant: the newest pair is dropped."""
    state_key, map_key, step_key = jax.random.split(key, 3)
    states = jax.random.normal(state_key, (config.length, config.dim))
    initial = jax.random.normal(map_key, (config.dim, config.dim)) / jnp.sqrt(config.dim)
    step_size = jax.random.uniform(step_key, minval=0.01, maxval=0.1)
    layer = nn.gradient_descent_attention(config.dim, step_size, initial)
    tokens = nn.gradient_descent_tokens(states, initial)
    found = (tokens + layer(tokens))[:, : config.dim]

    def explicit(newest: int) -> Array:
        def at(t: Array) -> Array:
            pair = (jnp.arange(config.length - 1) < t + newest)[:, None]

            def loss(phi: Array) -> Array:
                return 0.5 * jnp.sum(jnp.where(pair, states[1:] - states[:-1] @ phi.T, 0.0) ** 2)

            return (initial - step_size * jax.grad(loss)(initial)) @ states[t]

        return jax.vmap(at)(jnp.arange(config.length))

    return Errors(relative_error(found, explicit(0)), relative_error(found, explicit(-1)))


def series_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C4: k layers of linear attention compute the truncated Neumann series for all positions at once. Mutant: the mask shifted by one token."""
    states, norm = _states_and_norm(config, key)
    steps = (1.0, 0.9, 1.1, 1.0)
    series = nn.InverseSeries(config.dim, steps, ridge=0.1, norm=norm)
    found = series.block(nn.ResidualStack(series.layers())(series.tokens(states)), 1)
    return Errors(relative_error(found, _polynomial(states, steps, norm, 0)), relative_error(found, _polynomial(states, steps, norm, -1)))


def series_falls(config: Identities, key: PRNGKeyArray) -> Errors:
    """C4: the smallest drop in log10 error against the exact inverse between successive steps. Mutant: a norm below half the largest eigenvalue."""
    states, norm = _states_and_norm(config, key)

    def smallest_fall(norm: float | Array) -> Array:
        exact = _inverse_times(states, 0)
        errors = jnp.stack([jnp.linalg.norm(_polynomial(states, (1.0,) * k, norm, 0) - exact) for k in range(1, 7)])
        return -jnp.max(jnp.diff(jnp.log10(errors)))

    return Errors(smallest_fall(norm), smallest_fall(norm / 40))


def _states_and_norm(config: Identities, key: PRNGKeyArray) -> tuple[Array, float]:
    """Unit states, so that the number of tokens bounds every eigenvalue and the norm depends only on the instance's size."""
    states = jax.random.normal(key, (config.length, config.dim))
    return states / jnp.linalg.norm(states, axis=1, keepdims=True), config.length + 0.1


def _gram(states: Array, newest: int) -> Array:
    """A_t for every t: the sum of s s^T over the states before t, plus 0.1 I."""
    before = jnp.tri(len(states), k=-1 + newest, dtype=states.dtype)
    return jnp.einsum("ts,si,sj->tij", before, states, states) + 0.1 * jnp.eye(states.shape[1])


def _polynomial(states: Array, steps: tuple[float, ...], norm: float | Array, newest: int) -> Array:
    scaled = _gram(states, newest) / norm
    total = term = states
    for step in steps:
        term = term - step * jnp.einsum("tij,tj->ti", scaled, term)
        total = total + term
    return total / norm


def _inverse_times(states: Array, newest: int) -> Array:
    return solve(_gram(states, newest), states[..., None])[..., 0]


# --- mesa layers ----------------------------------------------------------------------------------------------------


class Tokens(NamedTuple):
    """Inputs of one head."""

    query: Array
    key: Array
    value: Array
    log_forget: Array
    input_gate: Array
    regulariser: Array


def _tokens(config: Identities, key: PRNGKeyArray) -> Tokens:
    keys = jax.random.split(key, 6)
    n, d = config.length, config.dim
    query, key_, value = (jax.random.normal(k, (n, d)) for k in keys[:3])
    return Tokens(
        query,
        key_ / jnp.linalg.norm(key_, axis=1, keepdims=True),
        value,
        jnp.log(jax.random.uniform(keys[3], (n,), minval=0.8, maxval=1.0)),
        jax.random.uniform(keys[4], (n,), minval=0.2, maxval=1.0),
        jax.random.uniform(keys[5], (d,), minval=0.25, maxval=2.0),
    )


def _pair_weights(tokens: Tokens, newest: int = 0) -> Float[Array, "time time"]:
    """zeta_ts beta_s for s <= t (or s < t for newest = -1), else 0."""
    decay = jnp.cumsum(tokens.log_forget)
    causal = jnp.tri(len(decay), k=newest, dtype=bool)
    return jnp.exp(jnp.where(causal, decay[:, None] - decay[None, :], -jnp.inf)) * tokens.input_gate


def dense_output(tokens: Tokens, newest: int = 0) -> Float[Array, "time dim"]:
    """G_t (H_t + Lambda)^{-1} q_t by a dense solve for every t."""
    weights = _pair_weights(tokens, newest)
    gram = jnp.einsum("ts,si,sj->tij", weights, tokens.key, tokens.key) + jnp.diag(tokens.regulariser)
    solution = solve(gram, tokens.query[..., None])[..., 0]
    return jnp.einsum("ts,sv,sk,tk->tv", weights, tokens.value, tokens.key, solution)


def _ungated(tokens: Tokens) -> Tokens:
    return tokens._replace(log_forget=jnp.zeros_like(tokens.log_forget), input_gate=jnp.ones_like(tokens.input_gate))


def recursion_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C16, forward: recursive least squares equals a dense ridge solution at every t. Mutant: the newest pair is dropped."""
    tokens = _ungated(_tokens(config, key))
    found = nn.recursive_least_squares(tokens.query, tokens.key, tokens.value, tokens.regulariser)
    return Errors(relative_error(found, dense_output(tokens)), relative_error(found, dense_output(tokens, newest=-1)))


def recursion_gradient_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C16, backward: the closed-form gradient of recursive least squares equals autodiff of the dense solve. Mutant: e* in place of e in c_ts."""
    token_key, loss_key = jax.random.split(key)
    tokens = _ungated(_tokens(config, token_key))
    direction = jax.random.normal(loss_key, tokens.value.shape)
    parts = ("query", "key", "value", "regulariser")

    def layer(*values: Array) -> Array:
        return jnp.sum(direction * nn.recursive_least_squares(*values))

    def dense(*values: Array) -> Array:
        return jnp.sum(direction * dense_output(tokens._replace(**dict(zip(parts, values, strict=True)))))

    values = tuple(getattr(tokens, part) for part in parts)
    found, wanted = (jax.grad(f, argnums=(0, 1, 2, 3))(*values) for f in (layer, dense))
    return Errors(_worst(found, wanted), relative_error(_key_gradient(tokens, direction, mutant=True), wanted[1]))


def solver_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """N1: the chunk-parallel conjugate gradient layer equals a dense solve at every t. Mutant: the mask shifted by one token."""
    tokens = _tokens(config, key)
    found = _solver_layer(config, *tokens)
    return Errors(relative_error(found, dense_output(tokens)), relative_error(found, dense_output(tokens, newest=-1)))


def solver_gradient_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """N2: the closed-form gradient of all six inputs equals autodiff of the dense solve. Mutant: e* in place of e in c_ts."""
    token_key, loss_key = jax.random.split(key)
    tokens = _tokens(config, token_key)
    direction = jax.random.normal(loss_key, tokens.value.shape)
    found = jax.grad(lambda t: jnp.sum(direction * _solver_layer(config, *t)))(tokens)
    wanted = jax.grad(lambda t: jnp.sum(direction * dense_output(t)))(tokens)
    return Errors(_worst(found, wanted), relative_error(_key_gradient(tokens, direction, mutant=True), wanted.key))


def _solver_layer(config: Identities, *tokens: Array) -> Array:
    return nn.gated_mesa(*tokens, steps=4 * config.dim, tolerance=1e-14, chunk=7).output


def _key_gradient(tokens: Tokens, error: Array, *, mutant: bool) -> Array:
    """dL/dk_s = beta_s sum_t zeta_ts [(c_ts - b_ts) q*_t - a_ts e*_t], densely; the mutant takes c_ts = e*_t . v_s, a possible reading of the print."""
    weights = _pair_weights(tokens)
    gram = jnp.einsum("ts,si,sj->tij", weights, tokens.key, tokens.key) + jnp.diag(tokens.regulariser)
    pulled = jnp.einsum("ts,sv,sk,tv->tk", weights, tokens.value, tokens.key, error)
    solution, adjoint = (solve(gram, rhs[..., None])[..., 0] for rhs in (tokens.query, pulled))
    a, b = solution @ tokens.key.T, adjoint @ tokens.key.T
    c = (adjoint if mutant else error) @ tokens.value.T
    return (weights * (c - b)).T @ solution - (weights * a).T @ adjoint


def zero_steps_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """N3: with zero solver steps from the query, the layer is gated linear attention. Mutant: one step is taken."""
    tokens = _tokens(config, key)
    wanted, _ = nn.gated_linear_attention(tokens.query, tokens.key, tokens.value, tokens.log_forget, tokens.input_gate)

    def found(steps: int) -> Array:
        return nn.gated_mesa(*tokens, steps=steps, unroll=True, initial_guess=tokens.query, chunk=7).output

    return Errors(relative_error(found(0), wanted), relative_error(found(1), wanted))


IDENTITIES = {
    "C1": gradient_step_identity,
    "C4": series_identity,
    "C16 forward": recursion_identity,
    "C16 backward": recursion_gradient_identity,
    "N1": solver_identity,
    "N2": solver_gradient_identity,
    "N3": zero_steps_identity,
    **RECURSIONS,
}
