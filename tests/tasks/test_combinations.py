"""Splits of combinations: sizes, coverage, the file, and what is drawn from them."""

from itertools import combinations

import jax
import numpy as np
import pytest

from mesocosm.tasks.combinations import CombinationSplit

PAIRS = np.asarray(list(combinations(range(12), 2)))


def rows(array):
    return {tuple(row) for row in np.asarray(array).tolist()}


@pytest.mark.parametrize(("fraction", "sizes"), [(0.3, (47, 19)), (0.5, (33, 33)), (0.7, (20, 46))])
def test_the_paper_s_fractions_give_its_numbers_of_combinations(fraction, sizes):
    split = CombinationSplit.draw(PAIRS, fraction, seed=3)
    assert (len(split.train), len(split.held_out)) == sizes
    assert not rows(split.train) & rows(split.held_out)
    assert rows(split.train) | rows(split.held_out) == rows(PAIRS)
    assert set(np.asarray(split.train).flat) == set(range(12))


def test_without_coverage_some_splits_lack_a_part():
    """With 70 % held out, a random split misses a known part in about one seed of seven."""
    drawn = [CombinationSplit.draw(PAIRS, 0.7, seed=seed, require_coverage=False) for seed in range(300)]
    incomplete = sum(len(np.unique(split.train)) < 12 for split in drawn)
    assert 20 < incomplete < 65


def test_seeds_decide():
    first, again, other = (CombinationSplit.draw(PAIRS, 0.5, seed=seed) for seed in (0, 0, 1))
    assert rows(first.train) == rows(again.train) != rows(other.train)


def test_drawing_is_uniform_over_the_list_of_the_split():
    split = CombinationSplit.draw(PAIRS, 0.7, seed=0)
    keys = jax.random.split(jax.random.key(0), 4000)
    for name, wanted in (("train", split.train), ("iid", split.train), ("ood", split.held_out)):
        drawn = np.asarray(jax.vmap(lambda key, name=name: split.sample(key, name))(keys))
        found, counts = np.unique(drawn, axis=0, return_counts=True)
        assert rows(found) == rows(wanted)
        expected = 4000 / len(wanted)
        assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_a_saved_split_is_the_same_and_a_wrong_file_is_named(tmp_path):
    split, path = CombinationSplit.draw(PAIRS, 0.5, seed=0), tmp_path / "split.json"
    split.save(path)
    loaded = CombinationSplit.load(path)
    np.testing.assert_array_equal(loaded.train, split.train)
    np.testing.assert_array_equal(loaded.held_out, split.held_out)
    for text in ("{", "[]", '{"train": [[0, 1]]}', '{"train": [0], "held_out": [[1]]}', '{"train": [[0, 1]], "held_out": [[1]]}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"split\.json is not a split"):
            CombinationSplit.load(path)
    path.write_text('{"train": [[0, 1]], "held_out": [[1, 2]]}')
    with pytest.raises(ValueError, match="has the part 2"):
        CombinationSplit.load(path)
    assert CombinationSplit.load(path, require_coverage=False).parts == 2


@pytest.mark.whole
def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="holds out 0 of 66"):
        CombinationSplit.draw(PAIRS, 0.001, seed=0)
    with pytest.raises(ValueError, match="no 3 combinations covered all parts"):
        CombinationSplit.draw(PAIRS, 0.96, seed=0)
    with pytest.raises(ValueError, match=r"\(0, 1\) is both"):
        CombinationSplit.of(PAIRS[:5], PAIRS[:2])
    with pytest.raises(ValueError, match="0 held out"):
        CombinationSplit.of(PAIRS[:5], PAIRS[:0])
    with pytest.raises(ValueError, match="has the part -1"):
        CombinationSplit.of(PAIRS[:5], np.array([[0, -1]]), require_coverage=False)


@pytest.mark.parametrize("name", ["test", "OOD", ""])
def test_a_split_that_there_is_not_is_no_training_split(name):
    split = CombinationSplit.draw(PAIRS, 0.5, seed=0)
    with pytest.raises(ValueError, match=f"no split '{name}'; there are train, iid, ood"):
        split.sample(jax.random.key(0), name)
