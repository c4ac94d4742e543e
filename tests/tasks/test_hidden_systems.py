"""Systems observed in part, and nonlinear ones: what determines their next observation."""

import jax
import numpy as np
import pytest

from mesocosm.tasks.hidden_systems import NonlinearSystems, PartiallyObservedSystems


def _best_map_error(inputs, targets):
    """The relative error of the best linear map, fitted on all but the last pair and tried on that one."""
    solution = np.linalg.lstsq(inputs[:-1], targets[:-1], rcond=None)[0]
    return np.abs(inputs[-1] @ solution - targets[-1]).max() / np.abs(targets).max()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_enough_observations_determine_the_next_and_fewer_do_not(count):
    with jax.enable_x64(True):
        seen = np.asarray(PartiallyObservedSystems(length=60, noise=0.0).sample(jax.random.key(3)).observations)
    stacked = np.concatenate([seen[i : len(seen) - count + i] for i in range(count)], axis=1)
    error = _best_map_error(stacked, seen[count:])
    assert error < 1e-8 if 5 * count >= 15 else error > 0.05


@pytest.mark.whole
def test_observations_are_as_large_as_the_maps_say_and_noise_is_on_top():
    task = PartiallyObservedSystems(noise=0.0)
    drawn = jax.jit(jax.vmap(lambda key: task.sample(key).observations))(jax.random.split(jax.random.key(0), 300))
    squares = np.sum(np.asarray(drawn) ** 2, axis=-1).mean(0)
    np.testing.assert_allclose(squares, 5 * 15 / 3 / 4, rtol=0.15)  # E C_ij^2 = 1/4, E h_j^2 = 1/3, and W keeps norms
    noisy, key = PartiallyObservedSystems(noise=0.1), jax.random.key(1)
    assert 0.05 < np.std(noisy.sample(key).observations[0] - task.sample(key).observations[0]) < 0.2


@pytest.mark.whole
def test_a_nonlinear_step_is_a_linear_map_of_the_features_and_not_of_the_state():
    with jax.enable_x64(True):
        task = NonlinearSystems.draw(jax.random.key(0), dim=4, length=40, noise=0.0)
        seen, transition = task.sample(jax.random.key(1))
        features, predicted = task.features(seen), task.features(seen[:-1]) @ transition.T
    np.testing.assert_allclose(predicted, seen[1:], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(seen[1:], axis=1), 1.0, rtol=1e-10)
    assert _best_map_error(np.asarray(features[:-1]), np.asarray(seen[1:])) < 1e-6
    assert _best_map_error(np.asarray(seen[:-1]), np.asarray(seen[1:])) > 0.05


@pytest.mark.whole
def test_noise_enters_every_step():
    """Observations of one system with and without noise, which after t steps differ by the sum of t perturbations of the state, beside that of the reading."""
    key, still, noisy = jax.random.key(2), *(PartiallyObservedSystems(length=200, noise=noise) for noise in (0.0, 0.1))
    moved = np.asarray(noisy.sample(key).observations - still.sample(key).observations)
    assert np.mean(moved[-20:] ** 2) > 20 * np.mean(moved[:2] ** 2)  # in expectation, 15 / 4 t + 1 times the square of the noise
    task = NonlinearSystems.draw(jax.random.key(0), noise=0.1)
    seen, transition = task.sample(key)
    np.testing.assert_allclose(np.std(seen[1:] - task.features(seen[:-1]) @ transition.T), 0.1, rtol=0.15)


@pytest.mark.whole
def test_nonlinear_systems_start_small_and_have_maps_of_the_papers_size():
    task = NonlinearSystems.draw(jax.random.key(0))
    assert (task.inward.shape, task.outward.shape) == ((40, 10), (10, 40))
    np.testing.assert_allclose([np.std(task.inward), np.std(task.outward)], 1.1, rtol=0.1)
    starts = np.stack([task.sample(key).observations[0] for key in jax.random.split(jax.random.key(1), 30)])
    assert 0.24 < np.abs(starts).max() <= 0.25


def test_neither_has_an_out_of_distribution_split():
    for task in (PartiallyObservedSystems(), NonlinearSystems.draw(jax.random.key(0))):
        with pytest.raises(ValueError, match="ood"):
            task.sample(jax.random.key(0), "ood")
