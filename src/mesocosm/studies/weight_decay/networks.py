"""Transformers whose attention decays at a rate of its own: their configs, tasks and learners.

The paper varies the decay of attention only (Sec. 4); its language models have a decay of their MLPs as well (Table 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm import nn
from mesocosm.learning import ATTENTION, OTHERS
from mesocosm.learning.named_decay import Group
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.streams import are_pilots
from mesocosm.learning.supervised import Supervised
from mesocosm.nn.mixers.attention import ContextAndSelf
from mesocosm.studies.weight_decay.config_networks import Arm, Language, Pictures, Recall
from mesocosm.tasks.byte_pairs import BytePairs
from mesocosm.tasks.data_sets import Images, find
from mesocosm.tasks.recall import AssociativeRecall
from mesocosm.tasks.task import Split, Task, reject_ood
from mesocosm.tasks.text import Text, python_manual
from mesocosm.tasks.tokens import TokenExample, cross_entropy

PILOT_TEST = 400
"""Training pictures on which pilots are tested, and not trained."""
GROUPS = 10
"""Stretches of the text, of each of which a tenth is held out."""


def _weights_of_mlps(names: Sequence[str]) -> set[str]:
    return {name for name in _others(names) if "feed_forward" in name}


def _weights_beside(names: Sequence[str]) -> set[str]:
    return _others(names) - _weights_of_mlps(names)


def _others(names: Sequence[str]) -> set[str]:
    return OTHERS(names) if callable(OTHERS) else set()


MLPS: Group = _weights_of_mlps
BESIDE: Group = _weights_beside
"""Embeddings, learned positions and readouts."""


def attention_alone(learning_rate: Any, attention: Any, elsewhere: Any, others: Any, **options: Any) -> optax.GradientTransformation:
    """AdamW with a decay of attention and one `elsewhere`, for a network without MLPs."""
    del others
    return adamw(learning_rate, weight_decay={ATTENTION: attention, OTHERS: elsewhere}, **options)


def attention_and_mlps(learning_rate: Any, attention: Any, elsewhere: Any, others: Any, **options: Any) -> optax.GradientTransformation:
    """AdamW with a decay of attention, one of the MLPs (`elsewhere`) and one of embeddings and readout."""
    return adamw(learning_rate, weight_decay={ATTENTION: attention, MLPS: elsewhere, BESIDE: others}, **options)


def learner(arm: Arm, task: Task) -> Supervised:
    """AdamW with clipped gradients, warm-up and a constant learning rate."""
    training = arm.of.training
    hyperparameters = {
        "learning_rate": training.learning_rate,
        "warmup": float(training.warmup),
        "b2": training.b2,
        "clip_norm": training.clip_norm,
        "attention": float(arm.attention),
        "elsewhere": float(arm.elsewhere),
        "others": float(arm.of.others),
    }
    optimizer = attention_alone if isinstance(arm.of, Recall) else attention_and_mlps
    return Supervised(
        Partial(_build, arm.of), task, picture_loss if isinstance(arm.of, Pictures) else token_loss, optimizer, hyperparameters, training.batch_size
    )


def decay_clock(arm: Arm) -> float:
    r"""$\lambda \sum_t \eta_t$ of attention's decay."""
    training = arm.of.training
    shares = np.minimum(np.arange(training.steps) / training.warmup, 1.0) if training.warmup else np.ones(training.steps)
    return float(arm.attention * training.learning_rate * shares.sum())


# --- networks ---------------------------------------------------------------------------------------------------------


def build(arm: Arm, key: PRNGKeyArray) -> nn.SequenceModel:
    """An arm's network with random weights; arms differ in their decays only."""
    return _build(arm.of, key)


def _build(of: Recall | Language | Pictures, key: PRNGKeyArray) -> nn.SequenceModel:
    if isinstance(of, Recall):
        return _recalling(of, key)
    return _decoder(of, key) if isinstance(of, Language) else _vision(of, key)


def _recalling(of: Recall, key: PRNGKeyArray) -> nn.SequenceModel:
    """Attention only, pre-norm, with learned positions, read at the queries."""
    network, context = of.network, 2 * of.pairs
    mixer = partial(nn.Attention.create, heads=network.heads, mask=None if of.queries == 1 else ContextAndSelf(context))
    model = nn.language_model(context, network.dim, layers=network.layers, mixer=mixer, feed_forward=None, max_length=context + of.queries, tied=False, key=key)
    return nn.SequenceModel(model.embed, model.positions, model.blocks, model.norm, model.readout, tuple(range(-of.queries, 0)))


def _decoder(of: Language, key: PRNGKeyArray) -> nn.SequenceModel:
    """The shape of GPT-2: pre-norm, learned positions, biases, MLPs with GELU."""
    network = of.network
    mixer = partial(nn.Attention.create, heads=network.heads, bias=True)
    return nn.language_model(of.vocabulary, network.dim, layers=network.layers, mixer=mixer, max_length=of.length, tied=False, key=key)


def _vision(of: Pictures, key: PRNGKeyArray) -> nn.SequenceModel:
    network = of.network
    return nn.vision_transformer(of.shape, network.dim, classes=of.classes, patch=of.patch, layers=network.layers, heads=network.heads, key=key)


# --- tasks ------------------------------------------------------------------------------------------------------------


class Picture(NamedTuple):
    """A picture, or a batch."""

    pixels: Float[Array, "*batch channels height width"]
    label: Int[Array, "*batch"]


class DataSet(Task[Picture]):
    """Pictures of a data set, drawn with replacement."""

    pixels: Float[Array, "n channels height width"]
    labels: Int[Array, " n"]

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Picture:
        """Draw one picture."""
        reject_ood(self, split)
        place = jax.random.randint(key, (), 0, self.labels.shape[0])
        return Picture(self.pixels[place], self.labels[place])


def recall_task(of: Recall) -> AssociativeRecall:
    """Keys and values drawn anew for each sequence."""
    return AssociativeRecall(of.pairs, of.queries, of.label_noise)


def language_task(of: Language, seeds: Sequence[int]) -> Text:
    """Python's manual; a tenth of each of ten stretches is held out. Pilots have the text of training only, and hold out a part of it."""
    tokens, encoding = _encoded_manual(of.vocabulary)
    task = Text(jnp.asarray(tokens), encoding, of.length, GROUPS, len(tokens) // (10 * GROUPS))
    if are_pilots(seeds):
        tokens = _training_parts(task).reshape(-1)
        task = Text(jnp.asarray(tokens), encoding, of.length, GROUPS, len(tokens) // (10 * GROUPS))
    return task


def _training_parts(task: Text) -> np.ndarray:
    stretches = np.asarray(task.corpus)[: len(task.corpus) // task.groups * task.groups].reshape(task.groups, -1)
    return stretches[:, : stretches.shape[1] - task.held_out]


def pair_loss(task: Text, test: TokenExample) -> float:
    r"""Cross-entropy in nats of a model of pairs of neighbours, the best that a decoder without attention can hope for.

    Witten and Bell's estimate from the training text: $p(b \mid a) = (n_{ab} + k_a\, p(b)) / (n_a + k_a)$ with $k_a$ different successors of $a$.
    """
    parts, size = _training_parts(task).astype(np.int64), task.vocabulary
    counts = np.bincount((parts[:, :-1] * size + parts[:, 1:]).ravel(), minlength=size**2).reshape(size, size)
    kinds = np.maximum((counts > 0).sum(axis=1), 1)
    alone = (np.bincount(parts.ravel(), minlength=size) + 0.5) / (parts.size + 0.5 * size)
    before, after = np.asarray(test.inputs), np.asarray(test.targets)
    chances = (counts[before, after] + kinds[before] * alone[after]) / (counts.sum(axis=1) + kinds)[before]
    return float(-np.log(chances).mean())


@cache
def _encoded_manual(vocabulary: int) -> tuple[np.ndarray, BytePairs]:
    text = python_manual()
    encoding = BytePairs.of(text, vocabulary)
    return encoding.encode(text), encoding


def picture_sets(of: Pictures, seeds: Sequence[int]) -> tuple[DataSet, Picture]:
    """Training pictures and test pictures; those of pilots are both from the training set."""
    train, test = find(of.name).splits()
    if are_pilots(seeds):
        train, test = (Images(*(part[rows] for part in train)) for rows in (slice(PILOT_TEST, None), slice(PILOT_TEST)))
    mean, deviation = train.pixels.mean(), train.pixels.std()

    def prepared(images: Images) -> tuple[Array, Array]:
        pixels = ((images.pixels - mean) / deviation).astype(np.float32)
        channels_first = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
        return jnp.asarray(channels_first), jnp.asarray(images.labels, jnp.int32)

    return DataSet(*prepared(train)), Picture(*prepared(test))


# --- losses -----------------------------------------------------------------------------------------------------------


def token_loss(model: nn.SequenceModel, example: TokenExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross-entropy in nats at the positions that the model reads, the last ones."""
    logits = model(example.inputs)
    return cross_entropy(logits, read_part(example, logits.shape[0]))


def picture_loss(model: nn.SequenceModel, example: Picture, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross-entropy in nats."""
    return -jax.nn.log_softmax(model(example.pixels)[0])[example.label]


def read_part(example: TokenExample, positions: int) -> TokenExample:
    """The last positions of a sequence."""
    return TokenExample(*(part[-positions:] for part in example))
