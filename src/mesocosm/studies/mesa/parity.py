"""Length generalisation on parity, with forget gates of both signs and of one."""

from __future__ import annotations

from dataclasses import dataclass
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
from mesocosm.nn import GatedMesaAttention, SequenceModel, language_model
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import ParityRuns
from mesocosm.tasks.parity import Parity
from mesocosm.tasks.task import batch
from mesocosm.tasks.tokens import TokenExample, accuracy, cross_entropy


@dataclass(frozen=True)
class ParityArm:
    """A network whose forget gates are between -1 and 1, or between 0 and 1."""

    runs: ParityRuns
    signed: bool


def build_parity(arm: ParityArm, key: PRNGKeyArray) -> SequenceModel:
    """Blocks of the gated mesa layer without positions. Forget gates of both kinds start with biases of 0, so that the arms differ in the sign alone."""
    runs = arm.runs
    bound = runs.regulariser - 1.0
    sizes = {"heads": runs.heads, "key_dim": runs.key_dim, "regulariser": runs.regulariser, "smallest_regulariser": bound}
    mixer = partial(GatedMesaAttention.create, **sizes, signed=arm.signed)
    network = language_model(Parity().vocabulary, runs.width, layers=runs.layers, mixer=mixer, positions=None, tied=False, key=key)
    return eqx.tree_at(lambda network: [block.mixer.front.forget_bias for block in network.blocks], network, [jnp.zeros(runs.heads)] * runs.layers)


def parity_loss(network: SequenceModel, example: TokenExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross entropy at every position after the start."""
    return cross_entropy(network(example.inputs), example)


def train_parity(arm: ParityArm, context: Context) -> Tables:
    """Accuracy at the training length and beyond, on fresh sequences."""
    runs = arm.runs
    numbers = {"learning_rate": runs.learning_rate, "steps": float(runs.steps), "weight_decay": runs.weight_decay, "clip": None, "clip_norm": 1.0}
    learner = Supervised(Partial(build_parity, arm), Parity(runs.length), parity_loss, adamw, numbers, runs.batch_size)
    network = context.fit("network", learner, runs.steps).model
    context.publish("network", network)
    lengths = [factor * runs.length for factor in runs.factors]
    found = [context.evaluate(Partial(_accuracy, Parity(length), runs.sequences), network, shared=(context.evaluation_key,)) for length in lengths]
    return {"parity": context.rows({"factor": list(runs.factors)}, accuracy=np.stack(found, axis=1))}


def _accuracy(task: Parity, sequences: int, network: Any, key: PRNGKeyArray) -> Float[Array, ""]:
    """At the last position: a network that loses count is right half of the time."""
    examples = batch(task, key, sequences, "iid")
    last = examples._replace(weights=jnp.zeros_like(examples.weights).at[:, -1].set(1.0))
    return accuracy(_logits(network, examples.inputs), last)


def _logits(network: SequenceModel, inputs: Array) -> Array:
    return jax.lax.map(network, inputs, batch_size=64)
