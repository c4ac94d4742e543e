"""Recall and languages of automata by networks of one layer each, and what the mesa layers' solver must do for recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import Attention, DeltaNet, GatedLinearAttention, GatedMesaAttention, Rotary, SequenceModel, language_model
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Memories
from mesocosm.tasks.automata import AutomatonExample, AutomatonStrings, valid_rate
from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.task import batch, digest
from mesocosm.tasks.tokens import TokenExample, accuracy, cross_entropy

MIXERS: dict[str, Callable[..., Any]] = {
    "mesa": GatedMesaAttention.create,
    "gla": GatedLinearAttention.create,
    "delta-net": DeltaNet.create,
    "attention": partial(Attention.create, position=Rotary.create),
}


@dataclass(frozen=True)
class Bounds:
    """Of a mesa layer's solver."""

    tolerance: float
    steps: int = 30
    """As many count as exact (paper)."""


@dataclass(frozen=True)
class MemoryArm:
    """A network with one kind of memory."""

    memories: Memories
    mixer: str
    problem: Literal["recall", "noisy-recall", "automata"]

    @property
    def task(self) -> MultiQueryRecall | AutomatonStrings:
        """Recall of key-value pairs, where noisy with random tokens between the queries; or strings of automata."""
        sizes = self.memories
        if self.problem == "automata":
            return AutomatonStrings(length=sizes.automata_length)
        return MultiQueryRecall(sizes.vocabulary, sizes.pairs, sizes.length, power=1.0, distractors=self.problem == "noisy-recall")


def build_memory(arm: MemoryArm, key: PRNGKeyArray) -> SequenceModel:
    """Blocks of one mixer. Gated mixers need no positions: their convolutions see the order of neighbours. Attention is rotary."""
    sizes = arm.memories
    mixer = partial(MIXERS[arm.mixer], heads=sizes.heads, key_dim=sizes.key_dim)
    return language_model(arm.task.vocabulary, sizes.width, layers=sizes.layers, mixer=mixer, positions=None, tied=False, key=key)


def memory_loss(network: SequenceModel, example: TokenExample | AutomatonExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross entropy at the scored positions."""
    return cross_entropy(network(example.inputs), TokenExample(*example[:3]))


def train_memory(arm: MemoryArm, context: Context) -> Tables:
    """Accuracy (for automata: how often the prediction may come next), and for mesa layers the same under bounds of the solver."""
    sizes = arm.memories
    numbers = {"learning_rate": sizes.learning_rate, "steps": float(sizes.steps), "weight_decay": sizes.weight_decay, "clip": None, "clip_norm": 1.0}
    learner = Supervised(Partial(build_memory, arm), arm.task, memory_loss, adamw, numbers, sizes.batch_size)
    network = context.fit("network", learner, sizes.steps).model
    context.publish("network", network)
    examples = context.evaluate(Partial(_draw, arm), shared=(context.evaluation_key,))
    digests = [digest(inputs) for inputs in examples.inputs]
    tables = {"recall": context.rows(digest=digests, accuracy=context.evaluate(measure_accuracy, network, examples))}
    if arm.mixer == "mesa":
        bounds = [Bounds(tolerance) for tolerance in sizes.tolerances] + [Bounds(0.0, steps) for steps in sizes.fixed_steps]
        found = [context.evaluate(Partial(solved, bound), network, examples) for bound in bounds]
        losses, accuracies, taken = (np.stack([part[i] for part in found], axis=1) for i in range(3))
        names = [f"{bound.tolerance:g}" if bound.tolerance else f"{bound.steps} steps" for bound in bounds]
        tables["solver"] = context.rows({"bound": names}, digest=digests, loss=losses, accuracy=accuracies, steps=taken)
    return tables


def _draw(arm: MemoryArm, key: PRNGKeyArray) -> Any:
    return batch(arm.task, key, arm.memories.sequences, "iid")


def measure_accuracy(network: SequenceModel, examples: TokenExample | AutomatonExample) -> Float[Array, ""]:
    """Of the argmax at the scored positions; for automata, how often it may come next."""
    return _right(jax.lax.map(network, examples.inputs, batch_size=64), examples)


def _right(logits: Array, examples: TokenExample | AutomatonExample) -> Array:
    return valid_rate(logits, examples) if isinstance(examples, AutomatonExample) else accuracy(logits, examples)


def solved(bounds: Bounds, network: SequenceModel, examples: TokenExample | AutomatonExample) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Loss and accuracy of the network with other bounds of the solver, and the mean number of steps that its layers take."""
    bounded = with_bounds(network, bounds)

    def one(inputs: Array) -> tuple[Array, Array]:
        logits, shown = bounded.explain(inputs)
        return logits, jnp.mean(jnp.stack([jnp.mean(jnp.asarray(each.steps, jnp.float32)) for each in shown]))

    logits, taken = jax.lax.map(one, examples.inputs, batch_size=64)
    return cross_entropy(logits, TokenExample(*examples[:3])), _right(logits, examples), taken.mean()


def with_bounds(network: SequenceModel, bounds: Bounds) -> SequenceModel:
    """The same layers with other bounds of the solver."""
    blocks = tuple(replace(block, mixer=replace(block.mixer, tolerance=bounds.tolerance, steps=bounds.steps)) for block in network.blocks)  # pyright: ignore
    return eqx.tree_at(lambda network: network.blocks, network, blocks)
