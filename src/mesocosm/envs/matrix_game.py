"""Two-player games of two actions, given by their payoffs. Action 0 is to cooperate (or swerve, or heads), action 1 to defect.

Sources of the payoffs: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), for the prisoner's dilemma; for the others
Pax, a library for opponent shaping (github.com/ucl-dark/pax).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

COOPERATE, DEFECT = 0, 1


class MatrixGame(eqx.Module):
    """Payoffs of a game of two players: `payoffs[i][a][b]` is the reward of player i if the first plays a and the second b.

    They are leaves: an array, or numbers in tuples, with which a game can be hashed.
    """

    payoffs: Float[Array | np.ndarray, "2 2 2"] | tuple[Any, ...]

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


PRISONERS_DILEMMA = MatrixGame.symmetric(1.0, -1.0, 2.0, 0.0)
STAG_HUNT = MatrixGame.symmetric(4.0, 1.0, 3.0, 2.0)
CHICKEN = MatrixGame.symmetric(0.0, -1.0, 1.0, -2.0)
MATCHING_PENNIES = MatrixGame.zero_sum(1.0, -1.0, -1.0, 1.0)
