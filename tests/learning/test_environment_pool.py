"""Pools in an environment: games follow its rules, memories are kept or reset, naive learners learn, and each agent's step is its own estimator's."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.envs.clean_up import CleanUp
from mesocosm.envs.iterated_game import IteratedGame, memories
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.learning.actor_critic_pool import Settings
from mesocosm.learning.environment_pool import EnvironmentPool, copied, newborn
from mesocosm.learning.naive_learner import NaiveActorCritic
from mesocosm.learning.opponent_shaping import batch_unaware, coala_pg, m_fos
from mesocosm.learning.optimizers import adam, sgd
from mesocosm.learning.proximal_pool import ProximalEnvironmentPool
from mesocosm.nn import GRU
from mesocosm.nn.actor_critic import MixerChooser, TabularChooser

BATCH, EPISODES, LENGTH = 3, 2, 4
MENU = (coala_pg, m_fos)


def remembering(key):
    """A chooser with memory whose heads are not zero."""
    chooser = MixerChooser.create(5, 2, mixer=GRU.create, dim=3, key=key)
    return eqx.tree_at(lambda chooser: chooser.heads, chooser, 2 * jax.random.normal(key, (3, 3)))


def tabular(key):
    return TabularChooser(jax.random.normal(key, (5, 3)))


def pool(build=tabular, choice=((1.0, 0.0), (0.0, 1.0)), env=None, kind=EnvironmentPool, **options):
    env = IteratedGame(length=LENGTH) if env is None else env
    sizes = {"naive": 2, "peers": 1, "batch": BATCH, "episodes": EPISODES} | options
    learner = sizes.pop("learner", NaiveActorCritic(sgd, {"learning_rate": 1.0}))
    settings = sizes.pop("settings", Settings(p_naive=0.3, reward_scale=1.0, entropy=0.01))
    return kind(build, MENU, np.array(choice, np.float32), sgd, {"learning_rate": 0.1}, settings, env=env, learner=learner, **sizes)


def moved(learner, key):
    state = learner.init(jax.random.key(0))
    return np.asarray(jax.jit(lambda state: learner.update(state, key)[0].agents.table)(state) - state.agents.table)


def play(learner, agents, seed=1):
    return jax.jit(lambda agents: learner.play(agents, jax.random.key(seed)))(agents)


@pytest.fixture(scope="module")
def played():
    learner = pool(remembering)
    agents = learner.init(jax.random.key(0)).agents
    return learner, agents, play(learner, agents)


@pytest.mark.whole
def test_both_players_see_and_earn_what_the_game_says(played):
    _, _, found = played
    payoffs, own = np.asarray(PRISONERS_DILEMMA.payoffs), np.asarray(found.actions)
    theirs = np.where(found.rewards == payoffs[0][own, 1], 1, 0)
    np.testing.assert_allclose(found.rewards, payoffs[0][own, theirs])
    np.testing.assert_allclose(found.others, payoffs[1][own, theirs])
    np.testing.assert_array_equal(own[0, 2], theirs[1, 2])  # the game between the agents
    np.testing.assert_allclose(found.rewards[0, 2], found.others[1, 2])
    seen = np.zeros(own.shape, int)
    seen[..., 1:] = np.asarray(memories(jnp.stack([own, theirs], axis=-1)))[..., :-1, 0]
    seen[..., ::LENGTH] = 0
    np.testing.assert_array_equal(np.asarray(found.observations).argmax(axis=-1), seen)


@pytest.mark.whole
def test_read_again_agents_decide_as_step_by_step_with_their_memory_kept_over_episodes(played):
    learner, agents, found = played
    decided = learner.replay(agents, found)
    agent = jax.tree.map(lambda leaf: leaf[1], agents)
    for game in (0, 2):
        _, choices = jax.lax.scan(lambda state, seen, agent=agent: agent.step(state, seen), agent.init_state(), found.observations[1, game, 0])
        every = jax.nn.log_softmax(choices.logits)
        np.testing.assert_allclose(decided.values[1, game, 0], choices.value, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(decided.log_probabilities[1, game, 0], every[np.arange(EPISODES * LENGTH), found.actions[1, game, 0]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(decided.entropies[1, game, 0], -np.sum(np.exp(every) * every, axis=-1), rtol=1e-4, atol=1e-5)
        assert np.abs(np.diff(choices.value[::LENGTH])).min() > 1e-4  # the same observation, another memory


def certain(key):
    """Heads so large that a decision is all but certain, and depends on what is remembered."""
    chooser = MixerChooser.create(5, 2, mixer=GRU.create, dim=3, key=key)
    return eqx.tree_at(lambda chooser: chooser.heads, chooser, 1e4 * jax.random.normal(key, (3, 3)))


@pytest.mark.whole
def test_a_naive_learner_forgets_after_an_episode_and_an_agent_does_not():
    """A certain learner that does not learn does in each episode what it does in a new one, given the co-player's actions."""
    learner = pool(certain, choice=((1.0, 0.0),), peers=0, learner=NaiveActorCritic(sgd, {"learning_rate": 0.0}), first=copied, batch=16)
    agents = learner.init(jax.random.key(3)).agents
    found = play(learner, agents)
    payoffs, own = np.asarray(PRISONERS_DILEMMA.payoffs), np.asarray(found.actions)[0]
    theirs = np.where(np.asarray(found.rewards)[0] == payoffs[0][own, 1], 1, 0)
    seen = np.asarray(found.observations)[0][..., [0, 1, 3, 2, 4]]  # from the other side
    fresh = jax.vmap(jax.vmap(jax.tree.map(lambda leaf: leaf[0], agents)))
    again = np.asarray(fresh(seen.reshape(2, 16 * EPISODES, LENGTH, 5)).logits).argmax(axis=-1).reshape(theirs.shape)
    kept = np.asarray(fresh(seen).logits).argmax(axis=-1)
    np.testing.assert_array_equal(again, theirs)
    assert (kept != theirs).any()


@pytest.mark.whole
def test_a_naive_learner_takes_the_steps_of_its_optimiser_one_after_another():
    """Two inner episodes by hand, against the formula and optax: Adam's second step is not its first."""
    drawn = np.random.default_rng(0)
    naive = NaiveActorCritic(adam, {"learning_rate": 0.1}, discount=0.8, reward_scale=0.5, value_weight=0.25)
    chooser, (features, actions, rewards) = (
        tabular(jax.random.key(0)),
        (drawn.integers(0, 5, (2, 4, 6)), drawn.integers(0, 2, (2, 4, 6)), drawn.normal(size=(2, 4, 6))),
    )
    table, state = chooser.table, naive.init(chooser)
    wanted, adam_state = np.asarray(table), optax.adam(0.1).init(table)
    for episode in range(2):
        seen = jax.nn.one_hot(features[episode], 5)
        chooser, state = naive.learn(chooser, state, seen, jnp.asarray(actions[episode]), jnp.asarray(rewards[episode], jnp.float32))
        returns = 0.5 * sum(0.8**k * np.pad(rewards[episode][:, k:], ((0, 0), (0, k))) for k in range(6))
        advantages = returns - wanted[features[episode], 2]
        probabilities = np.exp(wanted[:, :2]) / np.exp(wanted[:, :2]).sum(axis=1, keepdims=True)
        gradient = np.zeros((5, 3))
        for place in np.ndindex(4, 6):
            memory, action = features[episode][place], actions[episode][place]
            gradient[memory, :2] -= (np.eye(2)[action] - probabilities[memory]) * (advantages[place] - advantages.mean())
            gradient[memory, 2] -= 2 * 0.25 * advantages[place]
        moves, adam_state = optax.adam(0.1).update(jnp.asarray(gradient / 24, jnp.float32), adam_state)
        wanted = wanted + np.asarray(moves)
        np.testing.assert_allclose(chooser.table, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.whole
def test_beside_a_learner_the_second_episode_follows_its_step():
    """An indifferent learner with a huge step size; the loss is that of its own rewards, seen from its own side."""
    naive = NaiveActorCritic(sgd, {"learning_rate": 1e5}, reward_scale=1.0)
    learner = pool(lambda key: TabularChooser(jnp.zeros((5, 3))), choice=((1.0, 0.0),), naive=1, peers=0, batch=64, learner=naive)
    found = play(learner, learner.init(jax.random.key(0)).agents)
    own = np.asarray(found.actions)[0, 0]
    theirs = np.where(np.asarray(found.rewards)[0, 0] == np.asarray(PRISONERS_DILEMMA.payoffs)[0][own, 1], 1, 0)
    seen = found.observations[0, 0][..., np.array([0, 1, 3, 2, 4])]
    new = TabularChooser(jnp.zeros((5, 3)))
    learned, _ = naive.learn(new, naive.init(new), seen[:, :LENGTH], jnp.asarray(theirs[:, :LENGTH]), found.others[0, 0, :, :LENGTH])
    logits = np.asarray(learned.table)[np.asarray(seen[:, LENGTH:]).argmax(axis=-1), :2]
    sure = np.abs(logits[..., 0] - logits[..., 1]) > 20
    assert sure.mean() > 0.5
    assert (theirs[:, LENGTH:] == logits.argmax(axis=-1))[sure].all()


@pytest.mark.whole
def test_each_agents_step_is_that_of_its_own_estimator_among_learners_and_of_independent_trajectories_among_agents(played):
    learner, agents, found = played
    state = learner.init(jax.random.key(0))
    after, metrics = jax.jit(lambda state: learner.update(state, jax.random.key(1)))(state)
    settings = learner.settings

    def loss(leaves, i):
        agent = eqx.combine(leaves, jax.tree.map(lambda leaf: leaf[i], agents))
        choices = jax.vmap(jax.vmap(agent))(found.observations[i])
        every = jax.nn.log_softmax(choices.logits)
        taken = jnp.sum(every * jax.nn.one_hot(found.actions[i], 2), axis=-1)
        values = jnp.concatenate([choices.value, jnp.zeros((3, BATCH, 1))], axis=-1)
        raw = [MENU[i](found.rewards[i, g], LENGTH, values[g]) for g in (0, 1)] + [batch_unaware(found.rewards[i, 2], LENGTH, values[2])]
        weights = jax.lax.stop_gradient(jnp.stack([*(jnp.stack(raw[:2]) - jnp.mean(jnp.stack(raw[:2]))), raw[2] - jnp.mean(raw[2])]))
        targets = jnp.cumsum(found.rewards[i][..., ::-1], axis=-1)[..., ::-1]
        entropy = -jnp.sum(jnp.exp(every) * every, axis=-1)
        each = jnp.mean(-jnp.sum(taken * weights, axis=1) + jnp.mean(0.5 * (choices.value - targets) ** 2 - 0.01 * entropy, axis=1), axis=-1)
        return settings.p_naive * jnp.mean(each[:2]) + (1 - settings.p_naive) * each[2]

    for i in range(2):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], eqx.filter(agents, eqx.is_inexact_array))
        gradient = jax.grad(loss)(own, i)
        moved = jax.tree.map(lambda new, old, i=i: (new - old)[i], *(eqx.filter(which.agents, eqx.is_inexact_array) for which in (after, state)))
        for found_move, wanted in zip(jax.tree.leaves(moved), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(found_move, -0.1 * wanted, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(metrics["naive_reward"], np.mean(found.rewards[:, :2]), rtol=1e-5)
    np.testing.assert_allclose(metrics["peer_other_reward"], np.mean(found.others[:, 2:]), rtol=1e-5)


@pytest.mark.whole
def test_what_an_environment_says_of_each_player_is_told_from_both_sides():
    env = CleanUp(length=6)
    learner = pool(lambda key: TabularChooser(jax.random.normal(key, (env.features, 7))), env=env, batch=4)
    found = play(learner, learner.init(jax.random.key(0)).agents)
    np.testing.assert_allclose(found.own["harvested"], found.rewards)
    np.testing.assert_allclose(found.other["harvested"], found.others)
    np.testing.assert_array_equal(found.own["cleaned"][0, 2], found.other["cleaned"][1, 2])
    assert found.shared["dirt"].shape == found.rewards.shape
    measured = learner.measures(found)
    assert set(measured) >= {"reward", "other_reward", "own_cleaned", "gap_cleaned", "own_hit", "dirt", "apples"}
    assert measured["gap_cleaned"].shape == (2, EPISODES)
    by_episode = np.asarray(found.own["cleaned"], float) - np.asarray(found.other["cleaned"], float)
    gaps = np.abs(by_episode.reshape(2, 3, 4, EPISODES, 6).mean(axis=-1)).mean(axis=(1, 2))
    np.testing.assert_allclose(measured["gap_cleaned"], gaps, rtol=1e-5)
    np.testing.assert_allclose(measured["dirt"][:, 0], np.asarray(found.shared["dirt"])[..., :6].mean(axis=(1, 2, 3)), rtol=1e-5)


def test_naive_learners_begin_new_or_as_one_of_the_agents():
    agents = jax.vmap(tabular)(jax.random.split(jax.random.key(0), 3))
    drawn = jax.vmap(lambda key: copied(tabular, agents, key).table)(jax.random.split(jax.random.key(1), 30))
    which = [int(np.abs(np.asarray(agents.table) - table).max(axis=(1, 2)).argmin()) for table in np.asarray(drawn)]
    assert sorted(set(which)) == [0, 1, 2]
    np.testing.assert_array_equal(drawn, np.asarray(agents.table)[which])
    np.testing.assert_array_equal(newborn(tabular, agents, jax.random.key(2)).table, tabular(jax.random.key(2)).table)


@pytest.mark.slow
def test_with_one_epoch_and_minibatch_ppo_is_the_plain_step_and_later_epochs_move_on():
    key = jax.random.key(1)
    once, plain = moved(pool(kind=ProximalEnvironmentPool, epochs=1, minibatches=1), key), moved(pool(), jax.random.split(key)[0])
    np.testing.assert_allclose(once, plain, rtol=1e-4, atol=1e-6)
    assert np.abs(plain).max() > 1e-4
    assert np.abs(moved(pool(kind=ProximalEnvironmentPool, epochs=2, minibatches=1), key) - once).max() > 1e-5


def test_minibatches_must_divide_the_games():
    with pytest.raises(ValueError, match="2 minibatches must divide the 2 games against naive learners and the 1"):
        pool(kind=ProximalEnvironmentPool)


class ThreePlayers(IteratedGame):
    @property
    def num_agents(self):
        return 3


def test_games_have_two_players():
    with pytest.raises(ValueError, match="played by two agents, but ThreePlayers has 3"):
        pool(env=ThreePlayers())
