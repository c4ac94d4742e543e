"""Two-player games of two actions, given by their payoffs. Action 0 is to cooperate (or swerve, or heads), action 1 to defect.

Sources of the payoffs: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), for the prisoner's dilemma; for the others
Pax, a library for opponent shaping (github.com/ucl-dark/pax).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

COOPERATE, DEFECT = 0, 1


class MatrixGame(eqx.Module):
    """Payoffs of a game of two players: `payoffs[i][a][b]` is the reward of player i if the first plays a and the second b.

    They are leaves: an array, or numbers in tuples, with which a game can be hashed.

    Raises:
        ValueError: the payoffs have another shape, or one of them is not a finite number. Traced payoffs are only asked for their shape.
    """

    payoffs: Float[Array | np.ndarray, "2 2 2"] | tuple[Any, ...]

    def __check_init__(self) -> None:
        """Reject payoffs of no game."""
        if (shape := _shape(self.payoffs)) != (2, 2, 2):
            raise ValueError(f"the payoffs of two players with two actions have the shape (2, 2, 2), not {shape or 'that of no array'}")
        known = [leaf for leaf in jax.tree.leaves(self.payoffs) if not isinstance(leaf, Tracer)]
        if strange := [float(number) for leaf in known for number in np.ravel(leaf) if not np.isfinite(number)]:
            raise ValueError(f"payoffs must be finite numbers, not {strange[0]}")

    @classmethod
    def symmetric(cls, both: float, alone: float, against: float, neither: float) -> MatrixGame:
        """A game that looks the same to both players.

        Args:
            both: the reward if both cooperate (R).
            alone: of one who cooperates while the other defects (S).
            against: of one who defects while the other cooperates (T).
            neither: if both defect (P).
        """
        return cls((((both, alone), (against, neither)), ((both, against), (alone, neither))))

    @classmethod
    def zero_sum(cls, both: float, alone: float, against: float, neither: float) -> MatrixGame:
        """The second player loses what the first wins; arguments as in `symmetric`, for the first player."""
        return cls((((both, alone), (against, neither)), ((-both, -alone), (-against, -neither))))


def _shape(payoffs: Any) -> tuple[int, ...] | None:
    """The shape of an array, or of numbers in tuples; None if these have no common shape."""
    if not isinstance(payoffs, tuple):
        return np.shape(payoffs)
    parts = {_shape(part) for part in payoffs}
    inner = parts.pop() if len(parts) == 1 else None
    return None if inner is None else (len(payoffs), *inner)


PRISONERS_DILEMMA = MatrixGame.symmetric(1.0, -1.0, 2.0, 0.0)
STAG_HUNT = MatrixGame.symmetric(4.0, 1.0, 3.0, 2.0)
CHICKEN = MatrixGame.symmetric(0.0, -1.0, 1.0, -2.0)
MATCHING_PENNIES = MatrixGame.zero_sum(1.0, -1.0, -1.0, 1.0)
