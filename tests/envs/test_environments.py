"""Environments: their rules, their arrays and their episodes are one and the same thing."""

import functools
import itertools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from mesocosm.envs import Interleaving, KeyToDoor, LayeredMDP, Tree, code_scale, paper_scale
from mesocosm.envs.environment import Environment
from mesocosm.envs.key_to_door import APPLE_LEFT, APPLE_RIGHT, DOOR, KEY
from mesocosm.envs.random_mdp import random_mdp
from mesocosm.learning.outcomes import reward_class

ENVIRONMENTS = {
    "key-to-door": lambda: (KeyToDoor(9), KeyToDoor(9).default_params),
    "no door": lambda: (KeyToDoor(6, door=False, switching=True), KeyToDoor(6).params(layout=3)),
    "aliasing": lambda: (KeyToDoor(7), KeyToDoor(7).params(aliasing=True)),
    "tree": lambda: (Tree(3, 3, 1), Tree(3, 3, 1).params(4)),
    "interleaving": lambda: (Interleaving(3, 2, 1, limit=12), Interleaving(3, 2, 1, limit=12).params(death=0.1)),
    "arrays": lambda: (arrays(), arrays(1)),
}


@functools.cache
def arrays(seed=0):
    return replace(random_mdp(jax.random.key(seed), 5, 3, 4), max_steps_in_episode=8)


def simulate(env, params, episodes, seed=0, scan=False):
    """States, actions, reward classes and successors (the number of states at the end; -1 where the time limit hides it) under random actions."""
    act = lambda state: jnp.full(env.num_actions, 1 / env.num_actions)  # noqa: E731
    run = Environment.episode if scan else type(env).episode
    mdp = env.tabular(params)

    @jax.jit
    def simulated(key):
        batch = jax.vmap(lambda key: run(env, key, act, params))(jax.random.split(key, episodes))
        return batch, jax.vmap(jax.vmap(env.index))(batch.states), jax.vmap(reward_class, in_axes=(0, None))(batch.rewards, mdp.reward_values)

    batch, index, rewards = jax.tree.map(np.asarray, simulated(jax.random.key(seed)))
    taken, ends = batch.taken, batch.terminated
    following = np.where(ends, mdp.states, np.roll(index, -1, axis=1))
    following = np.where(batch.truncated, -1, following)
    return batch, *(part[taken] for part in (index, batch.actions, rewards, following))


def chi_square(counts, probability):
    """p-value of counts, one row a distribution."""
    seen = counts.sum(axis=1) > 0
    counts, probability = counts[seen], probability[seen]
    assert np.all(counts[probability == 0] == 0)
    expected = counts.sum(axis=1, keepdims=True) * probability
    enough = expected > 0
    statistic = np.sum((counts[enough] - expected[enough]) ** 2 / expected[enough])
    freedom = np.sum(enough) - len(counts)
    return chi2.sf(statistic, freedom) if freedom else 1.0


@pytest.mark.parametrize(
    ("name", "scan"),
    [("key-to-door", False), ("no door", False), ("aliasing", False), ("key-to-door", True), ("tree", True), ("interleaving", True), ("arrays", True)],
    ids=lambda value: {False: "at once", True: "step by step"}.get(value, value),
)
@pytest.mark.whole
def test_simulated_frequencies_are_the_tabular_probabilities(name, scan):
    env, params = ENVIRONMENTS[name]()
    mdp = env.tabular(params)
    batch, states, actions, rewards, following = simulate(env, params, 3000, scan=scan)
    known = following >= 0
    moved, rewarded = np.zeros((mdp.states, mdp.actions, mdp.states + 1)), np.zeros(mdp.reward_probability.shape)
    np.add.at(moved, (states[known], actions[known], following[known]), 1)
    np.add.at(rewarded, (states, actions, rewards), 1)
    onward = np.concatenate([mdp.transition, mdp.termination[..., None].clip(0)], axis=2)
    first = np.bincount(np.asarray(jax.jit(jax.vmap(env.index))(jax.tree.map(lambda leaf: leaf[:, 0], batch.states))), minlength=mdp.states)
    for counts, probability in ((moved, onward), (rewarded, mdp.reward_probability)):
        assert chi_square(counts.reshape(-1, counts.shape[-1]), probability.reshape(-1, counts.shape[-1])) > 1e-3
    assert np.all(first[mdp.initial == 0] == 0)
    assert chi_square(first[None], mdp.initial[None]) > 1e-3
    forward = np.eye(mdp.states) - mdp.transition.mean(axis=1)
    np.testing.assert_array_equal(np.bincount(states, minlength=mdp.states) > 0, np.linalg.solve(forward.T, mdp.initial) > 0)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_arrays_are_a_process(name):
    env, params = ENVIRONMENTS[name]()
    mdp = env.tabular(params)
    np.testing.assert_allclose(mdp.reward_probability.sum(axis=2), 1.0, rtol=1e-6)
    np.testing.assert_allclose(mdp.initial.sum(), 1.0, rtol=1e-6)
    assert mdp.termination.min() > -1e-12
    assert mdp.termination.max() <= 1 + 1e-12
    np.testing.assert_array_equal(jax.jit(jax.vmap(env.index))(env.every_state()), np.arange(mdp.states))
    np.testing.assert_array_equal(mdp.observations, jax.jit(jax.vmap(env.observe, in_axes=(0, None)))(env.every_state(), params))
    assert len(np.unique(mdp.observations, axis=0)) == mdp.states
    box = env.observation_space(params)
    assert mdp.observations.shape[1:] == box.shape
    assert mdp.observations.min() >= box.low
    assert mdp.observations.max() <= box.high


@pytest.mark.parametrize("name", ["key-to-door", "no door", "aliasing", "tree"])
def test_steps_follow_the_arrays_from_every_state(name):
    env, params = ENVIRONMENTS[name]()
    mdp = env.tabular(params)
    step = jax.jit(jax.vmap(jax.vmap(env.step_env, in_axes=(None, None, 0, None)), in_axes=(None, 0, None, None)))
    _, after, reward, terminated, _ = step(jax.random.key(0), env.every_state(), jnp.arange(env.num_actions), params)
    np.testing.assert_allclose(terminated, mdp.termination, atol=1e-12)
    source, action = np.nonzero(~np.asarray(terminated))
    np.testing.assert_allclose(mdp.transition[source, action, np.asarray(jax.jit(jax.vmap(jax.vmap(env.index)))(after))[source, action]], 1.0)
    classes = np.asarray(jax.jit(jax.vmap(reward_class, in_axes=(0, None)))(reward, mdp.reward_values))
    assert np.all(np.take_along_axis(mdp.reward_probability, classes[..., None], axis=2) > 0)
    np.testing.assert_allclose(mdp.reward_values[classes], reward, atol=1e-6)


@pytest.mark.parametrize("name", ["no door"])
def test_a_whole_episode_is_its_steps(name):
    """The vectorised rollout goes through the states that single steps go through, and sees what they see."""
    env, params = ENVIRONMENTS[name]()
    batch, *_ = simulate(env, params, 50)
    step = jax.jit(jax.vmap(lambda state, action: env.step_env(jax.random.key(0), state, action, params)))
    state = jax.jit(jax.vmap(lambda key: env.reset_env(key, params)[1]))(jax.random.split(jax.random.key(0), 50))
    for t in range(env.length):
        for found, wanted in zip(batch.states, state, strict=True):
            np.testing.assert_array_equal(found[:, t], wanted)
        observation, state, reward, terminated, _ = step(state, batch.actions[:, t])
        np.testing.assert_array_equal(terminated, batch.terminated[:, t])
        zero = np.asarray(reward) == 0
        np.testing.assert_array_equal(zero, np.asarray(batch.rewards[:, t]) == 0)
        following = batch.observations[:, t + 1] if t + 1 < env.length else batch.final_observation
        np.testing.assert_allclose(observation, following)


def returns_written_out(depth, branches, overlap, offset):
    """The returns of all action sequences, from the rules of the tree alone."""
    step, found = branches - overlap, []
    for actions in itertools.product(range(branches), repeat=depth):
        place = first = total = 0
        width = 1
        for action in actions:
            total += (first + place + 9973 * action + offset) % 5 - 2
            first, width = first + width, width * step + overlap
            place = (place * step + action - step // 2) % width
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize(("branches", "overlap", "variance"), [(3, 1, 49826 / 6561), (4, 1, 469687 / 65536), (6, 3, 3172079 / 419904)])
def test_the_returns_of_the_tree_have_the_variance_of_its_rules_written_out(branches, overlap, variance):
    env = Tree(4, branches, overlap)
    mdp = env.tabular(env.params(2))
    mean, square = (np.zeros(mdp.states) for _ in range(2))
    for state in reversed(range(mdp.states)):  # moments of the return of the uniform policy; rewards and transitions are deterministic
        reward, after = mdp.reward_probability[state] @ mdp.reward_values, np.asarray(mdp.transition[state])
        mean[state] = np.mean(reward + after @ mean)
        square[state] = np.mean(reward**2 + 2 * reward * (after @ mean) + after @ square)
    returns = returns_written_out(4, branches, overlap, 2)
    assert mean[0] == pytest.approx(returns.mean())
    assert square[0] - mean[0] ** 2 == pytest.approx(returns.var())
    assert returns.var() == pytest.approx(variance)


@pytest.mark.whole
def test_the_sizes_are_the_papers():
    """2 L + 3 with three terminal states, 259 and fewer, 1651 with one terminal state, 40 first states."""
    assert KeyToDoor(23).tabular().states + 3 == 49
    assert [len(jax.tree.leaves(Tree(overlap=o).every_state())[0]) for o in (0, 3, 5, 6)] == [1 + 6 + 36 + 216, 1 + 6 + 21 + 66, 1 + 6 + 11 + 16, 1 + 6 + 6 + 6]
    rooms = Interleaving().tabular()
    assert rooms.states + 1 == 1651
    np.testing.assert_allclose(rooms.initial[rooms.initial > 0], np.full(40, 1 / 40))
    np.testing.assert_allclose(rooms.termination, 0.05)
    assert not np.any(np.all(rooms.observations == 0, axis=1))  # which is what the end looks like
    assert len(np.unique(rooms.observations, axis=0)) == 1650
    assert rooms.observations.shape[1] == 24
    assert Interleaving(3, 2, 2).tabular().states + 1 == 151


def test_the_track_is_the_authors():
    cells = KeyToDoor(23).default_params.cells
    np.testing.assert_array_equal(cells[1:-2], np.random.default_rng(2022).choice([0, 1, 2], size=20, p=[1 - 0.8, 0.4, 0.4]))
    assert (cells[0], cells[-2], cells[-1]) == (KEY, DOOR, 0)
    assert set(cells[1:-2].tolist()) <= {0, APPLE_LEFT, APPLE_RIGHT}
    np.testing.assert_allclose([*code_scale(23).apple, code_scale(23).treasure], [0.1, 0.9, 0.2])
    np.testing.assert_allclose(paper_scale(23).apple, code_scale(23).apple)  # they agree at distance 20
    assert KeyToDoor(9).params(aliasing=True).treasure == KeyToDoor(9).params().apple[0]
    assert -0.2 * 23 / 9 in KeyToDoor(9, switching=True).tabular().reward_values


def test_the_treasure_needs_key_and_door():
    env = KeyToDoor(5)
    params = env.default_params

    def last_rewards(env, *sequences):
        def reward(actions):
            return env.episode(jax.random.key(0), lambda state: jax.nn.one_hot(actions[state.time], 4), params).rewards[-1]

        return jax.jit(jax.vmap(reward))(jnp.array(sequences))

    found = last_rewards(env, (0, 0, 0, 3, 1), (1, 0, 0, 3, 1), (0, 0, 0, 2, 1))
    np.testing.assert_allclose(found, [params.treasure, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(last_rewards(replace(env, door=False), (0, 0, 0, 2, 1)), [params.treasure], rtol=1e-6)


def test_an_apple_is_worth_either_with_equal_probability():
    env = KeyToDoor(23)
    params = env.default_params
    pick = lambda state: jax.nn.one_hot(jnp.asarray(params.cells)[state.time], 4)  # noqa: E731  (apples have the number of their action)
    rewards = jax.jit(jax.vmap(lambda key: env.episode(key, pick, params).rewards))(jax.random.split(jax.random.key(1), 2000))
    apples = np.asarray(rewards)[:, np.isin(params.cells, [APPLE_LEFT, APPLE_RIGHT])]
    np.testing.assert_allclose(np.unique(apples.round(6)), params.apple, rtol=1e-5)
    large = apples > 0.5
    assert abs(large.mean() - 0.5) < 5 * 0.5 / np.sqrt(large.size)


def test_a_time_limit_truncates_and_an_end_terminates():
    env = Interleaving(3, 2, 1, limit=5)
    act = lambda state: jnp.array([0.5, 0.5])  # noqa: E731
    episode = jax.jit(lambda params: env.episode(jax.random.key(0), act, params))
    forever = jax.tree.map(np.asarray, episode(env.params(death=0.0)))
    assert forever.truncated.tolist() == [False] * 4 + [True]
    assert not forever.terminated.any()
    assert forever.taken.all()
    assert forever.final_observation.sum() > 0
    at_once = jax.tree.map(np.asarray, episode(env.params(death=1.0)))
    assert at_once.terminated.tolist() == [True] + [False] * 4
    assert at_once.taken.sum() == 1
    assert at_once.final_observation.sum() == 0
    assert not at_once.rewards[1:].any()


@pytest.mark.whole
def test_a_step_resets_at_the_end_and_keeps_the_last_observation():
    env = KeyToDoor(4)
    params = env.default_params
    observation, state = env.reset(jax.random.key(0))
    first = observation
    for t in range(4):
        observation, state, _, terminated, truncated, info = env.step(jax.random.key(t), state, 0)
        assert bool(terminated) == (t == 3)
        assert not truncated
        np.testing.assert_allclose(info["final_observation"][0], (t + 1) / 4)
    np.testing.assert_array_equal(observation, first)
    assert state.time == 0
    endless = Interleaving(3, 2, 1, limit=2)
    _, state = endless.reset(jax.random.key(0), endless.params(death=0.0))
    ends = [endless.step(jax.random.key(t), state._replace(time=jnp.int32(t)), 0, endless.params(death=0.0))[3:5] for t in range(2)]
    assert [(bool(a), bool(b)) for a, b in ends] == [(False, False), (False, True)]
    assert params.max_steps_in_episode == 4


def test_layers_are_times_and_a_process_without_them_is_refused():
    layered = LayeredMDP.of(KeyToDoor(6).tabular())
    assert layered.transition.shape == (6, 3, 4, 3)
    table = jnp.arange(12.0)
    np.testing.assert_array_equal(layered.by_state(layered.by_time(table)), table)
    never = LayeredMDP.of(KeyToDoor(6, door=False).tabular())  # without a door the key always leads to the treasure
    np.testing.assert_array_equal(never.by_state(never.by_time(table)), table.at[10].set(0.0))
    with pytest.raises(ValueError, match="no layers"):
        LayeredMDP.of(Interleaving(3, 2, 1).tabular())


@pytest.mark.whole
def test_an_episode_can_be_read_and_seen():
    env = KeyToDoor(5)
    act = lambda state: jax.nn.one_hot(jnp.array([0, 1, 1, 3, 0])[state.time], 4)  # noqa: E731
    episode = jax.jit(lambda key: env.episode(key, act))(jax.random.key(0))
    text = env.text(episode).splitlines()
    assert text[0].split()[1][0] == "k"
    assert text[0].split()[1][-2:] == "|$"
    assert text[2].split()[1] == "kllok"
    assert text[-1].endswith("treasure")
    assert "no treasure" not in text[-1]
    assert env.image(episode).shape == (30, 50, 3)
    assert len(np.unique(env.image(episode).reshape(-1, 3), axis=0)) > 4
    for name in ("tree", "interleaving", "arrays"):
        env, params = ENVIRONMENTS[name]()
        act = lambda state, env=env: jnp.full(env.num_actions, 1 / env.num_actions)  # noqa: E731
        episode = jax.jit(lambda key, env=env, act=act, params=params: env.episode(key, act, params))(jax.random.key(1))
        lines = env.text(episode, params).splitlines()
        assert len(lines) == int(episode.taken.sum()) + 1
        assert float(lines[-1].split()[1]) == pytest.approx(float(episode.rewards.sum()), abs=0.01)
        assert env.image(episode, params).shape[0] > 10


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: KeyToDoor(2), "length of 3 or more"),
        (lambda: Tree(overlap=7), "between 0 and the number of actions, 6; it is 7"),
        (lambda: Tree(depth=0), "one or more levels"),
        (lambda: Interleaving(3, 3), "between 1 and 2 of 3 contexts"),
        (lambda: Interleaving(3, 2, 0), "one or more kinds of objects and steps; there are 0"),
        (lambda: Interleaving(3, 2, limit=0), "steps; there are 2 and 0"),
        (lambda: Interleaving().params(death=5.0), "between 0 and 1; it is 5.0"),
        (lambda: Tree().params(jnp.asarray(0.5)), "the offset must be an integer"),
        (lambda: replace(arrays(), transition=2 * arrays().transition), "transition has entries from .* no probabilities"),
        (lambda: replace(arrays(), initial=-arrays().initial), "initial has entries from -"),
        (lambda: replace(arrays(), reward_probability=0.5 * arrays().reward_probability), "reward_probability has entries .* sum to 0.5 to 0.5"),
    ],
)
def test_impossible_sizes_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize(
    "made",
    [
        lambda: (KeyToDoor(6), [KeyToDoor(5), KeyToDoor(9)]),
        lambda: (Tree(3, 3), [Tree(4, 3), Tree(2, 3)]),
        lambda: (Interleaving(3, 2, 1), [Interleaving(4, 2, 1), Interleaving(3, 2, 2)]),
        lambda: (arrays(), [random_mdp(jax.random.key(0), *sizes) for sizes in ((6, 3, 4), (5, 2, 4), (5, 3, 2))]),
    ],
)
def test_params_of_another_size_are_refused_by_every_entry(made):
    env, others = made()
    key, state = jax.random.key(0), env.reset(jax.random.key(0))[1]
    entries = (
        lambda params: env.reset(key, params),
        lambda params: env.step(key, state, 0, params),
        lambda params: env.episode(key, lambda _: jnp.ones(env.num_actions) / env.num_actions, params),
        lambda params: env.tabular(params),
    )
    for other, entry in itertools.product(others, entries):
        with pytest.raises(ValueError, match="the params are of"):
            entry(other.default_params)


def test_params_of_which_only_some_numbers_have_another_size_are_refused():
    """Indexing would take the last of them."""
    env, track = Interleaving(3, 2, 1), KeyToDoor(6)
    few = eqx.tree_at(lambda params: params.reward, env.default_params, np.ones(2))
    with pytest.raises(ValueError, match=r"rewards of shape \(2,\), not \(3,\)"):
        env.reset(jax.random.key(0), few)
    with pytest.raises(ValueError, match="6 cells and 4 steps"):  # its whole episode would not stop there
        track.episode(jax.random.key(0), lambda _: jnp.ones(4) / 4, replace(track.default_params, max_steps_in_episode=4))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_actions_and_policies_of_another_size_are_refused(name):
    env, params = ENVIRONMENTS[name]()
    key, (_, state) = jax.random.key(0), env.reset(jax.random.key(0), params)
    for action in (-1, env.num_actions, jnp.int32(env.num_actions), 0.5, True, jnp.zeros(2, int)):
        with pytest.raises(ValueError, match=f"a whole number from 0 to {env.num_actions - 1}"):
            env.step(key, state, action, params)
    with pytest.raises(ValueError, match="a whole number"):
        jax.eval_shape(lambda action: env.step(key, state, action, params), jnp.float32(0))
    with pytest.raises(ValueError, match=f"has {env.num_actions + 1} probabilities, {env.name} has {env.num_actions} actions"):
        jax.eval_shape(lambda key: env.episode(key, lambda _: jnp.ones(env.num_actions + 1) / 5, params), key)


def test_after_the_end_of_arrays_there_is_no_state_and_nothing_to_see():
    mdp = replace(arrays(), transition=0 * arrays().transition)
    seen, state = mdp.reset_env(jax.random.key(0), mdp)
    assert seen[mdp.index(state)] == 1
    seen, after, _, terminated, _ = mdp.step_env(jax.random.key(1), state, 0, mdp)
    assert terminated
    assert (int(mdp.index(after)), int(after.time)) == (-1, 1)
    assert not seen.any()
