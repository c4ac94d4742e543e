"""The four networks that learn to adapt, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial
from jaxtyping import PRNGKeyArray

from mesocosm.learning.bilevel import Bilevel, InnerLoop, codes, last_layer, one_rate, whole
from mesocosm.learning.optimizers import adamw
from mesocosm.nn import MLP, CodedNetwork, Hypernetwork, layer_groups
from mesocosm.nn.hypernetwork import DeepGenerator, LinearGenerator
from mesocosm.studies.modular.config import Method, Training

FAST: dict[Method, Callable[[Any], Any]] = {"linear": codes, "nonlinear": codes, "anil": last_layer, "maml": whole}


class Sizes(NamedTuple):
    """Inputs and outputs of a network, its hidden layers, and the size of a hypernetwork's codes."""

    inputs: int
    outputs: int
    layers: int
    codes: int


def build(method: Method, width: int, sizes: Sizes, key: PRNGKeyArray) -> Any:
    """A network of a method."""
    layers = (sizes.inputs, *[width] * sizes.layers, sizes.outputs)
    if method in ("anil", "maml"):
        return MLP.create(*layers, key=key)
    network_key, generator_key, code_key = jax.random.split(key, 3)
    generator = LinearGenerator.create if method == "linear" else DeepGenerator.create
    hypernetwork = Hypernetwork.create(MLP.scaled(*layers, key=network_key), sizes.codes, pieces=layer_groups, generator=generator, key=generator_key)
    return CodedNetwork.create(hypernetwork, output_bias=sizes.outputs if method == "linear" else None, key=code_key)


def build_again(method: Method, width: int, sizes: Sizes, key: PRNGKeyArray) -> Any:
    """Another network of a method for the same seed."""
    return build(method, width, sizes, jax.random.fold_in(key, 1))


def learner(method: Method, training: Training, sizes: Sizes, task: Any, loss: Callable[..., Any], start: Callable[..., Any] = build) -> Bilevel:
    """Exact gradients through all inner steps, whose rate is multiplied by a learned factor."""
    outer = {
        "learning_rate": training.learning_rate,
        "steps": float(training.steps),
        "floor": training.floor,
        "clip_norm": training.clip_norm,
        "weight_decay": training.weight_decay,
    }
    return Bilevel(Partial(start, method, training.width, sizes), task, loss, adamw, outer, training.tasks, inner_loop(method, training))


def inner_loop(method: Method, training: Training, steps: int | None = None) -> InnerLoop:
    """The inner loop of a method, or one of another length."""
    rate = {"learning_rate": training.inner_rate, "eps_root": 1e-7}
    return InnerLoop(FAST[method], adamw, rate, training.inner_steps if steps is None else steps, rates=one_rate)
