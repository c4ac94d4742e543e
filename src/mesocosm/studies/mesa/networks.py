"""Networks of the mesa study: their arms, builders, predictions, loss and learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import LinearAttention, MesaAttention, ResidualStack
from mesocosm.studies.mesa.config import Evaluation, Network, Probing, Systems, Training
from mesocosm.studies.mesa.references import Sequences
from mesocosm.studies.parts import user_mixer
from mesocosm.tasks.linear_systems import LinearSystems, Trajectory, constructed_tokens

Source = Literal["orthogonal", "contracting", "fixed"]


@dataclass(frozen=True)
class NetworkArm:
    """One network trained on one kind of system."""

    systems: Systems
    source: Source
    network: Network
    training: Training
    evaluation: Evaluation
    probing: Probing
    mixer: str = ""


def build_linear(arm: NetworkArm, key: PRNGKeyArray) -> ResidualStack:
    """Layers of linear attention. With one layer, the first two blocks of channels are hidden, so that each vector appears only once (paper)."""
    network, dim = arm.network, arm.systems.dim
    std = arm.training.init_std
    keys = jax.random.split(key, network.layers)
    layers = tuple(LinearAttention.create(4 * dim, heads=network.heads, key_dim=network.key_dim, std=std, key=k) for k in keys)
    visible = (False,) * 2 * dim + (True,) * 2 * dim if network.layers == 1 else None
    return ResidualStack(layers, clip=network.residual_clip, visible=visible)


def build_mesa(arm: NetworkArm, key: PRNGKeyArray) -> ResidualStack:
    """One mesa layer with a learned strength."""
    network, dim = arm.network, arm.systems.dim
    layer = MesaAttention.create(4 * dim, heads=network.heads, key_dim=network.key_dim, std=arm.training.init_std, key=key)
    return ResidualStack((layer,), clip=network.residual_clip)


def build_user_mixer(arm: NetworkArm, key: PRNGKeyArray) -> ResidualStack:
    """Layers that the user names, with their own initialisation."""
    keys = jax.random.split(key, arm.network.layers)
    return ResidualStack(tuple(user_mixer(arm.mixer, 4 * arm.systems.dim, k) for k in keys), clip=arm.network.residual_clip)


def predict(network: ResidualStack, inputs: Float[Array, "time dim"]) -> Float[Array, "time dim"]:
    """The network's output in the first block of channels."""
    return network(constructed_tokens(inputs))[:, : inputs.shape[1]]


def prediction_loss(network: ResidualStack, example: Trajectory, key: PRNGKeyArray) -> Float[Array, ""]:
    """Half the squared error of the next state, summed over components and averaged over positions."""
    return 0.5 * jnp.mean(jnp.sum((predict(network, example.inputs) - example.targets) ** 2, axis=-1))


def learner(arm: NetworkArm, build: Any, task: LinearSystems) -> Supervised:
    """AdamW on fresh sequences."""
    training = arm.training
    return Supervised(
        build=Partial(build, arm),
        task=task,
        loss=prediction_loss,
        optimizer=adamw,
        hyperparameters={
            "learning_rate": training.learning_rate,
            "steps": float(training.steps),
            "weight_decay": training.weight_decay,
            "clip": training.clip,
            "clip_norm": training.clip_norm,
        },
        batch_size=training.batch_size,
    )


class Trained(NamedTuple):
    """Networks of all seeds and their evaluation sequences, which differ between seeds for a fixed system."""

    networks: Any
    sequences: Sequences
