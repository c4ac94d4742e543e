"""The networks of the randomized study: linear attention without feed-forward parts, norms or positions, as in what appears to be the authors' code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mesocosm.nn import Linear, LinearAttention, OneSeed, Seeded, SharedBits, SlotPermutation, TokenNoise
from mesocosm.nn.blocks.linear import truncated_gaussian
from mesocosm.studies.parts import user_model
from mesocosm.studies.randomized.config import Colouring, Recall, Training
from mesocosm.tasks.bit_recall import BitRecall
from mesocosm.tasks.cycle_colouring import COLOURS, CycleColouring


@dataclass(frozen=True)
class Arm:
    """One network: the problem, how it is trained, and whether its seed is random."""

    problem: Recall | Colouring
    training: Training
    q: float
    seeds: int
    randomised: bool
    test_seeds: int
    model: str = ""
    """A user's seeded model in place of ours."""
    most: int | None = None
    """In a sweep over the number of seeds, its largest: the compiled program has room for so many."""

    @property
    def structure(self) -> Arm:
        """The arm without what a sweep varies: arms of equal structure build equal networks, and one compiled program trains them all."""
        return replace(self, q=1.0, seeds=1, test_seeds=1, most=None)


class Recaller(eqx.Module):
    """Two linear maps with a GELU between them, layers of causal linear attention, and the last token's logits."""

    first: Linear
    second: Linear
    layers: tuple[LinearAttention, ...]
    readout: Linear

    def __call__(self, tokens: Float[Array, "time channels"]) -> Float[Array, " bits"]:
        """Logits of the bits of the word asked for."""
        x = self.second(jax.nn.gelu(self.first(tokens)))
        for layer in self.layers[:-1]:
            x = x + layer(x)
        last = jnp.array([x.shape[0] - 1])
        return self.readout((x[last] + self.layers[-1].at(x, last))[0])


class Colourer(eqx.Module):
    """A linear map, layers of linear attention over the neighbours in the graph, and logits of the colours."""

    embed: Linear
    layers: tuple[LinearAttention, ...]
    readout: Linear

    def __call__(self, tokens: Float[Array, "vertices channels"], edges: Bool[Array, "vertices vertices"]) -> Float[Array, "vertices colours"]:
        """Logits of every vertex."""
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + layer(x, mask=edges)
        return self.readout(x)


class UserModel(eqx.Module):
    """A user's seeded model: the last token's logits for recall; for colouring, each vertex is a token, its number and its neighbours."""

    model: Any

    def __call__(self, tokens: Float[Array, "time dim"], *edges: Bool[Array, "time time"], key: PRNGKeyArray) -> Float[Array, "..."]:
        """Logits under a seed."""
        logits = self.model(jnp.concatenate([tokens, *(graph.astype(tokens.dtype) for graph in edges)], axis=1), key=key)
        return logits if edges else logits[-1]


def sizes_of(problem: Recall | Colouring) -> tuple[int, int, int]:
    """Channels, outputs and length of the tokens of a user's model."""
    if isinstance(problem, Recall):
        return problem.pairs + problem.bits, problem.bits, problem.pairs + 1
    return 2 * problem.vertices, COLOURS, problem.vertices


def build_network(arm: Arm, key: PRNGKeyArray) -> Any:
    """The network of an arm: (tokens, key) -> logits for recall, (tokens, edges, key) -> logits for colouring."""
    network_key, seed_key = jax.random.split(key)
    if arm.model:
        channels, outputs, _ = sizes_of(arm.problem)
        seeded = UserModel(user_model(arm.model, channels, outputs, network_key))
    else:
        seeded = _recaller(arm.problem, network_key) if isinstance(arm.problem, Recall) else _colourer(arm.problem, network_key)
    return seeded if arm.randomised else OneSeed.create(seeded, key=seed_key)


def task_of(problem: Recall | Colouring) -> BitRecall | CycleColouring:
    """The task that draws inputs."""
    return BitRecall(problem.pairs, problem.bits) if isinstance(problem, Recall) else CycleColouring(problem.vertices)


def _recaller(config: Recall, key: PRNGKeyArray) -> Seeded:
    encoding = SlotPermutation(config.pairs) if config.seed == "slots" else SharedBits(config.shared_bits)
    channels = config.pairs + config.bits + (config.pairs if config.seed == "slots" else config.shared_bits)
    first, second, readout, *layers = jax.random.split(key, 3 + config.layers)
    attention = tuple(_attention(config.width, config.key_size, config.value_size, config.layers, k) for k in layers)
    entry = _linear(channels, config.width, first)
    entry = Linear(entry.weight.at[:, config.pairs + config.bits :].multiply(config.seed_gain), entry.bias)
    return Seeded(Recaller(entry, _linear(config.width, config.width, second), attention, _linear(config.width, config.bits, readout)), encoding)


def _colourer(config: Colouring, key: PRNGKeyArray) -> Seeded:
    embed, readout, *layers = jax.random.split(key, 2 + config.layers)
    attention = tuple(_attention(config.width, config.key_size, config.key_size, config.layers, k) for k in layers)
    entry = _linear(config.vertices + 1, config.width, embed, config.embedding_gain**0.5)
    entry = Linear(entry.weight.at[:, config.vertices :].multiply(config.seed_gain), entry.bias)
    return Seeded(Colourer(entry, attention, _linear(config.width, COLOURS, readout)), TokenNoise())


def _attention(dim: int, key_size: int, value_size: int, depth: int, key: PRNGKeyArray) -> LinearAttention:
    """One head; the output map's variance is divided by the number of layers."""
    query, key_map, value, output = jax.random.split(key, 4)
    return LinearAttention(
        truncated_gaussian((1, key_size, dim), 1.0, query),
        truncated_gaussian((1, key_size, dim), 1.0, key_map),
        truncated_gaussian((1, value_size, dim), 1.0, value),
        truncated_gaussian((1, dim, value_size), depth**-0.5, output),
    )


def _linear(dim: int, out: int, key: PRNGKeyArray, gain: float = 1.0) -> Linear:
    return Linear(truncated_gaussian((out, dim), gain, key), jnp.zeros(out))
