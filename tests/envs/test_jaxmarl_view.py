"""JaxMARL's wrappers and base interface, and PettingZoo's checkers, on our environments and on a user's own.

Tests are skipped where the library that they need is missing. The last one runs the others with the Python that `make agents` makes, which has both.
"""

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.envs.clean_up import CleanUp
from mesocosm.envs.iterated_game import IteratedGame
from mesocosm.envs.matrix_game import MatrixGame
from mesocosm.envs.multi_agent import MultiAgentEnvironment, Transition

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class PastureState(NamedTuple):
    """Steps so far, and how much grass there is."""

    time: Any
    grass: Any


class Pasture(MultiAgentEnvironment):
    """A user's environment: three herders with names of their own share grass that grows by chance; they may take what is there."""

    length: int = eqx.field(static=True, default=4)
    growth: float = 0.5

    @property
    def num_agents(self):
        return 3

    @property
    def num_actions(self):
        return 4

    @property
    def features(self):
        return 2

    @property
    def agents(self):
        return ["ann", "bea", "cem"]

    @property
    def agent_classes(self):
        return {"first": ["ann"], "others": ["bea", "cem"]}

    def start(self, key):
        return PastureState(jnp.int32(0), jax.random.randint(key, (), 1, 7))

    def observe(self, state):
        return jnp.stack([jnp.full(3, state.grass / 9), jnp.arange(3) / 3], axis=1)

    def transition(self, key, state, actions):
        eaten = jnp.minimum(actions, state.grass / 3)
        grass = jnp.clip(state.grass - actions.sum() + 3 * jax.random.bernoulli(key, self.growth), 0, 9).astype(jnp.int32)
        return Transition(PastureState(state.time + 1, grass), eaten, {"wanted": actions})

    def get_avail_actions(self, state):
        return dict.fromkeys(self.agents, jnp.arange(4) <= state.grass)


ARRAY = MatrixGame(np.array([[[3.0, -1.0], [2.0, 0.0]], [[3.0, 2.0], [-1.0, 0.0]]]))
ENVIRONMENTS = [IteratedGame(length=3), IteratedGame(game=ARRAY, length=3), CleanUp(length=4), Pasture()]


@pytest.fixture(params=ENVIRONMENTS, ids=["IteratedGame", "payoffs in an array", "CleanUp", "Pasture"])
def env(request):
    return request.param


@pytest.fixture
def view(env):
    pytest.importorskip("jaxmarl", reason="JaxMARL is not installed: make agents")
    from mesocosm.envs.jaxmarl_view import JaxMARLView

    return JaxMARLView(env)


def drawn(view, key):
    """A random action for each agent."""
    return {agent: view.action_space(agent).sample(key) for agent, key in zip(view.agents, jax.random.split(key, view.num_agents), strict=True)}


def assert_same(found, wanted):
    """Equal structures, shapes and dtypes, and numbers equal but for rounding: programs are fused differently."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-6)


# --- what JaxMARL's own test of the base interface asks of its environments


def test_the_view_is_one_of_jaxmarls_environments(view, env):
    from jaxmarl.environments import MultiAgentEnv

    assert isinstance(view, MultiAgentEnv)
    assert view.name == env.name
    assert view.num_agents == env.num_agents
    assert view.agents == env.agents
    assert view.agent_classes == env.agent_classes


def test_spaces_are_jaxmarls_and_draw_what_they_contain(view, env):
    from jaxmarl.environments.spaces import Box, Discrete

    assert set(view.action_spaces) == set(view.observation_spaces) == set(view.agents)
    for agent in view.agents:
        actions, observations = view.action_space(agent), view.observation_space(agent)
        assert actions is view.action_spaces[agent]
        assert observations is view.observation_spaces[agent]
        assert isinstance(actions, Discrete)
        assert isinstance(observations, Box)
        assert actions.n == env.num_actions
        assert observations.shape == (env.features,)
        assert not actions.contains(jnp.int32(env.num_actions))
        assert not observations.contains(jnp.full(env.features, 1.5))
        keys = jax.random.split(jax.random.key(0), 50)
        many = jax.vmap(actions.sample)(keys)
        assert set(np.asarray(many).tolist()) == set(range(env.num_actions))
        assert actions.contains(many).all()
        assert observations.contains(jax.vmap(observations.sample)(keys))


def test_observations_lie_in_their_spaces_and_a_step_has_jaxmarls_five_parts(view, env):
    seen, state = view.reset(jax.random.key(0))
    found = view.step(jax.random.key(1), state, drawn(view, jax.random.key(2)))
    assert isinstance(found, tuple)
    after, _, rewards, dones, info = found
    for observations in (seen, after):
        assert list(observations) == view.agents
        for agent in view.agents:
            assert observations[agent].shape == view.observation_space(agent).shape
            assert view.observation_space(agent).contains(observations[agent])
    assert list(rewards) == view.agents
    assert set(dones) == {*view.agents, "__all__"}
    assert all(leaf.shape == () for leaf in jax.tree.leaves((rewards, dones)))
    assert isinstance(info, dict)
    with pytest.raises(ValueError, match=f"{view.agents[1]} has no action"):
        view.step(jax.random.key(1), state, {view.agents[0]: 0})


# --- the same numbers as ours, and as JaxMARL's own step


def test_episodes_are_ours_and_end_in_a_new_one_as_jaxmarls_do(view, env):
    """Three ways through one episode and into the next: the view, our environment, and the step of JaxMARL's base class."""
    from jaxmarl.environments import MultiAgentEnv

    ours = jax.jit(lambda *arguments: env.step(*arguments))
    seen, state = view.reset(jax.random.key(0))
    assert_same((seen, state), env.reset(jax.random.key(0)))
    rewarded = 0.0
    for time in range(env.length + 1):
        assert_same(view.get_obs(state), seen)
        assert_same(view.get_avail_actions(state), env.get_avail_actions(state))
        key, actions = jax.random.key(10 + time), drawn(view, jax.random.key(50 + time))
        found = view.step(key, state, actions)
        assert_same(found, ours(key, state, actions))
        assert_same(found, MultiAgentEnv.step(view, key, state, actions))  # which calls step_env and reset
        seen, state, rewards, dones, _ = found
        assert [bool(done) for done in dones.values()] == [time == env.length - 1] * (view.num_agents + 1)
        rewarded += sum(abs(float(reward)) for reward in rewards.values())
    assert int(state.time) == 1
    assert rewarded > 0 or isinstance(env, CleanUp)  # apples are rare


def test_an_episode_can_be_reset_to_a_given_state(view, env):
    from jaxmarl.environments import MultiAgentEnv

    first, other = (view.reset(jax.random.key(seed))[1] for seed in (1, 2))
    actions = drawn(view, jax.random.key(3))
    for time, ends in ((0, False), (env.length - 1, True)):
        before = other._replace(time=jnp.int32(time))
        found = view.step(jax.random.key(4), before, actions, reset_state=first)
        assert_same(found, MultiAgentEnv.step(view, jax.random.key(4), before, actions, reset_state=first))
        assert bool(found[3]["__all__"]) == ends
        assert int(found[1].time) == (0 if ends else 1)
        if ends:
            assert_same(found[:2], (view.get_obs(first), first))


def test_a_batch_in_one_program_is_one_environment_after_the_other(view):
    keys = jax.random.split(jax.random.key(0), 3)

    @jax.jit  # without options, as others compile
    @jax.vmap
    def two_steps(key):
        _, state = view.reset(key)
        actions = drawn(view, key)
        return view.step(key, view.step(key, state, actions)[1], actions), view.get_avail_actions(state)

    batch = two_steps(keys)
    for number, key in enumerate(keys):
        _, state = view.reset(key)
        actions = drawn(view, key)
        alone = view.step(key, view.step(key, state, actions)[1], actions), view.get_avail_actions(state)
        assert_same(jax.tree.map(lambda leaf, number=number: leaf[number], batch), alone)


# --- JaxMARL's wrappers


@pytest.mark.parametrize("wrapped", ["view", "environment"])
def test_jaxmarls_wrapper_logs_returns_and_lengths(view, env, wrapped):
    """It takes our environments as they are, too."""
    from jaxmarl.wrappers.baselines import LogWrapper

    logged = LogWrapper({"view": view, "environment": env}[wrapped])
    _, state = logged.reset(jax.random.key(0))
    returns = np.zeros(view.num_agents)
    for time in range(env.length):
        _, state, rewards, dones, info = logged.step(jax.random.key(time), state, drawn(view, jax.random.key(time)))
        returns += [float(rewards[agent]) for agent in view.agents]
        assert bool(info["returned_episode"].all()) == (time == env.length - 1)
    assert bool(dones["__all__"])
    assert int(state.env_state.time) == 0
    np.testing.assert_allclose(info["returned_episode_returns"], returns, rtol=1e-6)
    np.testing.assert_array_equal(info["returned_episode_lengths"], env.length)
    np.testing.assert_array_equal(state.episode_returns, 0)


def test_jaxmarls_manager_of_q_learning_rolls_out_a_batch(view, env):
    """Wrapped as its Q-learning baselines do: parallel environments, agents' identities, a common observation and a common reward."""
    from jaxmarl.wrappers.baselines import CTRolloutManager, LogWrapper

    batch, agents = 5, view.agents
    manager = CTRolloutManager(LogWrapper(view), batch_size=batch)
    assert manager.max_action_space == env.num_actions
    assert manager.obs_size == env.features + len(agents)
    seen, states = manager.batch_reset(jax.random.key(0))
    ours, our_states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), batch))
    step = jax.jit(jax.vmap(env.step))
    done = False
    for time in range(env.length + 1):
        for number, agent in enumerate(agents):
            identity = np.broadcast_to(np.eye(len(agents))[number], (batch, len(agents)))
            np.testing.assert_allclose(seen[agent], np.where(done, 0, np.concatenate([ours[agent], identity], axis=1)), rtol=1e-6)
            np.testing.assert_array_equal(manager.get_valid_actions(states)[agent], np.ones((batch, env.num_actions)))
        np.testing.assert_allclose(seen["__all__"], np.concatenate([ours[agent] for agent in agents], axis=1), rtol=1e-6)
        actions = {agent: manager.batch_sample(jax.random.key(100 * time + number), agent) for number, agent in enumerate(agents)}
        assert all(bool(view.action_space(agent).contains(actions[agent]).all()) and actions[agent].shape == (batch,) for agent in agents)
        key = jax.random.key(time)
        seen, states, rewards, dones, info = manager.batch_step(key, states, actions)
        ours, our_states, our_rewards, our_dones, _ = step(jax.random.split(key, batch), our_states, actions)
        assert_same(states.env_state, our_states)
        assert_same({agent: rewards[agent] for agent in agents}, our_rewards)
        np.testing.assert_allclose(rewards["__all__"], sum(our_rewards.values()), rtol=1e-6)
        assert_same(dones, our_dones)
        done = time == env.length - 1
        assert info["returned_episode"].shape == (batch, len(agents))
        assert bool(info["returned_episode"].all()) == done


# --- PettingZoo


def test_pettingzoos_checkers_pass(env):
    test = pytest.importorskip("pettingzoo.test", reason="PettingZoo is not installed: make agents")
    from mesocosm.envs.parallel_view import ParallelView

    test.parallel_api_test(ParallelView(env), num_cycles=30)
    test.parallel_seed_test(lambda: ParallelView(env), num_cycles=5)


def test_all_of_this_passes_where_both_libraries_are(python_with_agents, request):
    """Unchanged, in their own environment (`make agents`)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu", "PYTEST_ADDOPTS": ""}
    command = [python_with_agents, "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", "-m", "slow", "-k", f"not {request.node.name}", __file__]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert told.returncode == 0, told.stdout + told.stderr
    assert " passed" in told.stdout
    assert "skipped" not in told.stdout
