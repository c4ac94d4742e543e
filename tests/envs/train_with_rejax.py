"""rejax's PPO, unchanged, on our environments: run by a slow test in an environment that has rejax. Prints mean, low end and the random policy's return."""

import json
import sys

import jax
import numpy as np
from rejax import PPO
from scipy.stats import t

from mesocosm.envs import Interleaving, KeyToDoor
from mesocosm.envs.gymnax_view import GymnaxLegacyView

SEEDS = 4
STEPS = 61_440


def random_return(env, params) -> float:
    """Exactly: rewards times visits of the uniform policy, from the tabular form."""
    mdp = env.tabular(params)
    forward = mdp.transition.mean(axis=1)
    visits = np.linalg.solve((np.eye(mdp.states) - forward).T, mdp.initial)
    return float(visits @ mdp.mean_reward.mean(axis=1))


def main() -> None:
    found = {}
    for env in (KeyToDoor(23), Interleaving()):
        view = GymnaxLegacyView(env)
        ppo = PPO.create(
            env=view,
            env_params=view.default_params,
            agent_kwargs={"activation": "relu"},
            total_timesteps=STEPS,
            eval_freq=STEPS,
            num_envs=32,
            num_steps=128,
            num_epochs=4,
            num_minibatches=8,
            learning_rate=1e-3,
            gamma=0.99,
            ent_coef=0.01,
            max_grad_norm=0.5,
        )
        _, (_, returns) = jax.jit(jax.vmap(ppo.train))(jax.random.split(jax.random.key(0), SEEDS))
        last = np.asarray(returns)[:, -1].mean(axis=-1)  # seeds
        half = t.ppf(0.975, SEEDS - 1) * last.std(ddof=1) / np.sqrt(SEEDS)
        found[env.name] = (float(last.mean()), float(last.mean() - half), random_return(env, env.default_params))
        print(env.name, found[env.name], file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
