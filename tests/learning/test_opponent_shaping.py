"""Estimators and batch lambda returns against sums written out, in float64; what one trajectory's rewards may reach; a tabular learner against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning.naive_learner import reinforce_tabular
from mesocosm.learning.opponent_shaping import batch_lambda_returns, batch_unaware, coala_pg, full_return, m_fos, score_loss, td_errors, value_targets

ALL = (coala_pg, m_fos, batch_unaware, full_return)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64():
        yield


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def written_out(estimator, rewards, episode):
    """The sums of the definition, step by step."""
    batch, length = rewards.shape
    found = np.zeros((batch, length))
    for b in range(batch):
        for step in range(length):
            end = (step // episode + 1) * episode
            own, later = rewards[b, step:end].sum(), rewards[:, end:].sum(axis=1)
            found[b, step] = {
                coala_pg: own / batch + later.mean(),
                m_fos: own + later.mean(),
                batch_unaware: (own + later[b]) / batch,
                full_return: rewards[:, step:].sum() / batch,
            }[estimator]
    return found


@pytest.mark.parametrize(("batch", "episodes", "episode"), [(4, 3, 2), (2, 1, 5), (3, 4, 1)])
def test_estimators_are_their_definitions(batch, episodes, episode):
    rewards = drawn(batch, batch, episodes * episode)
    for estimator in ALL:
        close(estimator(rewards, episode), written_out(estimator, np.asarray(rewards), episode))


def test_with_values_coala_is_equation_13():
    batch, episode, length = 3, 4, 12
    rewards, values = drawn(0, batch, length), drawn(1, batch, length + 1).at[:, -1].set(0)
    found, plain = coala_pg(rewards, episode, values), written_out(coala_pg, np.asarray(rewards), episode)
    for b in range(batch):
        for step in range(length):
            end = (step // episode + 1) * episode
            others = np.delete(np.asarray(values[:, end]), b).sum()
            close(found[b, step], plain[b, step] - values[b, step] / batch - others / batch)


@pytest.mark.whole
def test_a_single_trajectory_makes_all_estimators_one():
    rewards, values = drawn(0, 1, 12), drawn(1, 1, 13)
    for estimator in ALL:
        close(estimator(rewards, 3, values, 0.9, 0.8), coala_pg(rewards, 3, values, 0.9, 0.8))


@pytest.mark.parametrize("estimator", ALL)
def test_discounting_and_decay_count_steps_between_action_and_error(estimator):
    """GAE: a TD error counts (0.9 x 0.5)^k for an action k steps before."""
    rewards, values = drawn(0, 2, 6), drawn(1, 2, 7)
    errors = np.asarray(td_errors(rewards, values, 0.9))
    found = np.asarray(estimator(rewards, 3, values, 0.9, 0.5))
    for step in range(6):
        dampened = errors * np.where(np.arange(6) >= step, 0.45 ** (np.arange(6) - step), 0.0)
        close(found[:, step], written_out(estimator, dampened, 3)[:, step])


@pytest.mark.parametrize("average_later", [False, True])
@pytest.mark.parametrize("normalise_own", [False, True])
def test_batch_lambda_returns_with_discount_and_decay_are_sums(average_later, normalise_own):
    r"""$\sum_k (\gamma\lambda)^k [r + \gamma (1 - \lambda) V]$, and what follows; r of a trajectory's own is divided by n, and what is averaged is not."""
    batch, length, episode, discount, decay = 3, 6, 2, 0.9, 0.7
    rewards, values, last = (np.asarray(drawn(seed, *shape)) for seed, shape in enumerate([(batch, length), (batch, length), (batch,)]))
    options = {"average_later": average_later, "normalise_own": normalise_own}
    found = batch_lambda_returns(*map(jnp.asarray, (rewards, values, last)), episode, discount, decay, **options)
    own, plain = (np.column_stack([rewards / n + discount * (1 - decay) * values, last]) for n in (batch if normalise_own else 1, 1))
    for step in range(length):
        end, powers = (step // episode + 1) * episode, (discount * decay) ** np.arange(length + 1 - step)
        own_part, later = own[:, step:end] @ powers[: end - step], own[:, end:] @ powers[end - step :]
        if average_later:
            later = (plain[:, end:] @ powers[end - step :]).mean()
        close(found[:, step], own_part + later)


def test_value_targets_are_td_lambda_returns_of_each_trajectory():
    rewards, values = drawn(0, 2, 5), drawn(1, 2, 6)
    found = value_targets(rewards, values, 0.9, 0.7)
    following = np.asarray(values[:, -1])
    for t in reversed(range(5)):
        following = rewards[:, t] + 0.9 * (0.3 * values[:, t + 1] + 0.7 * following)
        close(found[:, t], following)
    close(value_targets(rewards, values, 0.9, 0.0), rewards + 0.9 * values[:, 1:])


def test_rewards_reach_the_steps_before_them_and_other_trajectories_only_in_earlier_episodes():
    rewards = drawn(0, 3, 12)
    changed = rewards.at[1, 7].add(1.0)  # the second of three episodes of four
    difference = np.asarray(coala_pg(changed, 4) - coala_pg(rewards, 4))
    close(difference[:, :4], 1 / 3)
    close(difference[1, 4:8], 1 / 3)
    np.testing.assert_array_equal(difference[[0, 2], 4:], 0)
    np.testing.assert_array_equal(difference[1, 8:], 0)
    batches = jnp.stack([rewards, drawn(1, 3, 12)])
    several = jax.vmap(lambda rewards: coala_pg(rewards, 4))
    np.testing.assert_array_equal(several(batches)[0], several(batches.at[1].add(1.0))[0])


def test_permuting_trajectories_permutes_their_weights():
    rewards, values, order = drawn(0, 4, 6), drawn(1, 4, 7), np.array([2, 0, 3, 1])
    for estimator in ALL:
        close(estimator(rewards[order], 3, values[order], 0.9), estimator(rewards, 3, values, 0.9)[order])


def test_the_sum_over_trajectories_is_the_mean_of_b_times_as_much_in_any_order():
    """A score's gradient, of a policy that all trajectories share; trajectories carry their observations with them."""
    logits, actions, rewards, order = drawn(0, 3, 6), jnp.asarray(np.random.default_rng(1).integers(0, 2, (3, 6))), drawn(2, 3, 6), np.array([2, 0, 1])

    def scores(theta, order):
        signed = jnp.where(actions[order] == 0, 1.0, -1.0) * jnp.tanh(theta * logits[order])
        return jax.nn.log_sigmoid(signed)

    def of_sum(theta, order):
        return score_loss(scores(theta, order), coala_pg(rewards[order], 2))

    def of_mean(theta, order):
        return -jnp.sum(jnp.mean(scores(theta, order) * len(rewards) * coala_pg(rewards[order], 2), axis=0))

    theta = jnp.asarray(0.7)
    wanted = jax.grad(of_sum)(theta, np.arange(3))
    assert abs(float(wanted)) > 1e-2
    for gradient, ordered in ((jax.grad(of_mean), np.arange(3)), (jax.grad(of_sum), order), (jax.grad(of_mean), order)):
        close(gradient(theta, ordered), wanted)


@pytest.mark.parametrize("average_later", [False, True])
@pytest.mark.parametrize("normalise_own", [False, True])
def test_without_values_algorithm_1_is_a_sum_for_each_pair_of_flags(average_later, normalise_own):
    batch, length, episode = 3, 6, 2
    rewards = drawn(0, batch, length)
    nothing = jnp.zeros((batch, length))
    found = batch_lambda_returns(rewards, nothing, nothing[:, 0], episode, 1.0, 1.0, average_later=average_later, normalise_own=normalise_own)
    share = batch if normalise_own else 1
    for b in range(batch):
        for step in range(length):
            end = (step // episode + 1) * episode
            later = float(rewards[:, end:].sum(axis=1).mean()) if average_later else float(rewards[b, end:].sum()) / share
            close(found[b, step], rewards[b, step:end].sum() / share + later)


def test_the_loss_has_the_gradient_of_the_scores_and_takes_weights_as_constants():
    logits, actions = drawn(0, 2, 3), jnp.array([[0, 1, 1], [1, 0, 0]])

    def loss(logits):
        log_probabilities = jnp.where(actions == 0, jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))
        return score_loss(log_probabilities, 2 * logits)

    close(jax.grad(loss)(logits), -2 * logits * ((actions == 0) - jax.nn.sigmoid(logits)))


def test_errors_name_the_numbers():
    with pytest.raises(ValueError, match="7 steps cannot be divided into inner episodes of 3"):
        coala_pg(jnp.zeros((2, 7)), 3)
    with pytest.raises(ValueError, match="6 rewards need 7 values"):
        coala_pg(jnp.zeros((2, 6)), 3, jnp.zeros((2, 6)))


def test_last_values_are_averaged_like_everything_after_an_episode():
    last = jnp.array([1.0, 3.0])
    options = {"average_later": True, "normalise_own": True}
    found = batch_lambda_returns(jnp.zeros((2, 2)), jnp.zeros((2, 2)), last, 2, 1.0, 1.0, **options)
    np.testing.assert_allclose(found, 2.0)
    found = batch_lambda_returns(jnp.zeros((2, 2)), jnp.zeros((2, 2)), last, 2, 1.0, 1.0, average_later=False, normalise_own=False)
    np.testing.assert_allclose(found, [[1, 1], [3, 3]])


def test_a_tabular_learner_takes_the_step_of_autodiff():
    generator = np.random.default_rng(0)
    logits, rewards = drawn(0, 5), drawn(1, 4, 6)
    memories, actions = jnp.asarray(generator.integers(0, 5, (4, 6))), jnp.asarray(generator.integers(0, 2, (4, 6)))

    def objective(logits):
        chosen = jnp.where(actions == 0, 1.0, -1.0) * logits[memories]
        later = jnp.stack([rewards[:, t:].sum(axis=1) for t in range(6)], axis=1)
        return jnp.mean(jax.nn.log_sigmoid(chosen) * (later - later.mean(axis=0)))

    close(reinforce_tabular(logits, memories, actions, rewards, 3.0), logits + 3 * jax.grad(objective)(logits))
