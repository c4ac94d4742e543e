"""Exact returns over a plane of policies: beside naive learners along their learning, and with a copy of itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.memory_one import values
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.learning.lola import lifetime
from mesocosm.studies.coala.config import Pairs
from mesocosm.studies.interface import Context, Tables


@dataclass(frozen=True)
class Plane:
    """The plane of policies that cooperate with one probability at the start and after CC, with another after DC, and never after CD and DD. Tit-for-tat and
    always defecting are corners of it, and strategies of zero-determinant extortion lie near it.

    Attributes:
        pairs: discount and naive learners.
        points: per side.
    """

    pairs: Pairs
    points: int


def survey(plane: Plane, context: Context) -> Tables:
    """Returns at every point."""
    sizes, side = plane.pairs, jnp.linspace(0.0, 1.0, plane.points)
    found = context.evaluate(Partial(_returns, (sizes.discount, sizes.rate), sizes.updates, sizes.test_learners), shared=(side, context.evaluation_key))
    axis = [round(place / (plane.points - 1), 6) for place in range(plane.points)]
    return {"landscape": context.rows({"after_cc": axis, "after_dc": axis}, ego=found["ego"], naive=found["naive"], copy=found["copy"])}


def policy_at(after_cc: Array, after_dc: Array) -> Float[Array, "5"]:
    """A point of the plane."""
    nothing = jnp.zeros_like(after_cc)
    return jnp.stack([after_cc, after_cc, nothing, after_dc, nothing])


def _returns(numbers: tuple[float, float], updates: int, learners: int, side: Float[Array, " points"], key: Any) -> dict[str, Array]:
    discount, rate = numbers
    naive = jax.random.normal(key, (learners, 5))

    def value(own: Array, learner: Array, key: Any = None) -> Array:
        return values(PRISONERS_DILEMMA, own, jax.nn.sigmoid(learner), discount)

    def of_point(after_cc: Array, after_dc: Array) -> dict[str, Array]:
        own = policy_at(after_cc, after_dc)
        life = jnp.mean(jax.vmap(lambda learner: lifetime(value, own, learner, rate, updates))(naive), axis=(0, 1))
        return {"ego": life[0], "naive": life[1], "copy": values(PRISONERS_DILEMMA, own, own, discount)[0]}

    return jax.lax.map(lambda after_cc: jax.vmap(partial(of_point, after_cc))(side), side)
