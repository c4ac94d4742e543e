"""The interface of a sequence mixer, shared by attention, mesa and recurrent layers.

A mixer maps a sequence to a sequence of the same shape, without a batch axis (use `jax.vmap`). The classes here add three optional features: computing the
outputs at some positions only, running one token at a time, and returning diagnostics. Code that needs only outputs accepts any callable with that signature.
"""

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

P = ParamSpec("P")
R = TypeVar("R")


def check_axes(x: Any, axes: str, name: str) -> None:
    """Reject an array that has other axes than the named ones.

    Raises:
        ValueError: names both shapes, and `jax.vmap` if there are too many axes.
    """
    wanted = axes.split()
    if jnp.ndim(x) != len(wanted):
        mend = "; for a batch, use jax.vmap" if jnp.ndim(x) > len(wanted) else ""
        raise ValueError(f"{name} must have the shape ({', '.join(wanted)}{',' * (len(wanted) == 1)}), not {jnp.shape(x)}{mend}.")


def unbatched(method: Callable[P, R]) -> Callable[P, R]:
    """Reject an argument x that has other axes than its annotation. Without this, a recurrence would take a batch for time."""
    signature = inspect.signature(method)
    axes = signature.parameters["x"].annotation.dim_str

    @functools.wraps(method)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        given = signature.bind(*args, **options).arguments
        check_axes(given["x"], axes, f"The input of {type(given['self']).__name__}")
        return method(*args, **options)

    return checked


class Diagnostics(NamedTuple):
    """Diagnostics of a mixer on one sequence; fields that do not apply are None.

    attention: weight of each position s in the output at each position t, `[h, t, s]`; for layers that solve a regression, the weight of the value v_s.
    residual: residual norm of the linear solve at each position, relative to its initial residual.
    steps: solver steps taken at each position.
    """

    attention: Float[Array, "heads time time"] | None = None
    residual: Float[Array, "heads time"] | None = None
    steps: Int[Array, "heads time"] | None = None


class Mixer(eqx.Module):
    """A layer that maps tokens (time, dim) to tokens (time, dim), or to outputs (time, out) if it has its own readout."""

    @abstractmethod
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time out"]:
        """Apply the layer; deterministic layers ignore `key`."""

    @unbatched
    def at(self, x: Float[Array, "time dim"], positions: Int[Array, " n"], *, key: PRNGKeyArray | None = None) -> Float[Array, "n out"]:
        """The outputs at some positions. Layers that can compute these alone override this."""
        return self(x, key=key)[positions]

    @unbatched
    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time out"], Diagnostics]:
        """Return the output and the layer's diagnostics."""
        return self(x), Diagnostics()


class StreamingMixer(Mixer):
    """A causal mixer that can also run one token at a time: stepping through a sequence gives the rows of `__call__`.

    The state is a PyTree of arrays with fixed shapes.
    """

    @abstractmethod
    def init_state(self) -> Any:
        """The state before the first token."""

    @abstractmethod
    def step(self, state: Any, x: Float[Array, " dim"]) -> tuple[Any, Float[Array, " out"]]:
        """Process one token; return the new state and the output for this token."""

    @unbatched
    def stream(self, state: Any, x: Float[Array, "time dim"]) -> tuple[Any, Float[Array, "time out"]]:
        """Process a segment from a given state; pass the returned state to the next segment."""
        return jax.lax.scan(lambda state, token: self.step(state, token), state, x)
