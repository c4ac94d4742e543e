"""Few-shot sequences: which pairs share a map, and where a prompt puts its tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.few_shot import FewShotExample, FewShotRegression, Prompt


def test_pairs_of_a_run_share_an_orthogonal_map_and_other_runs_do_not():
    inputs, targets = map(np.asarray, FewShotRegression(3, pairs=11, run=6, noise=0.0).sample(jax.random.key(0)))
    first = np.linalg.lstsq(inputs[:6], targets[:6], rcond=None)[0]
    second = np.linalg.lstsq(inputs[6:], targets[6:], rcond=None)[0]
    for found, pairs in ((first, slice(6)), (second, slice(6, 11))):
        np.testing.assert_allclose(inputs[pairs] @ found, targets[pairs], atol=1e-5)
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-5)
    assert np.abs(first - second).max() > 0.1
    assert np.abs(inputs).max() <= 1


@pytest.mark.whole
def test_inputs_are_uniform_and_targets_have_noise():
    given = jax.vmap(FewShotRegression(4, pairs=20, run=20, noise=0.0).sample)(jax.random.split(jax.random.key(1), 50))
    noisy = jax.vmap(FewShotRegression(4, pairs=20, run=20, noise=0.3).sample)(jax.random.split(jax.random.key(1), 50))
    np.testing.assert_array_equal(noisy.inputs, given.inputs)
    np.testing.assert_allclose([np.mean(given.inputs), np.var(given.inputs)], [0, 1 / 3], atol=0.03)
    np.testing.assert_allclose(np.std(noisy.targets - given.targets), 0.3, rtol=0.05)


def test_a_prompt_interleaves_and_reads_at_the_inputs():
    example = FewShotExample(jnp.arange(6.0).reshape(3, 2), 10 + jnp.arange(6.0).reshape(3, 2))
    plain, tuned = Prompt(jnp.zeros((0, 2))), Prompt(-jnp.ones((4, 2)), 7 * jnp.ones(2))
    np.testing.assert_array_equal(plain(example)[:, 0], [0, 10, 2, 12, 4, 14])
    np.testing.assert_array_equal(tuned(example)[:, 0], [-1, -1, -1, -1, 0, 10, 7, 2, 12, 7, 4, 14, 7])
    for prompt in (plain, tuned):
        np.testing.assert_array_equal(prompt.at_inputs(prompt(example)), example.inputs)


def test_runs_have_at_least_a_pair():
    with pytest.raises(ValueError, match="run = 0"):
        FewShotRegression(run=0)
