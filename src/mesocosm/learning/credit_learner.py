"""An `ActorCredit` for a policy and an environment of your own, with Adam and the usual numbers; the guide "Credit assignment" uses it in 20 lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.envs.environment import Environment
from mesocosm.learning.actor_credit import ActorCredit
from mesocosm.learning.exact_credit import Credit
from mesocosm.learning.learned_credit import LearnedCredit
from mesocosm.learning.optimizers import adam

Build = Callable[[PRNGKeyArray], Callable[[Float[Array, "*shape"]], Float[Array, " actions"]]]


class ByRow(eqx.Module):
    """A module of one observation, applied to each of many.

    Attributes:
        module: observation -> logits of the actions.
    """

    module: Any

    def __call__(self, observations: Float[Array, "rows *shape"]) -> Float[Array, "rows actions"]:
        """Logits of each row."""
        return jax.vmap(self.module)(observations)


def credit_learner(
    policy: Build,
    credit: Any,
    env: Any = None,
    *,
    params: Any = None,
    learning_rate: Any = 1e-3,
    credit_learning_rate: Any = 3e-3,
    entropy: Any = 0.01,
    exploration: Any = 0.05,
    batch_size: int = 8,
) -> ActorCredit:
    """A learner of a policy with this credit, for `fit`.

    Args:
        policy: key -> a module from one observation to logits.
        credit: a `Credit`, how actions get theirs, such as `LearnedCocoa`, `LearnedAdvantage` or `Reinforce`.
        env: an `Environment`; wrap another library's with `GymnaxEnvironment`. None if episodes come from outside (`ActorCredit.step`, `gymnasium_episodes`).
        params: the environment's; None for its default.
        learning_rate: of the policy.
        credit_learning_rate: of the credit's networks.
        entropy: weight of the policy's entropy; choose it in proportion to the rewards that matter.
        exploration: share of uniformly random actions.
        batch_size: episodes per update.

    Raises:
        ValueError: the policy is a module instead of a function that builds one, the credit is not a `Credit` or was made for another number of actions, the
            environment is not an `Environment`, or a number is out of range.
    """
    if isinstance(policy, eqx.Module):
        raise ValueError(f"the policy is a function of a random key that builds a module, not a {type(policy).__name__} that is built: each seed needs its own")
    if not isinstance(credit, Credit):
        raise ValueError(f"a credit is an object such as LearnedCocoa(...) or Reinforce(), not {credit!r}")
    if env is not None and not isinstance(env, Environment):
        raise ValueError(
            f"{type(env).__name__} is not an Environment: wrap gymnax's as GymnaxEnvironment(env, steps=...); Gymnasium's go to gymnasium_episodes.train"
        )
    if env is not None:
        check_actions(credit, env.num_actions, env.name)
    if batch_size < 1:
        raise ValueError(f"a batch has one or more episodes, not {batch_size}")
    if isinstance(exploration, (int, float)) and not 0 <= exploration <= 1:
        raise ValueError(f"exploration is a share of the actions, from 0 to 1, not {exploration}")
    return ActorCredit(
        build=Partial(_by_row, policy),
        env=env,
        params=env.default_params if params is None and env is not None else params,
        observations=None,
        credit=credit,
        optimizer=adam,
        hyperparameters={"learning_rate": learning_rate},
        entropy=entropy,
        exploration=exploration,
        batch_size=batch_size,
        credit_optimizer=adam,
        credit_hyperparameters={"learning_rate": credit_learning_rate},
    )


def check_actions(credit: Credit, actions: int, name: str) -> None:
    """Raises a ValueError if the networks of a credit have outputs for another number of actions."""
    if isinstance(credit, LearnedCredit) and credit.actions != actions:
        raise ValueError(f"{type(credit).__name__} was made for {credit.actions} actions; {name} has {actions}")


def _by_row(policy: Build, key: PRNGKeyArray) -> ByRow:
    return ByRow(policy(key))
