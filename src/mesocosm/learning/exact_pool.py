r"""Pairs of agents that ascend exact gradients, among naive learners and each other, or by LOLA-DICE.

Both agents have logits $\phi^i$ and take their steps at once. In a mixed pool, agent i ascends

$$p \, \frac{1}{M + 1} \sum_{m = 0}^{M} J^i(\phi^i, q_m) + (1 - p)\, J^i(\phi^i, \phi^{-i}), \qquad q_{m + 1} = q_m + \eta \nabla_q J^{-i}(\phi^i, q_m),$$

where the first term is averaged over naive learners $q_0$ drawn anew at each step and differentiated through their learning, and the co-player of the second
is a constant. With LOLA-DICE, agent i ascends $\mu J^i(\phi^i, q_K) + (1 - \mu) J^i(\phi^i, \phi^{-i})$, where $q_0 = \phi^{-i}$.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Sec. 4.1, App. C.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from mesocosm.analysis.memory_one import values
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA, MatrixGame
from mesocosm.learning.gradient_learner import GradientLearner, Metrics
from mesocosm.learning.lola import shaping_return

Pairs = Float[Array, "arms 2 5"]
Number = float | Float[Array, ""]
OfArms = Float[Array | np.ndarray, " arms"]


def logit_values(game: MatrixGame, discount: Number, own: Float[Array, "5"], other: Float[Array, "5"], key: Any = None) -> Float[Array, "2"]:
    """Normalised returns of two memory-one policies given by logits, in the form that `learning.lola` takes."""
    return values(game, jax.nn.sigmoid(own), jax.nn.sigmoid(other), discount)


def scattered_pairs(centres: Float[Array | np.ndarray, "arms 5"], spread: OfArms, key: Key[Array, ""]) -> Pairs:
    """Logits of two agents in each arm, normally distributed about a centre; the noise is the same in all arms."""
    return jnp.asarray(centres)[:, None] + jnp.asarray(spread)[:, None, None] * jax.random.normal(key, (2, 5))


class _Pairs(GradientLearner):
    """What both kinds of pairs share."""

    def objective(self, model: Pairs, batch: Any, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """Minus the sum of what all agents ascend, in which the others are constants: its gradient is each agent's own."""
        learned, plain = self.returns(model, jax.lax.stop_gradient(model)[:, ::-1], batch)
        return -jnp.sum(learned), {"peer": jnp.mean(plain)}

    def returns(self, own: Pairs, other: Pairs, batch: Any) -> tuple[Float[Array, "arms 2"], Float[Array, "arms 2"]]:
        """What each agent ascends, and its return against the other."""
        raise NotImplementedError


class MixedPairs(_Pairs):
    r"""Pairs of agents among naive learners and each other. Several arms, which differ in numbers, are trained side by side on the same learners.

    Attributes:
        build: key -> logits, such as `Partial(scattered_pairs, centres, spread)`.
        optimizer: hyperparameters -> optax transformation; one that acts on each number alone keeps the arms apart.
        hyperparameters: passed to it by name; traced.
        p_naive: p of each arm, the share of naive co-players. With 0 there are none; with 1 the two agents never meet.
        discount: $\gamma$ of each arm.
        rate: $\eta$, the naive learners' step size.
        updates: M, the updates of a naive learner.
        learners: naive learners per step and agent, with logits N(0, 1).
        game: the payoffs.
    """

    build: Callable[[Any], Pairs]
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    p_naive: OfArms
    discount: OfArms
    rate: Number
    updates: int = eqx.field(static=True)
    learners: int = eqx.field(static=True)
    game: MatrixGame = PRISONERS_DILEMMA

    def batch(self, model: Pairs, key: Key[Array, ""]) -> Float[Array, "2 learners 5"]:
        """Fresh naive learners for each agent."""
        return jax.random.normal(key, (2, self.learners, 5))

    def returns(self, own: Pairs, other: Pairs, batch: Float[Array, "2 learners 5"]) -> tuple[Float[Array, "arms 2"], Float[Array, "arms 2"]]:
        """The mixture, and the return against the other."""

        def mixed(own: Array, other: Array, learners: Array, p: Array, discount: Array) -> tuple[Array, Array]:
            value = partial(logit_values, self.game, discount)
            shaped = jnp.mean(jax.vmap(lambda learner: shaping_return(value, own, learner, self.rate, self.updates))(learners))
            plain = value(own, other)[0]
            return p * shaped + (1 - p) * plain, plain

        both = jax.vmap(mixed, in_axes=(0, 0, 0, None, None))
        return jax.vmap(both, in_axes=(0, 0, None, 0, 0))(own, other, batch, jnp.asarray(self.p_naive), jnp.asarray(self.discount))


class LookingAhead(_Pairs):
    r"""Pairs of agents with LOLA-DICE and exact gradients, in several arms.

    Attributes:
        build, optimizer, hyperparameters: as in `MixedPairs`.
        mix: $\mu$ of each arm, the weight of the look-ahead; the rest is the plain gradient.
        discount: $\gamma$ of each arm.
        rate: the other's supposed step size, of each arm.
        steps: K of each arm, look-ahead steps.
        longest: the largest K; all arms cost as much.
        game: the payoffs.
    """

    build: Callable[[Any], Pairs]
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    mix: OfArms
    discount: OfArms
    rate: OfArms
    steps: Int[Array | np.ndarray, " arms"]
    longest: int = eqx.field(static=True)
    game: MatrixGame = PRISONERS_DILEMMA

    def batch(self, model: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
        """Nothing is drawn."""
        return jnp.zeros(())

    def returns(self, own: Pairs, other: Pairs, batch: Any) -> tuple[Float[Array, "arms 2"], Float[Array, "arms 2"]]:
        """The look-ahead return (`learning.lola.lola_dice`) mixed with the plain one, and the plain one."""

        def mixed(own: Array, other: Array, mix: Array, discount: Array, rate: Array, steps: Array) -> tuple[Array, Array]:
            value = partial(logit_values, self.game, discount)

            def improve(q: Array, k: Array) -> tuple[Array, None]:
                return q + jnp.where(k < steps, rate, 0.0) * jax.grad(lambda q: value(own, q)[1])(q), None

            ahead, plain = jax.lax.scan(improve, other, jnp.arange(self.longest))[0], value(own, other)[0]
            return mix * value(own, ahead)[0] + (1 - mix) * plain, plain

        arms = tuple(map(jnp.asarray, (self.mix, self.discount, self.rate, self.steps)))
        both = jax.vmap(mixed, in_axes=(0, 0, None, None, None, None))
        return jax.vmap(both)(own, other, *arms)
