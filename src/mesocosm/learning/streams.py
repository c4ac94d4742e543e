"""The random streams of a replicate. They depend on the seed and the purpose, never on a trial's name, so that arms are paired."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

EVALUATION_SEED = 2**31 - 1
"""The seed of all evaluation data, far from any training seed."""
FIRST_PILOT_SEED = 1000
"""Seeds from here upward are pilots: they are evaluated on other data than records."""
Stream = Literal["init", "data", "env", "eval"]
_STREAMS: dict[Stream, int] = {"init": 0, "data": 1, "env": 2, "eval": 3}


def stream_key(seed: int, stream: Stream) -> Key[Array, ""]:
    """The key of one stream of one seed: fold_in(key(seed), stream)."""
    return jax.random.fold_in(jax.random.key(seed), _STREAMS[stream])


def stream_keys(seeds: Sequence[int], stream: Stream) -> Key[Array, "seeds"]:
    """The keys of one stream for every seed, in the order of `seeds`."""
    return jnp.stack([stream_key(seed, stream) for seed in seeds])


def are_pilots(seeds: Sequence[int]) -> bool:
    """Whether these are seeds of a pilot, not of a record.

    Raises:
        ValueError: some are and some are not, so no evaluation data would be right for all of them.
    """
    found = {seed >= FIRST_PILOT_SEED for seed in seeds}
    if len(found) > 1:
        raise ValueError(f"seeds {min(seeds)} to {max(seeds)} mix a record's (below {FIRST_PILOT_SEED}) with a pilot's; choose all on one side")
    return True in found


def evaluation_key(seeds: Sequence[int]) -> Key[Array, ""]:
    """The key of evaluation data: one for all records, and another for all pilots, so that nothing is chosen on a record's data.

    Raises:
        ValueError: the seeds mix a record's with a pilot's.
    """
    key = jax.random.key(EVALUATION_SEED)
    return jax.random.fold_in(key, 1) if are_pilots(seeds) else key
