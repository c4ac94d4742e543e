"""Agents and tools of other libraries see our environments as their own."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mesocosm.envs import Interleaving, KeyToDoor, Tree

ROOT = Path(__file__).parents[2]


ENVIRONMENTS = pytest.mark.parametrize("env", [KeyToDoor(7), Tree(3, 3, 1), Interleaving(3, 2, 1, limit=9), Tree(3, 3, 1).tabular()], ids=lambda env: env.name)


@ENVIRONMENTS
@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_gymnasiums_own_checker_passes(env, render_mode):
    from gymnasium.utils.env_checker import check_env

    from mesocosm.envs.gymnasium_view import GymnasiumView

    view = GymnasiumView(env, render_mode=render_mode)
    check_env(view, skip_render_check=True)  # the checker makes other render modes by gymnasium.make, which knows registered environments only
    view.reset(seed=0)
    view.step(0)
    shown = view.render()
    assert isinstance(shown, str) if render_mode == "ansi" else shown.dtype == np.uint8 and shown.shape[2] == 3


def test_the_view_goes_through_the_same_episode():
    from mesocosm.envs.gymnasium_view import GymnasiumView

    env = KeyToDoor(6)
    view = GymnasiumView(env, render_mode="ansi")
    seen, _ = view.reset(seed=3)
    rewards = 0.0
    for t, action in enumerate([0, 1, 1, 2, 3, 0]):
        np.testing.assert_allclose(seen[0], t / 6)
        seen, reward, terminated, truncated, _ = view.step(action)
        rewards += reward
        assert terminated == (t == 5)
        assert not truncated
    assert seen[0] == 1.0
    episode = view.episode()
    assert episode.actions.tolist() == [0, 1, 1, 2, 3, 0]
    assert float(episode.rewards.sum()) == pytest.approx(rewards)
    assert episode.rewards[-1] == pytest.approx(env.default_params.treasure)
    assert view.render().endswith("treasure")
    with pytest.raises(ValueError, match="'human'"):
        GymnasiumView(env, render_mode="human")


@ENVIRONMENTS
def test_a_step_wants_a_running_episode_and_an_action_of_the_space_and_gives_an_observation_to_keep(env):
    import gymnasium

    from mesocosm.envs.gymnasium_view import GymnasiumView

    view = GymnasiumView(env)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        view.step(0)
    seen, _ = view.reset(seed=0)
    seen /= 2
    for action in (-1, env.num_actions, 0.5, [0]):
        with pytest.raises(ValueError, match=f"from 0 to {env.num_actions - 1}"):
            view.step(action)
    ended = False
    while not ended:
        seen, _, terminated, truncated, _ = view.step(np.int64(0))
        kept, ended = seen.copy(), terminated or truncated
        seen *= 0
    np.testing.assert_array_equal(view.episode().final_observation, kept)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        view.step(0)
    view.reset()
    view.step(0)


@pytest.mark.whole
@pytest.mark.parametrize(("name", "env"), [("KeyToDoor", KeyToDoor(6)), ("Tree", Tree(3, 3, 1)), ("Interleaving", Interleaving(3, 2, 1, limit=9))])
def test_gymnasium_makes_what_it_is_told_by_name(name, env):
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    from mesocosm.envs.gymnasium_view import registered

    made = gymnasium.make(f"mesocosm.envs.gymnasium_view:mesocosm/{name}-v0", render_mode="ansi", **dataclasses.asdict(env))
    assert made.unwrapped.env == env
    params = env.default_params
    view = registered(name, params, "ansi", **dataclasses.asdict(env))
    assert view.params is params
    assert view.render_mode == "ansi"
    check_env(made.unwrapped)
    again = gymnasium.make(made.spec)
    for view in (made, again):
        view.reset(seed=5)
        view.step(1)
    assert made.render() == again.render()


@pytest.mark.slow
def test_rejaxs_ppo_learns_on_the_legacy_view(python_with_agents):
    """Unchanged, in its own environment; its return ends above the random policy's by a 95 % interval over seeds."""
    command = [python_with_agents, str(Path(__file__).with_name("train_with_rejax.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert set(found) == {"KeyToDoor", "Interleaving"}
    for name, (mean, low, random) in found.items():
        assert low > random, (name, mean, low, random)


@pytest.mark.slow
def test_gymnaxs_own_wrapper_makes_the_same_steps_legacy(python_with_agents):
    """gymnax's adapter from its present interface to the legacy one works on our environment as it is, and agrees with our legacy view."""
    script = """
import jax, numpy as np
from gymnax.wrappers import LegacyStepAPIWrapper
from mesocosm.envs import KeyToDoor
from mesocosm.envs.gymnax_view import GymnaxLegacyView
env = KeyToDoor(5)
theirs, ours = LegacyStepAPIWrapper(env), GymnaxLegacyView(env)
params = env.default_params
_, state = ours.reset(jax.random.key(0), params)
for t in range(5):
    key = jax.random.key(t)
    mine, wrapped = (view.step(key, state, 0, params) for view in (ours, theirs))
    for a, b in zip(jax.tree.leaves(mine[:4]), jax.tree.leaves(wrapped[:4]), strict=True):
        np.testing.assert_array_equal(a, b)
    state = mine[1]
assert bool(mine[3]) and ours.action_space(params).n == 4 and ours.observation_space(params).shape == (9,)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
    told = subprocess.run([python_with_agents, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stderr


@pytest.mark.whole
def test_views_are_imported_only_when_asked_for():
    """The environments themselves need neither gymnax nor gymnasium."""
    code = "import sys, mesocosm.envs; assert not {'gymnax', 'gymnasium'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
