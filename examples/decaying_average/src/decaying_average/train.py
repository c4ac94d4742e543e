"""How a forecaster is trained, and compared with the Kalman filter of its walk."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from decaying_average.config import Config, Walk
from decaying_average.layer import decaying_average
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.learning import Supervised, adam
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.task import Split, Task, batch, digest


class Observations(NamedTuple):
    """One sequence."""

    values: Float[Array, " time"]


class LocalLevel(Task[Observations]):
    r"""$\mu_{t+1} = \mu_t + \mathrm{step}\,\epsilon_t$, $y_t = \mu_t + \mathrm{noise}\,\eta_t$, $\mu_1 = 0$, standard normal $\epsilon$ and $\eta$."""

    step: float
    noise: float
    length: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Observations:
        """Draw the level, then look at it through noise."""
        moving, seeing = jax.random.split(key)
        level = self.step * jnp.cumsum(jax.random.normal(moving, (self.length,)).at[0].set(0))
        return Observations(level + self.noise * jax.random.normal(seeing, (self.length,)))


class Forecaster(eqx.Module):
    """Predicts the next observation by the decaying average of those before."""

    logit: Float[Array, ""]

    @property
    def gain(self) -> Float[Array, ""]:
        """Weight of the newest observation."""
        return jax.nn.sigmoid(self.logit)


def forecast_errors(gain: Any, y: Float[Array, " time"]) -> Float[Array, " half"]:
    """Errors of one-step forecasts in the second half of a sequence."""
    return (decaying_average(1 - gain, y[:, None])[:-1, 0] - y[1:])[y.shape[0] // 2 :]


def kalman_gain(walk: Walk) -> float:
    r"""$K = (\sqrt{q^2 + 4q} - q) / 2$ with $q = (\mathrm{step} / \mathrm{noise})^2$: the filter's gain once it is steady."""
    q = (walk.step / walk.noise) ** 2
    return float((np.sqrt(q**2 + 4 * q) - q) / 2)


def build(config: Config, key: PRNGKeyArray) -> Forecaster:
    """Start anywhere."""
    return Forecaster(jax.random.normal(key))


def loss(model: Forecaster, example: Observations, key: PRNGKeyArray) -> Float[Array, ""]:
    """Mean squared forecast error."""
    return jnp.mean(forecast_errors(model.gain, example.values) ** 2)


def train(config: Config, context: Context) -> Tables:
    """Train, and compare with the Kalman filter of the walk it was trained on."""
    walk = config.walk
    task = LocalLevel(walk.step, walk.noise, walk.length)
    learner = Supervised(Partial(build, config), task, loss, adam, {"learning_rate": config.learning_rate}, config.batch_size)
    model = context.fit("forecaster", learner, config.steps).model
    context.publish("forecaster", model)
    test = batch(task, context.evaluation_key, config.test_sequences).values
    learned, kalman = (np.asarray(part) for part in context.evaluate(Partial(compare, kalman_gain(walk)), model, shared=(test,)))
    ratio, error = log_ratio_of_means(learned, kalman)
    gain = np.asarray(model.gain)
    return {"forecaster": context.rows(gain=gain, digest=[digest(test)] * len(context.seeds), excess=ratio, excess_error=error)}


def compare(kalman: Any, model: Forecaster, test: Array) -> tuple[Array, Array]:
    """Mean squared forecast error of each test sequence, by the learned gain and by Kalman's."""
    return tuple(jnp.mean(jax.vmap(Partial(forecast_errors, gain))(test) ** 2, axis=1) for gain in (model.gain, kalman))  # type: ignore[return-value]
