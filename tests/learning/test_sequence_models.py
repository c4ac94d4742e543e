"""Sequence models learn from their defaults: attention solves recall, and every layer learns recall and text."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning import Supervised, adamw, fit
from mesocosm.nn import LAYERS, Attention, language_model, softmax
from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.task import batch
from mesocosm.tasks.text import Text, python_manual
from mesocosm.tasks.tokens import accuracy, cross_entropy

RECALL = MultiQueryRecall(vocabulary=32, pairs=4, length=24)


def loss(model, example, key):
    return cross_entropy(model(example.inputs), example)


def measured(learner, state, key):
    examples = batch(learner.task, key, 256, "iid")
    logits = jax.vmap(learner.model(state))(examples.inputs)
    return {"accuracy": accuracy(logits, examples), "loss": cross_entropy(logits, examples)}


def train(task, steps, *, batch_size=32, **options):
    """Accuracy and loss on new examples before and after training, shape (1, 2)."""
    numbers = {"learning_rate": 3e-3, "warmup": steps // 10, "steps": steps, "clip_norm": 1.0}
    build = partial(language_model, task.vocabulary, 64, max_length=64, **options)
    learner = Supervised(lambda key: build(key=key), task, loss, adamw, numbers, batch_size)
    return fit(learner, steps, [0], probe=(measured, steps)).probes


def only_itself(scores, mask):
    """Softmax over the query's own position: attention that cannot look back."""
    return softmax(scores, mask & jnp.eye(*scores.shape[1:], dtype=bool))


@pytest.mark.slow
def test_two_layers_of_attention_solve_recall_from_their_defaults():
    assert train(RECALL, 300)["accuracy"][0, -1] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "highest"),
    [({"mixer": partial(Attention.create, normalisation=only_itself)}, 0.15), ({"layers": 1}, 0.5)],
    ids=["attention that cannot look back guesses a value", "one layer guesses among the values it saw"],
)
def test_attention_that_cannot_bind_a_value_to_its_key_does_not(options, highest):
    assert train(RECALL, 300, **options)["accuracy"][0, -1] < highest


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_learns_recall_and_text(name):
    recall = train(RECALL, 300, mixer=LAYERS[name].create)["loss"][0]
    assert recall[-1] < 0.75 * recall[0]
    corpus = Text.create(python_manual(), length=64)
    frequency = np.bincount(corpus.corpus) / corpus.corpus.size
    text = train(corpus, 200, batch_size=16, mixer=LAYERS[name].create)["loss"][0]
    assert text[-1] < -np.sum(frequency * np.log(np.maximum(frequency, 1e-12)))
