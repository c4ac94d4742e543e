"""The transformers of the hyla study, and what it takes to train one on either task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Loss, Supervised
from mesocosm.nn.mixers.scores import Normalisation
from mesocosm.studies.hyla.config import Evaluation, Fuzzy, Language, Network, Raven, Training
from mesocosm.studies.parts import user_mixer
from mesocosm.tasks.byte_pairs import BytePairs
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.fuzzy_logic import FuzzyLogic
from mesocosm.tasks.raven_matrices import RavenExample, RavenMatrices
from mesocosm.tasks.task import Split, Task
from mesocosm.tasks.text import Text, python_manual

DECAYED = r"^(?!.*(norm|bias))"
"""All parameters but those of norms and biases."""
MIXTURE = "-moe"
"""How names of networks end whose feed-forward parts are mixtures of experts."""


@dataclass(frozen=True)
class _Arm:
    """A network and how it is trained and tested."""

    network: Network
    variant: str
    """A name in `nn.HYLA_VARIANTS`, or one with `MIXTURE`."""
    training: Training
    evaluation: Evaluation
    mixer: str = ""
    """The user's layer, in place of the variant."""

    @property
    def layer(self) -> str:
        """What its attention layers are called."""
        return self.mixer or self.variant


@dataclass(frozen=True)
class FuzzyArm(_Arm):
    """A network on fuzzy logic."""

    task: Fuzzy = field(default_factory=Fuzzy)


@dataclass(frozen=True)
class RavenArm(_Arm):
    """A network on Raven matrices."""

    task: Raven = field(default_factory=Raven)


@dataclass(frozen=True)
class LanguageArm(_Arm):
    """A decoder of text."""

    task: Language = field(default_factory=Language)


Arm = FuzzyArm | RavenArm | LanguageArm


def tasks(of: Fuzzy | Raven | Language, seeds: Sequence[int]) -> Any:
    """The task of every seed, with its own split; arrays have a leading seed axis."""
    draw = {Fuzzy: fuzzy_task, Raven: raven_task, Language: language_task}[type(of)]
    return stacked(draw(of, seed) for seed in seeds)


def fuzzy_task(of: Fuzzy, seed: int) -> FuzzyLogic:
    """Fuzzy logic with the split of a seed."""
    return FuzzyLogic.create(variables=of.variables, terms=of.terms, held_out=of.held_out, length=of.length, queries=of.queries, seed=seed)


def raven_task(of: Raven, seed: int) -> Task[RavenExample]:
    """Raven matrices with the split of a seed."""
    matrices = RavenMatrices.create(features=of.features, symbols=of.symbols, held_out=of.held_out, seed=seed)
    return Copied(matrices, of.copies) if of.copies else matrices


class Copied(Task[RavenExample]):
    """Matrices with further features, which have the symbols of one of the others, drawn anew for each matrix: as long as those of more features, with no more
    rules to find.
    """

    matrices: RavenMatrices
    copies: int = eqx.field(static=True)

    @property
    def combinations(self) -> CombinationSplit:
        """Of the matrices without copies."""
        return self.matrices.combinations

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> RavenExample:
        """Draw one matrix."""
        matrix_key, order_key, copied_key = jax.random.split(key, 3)
        drawn = self.matrices.sample(matrix_key, split)
        features = len(drawn.rules)
        copied = jax.random.randint(copied_key, (), 0, features)
        repeated = jnp.concatenate([jnp.arange(features), jnp.full(self.copies, copied)])
        return self.matrices.shown(order_key, drawn.features()[..., repeated], drawn.rules[repeated])


def language_task(of: Language, seed: int) -> Text:
    """Text whose ten held-out stretches begin elsewhere for each seed: the corpus is a circle, and the seed says where it is cut."""
    tokens, encoding = encoded_manual(of.vocabulary)
    start = int(np.random.default_rng(seed).integers(len(tokens)))
    groups = 10
    return Text(jnp.asarray(np.roll(tokens, -start)), encoding, of.length, groups, len(tokens) // groups // 10)


@cache
def encoded_manual(vocabulary: int) -> tuple[np.ndarray, BytePairs]:
    """Python's manual in tokens, and the encoding, which is learned from the whole text and is the same for all arms."""
    text = python_manual()
    encoding = BytePairs.of(text, vocabulary)
    return encoding.encode(text), encoding


def stacked(drawn: Iterable[Task]) -> Any:
    """Tasks that differ in their numbers only, as one with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)


def learner(arm: Arm, drawn: Any, loss: Loss) -> Supervised:
    """AdamW with warm-up and half a cosine."""
    training = arm.training
    hyperparameters = {
        "learning_rate": training.learning_rate,
        "warmup": float(training.warmup),
        "steps": float(training.steps),
        "floor": 0.1,
        "weight_decay": {DECAYED: training.weight_decay},
    }
    return Supervised(Partial(build, arm), drawn, loss, adamw, hyperparameters, training.batch_size)


def build(arm: Arm, key: PRNGKeyArray) -> nn.SequenceModel:
    """A network with random weights; it is read at the tokens whose values are to be predicted."""
    task, network = arm.task, arm.network
    if isinstance(task, Language):
        return _decoder(arm, task, key)
    embed_key, read_key, *keys = jax.random.split(key, 2 + network.layers)
    inputs, outputs, read = (task.symbols, task.symbols, task.places) if isinstance(task, Raven) else (task.variables + 1, 1, task.queries)
    part = nn.MixtureOfExperts if arm.variant.endswith(MIXTURE) else nn.FeedForward
    feed_forward = partial(part.create, hidden=network.hidden)
    blocks = (nn.TransformerBlock.create(network.dim, mixer=_mixer(arm), feed_forward=feed_forward, key=key) for key in keys)
    return nn.SequenceModel(
        nn.Linear.create(inputs, out_dim=network.dim, key=embed_key),
        None,
        tuple(blocks),
        nn.LayerNorm.create(network.dim),
        nn.Linear.create(network.dim, out_dim=outputs, key=read_key),
        tuple(range(-read, 0)),
    )


def _decoder(arm: Arm, task: Language, key: PRNGKeyArray) -> nn.SequenceModel:
    network = arm.network
    feed_forward = partial(nn.FeedForward.create, hidden=network.hidden)
    return nn.language_model(task.vocabulary, network.dim, layers=network.layers, mixer=_mixer(arm), feed_forward=feed_forward, positions=None, key=key)


def _mixer(arm: Arm) -> Callable[..., nn.Mixer]:
    if arm.mixer:
        return lambda dim, key: user_mixer(arm.mixer, dim, key)
    task, network = arm.task, arm.network
    if isinstance(task, Language):
        position = nn.Rotary.create
    else:
        buckets = 9 * task.places if isinstance(task, Raven) else task.length
        position = partial(nn.RelativeBias.create, buckets=buckets, max_distance=buckets)
    layer = partial(
        nn.hyla,
        variant=arm.variant.removesuffix(MIXTURE),
        heads=network.heads,
        key_dim=network.size // network.heads,
        value_dim=network.size // network.heads,
        position=position,
        causal=isinstance(task, Language),
        mask=nn.ContextAndSelf(task.length - 1) if isinstance(task, Fuzzy) and task.queries > 1 else None,
    )
    return partial(_tied, layer) if network.tied else layer


def _tied(layer: Callable[..., nn.Attention], dim: int, key: PRNGKeyArray) -> nn.Attention:
    """The layer with weights averaged over heads."""
    made = layer(dim, key=key)
    return replace(made, normalisation=AveragedOverHeads(made.normalisation))


def outputs(model: Callable[[Array], Array], tokens: Array) -> Array:
    """The network's outputs on many sequences, some at a time."""
    return jax.lax.map(model, tokens, batch_size=256)


@dataclass(frozen=True)
class AveragedOverHeads:
    r"""A normalisation after which all heads have the same weights, $\bar a_{qk} = \frac1H \sum_h a_{hqk}$: codes that differ in their size only."""

    normalisation: Normalisation

    def __call__(self, scores: Float[Array, "heads q k"], mask: Bool[Array, "#q k"]) -> Float[Array, "heads q k"]:
        """The means, once for each head."""
        weights = self.normalisation(scores, mask)
        return jnp.broadcast_to(jnp.mean(weights, axis=0), weights.shape)
