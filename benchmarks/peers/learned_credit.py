"""Iterations of learned COCOA-reward and of REINFORCE on key-to-door, from the same weights and random numbers: ours and PyTorch's; a float64 reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.envs.key_to_door import APPLE_LEFT, APPLE_RIGHT, OPEN_DOOR, PICK_LEFT, PICK_RIGHT, TAKE_KEY, KeyToDoor
from mesocosm.learning.actor_credit import ActorCredit
from mesocosm.learning.exact_credit import Credit, Reinforce
from mesocosm.learning.fit import fit
from mesocosm.learning.learned_credit import Experience, LearnedCocoa
from mesocosm.learning.optimizers import adam
from mesocosm.nn.policy import NetworkPolicy
from mesocosm.numerics import programs
from peers.problem import NOT_INSTALLED, Unavailable
from stopwatch.timing import Contender

FEATURES, ACTIONS = 9, 4
EXPLORATION, ENTROPY = 0.05, 0.01
POLICY_RATE, CREDIT_RATE = 3e-4, 3e-3
WARM = 20
"""Iterations before the one that is compared, so that no second moment of Adam is 0."""


@dataclass(frozen=True)
class Setting:
    """The track, the episodes of a batch, the hidden units of the hindsight network (None: REINFORCE, which has none), and the iterations that are timed."""

    length: int
    batch: int
    width: int | None
    iterations: int

    def __str__(self) -> str:
        network = "" if self.width is None else f", width {self.width}"
        return f"{self.iterations} iterations, length {self.length}, batch {self.batch}{network}"

    @property
    def credit(self) -> Credit:
        """What assigns credit."""
        return Reinforce() if self.width is None else LearnedCocoa(FEATURES, ACTIONS, rewards_of(self.length), width=self.width)


def rewards_of(length: int) -> tuple[float, ...]:
    """The rewards other than 0."""
    return tuple(float(value) for value in KeyToDoor(length).tabular().reward_values if value)


@cache
def learner_of(setting: Setting) -> ActorCredit:
    """Networks are evaluated once per state."""
    env = KeyToDoor(setting.length)
    return ActorCredit(
        build=_policy,
        env=env,
        params=env.default_params,
        observations=env.tabular().observations,
        credit=setting.credit,
        optimizer=adam,
        hyperparameters={"learning_rate": POLICY_RATE},
        entropy=ENTROPY,
        exploration=EXPLORATION,
        batch_size=setting.batch,
        credit_optimizer=adam,
        credit_hyperparameters={"learning_rate": CREDIT_RATE},
    )


def _policy(key: Any) -> NetworkPolicy:
    return NetworkPolicy.create(FEATURES, ACTIONS, key=key)


@cache
def started(setting: Setting) -> Any:
    """The state before the iteration that is compared."""
    return jax.tree.map(lambda leaf: leaf[0] if isinstance(leaf, jax.Array) else leaf, fit(learner_of(setting), WARM, [0]).state)


@cache
def played(setting: Setting) -> tuple[Any, Any]:
    """The episodes of that iteration, and the random numbers behind them."""
    learner, key = learner_of(setting), jax.random.key(1)
    table = learner.probabilities(started(setting).policy.model)
    numbers = jax.vmap(lambda key: jax.random.uniform(key, (2, setting.length)))(jax.random.split(key, setting.batch))
    return learner.episodes(table, key), np.asarray(numbers)


def mesocosm(setting: Setting) -> Contender:
    """`fit`, which compiled the program before."""
    learner = learner_of(setting)
    fit(learner, 1, [0])
    return Contender("fit", lambda: fit(learner, setting.iterations, [0]), lambda _: _learned(setting))


def reference(setting: Setting, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Our iteration in float64; the tests hold it to its formula."""
    return _wide(setting)


@cache
def _wide(setting: Setting) -> list[np.ndarray]:
    played(setting)  # in float32
    with jax.enable_x64(True):
        return _learned(setting, np.float64)


def _learned(setting: Setting, dtype: Any = np.float32) -> list[np.ndarray]:
    """One iteration on the episodes played: the rewards, both losses, and the first moments of the weights, which are a mean of gradients."""

    def cast(leaf: Any) -> Any:
        number = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        return jnp.asarray(np.asarray(leaf), dtype) if number else leaf

    learner, (state, steps) = learner_of(setting), jax.tree.map(cast, (started(setting), played(setting)[0]))
    table = learner.probabilities(state.policy.model)
    experience = Experience(jnp.asarray(learner.observations, dtype), table, steps._replace(policy=table[steps.states]))
    after, told = programs.filter_jit(learner.learn)(state, experience, jax.random.key(0))
    moments = [after.policy.optimizer[0].mu.network.layers, *([] if setting.width is None else [after.credit.optimizer[0].mu])]
    losses = [told["loss"], *([] if setting.width is None else [told["credit_loss"]])]
    return [np.asarray(part) for part in (steps.rewards, *losses, *jax.tree.leaves(moments))]


# --- by hand -----------------------------------------------------------------------------------------------------------


def in_torch(setting: Setting, every_pair: bool = False) -> Contender:
    """The loop that one would write with care: the policy once per state, all episodes of the batch at once, fused Adam.

    There is no torch.compile, which needs a C++ compiler.

    Args:
        setting: what is computed.
        every_pair: evaluate the hindsight network for every pair of steps, as the authors' code does, not once per state and reward.

    Raises:
        Unavailable: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise Unavailable(NOT_INSTALLED)
    import torch

    loop, numbers = Loop(setting, every_pair), played(setting)[1]
    count = max(1, setting.iterations // (100 if every_pair else 10))

    def run() -> None:
        for _ in range(count):
            loop.iterate(torch.rand(setting.batch, 2, setting.length))

    first = [part.detach().numpy().copy() for part in loop.iterate(torch.tensor(numbers))]
    name = "torch, every pair of steps" if every_pair else "torch"
    note = f"PyTorch without torch.compile, timed on {count} of {setting.iterations} iterations"
    return Contender(name, run, lambda _: first, count / setting.iterations, note)


class Loop:
    """Policy, hindsight network and their optimisers, as `started` has them."""

    def __init__(self, setting: Setting, every_pair: bool):
        import torch

        learner, state = learner_of(setting), started(setting)
        self.setting, self.every_pair = setting, every_pair
        self.observations = torch.tensor(np.asarray(learner.observations), dtype=torch.float32)
        self.cells = torch.tensor(np.asarray(learner.params.cells))
        self.small, self.large, self.treasure = *map(float, learner.params.apple), float(learner.params.treasure)
        self.values = torch.tensor(rewards_of(setting.length))
        self.policy, self.policy_optimizer = _weights(state.policy, POLICY_RATE)
        self.hindsight, self.hindsight_optimizer = ([], None) if setting.width is None else _weights(state.credit, CREDIT_RATE)

    def iterate(self, numbers: Any) -> list[Any]:
        """Random numbers (batch, 2, time) -> the rewards, losses and first moments of one iteration."""
        import torch
        from torch.nn import functional

        logits = self.observations
        for weight, bias in zip(self.policy[:-2:2], self.policy[1:-2:2], strict=True):
            logits = functional.relu(functional.linear(logits, weight, bias))
        table = (1 - EXPLORATION) * functional.softmax(functional.linear(logits, *self.policy[-2:]), -1) + EXPLORATION / ACTIONS
        fixed = table.detach()
        states, actions, rewards = self.play(fixed, numbers)
        inverse = functional.one_hot(actions, ACTIONS) / fixed[states].gather(-1, actions[..., None])
        if self.hindsight:
            later, told = self.credit(fixed, states, actions, rewards)
            contributions = inverse * rewards[..., None] + later
        else:
            contributions, told = inverse * (rewards + _after(rewards))[..., None], []
        chosen = table[states]
        loss = -(chosen * (contributions - ENTROPY * torch.log(chosen))).sum(-1).mean()
        _step(loss, self.policy_optimizer)
        held = [(self.policy_optimizer, weight) for weight in self.policy] + [(self.hindsight_optimizer, weight) for weight in self.hindsight]
        return [rewards, loss, *told, *(optimizer.state[weight]["exp_avg"] for optimizer, weight in held)]

    def play(self, table: Any, numbers: Any) -> tuple[Any, Any, Any]:
        """States, actions, rewards; the key is the only memory, so all steps between it and the treasure are independent."""
        import torch

        (uniform, coin), length = numbers.unbind(1), self.setting.length
        first = _choose(table[0].expand(len(uniform), -1), uniform[:, 0])
        has_key = first == TAKE_KEY
        middle = 2 * torch.arange(1, length - 1) - 1 + has_key.long()[:, None]
        chosen = _choose(table[middle], uniform[:, 1:-1])
        found = has_key & (chosen[:, -1] == OPEN_DOOR)
        last = 2 * length - 3 + has_key.long() + found.long()
        states = torch.cat([torch.zeros_like(first)[:, None], middle, last[:, None]], 1)
        actions = torch.cat([first[:, None], chosen, _choose(table[last], uniform[:, -1])[:, None]], 1)
        picked = ((self.cells == APPLE_LEFT) & (actions == PICK_LEFT)) | ((self.cells == APPLE_RIGHT) & (actions == PICK_RIGHT))
        rewards = torch.where(picked, torch.where(coin < 0.5, self.large, self.small), 0.0)
        rewards[:, -1] += self.treasure * found
        return states, actions, rewards

    def credit(self, table: Any, states: Any, actions: Any, rewards: Any) -> tuple[Any, list[Any]]:
        """Contributions of later rewards (batch, time, actions) by the improved network, and the network's loss before its step."""
        import torch
        from torch.nn import functional

        length, log_policy = self.setting.length, torch.log(table)
        classes = ((rewards[..., None] - self.values).abs() < 1e-6).float()
        taken = functional.one_hot(actions, ACTIONS).float()
        if self.every_pair:
            later = torch.ones(length, length).triu(1) * classes.sum(-1)[:, None]
            given = self.observations[states][:, :, None], classes[:, None], log_policy[states][:, :, None]
            weights = later[..., None] * taken[:, :, None]
        else:
            given = self.observations[:, None], torch.eye(len(self.values)), log_policy[:, None]
            counts = (_after(classes)[..., None] * taken[:, :, None]).reshape(-1, len(self.values), ACTIONS)
            weights = torch.zeros(len(table), len(self.values), ACTIONS).index_add(0, states.reshape(-1), counts)
        loss = -(weights * self.log_hindsight(*given)).sum() / (length * (length - 1) / 2) / self.setting.batch
        _step(loss, self.hindsight_optimizer)
        with torch.no_grad():
            coefficients = torch.expm1(self.log_hindsight(*given) - given[2])
            if self.every_pair:
                return torch.einsum("btka,btk->bta", coefficients, later * rewards[:, None]), [loss]
            return torch.einsum("btua,btu->bta", coefficients[states], _after(classes * rewards[..., None])), [loss]

    def log_hindsight(self, seen: Any, outcome: Any, log_policy: Any) -> Any:
        """The classifier of the action, for all rows of its arguments' common shape."""
        import torch
        from torch.nn import functional

        rows = torch.broadcast_shapes(seen.shape[:-1], outcome.shape[:-1])
        seen, outcome, log_policy = (part.expand(*rows, -1) for part in (seen, outcome, log_policy))
        hidden, hidden_bias, *heads = self.hindsight
        z = functional.relu(functional.linear(torch.cat([seen, outcome], -1), hidden, hidden_bias))
        halves = [functional.relu(functional.linear(z, *head)).chunk(2, -1) for head in (heads[:2], heads[2:])]
        shift, gates = (positive - negative for positive, negative in halves)
        modulation = torch.cat([log_policy, torch.log(-torch.expm1(log_policy))], -1)
        return functional.log_softmax(shift + (gates.unflatten(-1, (ACTIONS, -1)) @ modulation[..., None])[..., 0] + log_policy, -1)


def _choose(table: Any, uniform: Any) -> Any:
    return (table.cumsum(-1)[..., :-1] <= uniform[..., None]).sum(-1)


def _after(x: Any) -> Any:
    """Sums over later steps."""
    return x.flip(1).cumsum(1).flip(1) - x


def _step(loss: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _weights(state: Any, rate: float) -> tuple[list[Any], Any]:
    """A network's arrays as torch's, and Adam with our moments of them."""
    import torch

    adam_state = state.optimizer[0]
    trees = (state.model, adam_state.mu, adam_state.nu)
    arrays, first, second = ([torch.tensor(np.asarray(leaf)) for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)] for tree in trees)
    weights = [torch.nn.Parameter(array) for array in arrays]
    optimizer = torch.optim.Adam(weights, lr=rate, fused=True)
    for weight, mean, square in zip(weights, first, second, strict=True):
        optimizer.state[weight] = {"step": torch.tensor(float(adam_state.count)), "exp_avg": mean, "exp_avg_sq": square}
    return weights, optimizer
