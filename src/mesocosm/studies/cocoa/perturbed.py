"""Signal-to-noise ratio of exact models multiplied by noise (Fig. 12): one draw of noise per replicate, layout and episodes of its own."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.tabular.gradient_statistics import decibels
from mesocosm.envs.key_to_door import APPLE_RIGHT, OPEN_DOOR, PICK_LEFT, PICK_RIGHT, TAKE_KEY, KeyToDoor, KeyToDoorParams
from mesocosm.envs.tabular import LayeredMDP
from mesocosm.learning.exact_credit import Credit, Steps
from mesocosm.studies.cocoa.config import Estimator, Perturbed
from mesocosm.studies.cocoa.signal import exact_credit, first_step_signals
from mesocosm.studies.interface import Context, Tables

NAMES: tuple[Estimator, ...] = ("cocoa-reward", "q-critic", "advantage", "hca-plus", "reinforce")


class Noisy(Credit):
    r"""An estimator whose model is multiplied by $1 + \sigma \epsilon$: the hindsight distribution without renormalisation, or the values.

    Attributes:
        credit: the estimator with its exact model.
        noise: $\sigma \epsilon$, of the model's shape.
        hindsight: whether the model is coefficients, $w = h / \pi - 1$.
    """

    credit: Credit
    noise: Float[Array | np.ndarray, "..."]
    hindsight: bool = eqx.field(static=True)

    def models(self, policy: Float[Array, "states actions"]) -> Any:
        """The model with its noise."""
        exact, factor = self.credit.models(policy), 1.0 + jnp.asarray(self.noise, policy.dtype)
        return (exact + 1.0) * factor - 1.0 if self.hindsight else exact * factor

    def contributions(self, models: Any, steps: Steps) -> Float[Array, "time actions"]:
        """Those of the estimator."""
        return self.credit.contributions(models, steps)


def skilled(env: KeyToDoor, params: KeyToDoorParams, skill: float) -> Float[np.ndarray, "states actions"]:
    """Takes the key, picks the right side of each apple and opens the door with probability `skill`; the other actions share the rest."""
    states = env.every_state()
    time = np.asarray(states.time)
    cell = np.asarray(params.cells)[time]
    best = np.where(cell == APPLE_RIGHT, PICK_RIGHT, PICK_LEFT)
    best = np.where(time == 0, TAKE_KEY, np.where(time == env.length - 2, OPEN_DOOR, best))
    return np.where(np.arange(4) == best[:, None], skill, (1.0 - skill) / 3.0)


def measure_perturbed(config: Perturbed, context: Context) -> Tables:
    """Every estimator at every size of the noise, on the same episodes."""
    env = KeyToDoor(config.length)
    layouts = [env.params(layout=seed) for seed in context.seeds]
    policies = [skilled(env, params, config.skill) for params in layouts]
    exact: list[dict[Estimator, Credit]] = [{name: exact_credit(name, env, params) for name in NAMES} for params in layouts]
    credits = [
        tuple(_noisy(each, name, sigma, 2 * env.length, np.random.default_rng(seed)) for sigma in config.sigmas for name in NAMES)
        for each, seed in zip(exact, context.seeds, strict=True)
    ]
    mdps = [LayeredMDP.of(env.tabular(params)) for params in layouts]
    layout, credit, mdp, policy = (jax.tree.map(lambda *leaves: np.stack(leaves), *parts) for parts in (layouts, credits, mdps, policies))
    found = context.evaluate(Partial(first_step_signals, env, config.episodes), credit, mdp, layout, policy, context.keys("env"))
    shape = (len(context.seeds), len(config.sigmas), len(NAMES))
    columns = {"snr": decibels(found.snr), "snr_error": 10 / np.log(10) * np.asarray(found.error)}
    return {"perturbed": context.rows({"sigma": config.sigmas, "estimator": NAMES}, **{name: part.reshape(shape) for name, part in columns.items()})}


def _noisy(exact: dict[Estimator, Credit], name: Estimator, sigma: float, states: int, draw: np.random.Generator) -> Credit:
    """The estimator with noise of this size, the same draw at every size; REINFORCE has no model that could have noise."""
    if name == "reinforce":
        return exact[name]
    shapes = jax.eval_shape(exact[name].models, jnp.full((states, 4), 0.25))
    return Noisy(exact[name], sigma * draw.standard_normal(shapes.shape), hindsight=name in ("cocoa-reward", "hca-plus"))
