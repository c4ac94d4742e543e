r"""Evolution strategies as Learners: any distribution-based strategy of evosax (extra `evolution`) under `fit`.

One generation draws a population $\theta_1, \dots, \theta_P$, evaluates all members under the *same* key (common random numbers, so that members differ in
fitness by their parameters alone), and updates the strategy. For PGPE with antithetic noise $\epsilon_i \sim N(0, \sigma^2)$ and centred ranks s,

$$g_\mu = \tfrac{2}{P} \sum_i \tfrac{s_i^+ - s_i^-}{2}\, \epsilon_i, \qquad
  g_\sigma = \tfrac{2}{P} \sum_i \Big(\tfrac{s_i^+ + s_i^-}{2} - \bar s\Big) \frac{\epsilon_i^2 - \sigma^2}{\sigma};$$

$\mu$ takes an optimiser step, $\sigma$ a gradient step that changes it by at most 20 %. Equal losses share their mean rank.

Reference: Sehnke et al., "Parameter-exploring policy gradients" (2010); Lange, "evosax: JAX-based evolution strategies" (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.learning.learner import Learner

PACKAGES = {"evosax": "python -m pip install 'mesocosm[evolution]'"}
"""The optional package that strategies come from, and how to install it."""


class EvolutionState(NamedTuple):
    """State of `Evolution`.

    Attributes:
        strategy: the state of the evosax strategy, whose mean is the model's trained leaves.
        fixed: the model's other leaves.
    """

    strategy: PyTree
    fixed: Any


class Strategy(NamedTuple):
    """An evosax algorithm and its numbers.

    Attributes:
        algorithm: has `init`, `ask`, `tell` and `get_mean`.
        params: passed to each of them.
    """

    algorithm: Any
    params: Any


def pgpe(population: int, solution: PyTree, *, learning_rate: Any = 0.01, std: Any = 0.03, std_learning_rate: Any = 0.01) -> Strategy:
    """PGPE with Adam on the mean and centred ranks.

    Args:
        population: even number of members.
        solution: the parameters, for their shapes.
        learning_rate: Adam's, for the mean.
        std: initial standard deviation of every parameter.
        std_learning_rate: step size of the standard deviations.

    Raises:
        ImportError: evosax is not installed.
    """
    algorithms = _evosax()
    algorithm = algorithms.PGPE(population, solution, optimizer=optax.adam(learning_rate))
    return Strategy(algorithm, algorithm.default_params.replace(std_init=std, std_lr=std_learning_rate))


def _evosax() -> Any:
    try:
        from evosax import algorithms
    except ImportError as error:
        raise ImportError(f"evolution strategies need evosax: {PACKAGES['evosax']}") from error
    return algorithms


class Evolution(Learner):
    """Minimise a loss without its gradient.

    The loss may average over its own seeds and take the worst of its inputs: evaluate `q_norm` inside it.

    Attributes:
        build: key -> model; all floating-point arrays are searched.
        loss: (model, key) -> scalar, of one member.
        strategy: (population, solution, **hyperparameters) -> `Strategy`, a module-level function such as `pgpe`.
        hyperparameters: passed to `strategy` by name; traced.
        population: members per generation.
    """

    build: Callable[[Any], Any]
    loss: Callable[[Any, Any], Any]
    strategy: Callable[..., Strategy]
    hyperparameters: Mapping[str, Any]
    population: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> EvolutionState:
        """Start the strategy at a random model."""
        build_key, strategy_key = jax.random.split(key)
        mean, fixed = eqx.partition(self.build(build_key), eqx.is_inexact_array)
        algorithm, params = self._strategy(mean)
        return EvolutionState(_strong(algorithm.init(strategy_key, mean, params)), fixed)

    def update(self, state: EvolutionState, key: Key[Array, ""]) -> tuple[EvolutionState, dict[str, Float[Array, ""]]]:
        """Run one generation; metrics are of this generation's members."""
        ask_key, loss_key, tell_key = jax.random.split(key, 3)
        algorithm, params = self._strategy(self._shapes(state))
        members, strategy = algorithm.ask(ask_key, state.strategy, params)
        losses = jax.vmap(lambda member: self.loss(eqx.combine(member, state.fixed), loss_key))(members)
        strategy, _ = algorithm.tell(tell_key, members, losses, strategy, params)
        return EvolutionState(_strong(strategy), state.fixed), {"loss": jnp.mean(losses), "best_loss": jnp.min(losses)}

    def model(self, state: EvolutionState) -> Any:
        """The model at the mean."""
        shapes = self._shapes(state)
        algorithm, _ = self._strategy(shapes)
        return eqx.combine(algorithm.get_mean(state.strategy), state.fixed)

    def _strategy(self, solution: PyTree) -> Strategy:
        return self.strategy(self.population, solution, **self.hyperparameters)

    def _shapes(self, state: EvolutionState) -> PyTree:
        """Zeros in the shapes of the searched leaves."""
        built = eqx.filter_eval_shape(self.build, jax.random.key(0))
        leaves = eqx.filter(built, lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), leaves)


def _strong(state: PyTree) -> PyTree:
    """The state with arrays of fixed dtypes for evosax's Python numbers, so that a loop can carry it."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), state)
