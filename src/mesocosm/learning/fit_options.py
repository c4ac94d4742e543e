"""The options of a fit, and the protocols through which a host watches it and saves its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

import jax
import numpy as np

Probe = tuple[Callable[[Any, Any, Any], Mapping[str, Any]], int]
Criterion = tuple[Callable[[Any, Any, Any], Any], int]


class FitOptions(TypedDict, total=False):
    """The options of a fit. They are the same in `fit`, in `context.fit` of a trial and in a dry run.

    Attributes:
        state: warm start instead of `init`, with a leading seed axis; needs `start`.
        start: number of the first step, which determines its key. With 0, the fit sees the same data as any other fit of these seeds from 0; pass the number
            of steps of an earlier phase to continue with new data.
        probe: (function, every): evaluates `function(learner, state, key) -> mapping of arrays` at step 0, every `every` steps and at the end. The key is
            always the same, so that curves are paired.
        until: (criterion, every): evaluates `criterion(learner, state, key) -> bool` every `every` steps; a seed that meets it keeps that state.
        nonfinite: "stop" (the default) raises at the first non-finite value; "freeze" keeps the seed's last finite state and marks it.
        per_seed: whether the traced leaves of the learner have a leading seed axis; by default, one learner serves all seeds.
    """

    state: Any
    start: int | None
    probe: Probe | None
    until: Criterion | None
    nonfinite: Literal["stop", "freeze"]
    per_seed: bool


@runtime_checkable
class Watcher(Protocol):
    """Callbacks of `fit` on the host, between chunks."""

    def compiling(self) -> None:
        """The program is about to be compiled, or loaded from a cache."""
        ...

    def compiled(self, seconds: float) -> None:
        """The program is ready."""
        ...

    def progress(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """`step` of `steps` is done; metrics are means over the running seeds and the chunk."""
        ...

    def stopping(self) -> bool:
        """Whether to save and stop now, with a KeyboardInterrupt."""
        ...


@runtime_checkable
class Checkpoint(Protocol):
    """Storage for the state of `fit`. A snapshot is a flat mapping of arrays whose names, shapes and dtypes are known in advance."""

    def load(self, like: Mapping[str, np.ndarray | jax.ShapeDtypeStruct]) -> Mapping[str, np.ndarray] | None:
        """The newest complete snapshot, or None. Raises if its names, shapes or dtypes differ from those of `like`."""
        ...

    def due(self) -> bool:
        """Whether enough time has passed for another save."""
        ...

    def save(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Save this snapshot atomically."""
        ...
