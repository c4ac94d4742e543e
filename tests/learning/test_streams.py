"""Streams of seeds: pilots and records never share evaluation data."""

import jax
import numpy as np
import pytest

from mesocosm.learning.streams import EVALUATION_SEED, FIRST_PILOT_SEED, are_pilots, evaluation_key

SEEDS = [(0,), (1, 5, 3), range(100, 110), (FIRST_PILOT_SEED - 1,)]
PILOTS = [(FIRST_PILOT_SEED,), range(1100, 1102), (EVALUATION_SEED - 1,)]


def sequences(seeds) -> np.ndarray:
    return np.asarray(jax.random.normal(evaluation_key(seeds), (8, 5)))


def test_all_records_share_their_evaluation_data_and_pilots_share_others():
    records, pilots = [sequences(seeds) for seeds in SEEDS], [sequences(seeds) for seeds in PILOTS]
    assert all(np.array_equal(each, records[0]) for each in records)
    assert all(np.array_equal(each, pilots[0]) for each in pilots)
    assert not np.isin(pilots[0], records[0]).any()


def test_the_key_of_records_is_that_of_the_first_records():
    assert evaluation_key((0, 1)) == jax.random.key(EVALUATION_SEED)


def test_a_seed_is_a_pilots_or_a_records():
    assert (are_pilots((998, 999)), are_pilots((1000, 1001))) == (False, True)
    with pytest.raises(ValueError, match="seeds 999 to 1000 mix a record's"):
        evaluation_key((999, 1000))
