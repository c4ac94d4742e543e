"""What the toy study trains: a rolling arm, a frozen arm that shares its program, a probe of both, and an identity in pure NumPy."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.learner import Learner
from mesocosm.studies.interface import Context, Tables, Trial
from toy_study.config import Config, Descent


class Ball(eqx.Module):
    """Where the ball lies."""

    position: Float[Array, " dim"]


class State(NamedTuple):
    """The ball, and how high it started."""

    ball: Ball
    start: Float[Array, ""]


def height(ball: Ball) -> Float[Array, ""]:
    return 0.5 * jnp.sum(ball.position**2)


class NoisyDescent(Learner):
    """A learner: `position <- position - learning_rate * (position + noise)`."""

    learning_rate: float
    noise: float
    dim: int = eqx.field(static=True)

    def init(self, key: PRNGKeyArray) -> State:
        ball = Ball(jax.random.normal(key, (self.dim,)))
        return State(ball, height(ball))

    def update(self, state: State, key: PRNGKeyArray) -> tuple[State, dict[str, Float[Array, ""]]]:
        position = state.ball.position
        gradient = position + self.noise * jax.random.normal(key, position.shape)
        ball = Ball(position - self.learning_rate * gradient)
        return State(ball, state.start), {"loss": height(ball)}

    def model(self, state: State) -> Ball:
        return state.ball


def trials(config: Config) -> list[Trial]:
    arm = Descent(config.bowl, config.steps, config.learning_rate)
    models = {"ball": build_ball}
    return [
        Trial("identity", check_identity, config, precision="float64", seeds=1),
        Trial("rolling", roll, arm, models=models),
        Trial("frozen", roll, replace(arm, learning_rate=0.0), models=models),
        Trial("probe", probe, config, after=("rolling", "frozen")),
    ]


def build_ball(config: Descent, key: PRNGKeyArray) -> Ball:
    return Ball(jnp.zeros(config.bowl.dim))


def check_identity(config: Config, context: Context) -> Tables:
    """The height is half the inner product of the position with itself; the mutant forgets the half."""
    positions = np.random.default_rng(0).normal(size=(config.instances, config.bowl.dim))
    heights, products = 0.5 * np.sum(positions**2, axis=1), np.einsum("nd,nd->n", positions, positions)
    error, mutant = np.abs(heights - 0.5 * products), np.abs(heights - products)
    return {"identity": context.rows({"instance": range(config.instances)}, error=error[None], mutant=mutant[None])}


def roll(config: Descent, context: Context) -> Tables:
    fitted = context.fit("descent", NoisyDescent(config.learning_rate, config.bowl.noise, config.bowl.dim), config.steps)
    context.publish("ball", fitted.model)
    end = context.evaluate(height, fitted.model)
    return {"heights": context.rows(start=np.asarray(fitted.state.start), end=end)}


def probe(config: Config, context: Context) -> Tables:
    """How far the rolling ball came, from the parents' published models."""
    rolled, frozen = (context.evaluate(height, context.model(trial, "ball")) for trial in context.parents)
    return {"distance": context.rows(gap=frozen - rolled)}
