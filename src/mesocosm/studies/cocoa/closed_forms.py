"""Signal-to-noise ratios of key-to-door in closed form, for a uniform tabular softmax policy, exact models and the gradient of the first step alone.

Derived by us from the environment's rules; the paper has none. With n apples worth $v_1$ or $v_2$, each picked with probability 1/4, their sum under
the uniform policy has mean $m = n (v_1 + v_2) / 8$ and variance $s^2 = n [(v_1^2 + v_2^2) / 8 - ((v_1 + v_2) / 8)^2]$; the treasure $r$ is reached with
probability 1/16, and the true gradient is $|g^*|^2 = 3 r^2 / 1024$.
"""

from __future__ import annotations

from typing import NamedTuple


class Track(NamedTuple):
    """The number of apples, their two rewards, and the treasure's reward."""

    apples: int
    small: float
    large: float
    treasure: float


def signal_to_noise(track: Track) -> dict[str, float]:
    r"""$|g^*|^2 / (E|g|^2 - |g^*|^2)$ of each estimator."""
    n, v1, v2, r = track
    mean = n * (v1 + v2) / 8
    spread = n * ((v1**2 + v2**2) / 8 - ((v1 + v2) / 8) ** 2)
    signal = 3 * r**2 / 1024

    def second(mean_with_key: float, mean_without: float) -> tuple[float, float]:
        """Mean squares of the return minus a baseline, with the key (the treasure in one of four cases) and without."""
        return spread + (mean_with_key + r / 4) ** 2 + 3 * r**2 / 16, spread + mean_without**2

    key, without = second(mean, mean)
    ahead_key, ahead_without = second(-r / 16, -r / 16)
    powers = {
        "reinforce": 3 / 4 * (key / 4 + 3 * without / 4),
        "hca-plus": 3 * key / 16 + without / 16,
        "advantage": 3 / 4 * (ahead_key / 4 + 3 * ahead_without / 4),
        "trajcv": signal + 3 / 16 * n * ((v2 - v1) / 2) ** 2,
        "cocoa-reward": signal * 16,
    }
    return {name: signal / (power - signal) for name, power in powers.items()}
