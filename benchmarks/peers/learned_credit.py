"""COCOA-reward with learned coefficients on key-to-door, as one would write it in PyTorch: modules, AdamW, and a loop over steps and iterations.

The networks are those of `mesocosm.learning.learned_credit.LearnedCocoa` and `mesocosm.nn.policy.NetworkPolicy`, and start with the same numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np

from peers.problem import NOT_INSTALLED, Unavailable

torch: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
functional: Any = torch.nn.functional if torch else None


class Track(NamedTuple):
    """Key-to-door as arrays: the cell at each position, the two rewards of an apple, and the treasure's."""

    cells: np.ndarray
    apple: np.ndarray
    treasure: float


class Batch(NamedTuple):
    """Episodes: observations (batch, time, features), actions and rewards (batch, time)."""

    observations: Any
    actions: Any
    rewards: Any


class Numbers(NamedTuple):
    """Learning rates of policy and hindsight network, entropy, exploration, weight decay."""

    policy_rate: float
    models_rate: float
    entropy: float
    exploration: float
    weight_decay: float


def check_installed() -> None:
    """Reject a machine without torch.

    Raises:
        Unavailable: torch is not installed.
    """
    if torch is None:
        raise Unavailable(NOT_INSTALLED)


class Agent:
    """A policy and its hindsight network.

    Args:
        policy: weights and biases of the policy's layers.
        hindsight: weights and biases of the hindsight network's three maps.
        values: the rewards other than 0.
        numbers: see `Numbers`.
        by_pair: evaluate the hindsight network at every pair of steps, as the authors' code does, instead of once per step and reward.
        double: compute in float64.
    """

    def __init__(self, policy: list[np.ndarray], hindsight: list[np.ndarray], values: tuple[float, ...], numbers: Numbers, by_pair: bool, double: bool = False):
        kind = torch.float64 if double else torch.float32
        self.policy, self.hindsight = ([torch.tensor(np.array(part), dtype=kind, requires_grad=True) for part in parts] for parts in (policy, hindsight))
        self.values, self.numbers, self.by_pair, self.kind = torch.tensor(values, dtype=kind), numbers, by_pair, kind
        self.policy_optimizer = torch.optim.AdamW(self.policy, lr=numbers.policy_rate, weight_decay=numbers.weight_decay)
        self.hindsight_optimizer = torch.optim.AdamW(self.hindsight, lr=numbers.models_rate, weight_decay=numbers.weight_decay)

    def probabilities(self, observations: Any) -> Any:
        """The behaviour policy."""
        x = observations
        for number, (weight, bias) in enumerate(zip(self.policy[::2], self.policy[1::2], strict=True)):
            x = functional.linear(x if number == 0 else functional.relu(x), weight, bias)
        chosen = torch.softmax(x, dim=-1)
        return (1 - self.numbers.exploration) * chosen + self.numbers.exploration / x.shape[-1]

    def output(self, observations: Any, outcomes: Any, log_policy: Any) -> Any:
        """The hindsight network: how much an outcome changes the log probability of each action."""
        hidden, hidden_bias, shift, shift_bias, gates, gates_bias = self.hindsight
        z = functional.relu(functional.linear(torch.cat([observations, outcomes], dim=-1), hidden, hidden_bias))
        shifts, matrix = (_difference(functional.linear(z, weight, bias)) for weight, bias in ((shift, shift_bias), (gates, gates_bias)))
        unlikely = torch.log(torch.clamp(-torch.expm1(log_policy), min=torch.finfo(self.kind).eps))
        both = torch.cat([log_policy, unlikely], dim=-1)
        return shifts + torch.einsum("...ij,...j->...i", matrix.reshape(*shifts.shape, both.shape[-1]), both)

    def credit(self, batch: Batch) -> tuple[Any, Any]:
        """The hindsight network's loss, and the contribution of every action."""
        observations, actions, rewards = batch
        episodes, time = actions.shape
        policy = self.probabilities(observations).detach()
        log_policy, chosen = torch.log(policy), functional.one_hot(actions, policy.shape[-1]).to(self.kind)
        classes = (
            functional.one_hot(torch.argmin(torch.abs(rewards[..., None] - self.values), dim=-1), len(self.values)).to(self.kind) * (rewards != 0)[..., None]
        )
        shape = (episodes, time, time if self.by_pair else len(self.values))
        outcomes = classes[:, None].expand(*shape, -1) if self.by_pair else torch.eye(len(self.values), dtype=self.kind).expand(*shape, -1)
        here = log_policy[:, :, None].expand(*shape, -1)
        outputs = self.output(observations[:, :, None].expand(*shape, -1), outcomes, here)
        if self.by_pair:
            later = torch.triu(torch.ones(time, time, dtype=self.kind), diagonal=1)
            weights = later * (rewards != 0)[:, None]
            gains = later * rewards[:, None]
        else:
            weights, gains = (torch.flip(torch.cumsum(torch.flip(x, [1]), 1), [1]) - x for x in (classes, classes * rewards[..., None]))
        logits = outputs + here
        each = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), actions[:, :, None].expand(shape).reshape(-1), reduction="none").reshape(shape)
        loss = (weights * each).sum() / (episodes * time * (time - 1) / 2)
        coefficients = torch.expm1(functional.log_softmax(logits.detach(), dim=-1) - here)
        return loss, chosen / policy * rewards[..., None] + torch.einsum("btka,btk->bta", coefficients, gains)

    def update(self, batch: Batch) -> None:
        """One step of the hindsight network, then one of the policy with contributions of the improved network."""
        self.hindsight_optimizer.zero_grad()
        self.credit(batch)[0].backward()
        self.hindsight_optimizer.step()
        with torch.no_grad():
            contributions = self.credit(batch)[1]
        self.policy_optimizer.zero_grad()
        policy = self.probabilities(batch.observations)
        entropy = -(policy * torch.log(policy)).sum(-1).mean()
        (-(policy * contributions).sum(-1).mean() - self.numbers.entropy * entropy).backward()
        self.policy_optimizer.step()

    def play(self, track: Track, episodes: int, generator: Any) -> Batch:
        """A batch of episodes, one step after another."""
        length = len(track.cells)
        has_key = torch.zeros(episodes, dtype=torch.long)
        opened = torch.zeros(episodes, dtype=torch.bool)
        seen, done, got = [], [], []
        for t in range(length):
            last = t == length - 1
            cell = torch.where(opened, 5, int(track.cells[t])) if last else torch.full((episodes,), int(track.cells[t]))
            observation = torch.cat([torch.full((episodes, 1), t / length), functional.one_hot(cell, 6), functional.one_hot(has_key, 2)], dim=1).to(self.kind)
            with torch.no_grad():
                action = torch.multinomial(self.probabilities(observation), 1, generator=generator)[:, 0]
            size = torch.where(torch.rand(episodes, generator=generator) < 0.5, float(track.apple[1]), float(track.apple[0]))
            picked = ((cell == 1) & (action == 1)) | ((cell == 2) & (action == 2))
            reward = picked * size + (float(track.treasure) * opened if last else 0.0)
            if t == 0:
                has_key = (action == 0).long()
            if t == length - 2:
                opened = (has_key == 1) & (action == 3)
            seen.append(observation)
            done.append(action)
            got.append(reward.to(self.kind))
        return Batch(*(torch.stack(part, dim=1) for part in (seen, done, got)))

    def train(self, track: Track, episodes: int, iterations: int) -> None:
        """Play and update."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(iterations):
            self.update(self.play(track, episodes, generator))

    def credit_gradients(self, batch: Batch) -> list[np.ndarray]:
        """Contributions, and the gradient of the hindsight network's loss."""
        loss, contributions = self.credit(batch)
        return [part.detach().numpy() for part in (contributions, *torch.autograd.grad(loss, self.hindsight))]


def as_batch(observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray, double: bool = False) -> Batch:
    """Arrays as tensors."""
    kind = torch.float64 if double else torch.float32
    return Batch(torch.tensor(observations, dtype=kind), torch.tensor(actions, dtype=torch.long), torch.tensor(rewards, dtype=kind))


def _difference(y: Any) -> Any:
    positive, negative = torch.chunk(functional.relu(y), 2, dim=-1)
    return positive - negative
