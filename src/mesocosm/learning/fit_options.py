"""What a fit can be asked: its options, and the two protocols through which a host follows and keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

import jax
import numpy as np

Probe = tuple[Callable[[Any, Any, Any], Mapping[str, Any]], int]
Criterion = tuple[Callable[[Any, Any, Any], Any], int]


class FitOptions(TypedDict, total=False):
    """The options of a fit, the same in `fit`, in a trial's `context.fit` and in a dry run.

    Attributes:
        state: warm start instead of `init`, with a leading seed axis; needs `start`.
        start: the number of the first step, which decides its key: 0 meets the same data as any other fit of these seeds from 0, the number of steps
            that an earlier phase was given goes on with new data.
        probe: (function, every): `function(learner, state, key) -> mapping of arrays`, at step 0, every `every` steps and at the end. The key is the
            same at every time, so that curves are paired.
        until: (criterion, every): `criterion(learner, state, key) -> bool` after every `every` steps; a seed that meets it keeps that state.
        nonfinite: "stop" (the default) raises at the first value that is not finite; "freeze" keeps the seed's last finite state and marks it.
        per_seed: whether the learner's traced leaves carry a leading seed axis; by default one learner serves all seeds.
    """

    state: Any
    start: int | None
    probe: Probe | None
    until: Criterion | None
    nonfinite: Literal["stop", "freeze"]
    per_seed: bool


@runtime_checkable
class Watcher(Protocol):
    """What `fit` tells the host and asks of it, between chunks."""

    def compiling(self) -> None:
        """The program is about to be compiled (or found compiled)."""
        ...

    def compiled(self, seconds: float) -> None:
        """The program is ready."""
        ...

    def progress(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """`step` of `steps` is done; metrics are means over running seeds and over the chunk."""
        ...

    def stopping(self) -> bool:
        """Whether to save and stop here (KeyboardInterrupt follows)."""
        ...


@runtime_checkable
class Checkpoint(Protocol):
    """Where `fit` keeps its state. A snapshot is a flat mapping of arrays whose names, shapes and dtypes are known beforehand."""

    def load(self, like: Mapping[str, np.ndarray | jax.ShapeDtypeStruct]) -> Mapping[str, np.ndarray] | None:
        """The newest whole snapshot, or None. Raises if its names, shapes or dtypes are not those of `like`."""
        ...

    def due(self) -> bool:
        """Whether enough wall time has passed for another save."""
        ...

    def save(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Keep this snapshot, atomically."""
        ...
