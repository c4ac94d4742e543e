"""The random streams of a replicate. They depend on the seed and the purpose, never on a trial's name, so that arms are paired."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

EVALUATION_SEED = 2**31 - 1
"""The seed of all evaluation data, far from any training seed."""
Stream = Literal["init", "data", "env", "eval"]
_STREAMS: dict[Stream, int] = {"init": 0, "data": 1, "env": 2, "eval": 3}


def stream_key(seed: int, stream: Stream) -> Key[Array, ""]:
    """The key of one stream of one seed: fold_in(key(seed), stream)."""
    return jax.random.fold_in(jax.random.key(seed), _STREAMS[stream])


def stream_keys(seeds: Sequence[int], stream: Stream) -> Key[Array, "seeds"]:
    """The keys of one stream for every seed, in the order of `seeds`."""
    return jnp.stack([stream_key(seed, stream) for seed in seeds])
