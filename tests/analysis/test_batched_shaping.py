"""Expected shaping gradients over every outcome: which estimators have no bias, and what the others lack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.batched_shaping import every_meta_trajectory, expected_gradients, shaping_gradient
from mesocosm.analysis.memory_one import episode_values
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA, STAG_HUNT
from mesocosm.learning.naive_learner import NaiveActorCritic, reinforce_tabular
from mesocosm.learning.opponent_shaping import batch_unaware, coala_pg, full_return, m_fos
from mesocosm.learning.optimizers import sgd
from mesocosm.nn.actor_critic import TabularChooser


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64():
        yield


def curious(rate):
    """An update without a formula: any function of the data will do."""

    def update(logits, memories, actions, rewards):
        seen = jnp.zeros((5, 2)).at[memories, actions].add(jnp.sin(rewards + jnp.arange(rewards.shape[1])))
        return logits + rate * (seen[:, 0] - jnp.tanh(seen[:, 1])) / len(rewards)

    return update


def learning(rate):
    return lambda *play: reinforce_tabular(*play, rate)


def actor_critic(rate):
    """A2C on a table of logits and values; the logit to cooperate is their difference."""
    naive = NaiveActorCritic(sgd, {"learning_rate": rate}, discount=0.9, reward_scale=1.0)

    def update(logits, memories, actions, rewards):
        chooser = TabularChooser(jnp.stack([logits, jnp.zeros(5), jnp.linspace(-0.3, 0.5, 5)], axis=1))
        table = naive.learn(chooser, naive.init(chooser), jax.nn.one_hot(memories, 5), actions, rewards)[0].table
        return table[:, 0] - table[:, 1]

    return update


class World:
    def __init__(self, batch, episodes, steps, update, seed=0, game=PRISONERS_DILEMMA):
        drawn = np.random.default_rng(seed)
        self.own, self.learner = jnp.asarray(drawn.normal(size=(episodes, steps, 5))), jnp.asarray(drawn.normal(size=5))
        self.batch, self.episodes, self.steps, self.update, self.game = batch, episodes, steps, update, game

    def follow(self, own):
        return every_meta_trajectory(self.game, own, self.learner, self.update, self.batch)

    def expected(self, weights):
        return jax.jit(lambda own: expected_gradients(self.follow, own, lambda rewards: weights(rewards)[None])[0])(self.own)

    def of(self, estimator, **options):
        return self.expected(lambda rewards: estimator(rewards, self.steps, **options))

    def true(self):
        return jax.jit(lambda own: shaping_gradient(self.follow, own))(self.own)


def distance(found, wanted):
    return float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))


def test_probabilities_sum_to_one_and_rewards_are_those_of_the_chain():
    world = World(1, 1, 3, learning(0.0))
    found = world.follow(world.own)
    assert len(found.rewards) == 64
    np.testing.assert_allclose(found.probability().sum(), 1, rtol=1e-12)
    mean = found.probability() @ found.rewards.sum(axis=(1, 2))
    exact = episode_values(PRISONERS_DILEMMA, jax.nn.sigmoid(world.own[0]), jax.nn.sigmoid(world.learner), 3)[0]
    np.testing.assert_allclose(mean, exact, rtol=1e-12)


@pytest.mark.parametrize(
    "world",
    [
        pytest.param((2, 2, 2, learning(2.0)), marks=pytest.mark.whole),
        pytest.param((3, 2, 1, curious(2.0)), marks=pytest.mark.whole),
        (2, 3, 1, curious(1.0)),
        pytest.param((2, 2, 2, actor_critic(4.0)), marks=pytest.mark.whole),
        pytest.param((2, 2, 1, learning(4.0), 1, STAG_HUNT), marks=pytest.mark.whole),
    ],
)
def test_coala_and_the_full_return_are_unbiased_and_the_others_are_not(world):
    """The bias of the others has a closed form: with C the part of the present episode and F that of later ones, m_fos is B C + F, batch_unaware C + F / B."""
    world = World(*world)
    true = world.true()
    assert distance(world.of(coala_pg), true) < 1e-12
    assert distance(world.of(full_return), true) < 1e-12
    batch, episode = world.batch, world.steps

    def current(rewards):
        return coala_pg(rewards, episode) - later(rewards)

    def later(rewards):
        whole = rewards.mean(axis=0).reshape(-1, episode).sum(axis=1)
        after = jnp.cumsum(whole[::-1])[::-1] - whole
        return jnp.broadcast_to(jnp.repeat(after, episode), rewards.shape)

    present, future = world.expected(current), world.expected(later)
    assert distance(world.of(m_fos), batch * present + future) < 1e-12
    assert distance(world.of(batch_unaware), present + future / batch) < 1e-12
    assert min(distance(world.of(m_fos), true), distance(world.of(batch_unaware), true)) > 1e-3


@pytest.mark.whole
def test_the_bias_of_the_baselines_is_large_where_the_learner_listens():
    world = World(2, 2, 2, learning(20.0))
    true = world.true()
    assert distance(world.of(m_fos), true) > 0.05
    assert distance(world.of(batch_unaware), true) > 0.05


@pytest.mark.whole
def test_with_one_trajectory_all_are_the_same():
    world = World(1, 3, 2, curious(2.0))
    true = world.true()
    for estimator in (coala_pg, m_fos, batch_unaware, full_return):
        assert distance(world.of(estimator), true) < 1e-12


@pytest.mark.whole
def test_against_a_player_that_does_not_learn_only_m_fos_is_biased():
    world = World(2, 2, 1, learning(0.0))
    true = world.true()
    for estimator in (coala_pg, batch_unaware, full_return):
        assert distance(world.of(estimator), true) < 1e-12
    assert distance(world.of(m_fos), true) == pytest.approx(1, abs=1e-9)


@pytest.mark.whole
def test_values_change_no_expectation_but_that_of_m_fos():
    """V depends on the trajectory's own past, here through the rewards before the step and the step itself."""
    world = World(3, 2, 1, curious(2.0))

    def with_values(estimator):
        def weights(rewards):
            past = jnp.concatenate([jnp.zeros((len(rewards), 1)), jnp.cumsum(rewards, axis=1)], axis=1)
            values = jnp.sin(3 * past + jnp.arange(past.shape[1])).at[:, -1].set(0.0)
            return estimator(rewards, world.steps, values)

        return world.expected(weights)

    for estimator in (coala_pg, batch_unaware, full_return):
        assert distance(with_values(estimator), world.of(estimator)) < 1e-12
    assert distance(with_values(m_fos), world.of(m_fos)) > 0.1


@pytest.mark.whole
def test_the_shaping_part_does_not_shrink_with_the_batch():
    """The learner's (small) step averages over the batch, so that one trajectory moves it by 1 / B, and the sum over trajectories makes up for it."""

    def update(logits, memories, actions, rewards):
        return logits + 1e-3 * jnp.zeros(5).at[memories].add(rewards * (1 - 2 * actions)) / len(rewards)

    def parts(batch):
        world = World(batch, 2, 1, update)
        future = world.expected(lambda rewards: jnp.broadcast_to(rewards.mean(axis=0)[1:], rewards.shape) * jnp.array([1.0, 0.0]))
        present = world.expected(lambda rewards: rewards / batch)
        return present[0], jnp.linalg.norm(future)

    (present, small), (again, large) = parts(2), parts(4)
    np.testing.assert_allclose(present, again, rtol=1e-10, atol=1e-14)
    assert float(large / small) == pytest.approx(1, abs=0.02)


@pytest.mark.whole
def test_coala_is_the_total_derivative_of_the_return_against_the_updated_learner():
    """C3: each episode's return is the exact one against the learner of that episode, and derivatives pass through the distribution of its updates."""
    batch, steps = 2, 2
    world = World(batch, 2, steps, learning(4.0))
    policy = world.own[0]

    def total(policy):
        first = every_meta_trajectory(PRISONERS_DILEMMA, policy[None], world.learner, world.update, batch)
        against = jax.vmap(lambda q: episode_values(PRISONERS_DILEMMA, jax.nn.sigmoid(policy), jax.nn.sigmoid(q), steps)[0])
        return against(world.learner[None])[0] + first.probability() @ against(first.learners[:, 1])

    world.own = jnp.stack([policy, policy])
    np.testing.assert_allclose(world.of(coala_pg).sum(axis=0), jax.grad(total)(policy), rtol=1e-10, atol=1e-13)


def test_too_many_outcomes_are_an_error_in_words():
    world = World(4, 2, 2, learning(1.0))
    with pytest.raises(ValueError, match=r"4 games of 2 x 2 steps have 4\^16 outcomes"):
        world.follow(world.own)
