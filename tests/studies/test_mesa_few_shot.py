"""Few-shot measures by predictors whose losses are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import ResidualStack
from mesocosm.studies.mesa.config import FewShotRuns
from mesocosm.studies.mesa.few_shot import draw_prompt, measure_prompt, neighbour_regression, pair_losses, true_pair_losses
from mesocosm.studies.mesa.raw_networks import RawNetwork
from mesocosm.tasks.few_shot import FewShotRegression, Prompt


@pytest.mark.whole
def test_least_squares_on_true_pairs_is_a_dense_solve_and_learns_after_as_many_pairs_as_dimensions():
    example = FewShotRegression(3, pairs=9, run=9, noise=0.0).sample(jax.random.key(1))
    losses, (x, y) = np.asarray(true_pair_losses(example)), map(np.asarray, example)
    for i in range(9):
        phi = y[:i].T @ x[:i] @ np.linalg.inv(x[:i].T @ x[:i] + 1e-3 * np.eye(3))
        np.testing.assert_allclose(losses[i], 0.5 * np.sum((phi @ x[i] - y[i]) ** 2), rtol=1e-3, atol=1e-5)
    assert losses[5:].max() < 1e-3 < losses[:2].min()


@pytest.mark.whole
def test_neighbouring_tokens_make_least_squares_worse_before_better():
    """The early ascent needs no network: the steps between pairs are pairs, too, and nothing predicts them (paper, Fig. 8)."""
    examples = jax.vmap(FewShotRegression(10, pairs=50, run=50).sample)(jax.random.split(jax.random.key(0), 512))
    plain = Prompt(jnp.zeros((0, 10)))
    losses = jax.jit(jax.vmap(lambda example: pair_losses(neighbour_regression, plain, example)))(examples).mean(0)
    assert np.argmax(losses[:10]) + 1 >= 2
    assert np.max(losses[:10]) > 1.15 * losses[0]
    assert losses[-5:].mean() < 0.5 * np.max(losses)


def test_prompts_start_random_and_only_separated_ones_have_a_separator():
    plain, tuned = draw_prompt(4, 0, False, jax.random.key(0)), draw_prompt(4, 5, True, jax.random.key(0))
    assert plain.separator is None
    assert plain.prefix.shape == (0, 4)
    assert tuned.prefix.shape == (5, 4)
    assert tuned.separator.shape == (4,)


class Regression(RawNetwork):
    """A network that is ridge regression on neighbouring tokens."""

    def __call__(self, inputs):
        return neighbour_regression(inputs)


@pytest.mark.whole
def test_losses_are_of_one_task_of_two_and_of_none_that_can_be_learned():
    network = Regression(jnp.zeros((4, 3)), ResidualStack(()), jnp.zeros((3, 4)))
    measure = jax.jit(lambda prompt, key: measure_prompt(FewShotRuns(sequences=256), 20, network, prompt, key))
    plain, key = Prompt(jnp.zeros((0, 3))), jax.random.key(0)
    found = measure(plain, key)
    np.testing.assert_allclose(found.one, found.neighbours, rtol=1e-5)
    assert found.two[10] > 2 * found.one[9:11].max()
    assert found.two[9] < 1.2 * found.one[9]
    assert found.every[10:].mean() > 2 * found.one[10:].mean()
    assert found.true_pairs[-1] < 1e-3 < found.one[-1]
    other = measure(Prompt(jnp.ones((2, 3)), jnp.ones(3)), key)
    np.testing.assert_array_equal(other.test, found.test)
    np.testing.assert_allclose(other.neighbours, found.neighbours, rtol=1e-5)
    assert np.abs(other.one - found.one).max() > 1e-2
