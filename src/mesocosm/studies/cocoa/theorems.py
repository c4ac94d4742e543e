"""The paper's theorems and propositions, checked in float64 on random processes.

Each maps a random process to two errors: that of the statement, and that of a named mutant, which must be large.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular.enumeration import EveryEpisode, by_state, episode_probability, every_episode
from mesocosm.analysis.tabular.expected_contributions import expected_cocoa, expected_counterfactual_return, expected_hca_return
from mesocosm.envs.random_mdp import random_mdp, random_policy
from mesocosm.envs.tabular import TabularMDP
from mesocosm.learning.contributions import cocoa, n_step_cocoa, reinforce
from mesocosm.learning.outcomes import Encoding, grouped_outcomes, reward_outcomes, state_outcomes
from mesocosm.numerics.linear_algebra import eigh, solve
from mesocosm.studies.cocoa.config import Theorems
from mesocosm.studies.identity_trials import Errors, instance_keys, on_instances, statement_rows
from mesocosm.studies.interface import Context, Tables

LAYERS = 3
SURVIVAL = 0.8


class World(NamedTuple):
    """A random process, the logits of a policy, and those of another."""

    mdp: TabularMDP
    logits: Float[Array, "states actions"]
    other: Float[Array, "states actions"]


class Theorem(NamedTuple):
    """A theorem, and the number of layers of its processes."""

    errors: Callable[[Theorems, EveryEpisode, World], Errors]
    layers: int = 1


def check_theorems(config: Theorems, context: Context) -> Tables:
    """Check every theorem on `config.instances` random instances, with the covariances of Theorem 3."""
    example = random_mdp(jax.random.key(0), config.states, config.actions, config.rewards, LAYERS)
    episodes = every_episode(example)
    chain = every_episode(chain_mdp(jax.random.key(0), config.actions))
    keys = instance_keys(context, len(THEOREMS), config.instances)
    order = context.evaluate(Partial(on_instances, covariance_order, config), shared=(chain, keys))
    rows = [
        statement_rows(context, config, theorem.errors, episodes, _worlds(context, config, theorem.layers, number), labels={"theorem": name})
        for number, (name, theorem) in enumerate(THEOREMS.items())
    ]
    return {
        "theorems": pl.concat(rows),
        "covariances": context.rows({"instance": range(config.instances)}, smallest_eigenvalue=order.error, mutant=order.mutant),
    }


def _worlds(context: Context, config: Theorems, layers: int, number: int) -> World:
    """Those of the theorem of this number; one program draws them for all, as random numbers take long to compile."""
    keys = instance_keys(context, number, config.instances)
    return jax.tree.map(lambda leaf: leaf[0], context.evaluate(Partial(_draw, config, layers), shared=(keys,)))


def _draw(config: Theorems, layers: int, keys: PRNGKeyArray) -> World:
    """A world for each key."""

    def one(key: PRNGKeyArray) -> World:
        process, policy = jax.random.split(key)
        policies = (random_policy(each, config.states, config.actions) for each in (policy, jax.random.fold_in(key, 2)))
        return World(random_mdp(process, config.states, config.actions, config.rewards, layers), *policies)

    return jax.vmap(one)(keys)


def _largest(difference: Array) -> Array:
    return jnp.max(jnp.abs(difference))


def _centred(policy: Array, table: Array) -> Array:
    return table - jnp.sum(policy * table, axis=1, keepdims=True)


def _advantage(mdp: TabularMDP, policy: Array, discount: float = 1.0) -> Array:
    return _centred(policy, dp.action_values(mdp, policy, discount))


def _counts(mdp: TabularMDP, policy: Array, encoding: Encoding) -> Array:
    return dp.outcome_counts(dp.successor(mdp, policy), dp.outcome_probability(mdp, policy, *encoding))


# --- C1: unbiased ------------------------------------------------------------------------------------------------------


def decomposition(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """Adv = r - mean r + E[sum w R], for outcomes that are the reward, the state, or all three. Mutant: the two smallest rewards share an outcome."""
    mdp, logits, _ = world
    policy = jax.nn.softmax(logits)
    advantage, shape = _advantage(mdp, policy), mdp.reward_probability.shape

    def error(encoding: Encoding) -> Array:
        found = expected_cocoa(mdp, policy, jnp.asarray(encoding.classes), dp.exact_coefficients(mdp, policy, *encoding))
        return _largest(_centred(policy, found) - advantage)

    everything = Encoding(np.arange(np.prod(shape)).reshape(shape), int(np.prod(shape)))
    predictive = jnp.stack([error(encoding) for encoding in (reward_outcomes(mdp), state_outcomes(mdp), everything)])
    return Errors(jnp.max(predictive), error(_merged(mdp)))


def _merged(mdp: TabularMDP) -> Encoding:
    """Outcomes are rewards, but the two smallest rewards share a class."""
    classes = np.maximum(np.arange(mdp.reward_probability.shape[2]) - 1, 0)
    return Encoding(np.broadcast_to(classes, mdp.reward_probability.shape), int(classes.max()) + 1)


class Along(NamedTuple):
    """All episodes of a random layered process, with rewards and policy at each step."""

    mdp: TabularMDP
    logits: Array
    policy: Array
    weight: Array
    rewards: Array
    here: Array
    episodes: EveryEpisode


def _along(episodes: EveryEpisode, world: World) -> Along:
    mdp, logits, _ = world
    policy = jax.nn.softmax(logits)
    rewards = jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
    return Along(mdp, logits, policy, episode_probability(mdp, policy, episodes), rewards, policy[episodes.states], episodes)


def _mean_gradient(along: Along, contributions: Array) -> Array:
    number = along.mdp.states
    tables = jax.vmap(by_state, in_axes=(0, 0, 0, None))(jnp.asarray(along.episodes.states), contributions, jnp.asarray(along.episodes.taken), number)
    return dp.policy_gradient(jax.nn.softmax, along.logits, jnp.einsum("e,esa->sa", along.weight, tables))


def _true_gradient(along: Along) -> Array:
    """Autodiff of the expected return."""

    def value(logits: Array) -> Array:
        policy = jax.nn.softmax(logits)
        return jnp.asarray(along.mdp.initial) @ dp.state_values(policy, dp.action_values(along.mdp, policy))

    return jax.grad(value)(along.logits)


def unbiased(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """The mean COCOA-reward gradient over all episodes equals autodiff's. Mutant: the present reward is credited once more (k = 0 is kept)."""
    along = _along(episodes, world)
    w = dp.exact_coefficients(along.mdp, along.policy, *reward_outcomes(along.mdp))[episodes.states]
    found = jax.vmap(cocoa)(jnp.asarray(episodes.actions), along.rewards, along.here, jnp.asarray(episodes.rewards), w)
    now = jnp.take_along_axis(w, jnp.asarray(episodes.rewards)[..., None, None], axis=3)[..., 0] * along.rewards[..., None]
    true = _true_gradient(along)
    scale = _largest(true)
    return Errors(_largest(_mean_gradient(along, found) - true) / scale, _largest(_mean_gradient(along, found + now) - true) / scale)


# --- C4 to C7 ----------------------------------------------------------------------------------------------------------


def encounters(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """Theorem 4: the gradient of the number of future encounters of each outcome from each start equals autodiff's. Mutant: visits without the start."""
    mdp, logits, _ = world
    groups = np.broadcast_to((np.arange(config.states) % 3)[:, None], (config.states, config.actions))
    encoding = grouped_outcomes(mdp, groups, 3)

    def expected(logits: Array) -> Array:
        policy = jax.nn.softmax(logits)
        return jnp.einsum("sa,sau->su", policy, _counts(mdp, policy, encoding))

    policy = jax.nn.softmax(logits)
    visits = solve(jnp.eye(config.states) - dp.state_transition(mdp, policy), jnp.eye(config.states))
    weighed = dp.coefficients(_counts(mdp, policy, encoding), policy) * expected(logits)[:, None]

    def gradient(visits: Array) -> Array:
        pulled = jax.vmap(jax.vmap(partial(dp.policy_gradient, jax.nn.softmax, logits)))
        return pulled(jnp.einsum("os,sau->ousa", visits, weighed))

    wanted = jax.jacobian(expected)(logits)
    scale = _largest(wanted)
    return Errors(_largest(gradient(visits) - wanted) / scale, _largest(gradient(visits - jnp.eye(config.states)) - wanted) / scale)


def policy_as_input(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """Proposition 5: p(a | s, u, logits of s) is p(a | s, u), since the logits are a function of s. Mutant: batches of two policies, where they are not."""
    mdp, logits, other = world
    encoding = reward_outcomes(mdp)

    def difference(second: Array) -> Array:
        pairs = jnp.stack([policy[..., None] * _counts(mdp, policy, encoding) for policy in (jax.nn.softmax(logits), jax.nn.softmax(second))])
        pooled = jnp.sum(pairs, axis=0)
        without, given = pooled / jnp.sum(pooled, axis=1, keepdims=True), pairs / jnp.sum(pairs, axis=2, keepdims=True)
        return _largest(given - without)

    return Errors(difference(logits), difference(other))


def contrastive(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """Proposition 7: the best discriminator's logits x, found by Newton's method, give w = exp(x) - 1. Mutant: negatives drawn uniformly."""
    mdp, logits, _ = world
    policy, encoding = jax.nn.softmax(logits), reward_outcomes(mdp)
    counts = _counts(mdp, policy, encoding)
    pairs = dp.hindsight(counts, policy)

    def best(negatives: Array) -> Array:
        def newton(_: Any, x: Array) -> Array:
            slope = -pairs * jax.nn.sigmoid(-x) + negatives * jax.nn.sigmoid(x)
            curvature = (pairs + negatives) * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)
            return x - jnp.clip(slope / curvature, -1.0, 1.0)

        return jax.lax.fori_loop(0, 60, newton, jnp.zeros_like(pairs))

    w = dp.coefficients(counts, policy)
    uniform = jnp.full_like(pairs, 1.0 / config.actions)
    return Errors(_largest(jnp.exp(best(policy[..., None] + 0 * pairs)) - 1 - w), _largest(jnp.exp(best(uniform)) - 1 - w))


def averaged(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """Proposition 9: coefficients of the reward are those of the state, averaged with p(s' | s, r). Mutant: averaged with p(s' | s)."""
    mdp, logits, _ = world
    policy = jax.nn.softmax(logits)
    m, probability = dp.successor(mdp, policy), dp.outcome_probability(mdp, policy, *reward_outcomes(mdp))
    of_states = dp.coefficients(m, policy)
    joint = jnp.einsum("sa,saz,zu->szu", policy, m, probability)

    def error(joint: Array) -> Array:
        mean = jnp.einsum("szu,saz->sau", joint / jnp.sum(joint, axis=1, keepdims=True), of_states)
        return _largest(mean - dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp)))

    return Errors(error(joint), error(jnp.broadcast_to(jnp.sum(joint, axis=2, keepdims=True), joint.shape)))


# --- C8: credit by the return ------------------------------------------------------------------------------------------


def counterfactual_returns(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """App. F.3: with the exact p(a | s, z), the Counterfactual Return is unbiased. Mutant: HCA-return, with the same distribution.

    Rewards are deterministic here: if every return can follow every action, HCA-return is unbiased as well.
    """
    noisy, logits, _ = world
    certain = jax.nn.one_hot(jnp.argmax(noisy.reward_probability, axis=2), config.rewards)
    mdp = TabularMDP(noisy.transition, certain, noisy.reward_values, noisy.initial, noisy.observations)
    policy, most = jax.nn.softmax(logits), LAYERS * (config.rewards - 1)
    returns = dp.return_distribution(mdp, policy, tuple(range(config.rewards)), most, LAYERS)
    arguments = (policy, returns, jnp.arange(most + 1.0), dp.hindsight(returns, policy))
    found = expected_counterfactual_return(*arguments), expected_hca_return(*arguments)
    counterfactual, hca = (_largest(_centred(policy, table) - _advantage(mdp, policy)) for table in found)
    return Errors(counterfactual, hca)


# --- C9: discounts and bootstraps --------------------------------------------------------------------------------------


def discounted(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """App. J: discounted coefficients give the discounted advantage. Mutant: the undiscounted coefficients."""
    mdp, logits, _ = world
    policy, encoding = jax.nn.softmax(logits), reward_outcomes(mdp)

    def error(coefficients: Array) -> Array:
        found = expected_cocoa(mdp, policy, jnp.asarray(encoding.classes), coefficients, SURVIVAL)
        return _largest(_centred(policy, found) - _advantage(mdp, policy, SURVIVAL))

    return Errors(error(dp.exact_coefficients(mdp, policy, *encoding, discount=SURVIVAL)), error(dp.exact_coefficients(mdp, policy, *encoding)))


def survival(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """App. B: discounted coefficients are the undiscounted ones of a process that survives each step with probability gamma. Mutant: it always survives."""
    mdp, logits, _ = world
    policy, encoding = jax.nn.softmax(logits), state_outcomes(mdp)
    dying = TabularMDP(SURVIVAL * jnp.asarray(mdp.transition), mdp.reward_probability, mdp.reward_values, mdp.initial, mdp.observations)
    found = dp.exact_coefficients(mdp, policy, *encoding, discount=SURVIVAL)
    return Errors(*(_largest(found - dp.exact_coefficients(process, policy, *encoding)) for process in (dying, mdp)))


def n_steps(config: Theorems, episodes: EveryEpisode, world: World) -> Errors:
    """Theorem 10, n = 2: credit one reward by its outcome and the rest by a value function with state coefficients. Mutant: none at the bootstrap."""
    along, n = _along(episodes, world), 2
    mdp, policy, encoding = along.mdp, along.policy, reward_outcomes(along.mdp)
    near = dp.coefficients(dp.outcome_counts(dp.successor_by_recursion(mdp, policy, n - 1), dp.outcome_probability(mdp, policy, *encoding)), policy)
    far = dp.coefficients(dp.state_after(mdp, policy, n), policy)
    states, taken = (jnp.pad(part[:, n:], ((0, 0), (0, n))) for part in (episodes.states, episodes.taken))
    values = jnp.where(taken, dp.state_values(policy, dp.action_values(mdp, policy))[states], 0.0)
    bootstrap = far[episodes.states, :, states]
    true = _true_gradient(along)

    def error(bootstrap: Array) -> Array:
        steps = jax.vmap(partial(n_step_cocoa, steps=n))
        actions, outcomes = jnp.asarray(episodes.actions), jnp.asarray(episodes.rewards)
        found = steps(actions, along.rewards, along.here, outcomes, near[episodes.states], bootstrap, values)
        return _largest(_mean_gradient(along, found) - true) / _largest(true)

    return Errors(error(bootstrap), error(0 * bootstrap))


THEOREMS: dict[str, Theorem] = {
    "C1 decomposition": Theorem(decomposition),
    "C1 unbiased": Theorem(unbiased, LAYERS),
    "C4": Theorem(encounters),
    "C5": Theorem(policy_as_input),
    "C6": Theorem(contrastive),
    "C7": Theorem(averaged),
    "C8 counterfactual return": Theorem(counterfactual_returns, LAYERS),
    "C9 discounted": Theorem(discounted),
    "C9 survival": Theorem(survival),
    "C9 n-step": Theorem(n_steps, LAYERS),
}


# --- C3: the order of covariances --------------------------------------------------------------------------------------

CHAIN = ((0, 0, 1, 2, 3, 4, 5, 5), (0, 1, 1, 2, 3, 3), (0, 0, 1, 2))
"""Maps from the last state to U', from U' to U, and from U to the class of the reward."""


def chain_mdp(key: PRNGKeyArray, actions: int) -> TabularMDP:
    """One decision, then one of eight states. The reward comes in the last step, has three random values and is a function of that state."""
    transition_key, reward_key = jax.random.split(key)
    states = len(CHAIN[0])
    onward = jax.random.exponential(transition_key, (actions, states))
    transition = jnp.zeros((states + 1, actions, states + 1)).at[0, :, 1:].set(onward / jnp.sum(onward, axis=1, keepdims=True))
    classes = np.array([CHAIN[2][CHAIN[1][u]] for u in CHAIN[0]])
    rewards = np.zeros((states + 1, actions, 4))
    rewards[0, :, 3] = 1.0  # nothing at the decision
    rewards[1:] = np.eye(4)[classes][:, None]
    values = jnp.concatenate([jax.random.normal(reward_key, (3,)), jnp.zeros(1)])
    return TabularMDP(transition, rewards, values, np.eye(states + 1)[0], np.eye(states + 1))


def covariance_order(config: Theorems, episodes: EveryEpisode, key: PRNGKeyArray) -> Errors:
    """Theorem 3: the smallest eigenvalue of successive differences of covariances, from rewards via U, U' and states to REINFORCE. Mutant: reversed."""
    process, policy_key = jax.random.split(key)
    mdp = chain_mdp(process, config.actions)
    logits = random_policy(policy_key, mdp.states, config.actions)
    policy = jax.nn.softmax(logits)
    weight, here = episode_probability(mdp, policy, episodes), policy[episodes.states]
    rewards, actions = jnp.asarray(mdp.reward_values)[episodes.rewards], jnp.asarray(episodes.actions)

    def classes(chain: tuple[tuple[int, ...], ...]) -> Encoding:
        of = list(range(len(CHAIN[0])))
        for step in chain:
            of = [step[u] for u in of]
        last = max(of) + 1
        table = np.broadcast_to(np.array([last, *of])[:, None], (mdp.states, config.actions))
        return grouped_outcomes(mdp, table, last + 1)

    def covariance(contributions: Array) -> Array:
        first = contributions[:, 0]
        gradient = policy[0] * (first - (first @ policy[0])[:, None])
        centred = gradient - weight @ gradient
        return jnp.einsum("e,ei,ej->ij", weight, centred, centred)

    def by_outcome(encoding: Encoding) -> Array:
        w = dp.exact_coefficients(mdp, policy, *encoding)[episodes.states]
        outcomes = jnp.asarray(encoding.classes)[episodes.states, episodes.actions, episodes.rewards]
        return covariance(jax.vmap(cocoa)(actions, rewards, here, outcomes, w))

    found = [by_outcome(classes(CHAIN[:depth])) for depth in (3, 2, 1, 0)] + [covariance(jax.vmap(reinforce)(actions, rewards, here))]
    differences = jnp.stack([b - a for a, b in itertools.pairwise(found)])
    return Errors(jnp.min(eigh(differences).values), jnp.min(eigh(-differences).values))
