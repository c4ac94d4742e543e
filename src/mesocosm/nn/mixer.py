"""The contract of a sequence mixer: what attention, mesa and recurrent layers have in common, and what a stack of them may ask for.

A mixer maps a sequence to a sequence of the same shape and knows no batch axis (use `jax.vmap`). Any callable of that signature can stand where a mixer is
expected;
the classes here only add the two things that it may offer beyond the call: running one token at a time, and showing what it did.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray


class Diagnostics(NamedTuple):
    """What a mixer did on one sequence; a field is None where the mixer has no such thing.

    attention: weight of each position s in the output at each position t, `[h, t, s]`; for layers that solve a regression, the weight of the value v_s.
    residual: residual norm of the linear solve at each position, relative to its initial residual.
    steps: solver steps taken at each position.
    """

    attention: Float[Array, "heads time time"] | None = None
    residual: Float[Array, "heads time"] | None = None
    steps: Int[Array, "heads time"] | None = None


class Mixer(eqx.Module):
    """A layer that maps tokens (time, dim) to tokens (time, dim), or to outputs (time, out) where it has a readout of its own."""

    @abstractmethod
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time out"]:
        """The layer's formula; `key` serves layers with randomness and is ignored by the others."""

    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time out"], Diagnostics]:
        """Returns the output and what the layer can show of how it came about."""
        return self(x), Diagnostics()


class StreamingMixer(Mixer):
    """A causal mixer that also runs one token at a time: stepping through a sequence gives the rows of `__call__`.

    The state is a PyTree of arrays of fixed shapes.
    """

    @abstractmethod
    def init_state(self) -> Any:
        """The state before the first token."""

    @abstractmethod
    def step(self, state: Any, x: Float[Array, " dim"]) -> tuple[Any, Float[Array, " out"]]:
        """Takes one token; returns the new state and the output at this token."""

    def stream(self, state: Any, x: Float[Array, "time dim"]) -> tuple[Any, Float[Array, "time out"]]:
        """Steps through a segment from a given state; the returned state continues it in the next segment."""
        return jax.lax.scan(lambda state, token: self.step(state, token), state, x)
