"""A stack of mixers on a residual stream."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import Mixer, unbatched


class ResidualStack(Mixer):
    r"""$e \leftarrow \mathrm{clip}_{\pm c}(e + \mathrm{mixer}_l(e))$ for every layer l.

    Args:
        layers: the mixers, first to last.
        clip: bound c of the residual stream after each layer, or None. Linear attention trains unstably without a bound.
        visible: for each input channel, whether the stack sees it; hidden channels are set to 0 before the first layer. None: all.
    """

    layers: tuple[Mixer, ...]
    clip: float | None = eqx.field(static=True, default=None)
    visible: tuple[bool, ...] | None = eqx.field(static=True, default=None)

    def _enter(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        if self.visible is None:
            return x
        if len(self.visible) != x.shape[-1]:
            raise ValueError(f"`visible` has {len(self.visible)} channels, the tokens have {x.shape[-1]}.")
        return x * np.asarray(self.visible, x.dtype)

    def _add(self, x: Float[Array, "*time dim"], update: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        return x + update if self.clip is None else jnp.clip(x + update, -self.clip, self.clip)

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """The residual stream after the last layer; `key` is split over the layers."""
        x = self._enter(x)
        keys = [None] * len(self.layers) if key is None else jax.random.split(key, len(self.layers))
        for layer, layer_key in zip(self.layers, keys, strict=True):
            x = self._add(x, layer(x, key=layer_key))
        return x

    def activations(self, x: Float[Array, "time dim"]) -> Float[Array, "layers_and_input time dim"]:
        """The residual stream before the first layer and after each layer, for probes."""
        stream = [self._enter(x)]
        for layer in self.layers:
            stream.append(self._add(stream[-1], layer(stream[-1])))
        return jnp.stack(stream)

    def init_state(self) -> tuple[Any, ...]:
        """The layers' states; every layer must be a `StreamingMixer`."""
        return tuple(layer.init_state() for layer in self.layers)  # pyright: ignore[reportAttributeAccessIssue]

    def step(self, state: tuple[Any, ...], x: Float[Array, " dim"]) -> tuple[tuple[Any, ...], Float[Array, " dim"]]:
        """One token through all layers."""
        x, after = self._enter(x), []
        for layer, before in zip(self.layers, state, strict=True):
            new, update = layer.step(before, x)  # pyright: ignore[reportAttributeAccessIssue]
            x = self._add(x, update)
            after.append(new)
        return tuple(after), x
