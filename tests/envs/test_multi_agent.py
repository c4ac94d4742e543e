"""Several agents at once: the rules of an iterated game and of CleanUp-lite, and both interfaces."""

import importlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.memory_one import episode_values
from mesocosm.envs import clean_up
from mesocosm.envs.clean_up import APPLE, CELLS, DIRT, EMPTY, LEFT, NOOP, ORCHARD, RIGHT, RIVER, UP, ZAP, CleanUp, CleanUpState, chebyshev
from mesocosm.envs.iterated_game import IteratedGame
from mesocosm.envs.matrix_game import CHICKEN, PRISONERS_DILEMMA, MatrixGame
from mesocosm.envs.multi_agent import MultiAgentEnvironment

ENVIRONMENTS = pytest.mark.parametrize("env", [IteratedGame(length=4), CleanUp(length=6)], ids=lambda env: env.name)


def uniform(env):
    return lambda memory, seen: (memory, jnp.full((env.num_agents, env.num_actions), 1 / env.num_actions))


@pytest.mark.whole
@ENVIRONMENTS
def test_the_dictionaries_say_what_the_arrays_say_and_an_episode_ends_in_a_new_one(env):
    key = jax.random.key(0)
    step = jax.jit(env.step)
    seen, state = env.reset(key)
    assert set(seen) == {"agent_0", "agent_1"}
    for time in range(env.length):
        np.testing.assert_array_equal(seen["agent_1"], env.observe(state)[1])
        assert int(state.time) == time
        key = jax.random.fold_in(key, time)
        actions = {"agent_0": 0, "agent_1": 1}
        expected = env.transition(jax.random.split(key)[0], state, jnp.array([0, 1]))
        seen, state, rewards, dones, _ = step(key, state, actions)
        np.testing.assert_allclose([rewards["agent_0"], rewards["agent_1"]], expected.rewards)
        assert all(bool(done) == (time == env.length - 1) for done in dones.values())
        assert set(dones) == {"agent_0", "agent_1", "__all__"}
    assert int(state.time) == 0
    assert env.action_spaces["agent_0"].n == env.num_actions
    assert env.observation_space("agent_0").shape == seen["agent_0"].shape
    with pytest.raises(ValueError, match="agent_1 has no action"):
        env.step_env(key, state, {"agent_0": 0})


@ENVIRONMENTS
def test_an_episode_can_be_reset_to_a_given_state(env):
    _, first = env.reset(jax.random.key(1))
    last = first._replace(time=jnp.int32(env.length - 1))
    _, state, *_ = env.step(jax.random.key(2), last, {"agent_0": 0, "agent_1": 0}, reset_state=first)
    for found, wanted in zip(state, first, strict=True):
        np.testing.assert_array_equal(found, wanted)


# --- iterated games ------------------------------------------------------------------------------------------------------


def test_each_player_remembers_its_own_action_first_and_is_paid_for_the_pair():
    env = IteratedGame(game=CHICKEN, length=3)
    state = env.start(jax.random.key(0))
    np.testing.assert_array_equal(env.observe(state).argmax(axis=1), [0, 0])
    state, rewards, _ = env.transition(jax.random.key(0), state, jnp.array([0, 1]))
    np.testing.assert_array_equal(env.observe(state).argmax(axis=1), [2, 3])
    np.testing.assert_array_equal(rewards, [-1, 1])
    state, rewards, _ = env.transition(jax.random.key(0), state, jnp.array([1, 1]))
    np.testing.assert_array_equal(env.observe(state).argmax(axis=1), [4, 4])
    np.testing.assert_array_equal(rewards, [-2, -2])


def test_episodes_earn_the_exact_values():
    policies = jnp.asarray(np.random.default_rng(0).random((2, 5)), jnp.float32)
    env = IteratedGame(game=PRISONERS_DILEMMA, length=6)

    def act(memory, seen):
        cooperate = jnp.sum(policies * seen, axis=1)
        return memory, jnp.stack([cooperate, 1 - cooperate], axis=1)

    rewards = jax.jit(jax.vmap(lambda key: env.episode(key, act).rewards.sum(axis=0)))(jax.random.split(jax.random.key(0), 20000))
    error = rewards.std(axis=0) / len(rewards) ** 0.5
    assert (np.abs(rewards.mean(axis=0) - episode_values(PRISONERS_DILEMMA, *policies, 6)) < 4 * error).all()


@pytest.mark.parametrize(
    ("payoffs", "told"),
    [
        ((((1.0, -1.0), (2.0, 0.0)),), r"the shape \(2, 2, 2\), not \(1, 2, 2\)"),
        ((((1.0, -1.0), (2.0, 0.0)), ((1.0, 2.0), (0.0,))), r"the shape \(2, 2, 2\), not that of no array"),
        ((((1.0, float("nan")), (2.0, 0.0)), ((1.0, 2.0), (-1.0, 0.0))), "finite numbers, not nan"),
        (np.array([[[1.0, -np.inf], [2.0, 0.0]], [[1.0, 2.0], [-1.0, 0.0]]]), "finite numbers, not -inf"),
    ],
)
def test_invalid_payoffs_are_rejected(payoffs, told):
    with pytest.raises(ValueError, match=told) as error:
        MatrixGame(payoffs)
    assert "\n" not in str(error.value)


def test_a_game_can_be_made_of_traced_payoffs():
    wanted = np.array([[[3.0, -1.0], [2.0, 0.0]], [[3.0, 2.0], [-1.0, 0.0]]])
    of_numbers = jax.jit(lambda both: MatrixGame((((both, -1.0), (2.0, 0.0)), ((both, 2.0), (-1.0, 0.0)))))(3.0)
    of_an_array = jax.jit(MatrixGame)(jnp.asarray(wanted))
    for game in (of_numbers, of_an_array):
        np.testing.assert_array_equal(np.asarray(game.payoffs), wanted)


def test_payoffs_are_traced():
    traces = []

    @jax.jit
    def reward(env):
        traces.append(1)
        return env.transition(jax.random.key(0), env.start(jax.random.key(0)), jnp.array([1, 0])).rewards

    np.testing.assert_array_equal(reward(IteratedGame(game=PRISONERS_DILEMMA)), [2, -1])
    np.testing.assert_array_equal(reward(IteratedGame(game=CHICKEN)), [1, -1])
    assert len(traces) == 1


# --- CleanUp-lite --------------------------------------------------------------------------------------------------------

STILL = jnp.array([NOOP, NOOP])


def state(places, contents=(), frozen=(0, 0)):
    filled = np.full(CELLS, EMPTY)
    for cell, what in dict(contents).items():
        filled[cell] = what
    return CleanUpState(jnp.int32(0), jnp.array(places), jnp.array(frozen), jnp.asarray(filled))


def after(env, before, actions, seed=0):
    return jax.jit(env.transition)(jax.random.key(seed), before, jnp.asarray(actions))


@pytest.fixture(scope="module")
def walks():
    """Many random episodes, with the rules' other numbers."""
    env = CleanUp(length=40)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: env.episode(key, uniform(env))))(jax.random.split(jax.random.key(0), 300)))


@pytest.mark.whole
def test_apples_are_in_the_orchard_dirt_in_the_river_and_at_most_one_of_each_is_new(walks):
    contents = walks.states.contents
    assert ((contents == APPLE).sum(axis=(0, 1)) > 0).tolist() == ORCHARD.tolist()
    assert ((contents == DIRT).sum(axis=(0, 1)) > 0).tolist() == RIVER.tolist()
    for what, taken in ((APPLE, walks.info["harvested"]), (DIRT, walks.info["cleaned"])):
        count = (contents == what).sum(axis=2)
        new = count[:, 1:] - count[:, :-1] + taken[:, :-1].sum(axis=2)
        assert set(np.unique(new)) == {0, 1}
    np.testing.assert_array_equal(walks.rewards, walks.info["harvested"])
    starts = contents[:, 0]
    assert ((starts == DIRT).sum(axis=1) == 3).all()
    assert not (starts == APPLE).any()


def test_no_apple_grows_beside_three_dirty_cells_and_one_always_does_beside_none():
    env = CleanUp(pollution=0.0)
    dirty = {3: DIRT, 7: DIRT, 11: DIRT}
    many = jax.jit(jax.vmap(lambda key, before: env.transition(key, before, STILL).state.contents, (0, None)))
    keys = jax.random.split(jax.random.key(0), 2000)
    for number, wanted in enumerate((1.0, 2 / 3, 1 / 3, 0.0)):
        contents = many(keys, state((1, 2), dict(list(dirty.items())[:number])))
        grown = (contents == APPLE).sum(axis=1)
        assert grown.max() <= 1
        assert float(grown.mean()) == pytest.approx(wanted, abs=4 * 0.5 / 2000**0.5 if 0 < wanted < 1 else 0)
        if number == 0:
            assert (np.asarray(contents == APPLE).sum(axis=0)[ORCHARD] > 200).all()


def test_dirt_comes_at_its_rate_until_the_river_is_full():
    many = jax.jit(jax.vmap(lambda key, before: CleanUp().transition(key, before, STILL).state.contents, (0, None)))
    keys = jax.random.split(jax.random.key(0), 4000)
    new = (many(keys, state((1, 2), {3: DIRT})) == DIRT).sum(axis=1) - 1
    assert float(new.mean()) == pytest.approx(0.35, abs=4 * 0.48 / 4000**0.5)
    full = {int(cell): DIRT for cell in np.flatnonzero(RIVER)}
    assert ((many(keys, state((1, 2), full)) == DIRT).sum(axis=1) == 5).all()


def test_agents_harvest_and_clean_where_they_stand_unless_frozen():
    env = CleanUp(pollution=0.0)
    before = state((0, 3), {0: APPLE, 3: DIRT, 7: DIRT, 11: DIRT, 15: DIRT})
    end, rewards, info = after(env, before, STILL)
    np.testing.assert_array_equal(rewards, [1, 0])
    np.testing.assert_array_equal(info["cleaned"], [False, True])
    assert end.contents[0] == EMPTY
    assert end.contents[3] == EMPTY
    end, rewards, info = after(env, before._replace(frozen=jnp.array([2, 3])), STILL)
    np.testing.assert_array_equal(rewards, 0)
    assert end.contents[0] == APPLE
    assert end.contents[3] == DIRT
    np.testing.assert_array_equal(end.frozen, [1, 2])


def test_a_coin_decides_about_a_shared_cell_and_a_frozen_agent_has_no_share():
    env = CleanUp(pollution=0.0)
    before = state((0, 0), {0: APPLE, 3: DIRT, 7: DIRT, 11: DIRT})
    many = jax.jit(jax.vmap(lambda key, before: env.transition(key, before, STILL).rewards, (0, None)))
    keys = jax.random.split(jax.random.key(0), 2000)
    rewards = many(keys, before)
    np.testing.assert_array_equal(rewards.sum(axis=1), 1)
    np.testing.assert_allclose(rewards.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_array_equal(many(keys, before._replace(frozen=jnp.array([3, 0]))), np.tile([0, 1], (2000, 1)))


@pytest.mark.whole
def test_a_hit_agent_stands_still_for_five_moves_and_cannot_be_hit_again():
    env = CleanUp(accuracy=1.0, pollution=0.0)
    now = state((5, 6))
    hits, places = [], []
    for action in (ZAP, ZAP, ZAP, ZAP, ZAP, NOOP):
        now, _, info = after(env, now, [action, RIGHT])
        hits.append(bool(info["hit"][1]))
        places.append(int(now.places[1]))
    assert hits == [True, False, False, False, False, False]
    assert places == [6, 6, 6, 6, 6, 7]


def test_zaps_reach_two_cells_hit_nine_times_in_ten_and_both_may_hit():
    zap = jnp.array([ZAP, ZAP])
    many = jax.jit(jax.vmap(lambda key, env, before: env.transition(key, before, zap).info["hit"], (0, None, None)))
    keys = jax.random.split(jax.random.key(0), 2000)
    hit = many(keys, CleanUp(), state((5, 7)))
    np.testing.assert_allclose(hit.mean(axis=0), 0.9, atol=0.03)
    assert float(hit.all(axis=1).mean()) == pytest.approx(0.81, abs=0.04)
    assert not many(keys, CleanUp(), state((4, 7))).any()
    diagonal = state((0, 10))  # two rows and two columns away
    assert not many(keys, CleanUp(), diagonal).any()
    assert many(keys, CleanUp(distance=chebyshev), diagonal).any()
    assert not many(keys, CleanUp(), state((5, 6), frozen=(1, 0)))[:, 1].any()


@pytest.mark.whole
def test_moves_end_at_the_edge_and_may_come_first():
    places = [after(CleanUp(), state((0, 19)), actions).state.places.tolist() for actions in ([UP, RIGHT], [LEFT, UP], [RIGHT, LEFT])]
    assert places == [[0, 19], [0, 15], [1, 18]]
    beside = state((1, 10), {0: APPLE})
    assert after(CleanUp(), beside, [LEFT, NOOP]).rewards.tolist() == [0, 0]
    assert after(CleanUp(move_first=True), beside, [LEFT, NOOP]).rewards.tolist() == [1, 0]


def test_exchanging_the_agents_exchanges_what_they_see():
    env = CleanUp()
    before = state((2, 13), {0: APPLE, 7: DIRT}, (0, 4))
    exchanged = before._replace(places=before.places[::-1], frozen=before.frozen[::-1])
    np.testing.assert_array_equal(env.observe(exchanged), env.observe(before)[::-1])
    seen = np.asarray(env.observe(before)[0])
    assert seen.shape == (102,)
    assert np.flatnonzero(seen[:40]).tolist() == [2, 20 + 13]
    np.testing.assert_array_equal(seen[40:100].reshape(20, 3)[[0, 7, 1]], np.eye(3))
    np.testing.assert_array_equal(seen[100:], [0, 1])


def test_exchanging_the_agents_and_their_actions_exchanges_what_they_earn_and_where_they_are():
    """Apart from each other and with a sure zap, the draws do not depend on who is who."""
    env = CleanUp(accuracy=1.0)
    before = state((0, 7), {0: APPLE, 7: DIRT, 11: DIRT}, (0, 2))
    exchanged = before._replace(places=before.places[::-1], frozen=before.frozen[::-1])
    for actions in ([ZAP, RIGHT], [RIGHT, ZAP], [LEFT, UP]):
        one, other = after(env, before, actions), after(env, exchanged, actions[::-1])
        np.testing.assert_array_equal(one.rewards, other.rewards[::-1])
        np.testing.assert_array_equal(one.state.places, other.state.places[::-1])
        np.testing.assert_array_equal(one.state.contents, other.state.contents)
        for what in ("harvested", "cleaned", "hit"):
            np.testing.assert_array_equal(one.info[what], other.info[what][::-1])
    assert one.rewards.tolist() == [1, 0]


# --- views ---------------------------------------------------------------------------------------------------------------


@ENVIRONMENTS
def test_pictures_have_a_frame_for_every_step(env):
    episode = jax.jit(lambda key: env.episode(key, uniform(env)))(jax.random.key(0))
    picture = env.image(episode)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    frames = {"IteratedGame": (20, 40), "CleanUp": (50, 6 * 44)}[env.name]
    assert picture.shape[:2] == frames
    if env.name == "CleanUp":
        assert clean_up.COLOURS[DIRT].tolist() in picture[:, :40].reshape(-1, 3).tolist()
        assert env.image(episode, every=3).shape[1] == 2 * 44


@ENVIRONMENTS
def test_the_parallel_view_goes_through_one_episode(env):
    import gymnasium

    from mesocosm.envs.parallel_view import ParallelView

    view = ParallelView(env, render_mode="rgb_array")
    with pytest.raises(gymnasium.error.ResetNeeded):
        view.step({})
    seen, _ = view.reset(seed=3)
    again, _ = ParallelView(env).reset(seed=3)
    for time in range(env.length):
        for agent in view.agents:
            assert view.observation_space(agent).contains(seen[agent])
            if time == 0:
                np.testing.assert_array_equal(seen[agent], again[agent])
        with pytest.raises(ValueError, match="agent_1 has no action"):
            view.step({"agent_0": 0})
        with pytest.raises(ValueError, match="from 0 to"):
            view.step({"agent_0": 0, "agent_1": env.num_actions})
        seen, rewards, terminated, truncated, _ = view.step({"agent_0": 0, "agent_1": np.int64(1)})
        assert not any(terminated.values())
        assert all(truncated.values()) == (time == env.length - 1)
        assert set(rewards) == {"agent_0", "agent_1"}
    assert view.agents == []
    assert view.episode().actions.tolist() == [[0, 1]] * env.length
    assert view.render().shape[2] == 3
    with pytest.raises(ValueError, match="'human'"):
        ParallelView(env, "human")


def test_the_parallel_view_takes_payoffs_in_an_array():
    from mesocosm.envs.parallel_view import ParallelView

    view = ParallelView(IteratedGame(game=MatrixGame(np.array(CHICKEN.payoffs))))
    view.reset(seed=0)
    assert view.step({"agent_0": 0, "agent_1": 1})[1] == {"agent_0": -1, "agent_1": 1}


@pytest.mark.whole
def test_the_interface_needs_no_other_library():
    code = "import sys, mesocosm.envs.multi_agent, mesocosm.envs.clean_up; assert not {'jaxmarl', 'pettingzoo', 'gymnasium'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert issubclass(CleanUp, MultiAgentEnvironment)


def test_without_jaxmarl_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxmarl", None)
    for name in [name for name in sys.modules if name.startswith("jaxmarl.") or name == "mesocosm.envs.jaxmarl_view"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="pip install jaxmarl") as error:
        importlib.import_module("mesocosm.envs.jaxmarl_view")
    assert "\n" not in str(error.value)
