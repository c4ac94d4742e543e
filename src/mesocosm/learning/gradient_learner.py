"""Training with an optax optimiser: one step, and the Learner that supervised learning, policy gradients and other objectives extend."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.learning.learner import Learner

Metrics = Mapping[str, Float[Array, ""]]
Transform = optax.GradientTransformation


class GradientState(NamedTuple):
    """State of a `GradientLearner`.

    Attributes:
        model: the module being trained.
        optimizer: the optax state over its trained leaves.
    """

    model: Any
    optimizer: PyTree


class Step(NamedTuple):
    """What `gradient_step` returns.

    Attributes:
        state: the state after the step.
        metrics: `loss` and `gradient_norm`, both from before the step, and the metrics of the objective.
    """

    state: GradientState
    metrics: dict[str, Float[Array, ""]]


def start(model: Any, transform: Transform, trained: Any = eqx.is_inexact_array) -> GradientState:
    """The state before the first step; `transform` and `trained` as in `gradient_step`."""
    return GradientState(model, transform.init(eqx.filter(model, trained)))


def gradient_step(objective: Callable[[Any], tuple[Any, Metrics]], state: GradientState, transform: Transform, trained: Any = eqx.is_inexact_array) -> Step:
    """Take one optimiser step.

    Args:
        objective: model -> (scalar to minimise, metrics).
        state: model and optimiser state.
        transform: an optax transformation; one that reads the loss (`reduce_on_plateau`, `lbfgs`) or its gradient at other parameters (`sam`) receives it.
        trained: which leaves of the model are trained, as in `eqx.partition`.

    Raises:
        ValueError: a metric of the objective is called `loss` or `gradient_norm`.
    """
    trained_leaves, fixed = eqx.partition(state.model, trained)

    def of_leaves(leaves: PyTree) -> tuple[Any, Metrics]:
        return objective(eqx.combine(leaves, fixed))

    def loss_of(leaves: PyTree) -> Any:
        return of_leaves(leaves)[0]

    (loss, metrics), gradient = jax.value_and_grad(of_leaves, has_aux=True)(trained_leaves)
    own = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
    if taken := sorted(own.keys() & metrics):
        raise ValueError(f"the objective returns a metric called {taken[0]!r}, which every step reports itself; give it another name")
    update = optax.with_extra_args_support(transform).update
    extra = {"value": loss, "grad": gradient, "value_fn": loss_of}
    accepted = inspect.signature(update).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):  # `sam` refuses what it does not read
        extra = {name: given for name, given in {**extra, "grad_fn": lambda leaves, _: jax.grad(loss_of)(leaves)}.items() if name in accepted}
    moves, optimizer = update(gradient, state.optimizer, trained_leaves, **extra)
    model = eqx.combine(optax.apply_updates(trained_leaves, moves), fixed)
    return Step(GradientState(model, optimizer), {**own, **metrics})


class GradientLearner(Learner):
    """Minimise an objective over fresh batches with an optax optimiser.

    A subclass defines `batch` and `objective`, both pure, and declares these three fields itself, in the order of its own constructor.

    Attributes:
        build: key -> model (use `jax.tree_util.Partial(build, config)` to pass a config).
        optimizer: hyperparameters -> optax transformation, a module-level function such as `adamw`.
        hyperparameters: passed to `optimizer` by name. Numbers are traced, so that a sweep over them compiles once.
    """

    @abstractmethod
    def batch(self, model: Any, key: Key[Array, ""]) -> Any:
        """Draw the data of one step. They may depend on the model (episodes under a policy); no gradient flows through them."""

    @abstractmethod
    def objective(self, model: Any, batch: Any, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The scalar to minimise, and further metrics by name."""

    def trained(self, model: Any) -> Any:
        """Which leaves are trained, as in `eqx.partition`; by default, all floating-point arrays."""
        return jax.tree.map(eqx.is_inexact_array, model)

    def transform(self) -> Transform:
        """The optax transformation."""
        fields: Any = self
        return fields.optimizer(**fields.hyperparameters)

    def init(self, key: Key[Array, ""]) -> GradientState:
        """Build the model and the optimiser's state."""
        fields: Any = self
        model = fields.build(key)
        return start(model, self.transform(), self.trained(model))

    def update(self, state: GradientState, key: Key[Array, ""]) -> Step:
        """Draw one batch and take one step."""
        data_key, objective_key = jax.random.split(key)
        return self.step(state, self.batch(state.model, data_key), objective_key)

    def step(self, state: GradientState, batch: Any, key: Key[Array, ""]) -> Step:
        """Take one step on a given batch."""
        return gradient_step(lambda model: self.objective(model, batch, key), state, self.transform(), self.trained(state.model))

    def model(self, state: GradientState) -> Any:
        """The trained model."""
        return state.model
