"""Each softmax layer of a trained network replaced by a layer of linear attention that was taught to do the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adam
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import Attention, LinearAttention, Mixer, SinusoidalChannels
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Distillation
from mesocosm.studies.mesa.raw_networks import RawArm, RawNetwork
from mesocosm.studies.mesa.raw_train import group_losses
from mesocosm.studies.mesa.references import draw_sequences, orthogonal_systems
from mesocosm.tasks.linear_systems import Trajectory
from mesocosm.tasks.task import digest

Pupil = Literal["linear", "softmax"]


@dataclass(frozen=True)
class DistilledArm:
    """The trial whose network is taken apart, and how its layers are replaced."""

    parent: str
    network: RawArm
    distillation: Distillation


class LinearPupil(Mixer):
    """Linear attention that sees positions as the layer it replaces does, but has them beside its values, too."""

    layer: LinearAttention
    position: SinusoidalChannels | None

    def __call__(self, x: Float[Array, "time width"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time width"]:
        """Map tokens to what is added to them."""
        seen = x if self.position is None else self.position.extend(x, jnp.arange(len(x)))
        return self.layer(seen)[:, : x.shape[1]]


def distil(arm: DistilledArm, context: Context) -> Tables:
    """Train a pupil for every layer on the residual stream that enters it, and measure the network with that layer replaced. The first layer has a second
    pupil, of softmax attention, which shows what an equal layer loses by being taught."""
    network = context.model(arm.parent, "network")
    task, numbers = orthogonal_systems(arm.network.systems), {"learning_rate": arm.distillation.learning_rate}
    sequences = context.evaluate(Partial(draw_sequences, arm.network.evaluation), shared=(task, context.evaluation_key))
    whole = context.evaluate(group_losses, network, sequences.test)
    rows = []
    pupils: list[tuple[int, Pupil]] = [(0, "softmax"), *((index, "linear") for index in range(len(arm.network.layers)))]
    for index, kind in pupils:
        learner = Supervised(Partial(build_pupil, arm, index, kind), task, Partial(pupil_loss, index, network), adam, numbers, arm.distillation.batch_size)
        pupil = context.fit(f"{kind}-{index + 1}", learner, arm.distillation.steps, per_seed=True).model
        replaced = context.evaluate(Partial(_replaced_losses, index), network, pupil, sequences.test)
        labels = {"dim": arm.network.systems.dim, "layer": index + 1, "pupil": kind, "digest": [digest(test) for test in sequences.test]}
        rows.append(context.rows({"group": range(1, 1 + whole.shape[-1])}, **labels, whole=whole, replaced=replaced))
    return {"distilled": pl.concat(rows)}


def build_pupil(arm: DistilledArm, index: int, kind: Pupil, key: PRNGKeyArray) -> LinearPupil | Attention:
    """As many heads of the same size as the layer."""
    sizes, placed = arm.network.sizes, arm.network.layers[index] == "placed"
    shape: dict[str, Any] = {"heads": sizes.heads, "key_dim": sizes.key_dim, "std": arm.network.training.init_std, "key": key}
    if kind == "softmax":
        return Attention.create(sizes.width, position=partial(SinusoidalChannels.create, dim=sizes.width) if placed else None, **shape)
    layer = LinearAttention.create(2 * sizes.width if placed else sizes.width, **shape)
    return LinearPupil(layer, SinusoidalChannels(sizes.width) if placed else None)


def pupil_loss(index: int, network: RawNetwork, pupil: Mixer, example: Trajectory, key: PRNGKeyArray) -> Float[Array, ""]:
    """The squared difference of the two layers' outputs, summed over channels and averaged over positions."""
    layer: Any = network.stack.layers[index]
    assert isinstance(layer, Attention)
    entering = network.activations(example.inputs)[index]
    return jnp.mean(jnp.sum((pupil(entering) - layer(entering)) ** 2, axis=-1))


def replace_layer(network: RawNetwork, index: int, pupil: Mixer) -> RawNetwork:
    """The network with one other layer."""
    layers = (*network.stack.layers[:index], pupil, *network.stack.layers[index + 1 :])
    return eqx.tree_at(lambda network: network.stack.layers, network, layers)


def _replaced_losses(index: int, network: RawNetwork, pupil: Mixer, test: Array) -> Float[Array, " groups"]:
    return group_losses(replace_layer(network, index, pupil), test)
