"""The tasks and models of the incontext-composition study, and what it takes to train one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.studies.incontext_composition.config import Evaluation, Model, Network, Prompting, Training
from mesocosm.studies.parts import user_mixer
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.compositional_supports import k_hot, support
from mesocosm.tasks.hyperteacher import Hyperteacher, Prompt, Prompts, Teacher
from mesocosm.tasks.task import Split, Task

MODULES, INPUTS, HIDDEN = 6, 16, 16
"""Modules, inputs and hidden units of a teacher (paper)."""
MODULE_GAIN = (INPUTS / MODULES) ** 0.5
"""The entries of modules then have standard deviation 1 / sqrt(modules) (paper)."""
ROWS = (12, 9)
"""Training and held-out masks of every split, after repetition."""

Predictor = Callable[[Array, Array], Array]
PLAIN = frozenset({"vanilla", "told", "hyla"})
"""Models without a bottleneck."""
BOTTLENECKS: tuple[Model, ...] = ("hypernet", "latent-mlp")


@dataclass(frozen=True)
class Shape:
    """All that the structure of a model depends on; arms of one shape share compiled programs."""

    model: Model
    network: Network
    dim: int
    prompting: Prompting
    mixer: str = ""
    """The user's layer, in place of attention."""


@dataclass(frozen=True)
class Arm:
    """A model, the pairs of modules that it is trained on, how it is trained and how it is tested."""

    shape: Shape
    support: str
    training: Training
    learning_rate: float
    decay: float
    evaluation: Evaluation


@dataclass(frozen=True)
class Executor:
    """A hypernetwork that is given the code, trained on some pairs of modules, and tested on the prompts of models in context."""

    network: Network
    support: str
    training: Training
    prompting: Prompting
    evaluation: Evaluation


@dataclass(frozen=True)
class Predictors:
    """Predictors that are not trained, with contexts of several lengths."""

    prompting: Prompting
    contexts: tuple[int, ...]
    evaluation: Evaluation


# --- tasks ------------------------------------------------------------------------------------------------------------


def split_of(name: str) -> CombinationSplit:
    """The pairs of modules of a support, repeated equally often so that all splits have as many rows and share compiled programs."""
    found = support(name, k_hot(MODULES, 2))
    train, held_out = (jnp.tile(rows, (count // len(rows), 1)) for rows, count in zip((found.train, found.held_out), ROWS, strict=True))
    return CombinationSplit(train, held_out)


def draw_labelled(name: str, points: int, key: PRNGKeyArray) -> Hyperteacher:
    """The teacher of a key, and its tasks with the pairs of a support."""
    teacher = Teacher.create(INPUTS, HIDDEN, 1, modules=MODULES, module_gain=MODULE_GAIN, activation=jax.nn.gelu, normalised=True, key=key)
    return Hyperteacher(teacher, split_of(name), points)


def draw_prompts(name: str, pairs: int, queries: int, key: PRNGKeyArray) -> Prompts:
    """The same, as prompts."""
    return Prompts(draw_labelled(name, pairs + queries, key), queries)


def with_code(prompt: Prompt) -> Prompt:
    """The prompt, or a batch, with the task's plain code in front of every token."""

    def add(tokens: Array) -> Array:
        code = jnp.broadcast_to(prompt.plain_code[..., None, :], (*tokens.shape[:-1], MODULES))
        return jnp.concatenate([code, tokens], axis=-1)

    return prompt._replace(context=add(prompt.context), queries=add(prompt.queries))


class WithCode(Task[Prompt]):
    """Prompts `with_code`."""

    prompts: Prompts

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Prompt:
        """Draw one prompt."""
        return with_code(self.prompts.sample(key, split))


# --- models -----------------------------------------------------------------------------------------------------------


def build(arm: Arm, key: PRNGKeyArray) -> nn.ContextTransformer | nn.Bottleneck:
    """A model with random weights."""
    return build_shape(arm.shape, key)


def build_shape(shape: Shape, key: PRNGKeyArray) -> nn.ContextTransformer | nn.Bottleneck:
    """A model with random weights; a bottleneck reads its code at one more token."""
    encoder_key, executor_key = jax.random.split(key)
    network, width = shape.network, INPUTS + 1 + MODULES * (shape.model == "told")
    encoder = partial(nn.context_encoder, width, dim=shape.dim, heads=network.heads, layers=network.layers, key=encoder_key)
    if shape.model in PLAIN:
        pairs, queries = shape.prompting.pairs, shape.prompting.queries
        return nn.ContextTransformer(encoder(1, read=queries, context=pairs, mixer=_mixer(shape)))
    executor, hidden = (nn.Composed, network.hidden) if shape.model == "hypernet" else (nn.Conditioned, network.mlp_hidden)
    return nn.Bottleneck(encoder(network.code), executor.create(INPUTS, 1, code=network.code, hidden=hidden, key=executor_key), INPUTS)


def _mixer(shape: Shape) -> Callable[..., nn.Mixer] | None:
    if shape.mixer:
        return lambda dim, key: user_mixer(shape.mixer, dim, key)
    if shape.model != "hyla":
        return None
    position, mask = partial(nn.RelativeBias.create, two_sided=True), nn.ContextAndSelf(shape.prompting.pairs)
    return partial(nn.hyla, heads=shape.network.heads, bias=False, position=position, causal=False, mask=mask)


def build_executor(executor: Executor, key: PRNGKeyArray) -> nn.Composed:
    """A hypernetwork that is given codes."""
    return _composed(executor.network, key)


def _composed(network: Network, key: PRNGKeyArray) -> nn.Composed:
    return nn.Composed.create(INPUTS, 1, code=MODULES, hidden=network.hidden, key=key)


# --- training ---------------------------------------------------------------------------------------------------------


class InContext(Supervised):
    """Supervised training that holds the test prompts of its seed, for measurements during training.

    Attributes:
        sets: test prompts, with axes (sets, tasks) in front.
    """

    sets: Prompt


def learner(arm: Arm, drawn: Task[Prompt], sets: Prompt) -> InContext:
    """AdamW on the queries of fresh tasks."""
    options = _options(arm.training, arm.learning_rate, arm.decay)
    return InContext(Partial(build_shape, arm.shape), drawn, prompt_loss, adamw, options, arm.training.tasks, sets)


def executor_learner(executor: Executor, drawn: Hyperteacher) -> Supervised:
    """AdamW on the points of fresh tasks, without weight decay."""
    training = executor.training
    return Supervised(Partial(_composed, executor.network), drawn, execution_loss, adamw, _options(training, training.learning_rate, 0.0), training.tasks)


def _options(training: Training, learning_rate: float, decay: float) -> dict[str, float]:
    return {
        "learning_rate": learning_rate,
        "warmup": float(training.warmup),
        "steps": float(training.steps),
        "clip_norm": 1.0,
        "weight_decay": decay,
    }


def prompt_loss(model: Predictor, prompt: Prompt, key: PRNGKeyArray) -> Float[Array, ""]:
    """Mean squared error at the queries."""
    return jnp.mean((model(prompt.context, prompt.queries) - prompt.targets) ** 2)


def execution_loss(model: nn.Composed, example: Any, key: PRNGKeyArray) -> Float[Array, ""]:
    """Mean squared error of the network that is generated from the code with which a hypernetwork without the norm makes the task's network."""
    return jnp.mean((model(example.plain_code, example.inputs) - example.outputs) ** 2)
