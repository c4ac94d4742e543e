"""Networks that see one observation per token, without constructed tokens: softmax attention first, then softmax, linear attention or a mesa layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import Attention, FeedForward, LinearAttention, MesaAttention, Mixer, ResidualStack, SinusoidalChannels
from mesocosm.studies.mesa.config import Evaluation, RawNetworks, Systems, Training
from mesocosm.tasks.linear_systems import Trajectory
from mesocosm.tasks.task import Task

Observed = Literal["orthogonal", "partial", "nonlinear"]

Layer = Literal["placed", "softmax", "linear", "mesa", "feed"]
"""placed: softmax attention whose queries and keys also see positions. feed: a feed-forward part on every token."""


@dataclass(frozen=True)
class RawArm:
    """One network on observations."""

    systems: Systems
    source: Observed
    layers: tuple[Layer, ...]
    sizes: RawNetworks
    training: Training
    evaluation: Evaluation


class TokenMap(Mixer):
    """A feed-forward part as a layer."""

    feed_forward: FeedForward

    @classmethod
    def create(cls, width: int, *, hidden: int, std: float, key: PRNGKeyArray) -> TokenMap:
        """No biases (paper)."""
        inward_key, outward_key = jax.random.split(key)
        inward, outward = std * jax.random.normal(inward_key, (hidden, width)), std * jax.random.normal(outward_key, (width, hidden))
        return cls(FeedForward(inward, outward, None, None))

    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return self.feed_forward(x)


class RawNetwork(eqx.Module):
    r"""$f_t = R\, e_t$, with $e$ the residual stream after the last layer and $E s_t$ before the first."""

    embed: Float[Array, "width dim"]
    stack: ResidualStack
    read: Float[Array, "dim width"]

    def __call__(self, inputs: Float[Array, "time dim"]) -> Float[Array, "time dim"]:
        """Predict the next observation at every position."""
        return self.stack(inputs @ self.embed.T) @ self.read.T

    def activations(self, inputs: Float[Array, "time dim"]) -> Float[Array, "layers_and_input time width"]:
        """The residual stream before the first layer and after each layer."""
        return self.stack.activations(inputs @ self.embed.T)


def build_raw(arm: RawArm, key: PRNGKeyArray) -> RawNetwork:
    """Random weights of one standard deviation. With feed-forward parts, queries and keys are normalised in all layers but the first (paper)."""
    embed_key, read_key, *keys = jax.random.split(key, 2 + len(arm.layers))
    width, dim, std = arm.sizes.width, arm.systems.dim, arm.training.init_std
    sizes = {"heads": arm.sizes.heads, "key_dim": arm.sizes.key_dim, "std": std}
    unit = "feed" in arm.layers
    create: dict[Layer, Any] = {
        "placed": partial(Attention.create, **sizes, position=partial(SinusoidalChannels.create, dim=width)),
        "softmax": partial(Attention.create, **sizes, unit_keys=unit),
        "linear": partial(LinearAttention.create, **sizes),
        "mesa": partial(MesaAttention.create, **sizes, unit_keys=unit),
        "feed": partial(TokenMap.create, hidden=arm.sizes.hidden, std=std),
    }
    layers: tuple[Mixer, ...] = tuple(create[layer](width, key=k) for layer, k in zip(arm.layers, keys, strict=True))
    embed, read = std * jax.random.normal(embed_key, (width, dim)), std * jax.random.normal(read_key, (dim, width))
    return RawNetwork(embed, ResidualStack(layers, clip=arm.sizes.residual_clip), read)


def raw_loss(network: RawNetwork, example: Trajectory, key: PRNGKeyArray) -> Float[Array, ""]:
    """Half the squared error of the next observation, summed over components and averaged over positions."""
    return 0.5 * jnp.mean(jnp.sum((network(example.inputs) - example.targets) ** 2, axis=-1))


def raw_learner(arm: RawArm, task: Task[Trajectory]) -> Supervised:
    """AdamW on fresh sequences."""
    training = arm.training
    return Supervised(
        build=Partial(build_raw, arm),
        task=task,
        loss=raw_loss,
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
