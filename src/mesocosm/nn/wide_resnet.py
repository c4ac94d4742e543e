"""Wide residual networks with group normalisation, for ensembles of natural-image classifiers. An output does not depend on other examples.

References: Zagoruyko and Komodakis, "Wide residual networks" (2016); Wu and He, "Group normalization" (2018), which replaces batch normalisation so that the
initial function of a member is well defined.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

GROUPS = 8


def _normalise(channels: int) -> eqx.nn.GroupNorm:
    return eqx.nn.GroupNorm(min(GROUPS, channels), channels)


class WideBlock(eqx.Module):
    """Twice normalisation, ReLU and 3 x 3 convolution, added to the input, which is projected if the size changes.

    Attributes:
        norms, convolutions: first and second.
        shortcut: a 1 x 1 convolution, or None.
    """

    norms: tuple[eqx.nn.GroupNorm, eqx.nn.GroupNorm]
    convolutions: tuple[eqx.nn.Conv2d, eqx.nn.Conv2d]
    shortcut: eqx.nn.Conv2d | None

    @classmethod
    def create(cls, inputs: int, outputs: int, stride: int, *, key: PRNGKeyArray) -> WideBlock:
        """Draw the parameters."""
        keys = jax.random.split(key, 3)
        convolutions = (
            eqx.nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, use_bias=False, key=keys[0]),
            eqx.nn.Conv2d(outputs, outputs, 3, padding=1, use_bias=False, key=keys[1]),
        )
        same = inputs == outputs and stride == 1
        shortcut = None if same else eqx.nn.Conv2d(inputs, outputs, 1, stride=stride, use_bias=False, key=keys[2])
        return cls((_normalise(inputs), _normalise(outputs)), convolutions, shortcut)

    def __call__(self, x: Float[Array, "inputs rows columns"]) -> Float[Array, "outputs rows2 columns2"]:
        """One image."""
        h = jax.nn.relu(self.norms[0](x))
        straight = x if self.shortcut is None else self.shortcut(h)
        h = self.convolutions[1](jax.nn.relu(self.norms[1](self.convolutions[0](h))))
        return straight + h


class WideResNet(eqx.Module):
    """WRN-depth-k: three stages of (depth - 4) / 6 blocks with 16 k, 32 k and 64 k channels, the last two halving the image; mean over positions; linear.

    Attributes:
        stem: the first convolution.
        blocks: the blocks of all stages.
        norm: the normalisation before the mean.
        readout: the linear map to the classes.
    """

    stem: eqx.nn.Conv2d
    blocks: tuple[WideBlock, ...]
    norm: eqx.nn.GroupNorm
    readout: eqx.nn.Linear

    @classmethod
    def create(cls, channels: int, classes: int, *, depth: int = 28, widening: int = 10, key: PRNGKeyArray) -> WideResNet:
        """Draw a network; depth 28 and widening 10 are the usual values.

        Raises:
            ValueError: `depth` is not 4 more than a multiple of 6.
        """
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"a wide residual network has a depth of 10, 16, 22, 28, ..., not {depth}")
        each = (depth - 4) // 6
        stem_key, readout_key, *keys = jax.random.split(key, 2 + 3 * each)
        blocks, inputs = [], 16
        for number, block_key in enumerate(keys):
            stage, first = number // each, number % each == 0
            outputs = 16 * 2**stage * widening
            blocks.append(WideBlock.create(inputs, outputs, 2 if first and stage else 1, key=block_key))
            inputs = outputs
        stem = eqx.nn.Conv2d(channels, 16, 3, padding=1, use_bias=False, key=stem_key)
        return cls(stem, tuple(blocks), _normalise(inputs), eqx.nn.Linear(inputs, classes, key=readout_key))

    def __call__(self, x: Float[Array, "channels rows columns"], *, key: PRNGKeyArray | None = None) -> Float[Array, " classes"]:
        """One image, channels first."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.readout(jnp.mean(jax.nn.relu(self.norm(x)), axis=(1, 2)))
