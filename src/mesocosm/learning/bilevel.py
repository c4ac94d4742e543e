r"""Bilevel meta-learning: the inner loop adapts the fast parameters of a network to a task, and the outer loop trains where they start, and all others.

$$\min_\theta\, \mathbb{E}_{\text{task}}\big[L(\varphi_K, \theta; \text{query})\big], \qquad
\varphi_{k+1} = \varphi_k + U\big(\nabla_\varphi L(\varphi_k, \theta; \text{support})\big), \qquad \varphi_0 \subset \theta,$$

with the updates U of any optax optimiser. Which parameters are fast makes the method: the whole network is MAML (`whole`), its last layer ANIL (`last_layer`),
and the codes of a hypernetwork a modular learner (`codes`). The outer gradient goes through all inner steps (`unrolled`), or takes the inner gradients as
constants (`first_order`).

References: Finn, Abbeel and Levine, "Model-agnostic meta-learning for fast adaptation of deep networks" (2017); Raghu et al., "Rapid learning or feature
reuse?" (2020); Li et al., "Meta-SGD" (2017), for learned rates; Schug et al., "Discovering modular solutions that generalize compositionally" (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.learning.gradient_learner import GradientState, Transform, start
from mesocosm.learning.supervised import Loss, Supervised
from mesocosm.numerics.selection import Where, mask


class FewShot(NamedTuple):
    """The data of one task, as a `Task` for `Bilevel` samples it.

    Attributes:
        support: what the inner loop adapts to; anything that the loss takes.
        query: what the adapted network is scored on.
    """

    support: Any
    query: Any


class MetaLearned(NamedTuple):
    """What the outer loop trains.

    Attributes:
        network: the network before adaptation; its fast parameters are where the inner loop starts.
        log_rates: the logarithms of factors on the inner updates, or None. A scalar, or a tree of scalars or arrays for the fast parameters.
    """

    network: Any
    log_rates: PyTree


class Adapted(NamedTuple):
    """The result of an inner loop.

    Attributes:
        network: the network with its fast parameters after the last step.
        losses: the inner loss before each step.
    """

    network: Any
    losses: Float[Array, " steps"]


def whole(network: Any) -> Any:
    """All parameters are fast, as in MAML."""
    return network


def last_layer(network: Any) -> Any:
    """The last of `network.layers` is fast, as in ANIL."""
    return network.layers[-1]


def codes(network: Any) -> Any:
    """The codes and the output bias of a `CodedNetwork` are fast."""
    return network.codes, network.output_bias


def all_but_output_bias(network: Any) -> Any:
    """What the outer loop trains of a `CodedNetwork` whose output bias starts from zero in every task."""
    return network.hypernetwork, network.codes


def unrolled(gradient: PyTree) -> PyTree:
    """The inner gradient itself: the outer gradient then includes second derivatives, and is exact."""
    return gradient


def first_order(gradient: PyTree) -> PyTree:
    """The inner gradient as a constant: cheaper, without second derivatives, and biased."""
    return jax.lax.stop_gradient(gradient)


def one_rate(fast: PyTree) -> PyTree:
    """One learned factor for all inner updates."""
    return jnp.zeros(())


def rate_per_array(fast: PyTree) -> PyTree:
    """A learned factor for each array of the fast parameters."""
    return jax.tree.map(lambda _: jnp.zeros(()), fast)


def rate_per_parameter(fast: PyTree) -> PyTree:
    """A learned factor for each fast parameter, as in Meta-SGD."""
    return jax.tree.map(jnp.zeros_like, fast)


class InnerLoop(eqx.Module):
    """How a network adapts to one task: some steps of an optimiser on its fast parameters.

    The square root in Adam has no finite derivative at a gradient of zero: give `adamw` a positive `eps_root` (1e-7, say) to differentiate through it.

    Attributes:
        fast: network -> the parts of it that adapt (their floating-point arrays), such as `whole`, `last_layer` or `codes`.
        optimizer: hyperparameters -> optax transformation, a module-level function.
        hyperparameters: passed to `optimizer` by name; traced.
        steps: number of steps.
        gradient: `unrolled` or `first_order`.
        rates: the learned factors on the updates (`one_rate`, `rate_per_array`, `rate_per_parameter`), all 1 at the start; None for none.
        checkpointed: whether the outer gradient computes each inner step again instead of storing its activations, which saves memory.
    """

    fast: Where
    optimizer: Callable[..., Transform]
    hyperparameters: Mapping[str, Any]
    steps: int = eqx.field(static=True)
    gradient: Callable[[PyTree], PyTree] = unrolled
    rates: Callable[[PyTree], PyTree] | None = None
    checkpointed: bool = eqx.field(static=True, default=False)

    def start(self, network: Any) -> MetaLearned:
        """The network with its learned factors before the first outer step."""
        return MetaLearned(network, None if self.rates is None else self.rates(self._partition(network)[0]))

    def __call__(self, loss: Loss, start: MetaLearned, data: Any, key: Key[Array, ""]) -> Adapted:
        """Adapt to a task.

        Args:
            loss: (network, data, key) -> scalar. The key differs from step to step; a loss can draw a minibatch with it.
            start: where the loop starts.
            data: the task's support set.
            key: one key.

        Raises:
            ValueError: nothing is fast, or a fast parameter has no gradient, because the loss does not depend on it.
        """
        fast, slow = self._partition(start.network)

        def of_fast(fast: PyTree, key: Key[Array, ""]) -> Any:
            return loss(eqx.combine(fast, slow), data, key)

        _require_gradients(lambda fast: of_fast(fast, key), fast)
        transform = self.optimizer(**self.hyperparameters)

        def step(carry: tuple[PyTree, PyTree], key: Key[Array, ""]) -> tuple[tuple[PyTree, PyTree], Float[Array, ""]]:
            fast, state = carry
            value, gradient = jax.value_and_grad(of_fast)(fast, key)
            moves, state = transform.update(self.gradient(gradient), state, fast)
            return (optax.apply_updates(fast, _scaled(moves, start.log_rates)), state), value

        body = jax.checkpoint(step, prevent_cse=False) if self.checkpointed else step
        (fast, _), losses = jax.lax.scan(body, (fast, transform.init(fast)), jax.random.split(key, self.steps))
        return Adapted(eqx.combine(fast, slow), losses)

    def _partition(self, network: Any) -> tuple[PyTree, PyTree]:
        chosen = jax.tree.map(lambda picked, leaf: picked and eqx.is_inexact_array(leaf), mask(network, self.fast), network)
        if not any(jax.tree.leaves(chosen)):
            raise ValueError("`fast` picks no floating-point array of the network, so that nothing can adapt")
        return eqx.partition(network, chosen)


class Bilevel(Supervised):
    """Meta-learning on fresh batches of tasks.

    `task` samples a `FewShot`, or anything with `support` and `query`; `loss(network, data, key)` scores a network on either of them. `build` makes the
    network, and the state's model is a `MetaLearned`. Override `objective` for another aggregate over tasks.

    Attributes:
        inner: the inner loop.
        slow: network -> the parts of it that the outer loop trains, by default all, where the fast parameters start included.
    """

    inner: InnerLoop
    slow: Where = whole

    def init(self, key: Key[Array, ""]) -> GradientState:
        """Build the network, its learned factors and the optimiser's state."""
        model = self.inner.start(self.build(key))
        return start(model, self.transform(), self.trained(model))

    def trained(self, model: MetaLearned) -> Any:
        """The slow parameters and the learned factors."""
        slow = jax.tree.map(lambda picked, leaf: picked and eqx.is_inexact_array(leaf), mask(model.network, self.slow), model.network)
        return MetaLearned(slow, jax.tree.map(lambda _: True, model.log_rates))

    def adapt(self, model: MetaLearned, support: Any, key: Key[Array, ""]) -> Adapted:
        """Run the inner loop on one task."""
        return self.inner(self.loss, model, support, key)

    def losses(self, model: Any, batch: Any, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The loss of each task's adapted network on its query set."""

        def of_task(task: Any, key: Key[Array, ""]) -> Float[Array, ""]:
            inner_key, query_key = jax.random.split(key)
            return self.loss(self.adapt(model, task.support, inner_key).network, task.query, query_key)

        return jax.vmap(of_task)(batch, jax.random.split(key, self.batch_size))


def _scaled(moves: PyTree, log_rates: PyTree) -> PyTree:
    """The updates times the factors; one factor may stand for a whole branch of the tree."""
    if log_rates is None:
        return moves
    return jax.tree.map(lambda rate, branch: jax.tree.map(lambda move: jnp.exp(rate) * move, branch), log_rates, moves)


def _require_gradients(loss: Callable[[PyTree], Any], fast: PyTree) -> None:
    """Raise if the loss is independent of a parameter: the gradient's backward pass then never reaches it."""
    paths, structure = jax.tree_util.tree_flatten_with_path(fast)
    reached: set[str] = set()

    def watched(name: str, leaf: Array) -> Array:
        @jax.custom_vjp
        def same(leaf: Array) -> Array:
            return leaf

        def backward(_: None, gradient: Array) -> tuple[Array]:
            reached.add(name)
            return (gradient,)

        same.defvjp(lambda leaf: (leaf, None), backward)
        return same(leaf)

    names = [jax.tree_util.keystr(path) for path, _ in paths]

    def of_leaves(leaves: list[Array]) -> Any:
        return loss(jax.tree.unflatten(structure, [watched(name, leaf) for name, leaf in zip(names, leaves, strict=True)]))

    jax.eval_shape(jax.grad(of_leaves), [leaf for _, leaf in paths])
    if missing := [name for name in names if name not in reached]:
        raise ValueError(f"the inner loss does not depend on the fast parameter {', '.join(missing)}, which can never adapt; leave it out of `fast`")
