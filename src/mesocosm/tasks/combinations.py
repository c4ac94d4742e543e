"""Splits of combinations: which combinations of known parts a network trains on, and which are held out to test composition.

A split is two explicit lists, drawn by NumPy from a seed, saved as JSON, and checked: the lists are disjoint, and every part of a held-out combination occurs
in a training combination.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, PRNGKeyArray

from mesocosm.tasks.task import Split

MOST_DRAWS = 100_000
SPLITS: tuple[str, ...] = get_args(Split)


class CombinationSplit(eqx.Module):
    """Training and held-out combinations, each row one combination of indices of parts.

    The splits train and iid draw from `train`, ood from `held_out`, all uniformly.
    """

    train: Int[Array, "n parts"]
    held_out: Int[Array, "m parts"]

    @classmethod
    def of(cls, train: Integer[np.ndarray, "n parts"], held_out: Integer[np.ndarray, "m parts"], *, require_coverage: bool = True) -> CombinationSplit:
        """Check two lists and make a split of them.

        Raises:
            ValueError: a list is empty, a part has a negative number, the lists share a combination, or a held-out combination has a part that no training
                combination has (only if `require_coverage`).
        """
        if not (len(train) and len(held_out)):
            raise ValueError(f"both lists need combinations; there are {len(train)} to train on and {len(held_out)} held out")
        if (least := min(train.min(), held_out.min())) < 0:
            raise ValueError(f"parts are counted from 0; a combination has the part {least}")
        if shared := {tuple(row) for row in train.tolist()} & {tuple(row) for row in held_out.tolist()}:
            raise ValueError(f"{sorted(shared)[0]} is both a training and a held-out combination")
        if require_coverage and (unseen := set(held_out.flat) - set(train.flat)):
            raise ValueError(f"no training combination has the part {min(unseen)}, which a held-out one has")
        return cls(jnp.asarray(train, jnp.int32), jnp.asarray(held_out, jnp.int32))

    @classmethod
    def draw(
        cls,
        combinations: Integer[np.ndarray, "all parts"],
        fraction: float,
        *,
        seed: int,
        require_coverage: bool = True,
        covers: Callable[[np.ndarray], bool] | None = None,
    ) -> CombinationSplit:
        r"""Hold out $\lfloor n \cdot \mathrm{fraction} \rfloor$ of n combinations at random, drawn again until training covers the parts.

        Args:
            combinations: all of them.
            fraction: how many to hold out.
            seed: of the draw.
            require_coverage: whether training must cover the parts.
            covers: whether training combinations do; by default, if every part occurs.

        Raises:
            ValueError: the fraction leaves a list empty, or no covering split was found in 100,000 draws.
        """
        random, held = np.random.default_rng(seed), int(len(combinations) * fraction)
        if not 0 < held < len(combinations):
            raise ValueError(f"a fraction of {fraction} holds out {held} of {len(combinations)} combinations; both lists need some")
        parts = np.unique(combinations)
        covers = covers or (lambda train: len(np.unique(train)) == len(parts))
        for _ in range(MOST_DRAWS):
            order = random.permutation(len(combinations))
            train = combinations[np.sort(order[held:])]
            if not require_coverage or covers(train):
                return cls.of(train, combinations[np.sort(order[:held])], require_coverage=require_coverage)
        raise ValueError(f"in {MOST_DRAWS} draws, no {len(combinations) - held} combinations covered all parts; hold out fewer")

    @property
    def parts(self) -> int:
        """Number of parts of a combination."""
        return self.train.shape[1]

    def sample(self, key: PRNGKeyArray, split: str) -> Int[Array, " parts"]:
        """Draw a combination of a split.

        Raises:
            ValueError: the split is none of train, iid and ood.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        rows = self.held_out if split == "ood" else self.train
        return rows[jax.random.randint(key, (), 0, rows.shape[0])]

    def save(self, path: str | Path) -> None:
        """Write both lists as JSON."""
        Path(path).write_text(json.dumps({"train": self.train.tolist(), "held_out": self.held_out.tolist()}) + "\n")

    @classmethod
    def load(cls, path: str | Path, *, require_coverage: bool = True) -> CombinationSplit:
        """Read and check what `save` wrote.

        Raises:
            ValueError: the file does not hold two lists of combinations, or they fail a check of `of`.
        """
        try:
            found = json.loads(Path(path).read_text())
            train, held_out = (np.asarray(found[name], np.int32) for name in ("train", "held_out"))
            if train.ndim != 2 or held_out.ndim != 2 or train.shape[1] != held_out.shape[1]:
                raise ValueError(f"lists of shapes {train.shape} and {held_out.shape}")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a split of combinations ({error}); `CombinationSplit.save` writes one") from None
        return cls.of(train, held_out, require_coverage=require_coverage)
