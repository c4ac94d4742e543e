"""COCOA-reward with learned coefficients in one program, against a training loop in PyTorch that learns with the same networks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.envs import KeyToDoor
from mesocosm.learning.actor_credit import ActorCredit
from mesocosm.learning.exact_credit import Steps
from mesocosm.learning.fit import fit
from mesocosm.learning.learned_credit import Experience, LearnedCocoa
from mesocosm.learning.optimizers import adamw
from mesocosm.nn.policy import NetworkPolicy
from mesocosm.numerics.programs import filter_jit
from peers import learned_credit as peer
from peers.problem import Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "learned_credit"
TITLE = "learned COCOA-reward in one program, and in PyTorch"
NUMBERS = peer.Numbers(policy_rate=3e-4, models_rate=3e-3, entropy=0.01, exploration=0.05, weight_decay=1e-4)
QUOTED = "The authors' public code took 0.262 s an iteration at length 103 on another day on a machine of this kind, and was not run here"
LIMIT = "Most of an iteration is the hindsight network's matrix products, which PyTorch does as fast"
PEERS = {"PyTorch, every pair of steps": True, "PyTorch, once per step and reward": False}


@dataclass(frozen=True)
class Size:
    """Length of the track, episodes a batch, hidden units, iterations a sample, seeds, seconds of timing a row."""

    length: int
    batch: int
    width: int
    iterations: int
    seeds: int
    seconds: float


SIZES = {"tiny": Size(6, 2, 8, 3, 2, 0.0), "small": Size(23, 8, 256, 30, 4, 1.0), "full": Size(103, 8, 256, 100, 10, 10.0)}


def cases(sizes: str) -> Sequence[Case]:
    """Credit of one batch, and whole iterations."""
    size = SIZES[sizes]
    return [Case("credit", 2, partial(credit, size)), Case("iterations", 4, partial(iterations, size))]


def build(key: Any) -> NetworkPolicy:
    """Two hidden layers of 64 units."""
    return NetworkPolicy.create(9, 4, key=key)


def learner_of(size: Size) -> ActorCredit:
    """With a network evaluated once per state and reward."""
    env = KeyToDoor(size.length)
    mdp = env.tabular()
    values = tuple(float(value) for value in mdp.reward_values if value)
    return ActorCredit(
        build=build,
        env=env,
        params=env.default_params,
        observations=mdp.observations,
        credit=LearnedCocoa(9, 4, values, width=size.width),
        optimizer=adamw,
        hyperparameters={"learning_rate": NUMBERS.policy_rate, "weight_decay": NUMBERS.weight_decay},
        entropy=NUMBERS.entropy,
        exploration=NUMBERS.exploration,
        batch_size=size.batch,
        credit_optimizer=adamw,
        credit_hyperparameters={"learning_rate": NUMBERS.models_rate, "weight_decay": NUMBERS.weight_decay},
    )


def agent_of(learner: ActorCredit, state: Any, by_pair: bool, double: bool = False) -> peer.Agent:
    """The same networks in PyTorch.

    Raises:
        Unavailable: torch is not installed.
    """
    peer.check_installed()
    layers, hindsight = state.policy.model.network.layers, state.credit.model
    policy = [np.asarray(part) for layer in layers for part in (layer.weight, layer.bias)]
    maps = [np.asarray(part) for each in (hindsight.hidden, hindsight.shift, hindsight.gates) for part in (each.weight, each.bias)]
    assert isinstance(learner.credit, LearnedCocoa)
    return peer.Agent(policy, maps, learner.credit.values, NUMBERS, by_pair, double)


def credit(size: Size) -> list[Row]:
    """Contributions of a given batch, and the gradient of the hindsight network's loss, both before any step."""
    learner = replace(learner_of(size), observations=None)
    cocoa: Any = learner.credit
    state = learner.init(jax.random.key(0))
    batch = learner.sample(state.policy.model, jax.random.key(1))
    rows = jnp.arange(batch.actions.size).reshape(batch.actions.shape)
    seen = batch.observations.reshape(-1, 9)

    @filter_jit
    def of(policy: Any, network: Any) -> Any:
        table = replace(learner, observations=seen).probabilities(policy)
        experience = Experience(seen, table, Steps(rows, batch.actions, batch.rewards, table[rows], batch.taken))
        gradient = eqx.filter_grad(lambda network: cocoa.loss(network, experience))(network)
        models = cocoa.models_of(network, seen, table)
        return jax.vmap(cocoa.contributions, in_axes=(None, 0))(models, experience.steps), gradient

    def answer(found: Any) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]

    played = [np.asarray(part) for part in batch[:3]]
    ours = Contender("one program", lambda: jax.block_until_ready(of(state.policy.model, state.credit.model)), answer)
    found = []
    for name, by_pair in PEERS.items():
        comparison = Comparison(NAME, "credit of one batch", f"batch {size.batch}, length {size.length}", size.seconds, None, LIMIT)
        try:
            agent, exact = agent_of(learner, state, by_pair), agent_of(learner, state, False, double=True)
        except Unavailable as missing:
            found.append(comparison.skipped(name, str(missing)))
            continue
        tensors, wide = peer.as_batch(played[0], played[1], played[2]), peer.as_batch(played[0], played[1], played[2], double=True)
        theirs = Contender(name, partial(agent.credit_gradients, tensors), lambda answers: answers)
        found.append(comparison.timed(ours, theirs, lambda _, exact=exact, wide=wide: exact.credit_gradients(wide)))
    return found


def iterations(size: Size) -> list[Row]:
    """Episodes, a step of the hindsight network and a step of the policy; PyTorch does two iterations of one seed."""
    learner = learner_of(size)
    params = learner.params
    track = peer.Track(np.asarray(params.cells), np.asarray(params.apple), float(params.treasure))
    found = []
    for seeds in (1, size.seeds):
        fit(learner, 1, range(seeds))
        ours = Contender("fit", lambda seeds=seeds: fit(learner, size.iterations, range(seeds)))
        sized = f"{size.iterations} iterations x {seeds} {'seed' if seeds == 1 else 'seeds'}, batch {size.batch}, length {size.length}"
        for name, by_pair in PEERS.items():
            target = Target("ratio", "≥", 60) if by_pair else None
            comparison = Comparison(NAME, "iterations", sized, size.seconds, target, LIMIT)
            try:
                agent = agent_of(learner, learner.init(jax.random.key(0)), by_pair)
            except Unavailable as missing:
                found.append(comparison.skipped(name, str(missing)))
                continue
            share = 2 / (size.iterations * seeds)
            theirs = Contender(name, partial(agent.train, track, size.batch, 2), share=share, note=f"timed on 2 of {size.iterations * seeds}. {QUOTED}")
            found.append(comparison.timed(ours, theirs))
    return found


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
