"""Multi-query associative recall, read by loops that know only the definition."""

from itertools import permutations

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.task import batch


def draw(task, size, seed=0, split="train"):
    return [np.asarray(field) for field in jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(seed), size, split)]


@pytest.mark.parametrize("distractors", [True, False])
@pytest.mark.parametrize(("vocabulary", "pairs", "length"), [(20, 3, 17), (10, 4, 16), (4, 1, 4), (101, 8, 64)])
def test_the_target_is_the_value_bound_to_the_key(vocabulary, pairs, length, distractors):
    task = MultiQueryRecall(vocabulary, pairs, length, distractors=distractors)
    for inputs, targets, weights in zip(*draw(task, 200), strict=True):
        bound = {int(inputs[place]): int(inputs[place + 1]) for place in range(0, 2 * pairs, 2)}
        assert len(bound) == len(set(bound.values())) == pairs
        assert all(1 <= key < vocabulary // 2 <= value < vocabulary for key, value in bound.items())
        asked = []
        for place in range(length):
            token = int(inputs[place])
            if place >= 2 * pairs and token in bound:
                assert (place - 2 * pairs) % 2 == 0
                assert (weights[place], targets[place]) == (1, bound[token])
                asked.append(token)
            else:
                assert (weights[place], targets[place]) == (0, 0)
                assert place < 2 * pairs or distractors or token == 0
        assert sorted(asked) == sorted(bound)


def test_keys_values_and_order_are_uniform():
    """All keys and values occur as the first pair and are bound to each other independently."""
    inputs, _, _ = draw(MultiQueryRecall(vocabulary=10, pairs=2, length=8), 6000)
    for first in (0, 2):
        counts = np.zeros((4, 5))
        np.add.at(counts, (inputs[:, first] - 1, inputs[:, first + 1] - 5), 1)
        assert chisquare(counts.ravel()).pvalue > 1e-3


def test_distractors_are_uniform_over_all_other_tokens():
    inputs, _, weights = draw(MultiQueryRecall(vocabulary=8, pairs=1, length=8), 6000)
    ours = inputs[inputs[:, 0] == 2]
    others = ours[:, 2:][weights[inputs[:, 0] == 2][:, 2:] == 0]
    counts = np.bincount(others, minlength=8)
    assert counts[2] == 0
    assert chisquare(np.delete(counts, 2)).pvalue > 1e-3


@pytest.mark.parametrize(("power", "split"), [(0.01, "train"), (0.5, "iid"), (1.0, "train"), (0.01, "ood"), (2.5, "ood")])
def test_queries_are_drawn_from_the_power_law_without_replacement(power, split):
    """The slots of the first two pairs, jointly: p(i) p(j) / (1 - p(i))."""
    other = 3.0 if split == "ood" else 7.0
    task = MultiQueryRecall(
        vocabulary=12, pairs=2, length=13, **({"power": other, "ood_power": power} if split == "ood" else {"power": power, "ood_power": other})
    )
    inputs, _, _ = draw(task, 8000, seed=1, split=split)
    slots = [(inputs[:, 4::2] == inputs[:, [place]]).argmax(1) for place in (0, 2)]
    law = [(slot + 1) ** (power - 1) for slot in range(4)]
    law = [mass / sum(law) for mass in law]
    choices = list(permutations(range(4), 2))
    wanted = [law[first] * law[second] / (1 - law[first]) for first, second in choices]
    counts = [((slots[0] == first) & (slots[1] == second)).sum() for first, second in choices]
    assert sum(counts) == len(inputs)
    assert chisquare(counts, 8000 * np.array(wanted)).pvalue > 1e-3


@pytest.mark.whole
def test_by_default_queries_out_of_distribution_are_farther():
    task = MultiQueryRecall(vocabulary=12, pairs=1, length=64)
    places = {split: draw(task, 2000, split=split)[2].argmax(1) for split in ("train", "iid", "ood")}
    assert (places["train"] == places["iid"]).all()
    assert places["train"].mean() + 10 < places["ood"].mean()


def test_powers_are_leaves():
    traces = []

    @jax.jit
    def sample(task, key):
        traces.append(None)
        return task.sample(key)

    near, far = (sample(MultiQueryRecall(12, 1, 200, power=power), jax.random.key(0)) for power in (-20.0, 5000.0))
    assert len(traces) == 1
    assert near.weights[2] == far.weights[198] == 1


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"pairs": 0}, "at least 1 pair, but pairs = 0"),
        ({"vocabulary": 17}, "8 pairs need a vocabulary of at least 18, but vocabulary = 17"),
        ({"length": 31}, "need a length of at least 32, but length = 31"),
    ],
)
def test_impossible_sizes_are_named(sizes, told):
    with pytest.raises(ValueError, match=told):
        MultiQueryRecall(**sizes)
    MultiQueryRecall(vocabulary=18, length=32)
