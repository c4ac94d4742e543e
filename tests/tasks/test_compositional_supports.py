"""Supports against the paper's table, counts of the authors' code, and a search of the graph by union-find."""

import numpy as np
import pytest

from mesocosm.tasks.compositional_supports import is_compositional, is_connected, k_hot, masks_of, support

PAIRS = k_hot(6, 2)


def pairs(masks):
    """As the paper writes them, "12"."""
    return {"".join(str(module + 1) for module in np.flatnonzero(mask)) for mask in np.asarray(masks)}


@pytest.mark.parametrize(
    ("name", "train", "held_out", "connected"),
    [
        ("connected", "12 23 34 45 56 16", "13 14 15 24 25 26 35 36 46", True),
        ("disconnected", "12 23 13 45 56 46", "14 15 16 24 25 26 34 35 36", False),
        ("connected+", "12 23 34 45 56 16 13 24 35 46 15 26", "14 25 36", True),
        ("non-compositional", "12 13 14 15 23 24 25 34 35 45", "16 26 36 46 56", True),
    ],
)
def test_supports_are_those_of_the_table(name, train, held_out, connected):
    split = support(name, PAIRS)
    assert pairs(split.train) == set(train.split())
    assert pairs(split.held_out) == set(held_out.split())
    assert is_connected(np.asarray(split.train)) == connected
    assert is_compositional(np.asarray(split.train)) == (name != "non-compositional")


def test_connected_and_disconnected_hold_out_seven_pairs_in_common():
    shared = set.intersection(*(pairs(support(name, PAIRS).held_out) for name in ("connected", "disconnected")))
    assert shared == {"14", "15", "24", "25", "26", "35", "36"}


def test_counts_with_one_hots_are_those_of_the_authors_code():
    """M = 8, up to two active modules: 24 and 20 masks of 36; three: 92 masks, 23 held out at random, 29 with the last module."""
    masks = k_hot(8, 1, 2)
    near, halves = (support(name, masks) for name in ("connected+", "disconnected"))
    assert (len(masks), len(near.train), len(halves.train)) == (36, 24, 20)
    assert len(pairs(near.held_out) & pairs(halves.held_out)) == 10
    masks = k_hot(8, 1, 2, 3)
    assert (len(masks), len(support("random", masks).held_out), len(support("non-compositional", masks).held_out)) == (92, 23, 29)


@pytest.mark.parametrize("seed", range(20))
def test_random_supports_are_compositional_and_differ_by_seed(seed):
    split, other = (support("random", PAIRS, held_out=0.6, seed=s) for s in (seed, seed + 100))
    assert len(split.held_out) == 9
    assert is_compositional(np.asarray(split.train))
    assert pairs(split.train) | pairs(split.held_out) == pairs(PAIRS)
    assert pairs(split.train) != pairs(other.train)


def components(masks):
    """Number of components, by union-find over modules that occur."""
    parent = list(range(masks.shape[1]))

    def root(module):
        return module if parent[module] == module else root(parent[module])

    for mask in masks:
        first, *others = np.flatnonzero(mask)
        for other in others:
            parent[root(other)] = root(first)
    return len({root(module) for module in np.flatnonzero(masks.any(axis=0))})


def test_connectivity_is_that_of_union_find():
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        modules, count = random.integers([3, 2], [9, 7]).tolist()
        masks = masks_of(modules, (random.choice(modules, random.integers(1, 4), replace=False) for _ in range(count)))
        found.append(is_connected(masks))
        assert found[-1] == (components(masks) == 1)
    assert 50 < sum(found) < 150
    chain = masks_of(40, ([i, i + 1] for i in range(39)))
    assert is_connected(chain)
    assert not is_connected(np.delete(chain, 17, axis=0))


def test_unknown_names_and_impossible_splits_are_rejected(monkeypatch):
    monkeypatch.setattr("mesocosm.tasks.combinations.MOST_DRAWS", 100)
    with pytest.raises(ValueError, match="no support 'ring'; there are connected, disconnected"):
        support("ring", PAIRS)
    with pytest.raises(ValueError, match="hold out fewer"):
        support("random", k_hot(6, 1), held_out=0.5)


@pytest.mark.parametrize("sets", [[(0, 6)], [(0, 1), (-1,)]])
def test_modules_that_there_are_not_are_refused(sets):
    with pytest.raises(ValueError, match=r"no module (6|-1); the 6 modules are counted from 0"):
        masks_of(6, sets)


@pytest.mark.parametrize("active", [0, 7, -1])
def test_numbers_of_active_modules_that_no_mask_has_are_refused(active):
    with pytest.raises(ValueError, match=f"has {active} active ones; between 1 and 6"):
        k_hot(6, 2, active)


@pytest.mark.parametrize("masks", [2 * PAIRS, -PAIRS])
def test_rows_with_other_entries_have_no_support(masks):
    with pytest.raises(ValueError, match="masks are rows of zeros and ones"):
        support("connected", masks)
