"""Further identities in float64 on random instances: what stacked layers and memories compute, step by step, and what forgetting does to a recursion.

As in `identities.py`, each maps a key to the error of the statement and that of a named mutant.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from mesocosm import nn
from mesocosm.numerics.linear_algebra import least_squares, solve
from mesocosm.studies.identity_trials import Errors, relative_error
from mesocosm.studies.mesa.config import Identities
from mesocosm.tasks.linear_systems import haar_orthogonal

_STEP_SIZE = 0.05


# --- stacked layers -------------------------------------------------------------------------------------------------


def two_steps_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    r"""C18: at every position, the stack of Prop. 2 predicts as two steps of gradient descent on all pairs so far do. Mutant: two layers of Prop. 1, the
    second on the residuals $s_{t'} - \Phi_{t'} s_{t'-1}$ of models that saw only the pairs before, which is all that causal tokens offer."""
    states = jax.random.normal(key, (config.length, config.dim)) / jnp.sqrt(config.dim)
    previous = nn.previous_observations(states)
    series = nn.InverseSeries(config.dim, (1.0,), ridge=0.0, norm=1 / _STEP_SIZE)
    stream = nn.ResidualStack(series.layers())(series.tokens(states))
    found = _one_step(states, previous, series.block(stream, 1))

    def descended(t: Array) -> Array:
        seen = (jnp.arange(config.length) <= t)[:, None]

        def loss(phi: Array) -> Array:
            return 0.5 * jnp.sum(jnp.where(seen, states - previous @ phi.T, 0.0) ** 2)

        first = -_STEP_SIZE * jax.grad(loss)(jnp.zeros((config.dim, config.dim)))
        return (first - _STEP_SIZE * jax.grad(loss)(first)) @ states[t]

    wanted = jax.vmap(descended)(jnp.arange(config.length))
    residual = states - _STEP_SIZE * _one_step(states, previous, previous)
    stacked = _STEP_SIZE * (_one_step(states, previous, states) + _one_step(residual, previous, states))
    return Errors(relative_error(found, wanted), relative_error(stacked, wanted))


def _one_step(targets: Array, inputs: Array, queries: Array) -> Array:
    """Causal linear attention: the sum over t' <= t of y_t' (x_t' . q_t)."""
    return jnp.tril(queries @ inputs.T) @ targets


def stacked_observations_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    r"""C19: with n numbers observed of 3 n hidden ones, the last three observations $z_t$ obey $z_{t+1} = O W O^{-1} z_t$ with $O = [C; CW; CW^2]$. Mutant:
    the last two, with the pseudo-inverse."""
    observed, hidden = config.dim, 3 * config.dim
    system_key, read_key, start_key = jax.random.split(key, 3)
    transition = haar_orthogonal(system_key, hidden)
    read = 0.5 * jax.random.normal(read_key, (observed, hidden))
    start = jax.random.uniform(start_key, (hidden,), minval=-1.0, maxval=1.0)
    _, states = jax.lax.scan(lambda h, _: (transition @ h, h), start, length=config.length)

    def error(count: int) -> Array:
        powers = [read]
        for _ in range(count - 1):
            powers.append(powers[-1] @ transition)
        observability = jnp.concatenate(powers)
        stacked = states @ observability.T
        return relative_error(least_squares(observability, stacked[:-1].T).T @ transition.T @ observability.T, stacked[1:])

    return Errors(error(3), error(2))


# --- memories -------------------------------------------------------------------------------------------------------


def newton_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    r"""N9: the mesa layer takes an online Newton step per token, $\Phi_t = \Phi_{t-1} - \nabla \ell_t(\Phi_{t-1}) H_t^{-1}$, with $\ell_t$ the token's squared
    error and $H_t$ the Hessian of all of them and the regulariser. Mutant: the Hessian of the token before."""
    query, key_, value, regulariser = _tokens(config, key)
    found = nn.recursive_least_squares(query, key_, value, regulariser)

    def outputs(shift: int) -> Array:
        def step(state: tuple[Array, Array], token: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
            phi, hessian = state
            q, k, v = token
            after = hessian + jnp.outer(k, k)
            gradient = jax.grad(lambda phi: 0.5 * jnp.sum((v - phi @ k) ** 2))(phi)
            phi = phi - solve(after if shift == 0 else hessian, gradient.T).T
            return (phi, after), phi @ q

        start = (jnp.zeros((config.dim, config.dim)), jnp.diag(regulariser))
        return jax.lax.scan(step, start, (query, key_, value))[1]

    return Errors(relative_error(found, outputs(0)), relative_error(found, outputs(-1)))


def online_gradient_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    r"""N9: DeltaNet takes an online gradient step per token, $G_t = G_{t-1} - \beta_t \nabla \ell_t(G_{t-1})$. Mutant: the gradient at 0, which is linear
    attention."""
    token_key, gate_key = jax.random.split(key)
    query, key_, value, _ = _tokens(config, token_key)
    gate = jax.random.uniform(gate_key, (config.length,), minval=0.2, maxval=1.0)
    found, _ = nn.delta_rule(query, key_, value, None, gate)

    def outputs(at: float) -> Array:
        def step(memory: Array, token: tuple[Array, ...]) -> tuple[Array, Array]:
            q, k, v, beta = token
            gradient = jax.grad(lambda memory: 0.5 * jnp.sum((v - memory @ k) ** 2))(at * memory)
            memory = memory - beta * gradient
            return memory, memory @ q

        return jax.lax.scan(step, jnp.zeros((config.dim, config.dim)), (query, key_, value, gate))[1]

    return Errors(relative_error(found, outputs(1.0)), relative_error(found, outputs(0.0)))


def forgotten_regulariser_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    r"""N11: recursive least squares with forgetting solves with the regulariser $\gamma^t \Lambda$. Mutant: it is still $\Lambda$."""
    query, key_, value, regulariser = _tokens(config, key)
    log_forget = jnp.full(config.length, jnp.log(_FORGET))
    found = nn.recursive_least_squares(query, key_, value, regulariser, log_forget)
    age = jnp.arange(config.length)
    weights = jnp.where(age[:, None] >= age, _FORGET ** jnp.maximum(age[:, None] - age, 0), 0.0)
    gram, cross = (jnp.einsum("ts,si,sj->tij", weights, x, key_) for x in (key_, value))

    def dense(share: Array) -> Array:
        systems = gram + share[:, None, None] * jnp.diag(regulariser)
        return jnp.einsum("tij,tj->ti", cross, solve(systems, query[..., None])[..., 0])

    return Errors(relative_error(found, dense(_FORGET ** (age + 1.0))), relative_error(found, dense(jnp.ones(config.length))))


_FORGET = 0.8


def inverse_growth(config: Identities, key: PRNGKeyArray) -> Errors:
    r"""N11: the growth of the inverse $R$ along a direction without keys, as the logarithm of its size after the sequence over that before, per token and
    over $-\log \gamma$. Mutant: MesaNet's form, whose regulariser is constant."""
    _, key_, value, regulariser = _tokens(config, key)
    key_ = key_.at[:, -1].set(0.0)
    state = nn.initial_least_squares(regulariser, config.dim)
    log_forget = jnp.full(config.length, jnp.log(_FORGET))
    end, _ = nn.continue_least_squares(state, key_, key_, value, log_forget)
    sums = nn.gated_mesa(key_, key_, value, log_forget, None, regulariser).state.gram + jnp.diag(regulariser)
    unseen = jnp.zeros(config.dim).at[-1].set(1.0)
    constant = solve(sums, unseen)[-1]

    def growth(size: Array) -> Array:
        return jnp.log(size * regulariser[-1]) / (config.length * -jnp.log(_FORGET))

    return Errors(growth(end.inverse[-1, -1]), growth(constant))


def _tokens(config: Identities, key: PRNGKeyArray) -> tuple[Array, Array, Array, Array]:
    keys = jax.random.split(key, 4)
    query, key_, value = (jax.random.normal(k, (config.length, config.dim)) for k in keys[:3])
    return query, key_ / jnp.linalg.norm(key_, axis=1, keepdims=True), value, jax.random.uniform(keys[3], (config.dim,), minval=0.25, maxval=2.0)


RECURSIONS = {
    "C18": two_steps_identity,
    "C19": stacked_observations_identity,
    "N9 mesa": newton_identity,
    "N9 DeltaNet": online_gradient_identity,
    "N11": forgotten_regulariser_identity,
}
