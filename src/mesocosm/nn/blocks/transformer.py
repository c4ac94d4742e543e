"""The pre-norm transformer block around any mixer."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.nn.blocks.feed_forward import FeedForward
from mesocosm.nn.blocks.norms import LayerNorm
from mesocosm.nn.mixer import Diagnostics, Mixer, StreamingMixer, unbatched
from mesocosm.nn.mixers.attention import Attention


class TransformerBlock(StreamingMixer):
    r"""$u = x + \mathrm{mixer}(\mathrm{norm}_1(x))$, $y = u + \mathrm{feed}(\mathrm{norm}_2(u))$; it streams if its mixer does.

    Without a feed-forward part, y = u.
    """

    mixer_norm: Callable[[Array], Array]
    mixer: Mixer
    feed_norm: Callable[[Array], Array] | None
    feed_forward: Callable[[Array], Array] | None

    @classmethod
    def create(
        cls,
        dim: int,
        *,
        mixer: Callable[..., Mixer] = Attention.create,
        feed_forward: Callable[..., Any] | None = FeedForward.create,
        norm: Callable[..., Any] = LayerNorm.create,
        key: PRNGKeyArray,
    ) -> "TransformerBlock":
        """A block with random weights.

        Args:
            dim: width of the tokens.
            mixer: (dim, key) -> mixer: a layer's `create`, or `functools.partial(MesaAttention.create, heads=2)`.
            feed_forward: (dim, key) -> feed-forward part: `FeedForward.create`, `GatedFeedForward.create`, or None for a block without it.
            norm: (dim) -> norm: `LayerNorm.create` or `RMSNorm.create`.
        """
        mixer_key, feed_key = jax.random.split(key)
        feed = (None, None) if feed_forward is None else (norm(dim), feed_forward(dim, key=feed_key))
        return cls(norm(dim), mixer(dim, key=mixer_key), *feed)

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, valid: Bool[Array, " time"] | None = None, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens; `valid` marks the tokens that are not padding, for mixers that take it."""
        return self._feed(x + self.mixer(self.mixer_norm(x), key=key, **_given(valid)))

    @unbatched
    def at(
        self, x: Float[Array, "time dim"], positions: Int[Array, " n"], *, valid: Bool[Array, " time"] | None = None, key: PRNGKeyArray | None = None
    ) -> Float[Array, "n dim"]:
        """The outputs at some positions; the mixer's if it can, and the feed-forward part compute no others."""
        return self._feed(x[positions] + self.mixer.at(self.mixer_norm(x), positions, key=key, **_given(valid)))

    @unbatched
    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output and the mixer's diagnostics."""
        mixed, diagnostics = self.mixer.explain(self.mixer_norm(x))
        return self._feed(x + mixed), diagnostics

    def init_state(self) -> Any:
        """The mixer's state; it must be a `StreamingMixer`."""
        return self.mixer.init_state()  # pyright: ignore[reportAttributeAccessIssue]

    def step(self, state: Any, x: Float[Array, " dim"]) -> tuple[Any, Float[Array, " dim"]]:
        """Process one token."""
        state, mixed = self.mixer.step(state, self.mixer_norm(x))  # pyright: ignore[reportAttributeAccessIssue]
        return state, self._feed(x + mixed)

    def _feed(self, u: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        if self.feed_forward is None or self.feed_norm is None:
            return u
        return u + self.feed_forward(self.feed_norm(u))


def _given(valid: Array | None) -> dict[str, Array]:
    return {} if valid is None else {"valid": valid}
