"""Pools of agents: what they play follows the rules, each agent's gradient is its own estimator's, and arms share a program."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.memory_one import SWAPPED
from mesocosm.envs.matrix_game import MATCHING_PENNIES, PRISONERS_DILEMMA, MatrixGame
from mesocosm.learning.agent_pool import AgentPool, Settings
from mesocosm.learning.fit import fit
from mesocosm.learning.naive_learner import reinforce_tabular
from mesocosm.learning.opponent_shaping import batch_unaware, coala_pg, m_fos
from mesocosm.learning.optimizers import sgd
from mesocosm.nn.actor_critic import GatedAgent, TabularAgent

BATCH, EPISODES, LENGTH = 3, 2, 3
MENU = (coala_pg, m_fos)


def gated(key):
    """An agent whose heads are not zero."""
    agent = GatedAgent.create(5, width=3, hidden=4, key=key)
    return eqx.tree_at(lambda agent: (agent.readout, agent.direct), agent, tuple(jax.random.normal(key, (2, n)) for n in (4, 5)))


def tabular(key):
    return TabularAgent(jax.random.normal(key, (5, 2)))


def pool(build=gated, choice=((1.0, 0.0), (0.0, 1.0)), **options):
    settings = options.pop("settings", Settings(p_naive=0.3, rate=4.0, reward_scale=1.0, entropy=0.01))
    sizes = {"naive": 2, "peers": 1, "batch": BATCH, "episodes": EPISODES, "length": LENGTH} | options
    return AgentPool(build, MENU, np.array(choice, np.float32), sgd, {"learning_rate": 0.1}, settings, **sizes)


@pytest.fixture(scope="module")
def played():
    learner = pool()
    agents = learner.init(jax.random.key(0)).agents
    return learner, agents, jax.jit(lambda agents: learner.play(agents, jax.random.key(1)))(agents)


@pytest.mark.whole
def test_rewards_are_the_games_and_peers_play_each_other(played):
    _, _, found = played
    payoffs, own = np.asarray(PRISONERS_DILEMMA.payoffs), 1 - np.asarray(found.cooperates, int)
    assert found.rewards.shape == (2, 3, BATCH, EPISODES * LENGTH)
    np.testing.assert_allclose(found.rewards[0, 2], payoffs[0][own[0, 2], own[1, 2]])
    np.testing.assert_allclose(found.rewards[0, 2], found.others[1, 2])
    pairs = {(float(a), float(b)) for a, b in zip(np.ravel(found.rewards), np.ravel(found.others), strict=True)}
    assert pairs == {(1.0, 1.0), (-1.0, 2.0), (2.0, -1.0), (0.0, 0.0)}


@pytest.mark.parametrize("game", [MATCHING_PENNIES, MatrixGame(np.arange(8.0).reshape(2, 2, 2))])
@pytest.mark.parametrize("agents", [2, 4])
def test_of_two_agents_one_is_paid_as_the_second_player(game, agents):
    """The one with the larger number; both are the first player against naive learners."""
    learner = pool(tabular, choice=((1.0, 0.0),) * agents, game=game, batch=16)
    found = jax.jit(lambda key: learner.play(learner.init(key).agents, key))(jax.random.key(0))
    own, payoffs = 1 - np.asarray(found.cooperates, int), np.asarray(game.payoffs)
    number = np.arange(agents)
    alike = (found.rewards[:, None, 2] == found.others[None, :, 2]).all(axis=(2, 3)) & (number[:, None] != number)
    partner = alike.argmax(axis=1)
    assert (alike.sum(axis=1) == 1).all()
    for agent in range(agents):
        first, second = sorted((agent, partner[agent]))
        both = payoffs[:, own[first, 2], own[second, 2]]
        np.testing.assert_array_equal([found.rewards[first, 2], found.rewards[second, 2]], both)
        np.testing.assert_array_equal(found.others[first, 2], found.rewards[second, 2])
        pairs = set(zip(np.ravel(found.rewards[agent, :2]), np.ravel(found.others[agent, :2]), strict=True))
        assert pairs == {(float(a), float(b)) for a, b in payoffs.reshape(2, 4).T}


def actions(found, agent, game):
    """Both players' actions, from the agent's own and the rewards."""
    own = 1 - np.asarray(found.cooperates[agent, game], int)
    payoffs = np.asarray(PRISONERS_DILEMMA.payoffs)[0]
    return own, (np.asarray(found.rewards[agent, game]) == payoffs[own, 1]).astype(int)


def memories(own, other):
    """What the agent sees at every step: nothing at the start of an inner episode."""
    seen = np.zeros_like(own)
    seen[:, 1:] = 1 + 2 * own[:, :-1] + other[:, :-1]
    seen[:, ::LENGTH] = 0
    return seen


@pytest.mark.parametrize("game", [0, 2])
def test_decisions_are_the_agents_on_what_it_has_seen_with_its_memory_kept_over_episodes(played, game):
    _, agents, found = played
    own, other = actions(found, 1, game)
    agent = jax.tree.map(lambda leaf: leaf[1], agents)
    seen = jax.nn.one_hot(memories(own, other)[0], 5)
    _, (logits, values) = jax.lax.scan(lambda state, one: agent.step(state, one), agent.init_state(), seen)
    np.testing.assert_allclose(found.values[1, game, 0], values, rtol=1e-4, atol=1e-5)
    signed = jnp.where(own[0] == 0, logits, -logits)
    np.testing.assert_allclose(found.log_probabilities[1, game, 0], jax.nn.log_sigmoid(signed), rtol=1e-4, atol=1e-5)
    assert np.abs(np.diff(values[::LENGTH])).min() > 1e-4  # the same observation, another memory


def test_the_naive_learner_learns_from_what_was_played():
    """With an indifferent learner and a huge rate, the second inner episode follows the signs of the update."""
    learner = pool(naive=1, batch=64, settings=Settings(rate=1e4), first=first_logits)
    found = jax.jit(lambda agents: learner.play(agents, jax.random.key(1)))(learner.init(jax.random.key(0)).agents)
    own, other = actions(found, 0, 0)
    theirs = SWAPPED[memories(own, other)]
    first = slice(LENGTH)
    learned = reinforce_tabular(jnp.zeros(5), jnp.asarray(theirs[:, first]), jnp.asarray(other[:, first]), found.others[0, 0, :, first], 1e4)
    expected = np.asarray(learned)[theirs[:, LENGTH:]] < 0  # defects
    sure = np.abs(np.asarray(learned))[theirs[:, LENGTH:]] > 20
    assert sure.mean() > 0.5
    assert (other[:, LENGTH:][sure] == expected[sure]).all()


def first_logits(key):
    return jnp.zeros(5)


@pytest.mark.whole
def test_each_agent_follows_the_weights_of_its_own_estimator(played):
    learner, _, found = played
    values = jax.random.normal(jax.random.key(2), (*found.values.shape[:-1], found.values.shape[-1] + 1))
    weights = learner.weights(found.rewards, values)
    for agent, estimator in enumerate(MENU):
        raw = np.stack([estimator(found.rewards[agent, game], LENGTH, values[agent, game]) for game in range(2)])
        np.testing.assert_allclose(weights[agent, :2], raw - raw.mean(), rtol=1e-4, atol=1e-5)
        alone = batch_unaware(found.rewards[agent, 2], LENGTH, values[agent, 2])
        np.testing.assert_allclose(weights[agent, 2], alone - alone.mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.whole
def test_an_agents_gradient_does_not_depend_on_the_others_loss():
    """Its step is the same whatever the other's estimator is."""
    steps = []
    for other in (0, 1):
        learner = pool(tabular, choice=((1.0, 0.0), (float(other == 0), float(other == 1))))
        state = learner.init(jax.random.key(0))
        after, _ = jax.jit(lambda state, learner=learner: learner.update(state, jax.random.key(1)))(state)
        steps.append(np.asarray(after.agents.table - state.agents.table))
    np.testing.assert_allclose(steps[0][0], steps[1][0], rtol=1e-5)
    assert np.abs(steps[0][1] - steps[1][1]).max() > 1e-4


@pytest.mark.whole
def test_an_agent_whose_step_is_zero_stays_as_it_is():
    learner = pool(tabular, settings=Settings(step=np.array([0.0, 1.0], np.float32)))
    state = learner.init(jax.random.key(0))
    after, _ = jax.jit(lambda state: learner.update(state, jax.random.key(1)))(state)
    moved = np.abs(np.asarray(after.agents.table - state.agents.table)).max(axis=(1, 2))
    assert moved[0] == 0 < moved[1]


@pytest.mark.whole
def test_a_kind_of_game_may_be_missing():
    """Three agents cannot be paired, but may play naive learners; and agents may have each other only."""
    solitary, social = pool(tabular, choice=((1.0, 0.0),) * 3, peers=0), pool(tabular, naive=0)
    assert solitary.play(solitary.init(jax.random.key(0)).agents, jax.random.key(1)).rewards.shape == (3, 2, BATCH, EPISODES * LENGTH)
    state = social.init(jax.random.key(0))
    after, metrics = jax.jit(lambda state: social.update(state, jax.random.key(1)))(state)
    assert set(metrics) == {"loss", "peer_0", "peer_1"}
    assert np.abs(np.asarray(after.agents.table - state.agents.table)).max() > 1e-5


@pytest.mark.whole
def test_the_gradients_parts_are_those_of_its_rewards():
    """Over that of COALA-PG, M-FOS has a present part of B times and the same later one; with one inner episode there is nothing later."""
    learner = pool(tabular, choice=((1.0, 0.0), (1.0, 0.0)), peers=0)
    agents = learner.init(jax.random.key(0)).agents
    shaping, other = (pool(tabular, choice=choice, peers=0).gradient_parts(agents, jax.random.key(1)) for choice in (((1.0, 0.0),) * 2, ((0.0, 1.0),) * 2))
    np.testing.assert_allclose(other[0], BATCH * shaping[0], rtol=1e-4)
    np.testing.assert_allclose(other[1], shaping[1], rtol=1e-4)
    assert (np.asarray(shaping[1]) > 0).all()

    whole = pool(tabular, choice=((1.0, 0.0), (1.0, 0.0)), peers=0, episodes=1, length=EPISODES * LENGTH)
    now, later = whole.gradient_parts(agents, jax.random.key(1))

    def score(table):
        played = whole.play(eqx.tree_at(lambda agent: agent.table, agents, table), jax.random.key(1))
        weights = jnp.stack([jnp.stack([coala_pg(rewards, whole.length) for rewards in agent]) for agent in played.rewards])
        return jnp.sum(played.log_probabilities * (weights - weights.mean(axis=(1, 2, 3), keepdims=True)))

    np.testing.assert_allclose(now, np.linalg.norm(np.asarray(jax.grad(score)(agents.table)).reshape(2, -1), axis=1), rtol=1e-4)
    np.testing.assert_allclose(later, 0.0, atol=1e-5)


@pytest.mark.whole
def test_a_pool_is_a_learner_whose_metrics_are_in_the_games_payoffs():
    found = fit(pool(tabular), 2, seeds=(0, 1), over_seeds="map")
    assert found.history["peer_0"].shape[0] == 2
    assert np.abs(found.history["ego_1"]).max() <= 2
    np.testing.assert_array_equal(found.history["peer_0"].shape, found.history["naive_1"].shape)


def test_an_odd_number_of_agents_and_a_choice_of_too_few_are_rejected():
    with pytest.raises(ValueError, match="3 agents cannot be paired"):
        pool(choice=((1.0, 0.0),) * 3)
    with pytest.raises(ValueError, match="among 1 estimators, but there are 2"):
        pool(choice=((1.0,),) * 2)


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("at least one game per iteration, not 0 against naive learners and 0 against each other", {"naive": 0, "peers": 0}),
        ("at least one game per iteration, not -1 against naive learners and 2", {"naive": -1, "peers": 2}),
        ("the number of trajectories of a game must be at least 1, not 0", {"batch": 0}),
        ("the number of inner episodes must be at least 1, not 0", {"episodes": 0}),
        ("the number of steps of an inner episode must be at least 1, not 0", {"length": 0}),
        ("a pool needs at least one agent", {"choice": np.zeros((0, 2))}),
    ],
)
def test_a_pool_in_which_nothing_is_played_is_rejected(told, options):
    with pytest.raises(ValueError, match=told):
        pool(**options)
