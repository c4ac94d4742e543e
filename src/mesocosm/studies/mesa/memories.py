"""Recall by networks of gated mesa layers, gated linear attention and DeltaNet, and what the mesa layers' solver must do for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import DeltaNet, GatedLinearAttention, GatedMesaAttention, SequenceModel, language_model
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Memories
from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.task import batch, digest
from mesocosm.tasks.tokens import TokenExample, accuracy, cross_entropy

MIXERS: dict[str, Callable[..., Any]] = {"mesa": GatedMesaAttention.create, "gla": GatedLinearAttention.create, "delta-net": DeltaNet.create}
WHOLE = 30
"""Steps of a solve that counts as exact (paper)."""


@dataclass(frozen=True)
class MemoryArm:
    """A network with one kind of memory."""

    memories: Memories
    mixer: str
    noisy: bool

    @property
    def task(self) -> MultiQueryRecall:
        """Recall of key-value pairs; noisy: with random tokens between the queries."""
        sizes = self.memories
        return MultiQueryRecall(sizes.vocabulary, sizes.pairs, sizes.length, power=1.0, distractors=self.noisy)


def build_memory(arm: MemoryArm, key: PRNGKeyArray) -> SequenceModel:
    """Blocks of one mixer, without positions: the mixers' convolutions see the order of neighbours."""
    sizes = arm.memories
    mixer = partial(MIXERS[arm.mixer], heads=sizes.heads, key_dim=sizes.key_dim)
    return language_model(sizes.vocabulary, sizes.width, layers=sizes.layers, mixer=mixer, positions=None, tied=False, key=key)


def recall_loss(network: SequenceModel, example: TokenExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross entropy at the queries."""
    return cross_entropy(network(example.inputs), example)


def train_memory(arm: MemoryArm, context: Context) -> Tables:
    """Accuracy, and for mesa layers the loss under bounds of the solver."""
    sizes = arm.memories
    numbers = {"learning_rate": sizes.learning_rate, "steps": float(sizes.steps), "weight_decay": sizes.weight_decay, "clip": None, "clip_norm": 1.0}
    learner = Supervised(Partial(build_memory, arm), arm.task, recall_loss, adamw, numbers, sizes.batch_size)
    network = context.fit("network", learner, sizes.steps).model
    context.publish("network", network)
    examples = context.evaluate(Partial(_draw, arm), shared=(context.evaluation_key,))
    digests = [digest(inputs) for inputs in examples.inputs]
    tables = {"recall": context.rows(digest=digests, accuracy=context.evaluate(_accuracy, network, examples))}
    if arm.mixer == "mesa":
        bounds = [(tolerance, WHOLE) for tolerance in sizes.tolerances] + [(0.0, steps) for steps in sizes.fixed_steps]
        found = [context.evaluate(Partial(solved, tolerance, steps), network, examples) for tolerance, steps in bounds]
        losses, taken = (np.stack([part[i] for part in found], axis=1) for i in range(2))
        names = [f"{tolerance:g}" if tolerance else f"{steps} steps" for tolerance, steps in bounds]
        tables["solver"] = context.rows({"bound": names}, loss=losses, steps=taken)
    return tables


def _draw(arm: MemoryArm, key: PRNGKeyArray) -> TokenExample:
    return batch(arm.task, key, arm.memories.sequences, "iid")


def _outputs(network: SequenceModel, examples: TokenExample) -> Float[Array, "sequences time vocabulary"]:
    return jax.lax.map(network, examples.inputs, batch_size=64)


def _accuracy(network: SequenceModel, examples: TokenExample) -> Float[Array, ""]:
    return accuracy(_outputs(network, examples), examples)


def solved(tolerance: float, steps: int, network: SequenceModel, examples: TokenExample) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Loss of the network with other bounds of the solver, and the mean number of steps that its layers take."""
    bounded = with_bounds(network, tolerance, steps)

    def one(inputs: Array) -> tuple[Array, Array]:
        logits, shown = bounded.explain(inputs)
        return logits, jnp.mean(jnp.stack([jnp.mean(jnp.asarray(each.steps, jnp.float32)) for each in shown]))

    logits, taken = jax.lax.map(one, examples.inputs, batch_size=64)
    return cross_entropy(logits, examples), taken.mean()


def with_bounds(network: SequenceModel, tolerance: float, steps: int) -> SequenceModel:
    """The same layers with other bounds of the solver."""
    blocks = tuple(replace(block, mixer=replace(block.mixer, tolerance=tolerance, steps=steps)) for block in network.blocks)  # pyright: ignore
    return eqx.tree_at(lambda network: network.blocks, network, blocks)
