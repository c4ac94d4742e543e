"""Small decoders on text that differ in the memory of their blocks alone: gated layers, softmax attention, and gated layers behind one block of attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adamw
from mesocosm.learning.streams import are_pilots
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import FeedForward, GatedMesaAttention, SequenceModel, TransformerBlock, language_model
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import LanguageRuns, Memory
from mesocosm.studies.mesa.memories import MIXERS
from mesocosm.tasks.byte_pairs import BytePairs
from mesocosm.tasks.task import digest
from mesocosm.tasks.text import Text, python_manual
from mesocosm.tasks.tokens import TokenExample, cross_entropy

GROUPS = 10
"""Stretches of the manual, of each of which a tenth is held out."""

PARTS = 2
"""Parts of each held-out stretch whose losses are stored."""


@dataclass(frozen=True)
class LanguageArm:
    """The memory of each block, and how a decoder is trained."""

    runs: LanguageRuns
    memories: tuple[Memory, ...]
    learning_rate: float


# --- networks ---------------------------------------------------------------------------------------------------------


def build_decoder(arm: LanguageArm, key: PRNGKeyArray) -> SequenceModel:
    """Blocks without positions: gated layers see the order of neighbours in their convolutions, attention is rotary. All blocks have as many parameters."""
    runs = arm.runs
    ends, *keys = jax.random.split(key, 1 + len(arm.memories))
    start = language_model(runs.vocabulary, runs.width, layers=0, positions=None, key=ends)
    blocks = tuple(_block(runs, memory, k) for memory, k in zip(arm.memories, keys, strict=True))
    return eqx.tree_at(lambda network: network.blocks, start, blocks)


def _block(runs: LanguageRuns, memory: Memory, key: PRNGKeyArray) -> TransformerBlock:
    mixer = partial(MIXERS[memory], heads=runs.heads, key_dim=runs.key_dim)
    feed_forward = partial(FeedForward.create, hidden=hidden_width(runs, memory))
    return TransformerBlock.create(runs.width, mixer=mixer, feed_forward=feed_forward, key=key)


def hidden_width(runs: LanguageRuns, memory: Memory) -> int:
    r"""The width h of the feed-forward part with which a block has as many parameters as one of attention with h = 4 d, up to half of a hidden unit's:
    $p + 2 d h + h$ for a memory with p of them."""

    def parameters(of: Memory) -> int:
        layer = eqx.filter_eval_shape(partial(MIXERS[of], runs.width, heads=runs.heads, key_dim=runs.key_dim), key=jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(layer) if hasattr(leaf, "size"))

    return round(4 * runs.width + (parameters("attention") - parameters(memory)) / (2 * runs.width + 1))


def without_solve(network: SequenceModel) -> SequenceModel:
    """The same network, whose mesa layers take one step of their solver."""

    def one_step(block: Any) -> Any:
        return replace(block, mixer=replace(block.mixer, steps=1)) if isinstance(block.mixer, GatedMesaAttention) else block

    return eqx.tree_at(lambda network: network.blocks, network, tuple(map(one_step, network.blocks)))


# --- text -------------------------------------------------------------------------------------------------------------


def manual(runs: LanguageRuns, pilots: bool) -> Text:
    """Python's manual in byte pairs. Pilots have the text of training only, and hold out a part of it."""
    tokens, encoding = _encoded_manual(runs.vocabulary)
    task = Text(jnp.asarray(tokens), encoding, runs.length, GROUPS, len(tokens) // (10 * GROUPS))
    if not pilots:
        return task
    stretches = tokens[: len(tokens) // GROUPS * GROUPS].reshape(GROUPS, -1)
    training = stretches[:, : stretches.shape[1] - task.held_out].ravel()
    return Text(jnp.asarray(training), encoding, runs.length, GROUPS, len(training) // (10 * GROUPS))


def held_out_windows(task: Text) -> TokenExample:
    """All disjoint windows of the held-out text, in its order, as many for each part; a few tokens at the ends of stretches are left over."""
    stretch = task.corpus.shape[0] // task.groups
    held_out = task.corpus[: stretch * task.groups].reshape(task.groups, stretch)[:, -task.held_out :]
    if task.length % 8:
        raise ValueError(f"windows of {task.length} tokens have no eighths")
    number = (task.held_out - 1) // (PARTS * task.length) * PARTS
    if not number:
        raise ValueError(f"{task.held_out} held-out tokens of a stretch are fewer than {PARTS} windows of {task.length}; use shorter windows")
    inputs, targets = (part[:, : number * task.length].reshape(-1, task.length).astype(jnp.int32) for part in (held_out, held_out[:, 1:]))
    return TokenExample(inputs, targets, jnp.ones(inputs.shape))


@cache
def _encoded_manual(vocabulary: int) -> tuple[np.ndarray, BytePairs]:
    """The manual repeats whole sections, which would stand on both sides of a split: each paragraph is kept once."""
    text = "\n\n".join(dict.fromkeys(python_manual().split("\n\n")))
    encoding = BytePairs.of(text, vocabulary)
    return encoding.encode(text), encoding


# --- training ---------------------------------------------------------------------------------------------------------


def train_decoder(arm: LanguageArm, context: Context) -> Tables:
    """Loss on the held-out text, in nats a token, in each part of it and each eighth of a window; with mesa layers, also with one step of their solver."""
    runs, task = arm.runs, manual(arm.runs, are_pilots(context.seeds))
    numbers = {"learning_rate": arm.learning_rate, "steps": float(runs.steps), "weight_decay": runs.weight_decay, "clip": None, "clip_norm": 1.0}
    learner = Supervised(Partial(build_decoder, arm), task, decoder_loss, adamw, numbers, runs.batch_size)
    network = context.fit("network", learner, runs.steps).model
    context.publish("network", network)
    windows = held_out_windows(task)
    losses = context.evaluate(Partial(window_losses, False), network, shared=(windows,))
    digests = [digest(windows.inputs)] * len(context.seeds)
    axes = {"part": range(1, 1 + GROUPS * PARTS), "eighth": range(1, 9)}
    tables = {"language": context.rows(axes, digest=digests, loss=_in_parts(losses))}
    if "mesa" in arm.memories:
        lesioned = context.evaluate(Partial(window_losses, True), network, shared=(windows,))
        tables["language_solver"] = context.rows(axes, digest=digests, loss=_in_parts(lesioned))
    return tables


def _in_parts(losses: Float[np.ndarray, "seeds windows length"]) -> Float[np.ndarray, "seeds parts 8"]:
    seeds, windows, length = losses.shape
    return losses.reshape(seeds, GROUPS * PARTS, windows // (GROUPS * PARTS), 8, length // 8).mean((2, 4))


def decoder_loss(network: SequenceModel, example: TokenExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross-entropy in nats a token."""
    return cross_entropy(network(example.inputs), example)


def window_losses(unsolved: bool, network: SequenceModel, windows: TokenExample) -> Float[Array, "windows length"]:
    """The cross-entropy at each position of each window."""
    decoder = without_solve(network) if unsolved else network

    def of_window(window: TokenExample) -> Array:
        logits = jax.nn.log_softmax(decoder(window.inputs).astype(jnp.float32))
        return -jnp.take_along_axis(logits, window.targets[:, None], axis=-1)[:, 0]

    return jax.lax.map(of_window, windows, batch_size=64)
