r"""Supports of compositional tasks: which sets of modules are active together in training, and which only in held-out tasks.

A mask $b \in \{0, 1\}^M$ has a 1 for each active module. A set of masks is *compositional* if every module is active in one of them, and *connected* if the
graph with masks as nodes, and an edge where two masks share a module, has one component. Splits are `CombinationSplit`s whose rows are masks.

References: Schug et al., "Discovering modular solutions that generalize compositionally" (arXiv 2312.15001), Def. 2 and 3; Kobayashi et al., "When can
transformers compositionally generalize in-context?" (arXiv 2407.12275), Table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np
from jaxtyping import Integer

from mesocosm.tasks.combinations import CombinationSplit

Masks = Integer[np.ndarray, "masks modules"]


def masks_of(modules: int, sets: Iterable[Iterable[int]]) -> Masks:
    """A mask for each set of modules, counted from 0.

    Raises:
        ValueError: a set has a module that there is not.
    """
    listed = [list(active) for active in sets]
    if unknown := [module for active in listed for module in active if module not in range(modules)]:
        raise ValueError(f"there is no module {unknown[0]}; the {modules} modules are counted from 0")
    return np.asarray([np.isin(np.arange(modules), active) for active in listed], np.int32).reshape(-1, modules)


def k_hot(modules: int, *active: int) -> Masks:
    """All masks with one of these numbers of active modules.

    Raises:
        ValueError: a number is not between 1 and the number of modules.
    """
    if wrong := [count for count in active if not 1 <= count <= modules]:
        raise ValueError(f"no mask of {modules} modules has {wrong[0]} active ones; between 1 and {modules} are possible")
    return masks_of(modules, (chosen for count in active for chosen in combinations(range(modules), count)))


def is_compositional(masks: Masks) -> bool:
    """Whether every module is active in some mask."""
    return bool(np.all(np.any(masks, axis=0)))


def is_connected(masks: Masks) -> bool:
    """Whether any two masks are linked by a chain of masks in which neighbours share a module."""
    linked = masks @ masks.T > 0
    for _ in range(len(masks).bit_length()):  # each squaring doubles the length of the chains
        linked = linked @ linked
    return bool(np.all(linked))


def support(name: str, masks: Masks, *, held_out: float = 0.25, seed: int = 0) -> CombinationSplit:
    """Split a set of masks, such as `k_hot(6, 2)`; what is not in training is held out.

    In training are, of the given masks,

    - "connected": those whose active modules are pairwise neighbours on the ring 0, 1, ..., M - 1, 0,
    - "disconnected": those whose active modules are all in the first half of the modules, or all in the second,
    - "connected+": those whose active modules are pairwise at most two apart on the ring,
    - "random": all but a random fraction `held_out`, drawn with `seed` again until every module is in training,
    - "non-compositional": those without the last module.

    Raises:
        ValueError: there is no support of this name, the rows are not masks, a list of masks is empty, or no random split has every module in training.
    """
    if unknown := set(masks.flat) - {0, 1}:
        raise ValueError(f"masks are rows of zeros and ones, with a column for each module; these have the entry {min(unknown)}")
    if name == "random":
        return CombinationSplit.draw(masks, held_out, seed=seed, covers=is_compositional)
    if name not in _IN_TRAINING:
        raise ValueError(f"there is no support {name!r}; there are {', '.join([*_IN_TRAINING, 'random'])}")
    chosen = np.asarray([_IN_TRAINING[name](np.flatnonzero(mask), masks.shape[1]) for mask in masks])
    return CombinationSplit.of(masks[chosen], masks[~chosen], require_coverage=False)


def _within(distance: int) -> Callable[[np.ndarray, int], bool]:
    """Whether any two active modules are at most this far apart on the ring."""

    def close(active: np.ndarray, modules: int) -> bool:
        apart = np.abs(active[:, None] - active)
        return bool(np.all(np.minimum(apart, modules - apart) <= distance))

    return close


def _in_one_half(active: np.ndarray, modules: int) -> bool:
    return bool(np.all(active < modules // 2) or np.all(active >= modules // 2))


def _without_the_last(active: np.ndarray, modules: int) -> bool:
    return modules - 1 not in active


_IN_TRAINING = {"connected": _within(1), "disconnected": _in_one_half, "connected+": _within(2), "non-compositional": _without_the_last}
