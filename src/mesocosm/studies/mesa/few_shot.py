"""Few-shot regression by a network that was trained on systems: with plain prompts, with a tuned separator, and with a tuned prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.regression import least_squares
from mesocosm.learning.optimizers import adam
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import recursive_least_squares
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import FewShotRuns
from mesocosm.studies.mesa.raw_networks import RawArm, RawNetwork
from mesocosm.tasks.few_shot import FewShotExample, FewShotRegression, Prompt
from mesocosm.tasks.task import batch, digest

PARENT = "few-shot-network"
RIDGE = 0.3
"""Of the regression on neighbouring tokens, whose losses are then the paper's (peak 2.2). With the 0.001 of its text, they have a peak of 40 where tokens are
as many as dimensions."""


@dataclass(frozen=True)
class FewShotArm:
    """How prompts are tuned, and the network that they are for."""

    network: RawArm
    runs: FewShotRuns


def measure_few_shot(arm: FewShotArm, context: Context) -> Tables:
    """Tune a separator, and a separator with a prefix; then losses at every pair with each prompt, on examples of each seed's own. All
    have as many pairs as the longest prompt allows, an even number."""
    network, runs, systems = context.model(PARENT, "network"), arm.runs, arm.network.systems
    pairs = 2 * ((systems.length - runs.prefix) // 6)
    draw = {
        "plain": Partial(draw_prompt, systems.dim, 0, False),
        "untuned": Partial(draw_prompt, systems.dim, 0, True),
        "separator": Partial(draw_prompt, systems.dim, 0, True),
        "prefix": Partial(draw_prompt, systems.dim, runs.prefix, True),
        "untuned-prefix": Partial(draw_prompt, systems.dim, runs.prefix, True),
    }
    rows, tuned = [], {}
    for name, build in draw.items():
        if name in ("separator", "prefix"):
            task = FewShotRegression(systems.dim, pairs, pairs)
            learner = Supervised(build, task, Partial(prompt_loss, network), adam, {"learning_rate": runs.learning_rate}, runs.batch_size)
            prompt = tuned[name] = context.fit(name, learner, runs.steps, per_seed=True).model
        else:
            prompt = context.evaluate(build, context.keys("init"))
        if name == "untuned-prefix":
            prompt = replace(prompt, separator=tuned["separator"].separator)
        found = context.evaluate(Partial(measure_prompt, runs, pairs), network, prompt, context.keys("eval"))
        losses = {column: getattr(found, column) for column in ("one", "two", "every", "neighbours", "true_pairs")}
        rows.append(context.rows({"pair": range(1, 1 + pairs)}, prompt=name, digest=[digest(each) for each in found.test], **losses))
    return {"few_shot": pl.concat(rows)}


def draw_prompt(dim: int, prefix: int, separated: bool, key: PRNGKeyArray) -> Prompt:
    """From N(0, I), as in the paper."""
    prefix_key, separator_key = jax.random.split(key)
    return Prompt(jax.random.normal(prefix_key, (prefix, dim)), jax.random.normal(separator_key, (dim,)) if separated else None)


def pair_losses(network: Any, prompt: Prompt, example: FewShotExample) -> Float[Array, " pairs"]:
    """Half the squared error at every pair, summed over components."""
    found = prompt.at_inputs(network(prompt(example)))
    return 0.5 * jnp.sum((found - example.targets) ** 2, axis=-1)


def prompt_loss(network: RawNetwork, prompt: Prompt, example: FewShotExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """The mean over pairs."""
    return jnp.mean(pair_losses(network, prompt, example))


class PromptLosses(NamedTuple):
    """Mean losses at every pair.

    Attributes:
        one: one task.
        two: another task from the middle on.
        every: a new task with every pair, from which nothing can be learned.
        neighbours: one task, by ridge regression on all neighbouring tokens of the plain prompt, true pairs and the steps between them.
        true_pairs: one task, by ridge regression on the true pairs.
        test: inputs of the one task's examples.
    """

    one: Array
    two: Array
    every: Array
    neighbours: Array
    true_pairs: Array
    test: Array


def measure_prompt(runs: FewShotRuns, pairs: int, network: RawNetwork, prompt: Prompt, key: PRNGKeyArray) -> PromptLosses:
    """Losses on fresh examples, the same for all prompts."""
    one, two, every = (batch(FewShotRegression(network.embed.shape[1], pairs, run), key, runs.sequences, "iid") for run in (pairs, pairs // 2, 1))

    def mean(losses: Any, examples: FewShotExample) -> Float[Array, " pairs"]:
        return jax.lax.map(losses, examples, batch_size=64).mean(0)

    own, plain = Partial(pair_losses, network, prompt), Prompt(jnp.zeros((0, network.embed.shape[1])))
    neighbours = Partial(pair_losses, neighbour_regression, plain)
    return PromptLosses(mean(own, one), mean(own, two), mean(own, every), mean(neighbours, one), mean(true_pair_losses, one), one.inputs)


def neighbour_regression(tokens: Float[Array, "time dim"]) -> Float[Array, "time dim"]:
    """Ridge regression of every token on the one before it, over the whole prompt."""
    return least_squares(tokens, ridge=RIDGE)


def true_pair_losses(example: FewShotExample) -> Float[Array, " pairs"]:
    """The losses of ridge regression on the pairs before each input."""
    size = example.inputs.shape[1]
    keys, values = (jnp.concatenate([jnp.zeros((1, size)), x[:-1]]) for x in (example.inputs, example.targets))
    found = recursive_least_squares(example.inputs, keys, values, jnp.full(size, 1e-3))
    return 0.5 * jnp.sum((found - example.targets) ** 2, axis=-1)
