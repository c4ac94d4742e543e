"""Environments, exact models and policy gradients in one program, against the loop one would write over `gymnasium.Env`; cheap forms against dear ones."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.envs import Interleaving, KeyToDoor, LayeredMDP
from mesocosm.learning.contributions import cocoa, cocoa_of_pairs
from mesocosm.learning.exact_credit import Credit, ExactAdvantage, ExactCocoa, Reinforce
from mesocosm.learning.fit import fit
from mesocosm.learning.optimizers import adam
from mesocosm.learning.outcomes import reward_outcomes
from mesocosm.learning.policy_gradient import PolicyGradient
from mesocosm.nn.policy import TabularPolicy
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "policy_gradients"
TITLE = "key-to-door in one program, and by hand"
LOOP = "a Python loop over gymnasium.Env"
QUOTED = "the authors' public code took 22 to 32 s on another day on a machine of this kind; it searches the states step by step, and was not run here"
FORM_LIMIT = "At short episodes both are a few small matrix products"


@dataclass(frozen=True)
class Size:
    """Of everything: the track, episodes a batch, iterations a sample, seeds, lengths of the two forms, seconds of timing a row."""

    length: int
    batch: int
    iterations: int
    seeds: int
    forms: tuple[int, ...]
    contexts: int
    seconds: float


SIZES = {
    "tiny": Size(6, 2, 3, 2, (5,), 3, 0.0),
    "small": Size(23, 8, 50, 4, (100,), 3, 1.0),
    "full": Size(103, 8, 200, 30, (100, 400, 1600), 3, 10.0),
}


def cases(sizes: str) -> Sequence[Case]:
    """Episodes, iterations, the tabular form, coefficients, values."""
    size = SIZES[sizes]
    return [
        Case("episodes", 1, partial(episodes, size)),
        *(Case(f"iterations, {name}", 4, partial(iterations, size, name)) for name in CREDITS),
        Case("tabular form", 1, partial(tabular, size)),
        *(Case(f"contributions, length {length}", 1, partial(forms, size, length)) for length in size.forms),
        Case("expected future visits", 1, partial(visits, size)),
    ]


def view_of(env: KeyToDoor) -> Any:
    """The environment as others step it, or None where gymnasium is missing."""
    if importlib.util.find_spec("gymnasium") is None:
        return None
    from mesocosm.envs.gymnasium_view import GymnasiumView

    view = GymnasiumView(env)
    view.reset(seed=0)
    view.step(0)
    return view


def episodes(size: Size) -> list[Row]:
    """A batch of episodes of the uniform policy."""
    env = KeyToDoor(size.length)
    comparison = Comparison(NAME, "episodes", f"{size.batch} of length {size.length}", size.seconds, Target("ratio", "≥", 100))
    view = view_of(env)
    if view is None:
        return [comparison.skipped(LOOP, "gymnasium is not installed")]
    policy, keys = jnp.full((2 * size.length, 4), 0.25), jax.random.split(jax.random.key(0), size.batch)
    run = jax.jit(jax.vmap(lambda key: env.episode(key, lambda state: policy[env.index(state)]).rewards))
    draw = np.random.default_rng(0)
    ours = Contender("one program", lambda: jax.block_until_ready(run(keys)))
    return [comparison.timed(ours, Contender(LOOP, lambda: by_hand(view, np.asarray(policy), draw), share=1 / size.batch))]


def by_hand(view: Any, policy: np.ndarray, draw: np.random.Generator) -> tuple[list[int], list[int], list[float]]:
    """One episode, step by step: states, actions, rewards."""
    view.reset()
    states, actions, rewards, ended = [], [], [], False
    state, length = 0, view.env.length
    while not ended:
        action = int(draw.choice(4, p=policy[state]))
        seen, reward, ended, _, _ = view.step(action)
        states.append(state)
        actions.append(action)
        rewards.append(reward)
        state = 2 * length - 1 if seen[6] else max(2 * len(states) - 1, 0) + int(seen[8])
    return states, actions, rewards


# --- policy gradients


CREDITS: dict[str, Callable[[KeyToDoor], Credit]] = {
    "REINFORCE": lambda env: Reinforce(),
    "advantage": lambda env: ExactAdvantage(LayeredMDP.of(env.tabular())),
    "COCOA-reward": lambda env: ExactCocoa.of(LayeredMDP.of(env.tabular()), reward_outcomes(env.tabular())),
}


def build(length: int, key: Any) -> TabularPolicy:
    """Uniform."""
    return TabularPolicy(jnp.zeros((2 * length, 4)))


def learner_of(size: Size, name: str) -> PolicyGradient:
    """With exact models."""
    env = KeyToDoor(size.length)
    return PolicyGradient(
        jax.tree_util.Partial(build, size.length),
        env,
        env.default_params,
        env.tabular().observations,
        CREDITS[name](env),
        adam,
        {"learning_rate": 0.02},
        entropy=0.001,
        exploration=0.05,
        batch_size=size.batch,
    )


def iterations(size: Size, name: str) -> list[Row]:
    """Whole fits, compiled before, one seed and many; the loop by hand runs two iterations and learns with the same compiled update."""
    learner = learner_of(size, name)
    text = f"batch {size.batch}, length {size.length}"
    view = view_of(learner.env)
    rows = []
    for seeds in (1, size.seeds):
        first = fit(learner, 1, range(seeds))
        sized = f"{size.iterations} iterations x {seeds} {'seed' if seeds == 1 else 'seeds'}, {text}"
        comparison = Comparison(NAME, f"iterations, {name}", sized, size.seconds, Target("ratio", "≥", 100))
        ours = Contender("fit", lambda seeds=seeds: fit(learner, size.iterations, range(seeds)))
        if view is None:
            rows.append(comparison.skipped(LOOP, "gymnasium is not installed"))
        else:
            share = 2 / (size.iterations * seeds)
            rows.append(comparison.timed(ours, Contender(LOOP, loop_by_hand(learner, view), share=share, note=f"timed on 2 of {size.iterations * seeds}")))
        rows.append(Comparison(NAME, f"compile, {name}", f"{seeds} {'seed' if seeds == 1 else 'seeds'}", 0.0).measured("seconds", first.compile_seconds))
    return rows


def loop_by_hand(learner: PolicyGradient, view: Any) -> Callable[[], Any]:
    """Two iterations: episodes step by step, then one compiled update."""
    credited, step, probabilities = (eqx.filter_jit(part) for part in (learner.credited, learner.step, learner.probabilities))
    steps_type = type(jax.eval_shape(lambda: learner.episodes(jnp.full((2 * view.env.length, 4), 0.25), jax.random.key(0))))
    draw = np.random.default_rng(0)

    def run() -> Any:
        state = learner.init(jax.random.key(0))
        for _ in range(2):
            table = probabilities(state.model)
            policy = np.asarray(table, dtype=np.float64)
            policy /= policy.sum(axis=1, keepdims=True)
            states, actions, rewards = (np.array(part) for part in zip(*(by_hand(view, policy, draw) for _ in range(learner.batch_size)), strict=True))
            steps = steps_type(states.astype(np.int32), actions.astype(np.int32), jnp.asarray(rewards, jnp.float32), table[states], np.ones(states.shape, bool))
            state, _ = step(state, credited(table, steps), jax.random.key(0))
        return jax.block_until_ready(state)

    run()
    return run


# --- exact models


def tabular(size: Size) -> list[Row]:
    """From rules to arrays; the fastest of five."""
    env, took = KeyToDoor(min(size.length, 23)), []
    for _ in range(5):
        began = time.perf_counter()
        env.tabular()
        took.append(time.perf_counter() - began)
    head = Comparison(NAME, "tabular form", f"key-to-door, length {env.length}", 0.0, Target("ours", "≤", 0.1), "The first call also compiles")
    first = Comparison(NAME, "tabular form, first call", f"key-to-door, length {env.length}", 0.0)
    return [head.measured("seconds", min(took), note=QUOTED), first.measured("seconds", took[0])]


def forms(size: Size, length: int) -> list[Row]:
    """COCOA's contributions of a batch, later rewards summed by outcome, against all pairs of steps."""
    draw = np.random.default_rng(0)
    outcomes, actions = (draw.integers(4, size=(size.batch, length)).astype(np.int32) for _ in range(2))
    policy = draw.dirichlet(np.ones(4), size=(size.batch, length)).astype(np.float32)
    coefficients = draw.standard_normal((size.batch, length, 4, 4)).astype(np.float32)
    rewards = (outcomes / length).astype(np.float32)
    by_outcome = jax.jit(jax.vmap(cocoa))

    def all_pairs(actions: Any, rewards: Any, policy: Any, outcomes: Any, coefficients: Any) -> Any:
        return cocoa_of_pairs(actions, rewards, policy, coefficients[:, :, outcomes])

    pairs = jax.jit(jax.vmap(all_pairs))
    data = (actions, rewards, policy, outcomes, coefficients)
    comparison = Comparison(NAME, "contributions, by outcome and by pairs", f"batch {size.batch}, length {length}", size.seconds, None, FORM_LIMIT)
    contenders = (
        Contender(name, lambda f=f: jax.block_until_ready(f(*data)), lambda found: [np.asarray(found)])
        for name, f in (("by outcome", by_outcome), ("by pairs", pairs))
    )
    return [comparison.timed(*contenders, lambda _: [dense_contributions(*data)])]


def dense_contributions(actions: np.ndarray, rewards: np.ndarray, policy: np.ndarray, outcomes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The sum over pairs in float64, the definition."""
    wide = rewards.astype(np.float64)
    own = np.eye(4)[actions] / np.take_along_axis(policy.astype(np.float64), actions[..., None], axis=2) * wide[..., None]
    for episode in range(len(actions)):
        for t in range(actions.shape[1] - 1):
            own[episode, t] += coefficients[episode, t][:, outcomes[episode, t + 1 :]].astype(np.float64) @ wide[episode, t + 1 :]
    return own


def visits(size: Size) -> list[Row]:
    """One linear solve against the sum over steps, as many as the smallest error needs."""
    rooms = Interleaving(size.contexts, 2, 2 if size.length > 10 else 1)
    problems = [(KeyToDoor(size.length), size.length), (rooms, 300)]
    return [_visits(size, env, steps) for env, steps in problems]


def _visits(size: Size, env: Any, steps: int) -> Row:
    mdp = env.tabular()
    policy = np.full((mdp.states, mdp.actions), 1 / mdp.actions, dtype=np.float32)
    solve, recur = jax.jit(dp.successor), jax.jit(partial(dp.successor_by_recursion, steps=steps))
    forward = np.einsum("saz->sz", mdp.transition) / mdp.actions
    dense = np.linalg.solve((np.eye(mdp.states) - forward).T, mdp.transition.reshape(-1, mdp.states).T).T.reshape(mdp.transition.shape)
    comparison = Comparison(NAME, "expected future visits", f"{env.name}, {mdp.states} states", size.seconds)
    ours, theirs = (
        Contender(name, lambda f=f: jax.block_until_ready(f(mdp, policy)), lambda found: [np.asarray(found)])
        for name, f in (("linear solve", solve), (f"recursion over {steps} steps", recur))
    )
    return comparison.timed(ours, theirs, lambda _: [dense])


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
