"""A mixer between two linear maps, for layers whose width differs from that of the tokens."""

from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.mixer import Mixer, StreamingMixer, unbatched


class Projected(StreamingMixer):
    r"""$y = W_{out}\, \mathrm{mixer}(W_{in} x)$; it streams if its mixer does."""

    inward: Float[Array, "width dim"]
    mixer: Mixer
    outward: Float[Array, "out width"]

    @classmethod
    def around(cls, mixer: Mixer, *, dim: int, width: int, out_dim: int | None = None, key: PRNGKeyArray) -> "Projected":
        """Wrap a mixer in Gaussian maps with standard deviation 1 / sqrt(fan in); `out_dim` defaults to `dim`."""
        first, second = jax.random.split(key)
        return cls(gaussian((width, dim), 1.0, first), mixer, gaussian((dim if out_dim is None else out_dim, width), 1.0, second))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time out"]:
        """Map tokens to outputs."""
        return self.mixer(x @ self.inward.T, key=key) @ self.outward.T

    def init_state(self) -> Any:
        """The mixer's state; it must be a `StreamingMixer`."""
        return self.mixer.init_state()  # pyright: ignore[reportAttributeAccessIssue]

    @unbatched
    def step(self, state: Any, x: Float[Array, " dim"]) -> tuple[Any, Float[Array, " out"]]:
        """Process one token."""
        state, mixed = self.mixer.step(state, self.inward @ x)  # pyright: ignore[reportAttributeAccessIssue]
        return state, self.outward @ mixed
