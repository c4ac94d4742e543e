"""The loss and accuracy of token tasks against loops over positions, and drawing without replacement against enumeration."""

from itertools import permutations
from math import log

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import chisquare

from mesocosm.tasks.induction import Induction, RepeatedSequence
from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.selective_copy import SelectiveCopy
from mesocosm.tasks.task import batch
from mesocosm.tasks.text import Text
from mesocosm.tasks.tokens import TokenExample, accuracy, cross_entropy, distinct, skip

PROSE = " ".join(str(number**2) for number in range(300))
TASKS = {
    "recall": MultiQueryRecall(vocabulary=20, pairs=3, length=17),
    "selective-copy": SelectiveCopy(vocabulary=7, symbols=3, length=12),
    "induction": Induction(vocabulary=5, length=9),
    "repeated-sequence": RepeatedSequence(vocabulary=10, length=12),
    "text": Text.create(PROSE, 8, groups=2),
}
jitted_loss, jitted_accuracy, jitted_skip = map(jax.jit, (cross_entropy, accuracy, skip))
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


def example(seed, shape, vocabulary):
    """Random logits, and an example of which about half is scored, with unequal weights."""
    random = np.random.default_rng(seed)
    logits, targets = 3 * random.normal(size=(*shape, vocabulary)), random.integers(0, vocabulary, shape)
    weights = random.uniform(0.5, 2, shape) * (random.random(shape) < 0.5)
    weights.flat[0] = 1.0
    return logits, targets, weights


@pytest.mark.parametrize("shape", [(6,), (3, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_accuracy_are_weighted_means_over_scored_positions(shape, dtype):
    logits, targets, weights = example(0, shape, 7)
    with jax.enable_x64(True):
        found = TokenExample(jnp.asarray(targets), jnp.asarray(targets), jnp.asarray(weights, dtype))
        loss, right = (np.asarray(function(jnp.asarray(logits, dtype), found)) for function in (jitted_loss, jitted_accuracy))
    wanted_loss = wanted_right = 0.0
    for place in np.ndindex(shape):
        wanted_loss -= weights[place] * log_softmax(logits[place])[targets[place]] / weights.sum()
        wanted_right += weights[place] * (max(logits[place]) == logits[place][targets[place]]) / weights.sum()
    assert loss.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(loss, wanted_loss, rtol=tolerance)
    np.testing.assert_allclose(right, wanted_right, rtol=tolerance)
    assert 0 < wanted_right < 1


def test_low_precision_logits_are_summed_in_float32():
    """Of 4096 equal logits in bfloat16, the normaliser summed in bfloat16 would stop growing at 256."""
    one = TokenExample(*(jnp.zeros(1, jnp.int32) for _ in range(2)), jnp.ones(1))
    loss = jitted_loss(jnp.zeros((1, 4096), jnp.bfloat16), one)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, log(4096), rtol=1e-6)


def test_large_logits_do_not_overflow_and_what_is_not_scored_does_not_matter():
    found = TokenExample(jnp.zeros(2, jnp.int32), jnp.array([1, 0]), jnp.array([1.0, 0.0]))
    logits = jnp.array([[0.0, 1e4], [-jnp.inf, 0.0]])
    assert jitted_loss(logits, found) == 0
    assert jitted_accuracy(logits, found) == 1
    gradient = jax.jit(jax.grad(cross_entropy))(jnp.array([[0.0, 1.0], [2.0, 3.0]]), found)
    assert (gradient[1] == 0).all()
    np.testing.assert_allclose(gradient[0], np.array([1, -1]) / (1 + np.e), rtol=1e-5)


def test_what_does_not_fit_is_said():
    found = TokenExample(*(jnp.zeros(3, jnp.int32) for _ in range(2)), jnp.ones(3))
    for function in (cross_entropy, accuracy):
        with pytest.raises(ValueError, match=r"logits have shape \(2, 5\), targets \(3,\)"):
            function(jnp.zeros((2, 5)), found)
    assert np.isnan(jitted_loss(jnp.zeros((3, 5)), found._replace(targets=jnp.array([0, 5, 1]))))


def test_a_mean_over_nothing_is_no_number_and_a_sequence_without_scores_does_not_matter():
    logits, targets, weights = example(1, (2, 5), 7)
    weights[1] = 0
    for function in (jitted_loss, jitted_accuracy):
        both, first = (
            function(jnp.asarray(logits[rows]), TokenExample(*map(jnp.asarray, (targets[rows],) * 2), jnp.asarray(weights[rows]))) for rows in (slice(2), 0)
        )
        np.testing.assert_allclose(both, first, rtol=1e-6)
        assert np.isnan(function(jnp.asarray(logits[1]), TokenExample(*map(jnp.asarray, (targets[1],) * 2), jnp.zeros(5))))


@every_task
def test_every_task_agrees_with_the_protocol(task):
    """Shapes, dtypes, ranges, one trace for all keys, batches of single samples; the uniform predictor and the oracle."""
    traces = []

    @jax.jit
    def draw(task, key):
        traces.append(None)
        return task.sample(key)

    keys = jax.random.split(jax.random.key(0), 50)
    singles = [draw(task, key) for key in keys]
    assert len(traces) == 1
    found = jax.jit(lambda key: batch(task, key, 50))(jax.random.key(0))
    for name, together, dtype in zip(TokenExample._fields, found, (np.int32, np.int32, np.float32), strict=True):
        assert together.shape == (50, task.length)
        assert together.dtype == dtype
        np.testing.assert_array_equal(together, np.stack([getattr(single, name) for single in singles]))
    inputs, targets, weights = map(np.asarray, found)
    assert len({row.tobytes() for row in inputs}) > 40
    assert 0 <= inputs.min() <= inputs.max() < task.vocabulary
    assert 0 <= targets.min() <= targets.max() < task.vocabulary
    assert (targets[weights == 0] == 0).all()
    assert set(np.unique(weights)) <= {0.0, 1.0}
    assert (weights.sum(1) == weights[0].sum()).all()
    assert weights[0].sum() > 0

    with jax.enable_x64(True):
        uniform = jitted_loss(np.zeros((*targets.shape, task.vocabulary)), found)
        np.testing.assert_allclose(uniform, log(task.vocabulary), rtol=1e-14)
    oracle = 40 * np.eye(task.vocabulary, dtype=np.float32)[targets]
    assert jitted_accuracy(oracle, found) == 1
    assert jitted_loss(oracle, found) < 1e-6
    assert jitted_accuracy(np.roll(oracle, 1, axis=-1), found) == 0


@every_task
def test_tokens_are_32_bit_integers_also_in_double_precision(task):
    with jax.enable_x64(True):
        found = jax.eval_shape(task.sample, jax.random.key(3))
    assert found.inputs.dtype == found.targets.dtype == np.int32
    assert found.inputs.shape == (task.length,)


@pytest.mark.parametrize("name", ["selective-copy", "induction", "repeated-sequence", "text"])
def test_tasks_without_an_ood_split_say_so(name):
    with pytest.raises(ValueError, match="no split ood"):
        TASKS[name].sample(jax.random.key(0), "ood")


@pytest.mark.parametrize("name", ["recall", "selective-copy", "induction", "repeated-sequence"])
def test_without_a_finite_set_train_and_iid_are_one_program(name):
    train, iid = (str(jax.make_jaxpr(lambda key, split=split: TASKS[name].sample(key, split))(jax.random.key(7))) for split in ("train", "iid"))
    assert train == iid


# --- drawing without replacement --------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 12), min_size=5, max_size=5))
def test_skip_counts_the_numbers_that_are_left(taken):
    left = [number for number in range(25) if number not in taken]
    assert np.asarray(jitted_skip(jnp.array(sorted(taken)), jnp.arange(20))).tolist() == left


@pytest.mark.parametrize(("size", "count"), [(1, 1), (4, 2), (4, 4), (5, 3)])
def test_every_ordered_choice_is_equally_likely(size, count):
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: distinct(key, size, count)))(jax.random.split(jax.random.key(size), 6000)))
    choices = list(permutations(range(size), count))
    counts = [(drawn == choice).all(1).sum() for choice in choices]
    assert sum(counts) == len(drawn)
    assert len(choices) == 1 or chisquare(counts).pvalue > 1e-3
