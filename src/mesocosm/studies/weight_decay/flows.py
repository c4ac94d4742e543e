"""Two factors under flows that are not gradient descent: momentum with gradient noise (Prop. B.2), and a loss that is not bounded below (App. B.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.spectra.low_rank_law import Factors, imbalance, l2_penalty
from mesocosm.analysis.spectra.noisy_decay import Rates, simulate
from mesocosm.numerics.linear_algebra import qr
from mesocosm.numerics.precision import full_precision
from mesocosm.studies.identity_trials import Errors, instance_keys, on_instances
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.weight_decay.config import Boundedness, Noisy
from mesocosm.studies.weight_decay.train import random_factors

# --- momentum and noise ---------------------------------------------------------------------------------------------------


def follow_noise(config: Noisy, context: Context) -> Tables:
    """The imbalance along noisy paths for each noise, along one without noise, and along one without decay."""
    arms = [("decayed", noise, config.decay) for noise in (0.0, *config.noises)] + [("free", 0.0, 0.0)]
    noises, decays = (np.array(part) for part in ([noise for _, noise, _ in arms], [decay for *_, decay in arms]))
    start, difference = context.evaluate(Partial(_noisy_paths, config), context.keys("init"), context.keys("data"), shared=(noises, decays))
    time = config.step * config.block * np.arange(1, config.blocks + 1)
    rows = [
        context.rows({"time": time.tolist()}, arm=arm, noise=noise, difference=difference[:, place], start=start) for place, (arm, noise, _) in enumerate(arms)
    ]
    return {"noisy_paths": pl.concat(rows)}


def _start(config: Noisy, key: PRNGKeyArray) -> Factors:
    size = len(config.values)
    return random_factors(key, size, size, size, config.init_std)


def _slope(config: Noisy, whole: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return whole - jnp.diag(jnp.asarray(config.values))


def _noisy_paths(config: Noisy, init_key: PRNGKeyArray, noise_key: PRNGKeyArray, noises: Array, decays: Array) -> tuple[Array, Array]:
    start = _start(config, init_key)

    def one(noise: Array, decay: Array) -> Array:
        rates = Rates(config.momentum, config.learning_rate, decay, noise, config.step)
        return simulate(start, Partial(_slope, config), rates, blocks=config.blocks, block=config.block, key=noise_key).difference

    return jnp.linalg.norm(imbalance(start)), jax.vmap(one)(noises, decays)


def check_noisy_identity(config: Noisy, context: Context) -> Tables:
    """The identity of the imbalance along noisy paths, with a fine step."""
    found = context.evaluate(Partial(on_instances, _along_a_path, config), shared=(instance_keys(context, 0, config.instances),))
    axes = {"instance": range(config.instances)}
    rows = [context.rows(axes, identity=name, error=errors.error, mutant=errors.mutant) for name, errors in found.items()]
    return {"identities": pl.concat(rows)}


def _along_a_path(config: Noisy, key: PRNGKeyArray) -> dict[str, Errors]:
    """Largest errors along a path. Mutant: without the integral, which leaves the exponential alone."""
    init_key, noise_key = jax.random.split(key)
    start = _start(config, init_key)
    rates = Rates(config.momentum, config.learning_rate, config.decay, config.identity_noise, config.identity_step)
    path = simulate(start, Partial(_slope, config), rates, blocks=config.identity_blocks, block=config.identity_block, key=noise_key)
    first = imbalance(start)
    told = jnp.exp(-2 * config.learning_rate * config.decay * path.time)[:, None, None] * first
    mutant = jnp.max(jnp.linalg.norm(imbalance(path.factors) - told, axis=(-2, -1))) / jnp.linalg.norm(first)
    return {"C12 integral": Errors(jnp.max(path.integral_error), mutant), "C12 steps": Errors(jnp.max(path.step_error), mutant)}


# --- a loss without a bound -------------------------------------------------------------------------------------------------


class Flown(NamedTuple):
    """A path of gradient flow.

    Attributes:
        growth: log10 of the squared norm at the end over that at the start.
        energy: the largest penalty along the path, times the decay, over the regularised loss at the start: at most 1 if the loss is never negative.
        error: largest error of the exponential law of the imbalance, relative to the first.
        mutant: the same if the imbalance stayed.
        time: at the end.
    """

    growth: Array
    energy: Array
    error: Array
    mutant: Array
    time: Array


class _Moment(NamedTuple):
    factors: Factors
    time: Array
    flown: Flown


def follow_unbounded(config: Boundedness, context: Context) -> Tables:
    """Gradient flow from nearly orthogonal factors below and above the threshold, and from those above on a loss that is never negative."""
    found = context.evaluate(Partial(on_instances, _three_flows, config), shared=(instance_keys(context, 0, config.instances),))
    rows = [context.rows({"instance": range(config.instances)}, arm=arm, **flown._asdict()) for arm, flown in found.items()]
    return {"boundedness": pl.concat(rows)}


def _three_flows(config: Boundedness, key: PRNGKeyArray) -> dict[str, Flown]:
    a_key, b_key, change_key, target_key = jax.random.split(key, 4)
    shape = (config.size, config.size)
    a, b = (qr(jax.random.normal(one, shape)).q for one in (a_key, b_key))
    change = jax.random.normal(change_key, shape) / config.size**0.5
    target = jax.random.normal(target_key, shape)

    def start(share: float) -> Factors:
        scale = (share * config.decay / 2) ** 0.5
        return Factors(scale * (a + config.imbalance * a @ (change + change.T) / 2), scale * b)

    def away(whole: Array) -> Array:
        return -jnp.sum(whole**2)

    def near(whole: Array) -> Array:
        return jnp.sum((whole - target) ** 2) / 2

    return {
        "below": _flow(config, start(config.below), away),
        "above": _flow(config, start(config.above), away),
        "bounded loss": _flow(config, start(config.above), near),
    }


@full_precision
def _flow(config: Boundedness, start: Factors, loss: Callable[[Array], Array]) -> Flown:
    """Runge and Kutta's method of fourth order, with steps that shorten as the factors grow."""
    first, size = imbalance(start), l2_penalty(start)

    def regularised(factors: Factors) -> Array:
        return loss(factors.a @ factors.b.T) + config.decay * l2_penalty(factors)

    def velocity(factors: Factors) -> Factors:
        return jax.tree.map(jnp.negative, jax.grad(regularised)(factors))

    def moved(factors: Factors, time: Array, direction: Factors) -> Factors:
        return jax.tree.map(lambda x, v: x + time * v, factors, direction)

    def step(now: _Moment, _: None) -> tuple[_Moment, None]:
        factors, whole = now.factors, now.factors.a @ now.factors.b.T
        time = config.step_size / (config.decay + l2_penalty(factors) + jnp.linalg.norm(jax.grad(loss)(whole)))
        time = jnp.where(l2_penalty(factors) < config.limit * size, time, 0.0)
        one = velocity(factors)
        two = velocity(moved(factors, time / 2, one))
        three = velocity(moved(factors, time / 2, two))
        four = velocity(moved(factors, time, three))
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, one, two, three, four)
        return noted(moved(factors, time, mean), now.time + time, now.flown), None

    def noted(factors: Factors, time: Array, flown: Flown) -> _Moment:
        told = jnp.exp(-2 * config.decay * time) * first
        error, mutant = (jnp.linalg.norm(imbalance(factors) - other) / jnp.linalg.norm(first) for other in (told, first))
        energy = config.decay * l2_penalty(factors) / regularised(start)
        growth = jnp.log10(l2_penalty(factors) / size)
        return _Moment(
            factors,
            time,
            Flown(growth, jnp.maximum(flown.energy, energy), jnp.maximum(flown.error, error), jnp.maximum(flown.mutant, mutant), time),
        )

    zero = jnp.zeros_like(size)
    begun = noted(start, zero, Flown(zero, zero, zero, zero, zero))
    return jax.lax.scan(step, begun, None, length=config.steps)[0].flown
