"""A training step of one transformer that is shown a task in context, on the same weights and prompts: ours and PyTorch's; and a float64 reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.nn import SequenceModel, context_encoder
from mesocosm.numerics import programs
from peers.problem import NOT_INSTALLED, Unavailable
from stopwatch.timing import Contender

RATE, DECAY = 1e-3, 0.1
OPTIMIZER = optax.adamw(RATE, weight_decay=DECAY)


@dataclass(frozen=True)
class Setting:
    """The sizes of a transformer and of its batch. Pre-norm blocks, relative position biases on both sides, all tokens see all, read at the last one."""

    batch: int
    tokens: int
    width: int
    dim: int
    heads: int
    layers: int

    def __str__(self) -> str:
        return f"{self.layers} layers of {self.dim} channels, {self.heads} heads, {self.batch} x {self.tokens} tokens"

    @property
    def prompts(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and the output to predict; the same at every call."""
        random = np.random.default_rng(0)
        return random.standard_normal((self.batch, self.tokens, self.width)).astype(np.float32), random.standard_normal((self.batch, 1)).astype(np.float32)


@cache
def initial(setting: Setting) -> SequenceModel:
    """The model before the step."""
    return context_encoder(setting.width, 1, dim=setting.dim, heads=setting.heads, layers=setting.layers, key=jax.random.key(0))


def mesocosm(setting: Setting) -> Contender:
    """Our model, compiled with the library's options."""
    model = initial(setting)
    given = (model, OPTIMIZER.init(model), *map(jnp.asarray, setting.prompts))
    compiled = programs.jit(_step).lower(*given).compile()
    reserved = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Contender("mesocosm", lambda: jax.block_until_ready(compiled(*given)), _answer, mebibytes=reserved)


def reference(setting: Setting, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Our model in float64; the tests hold it to its formula."""
    return _wide(setting)


@cache
def _wide(setting: Setting) -> list[np.ndarray]:
    with jax.enable_x64(True):
        model = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), initial(setting))
        return _answer(jax.jit(_step)(model, OPTIMIZER.init(model), *(jnp.asarray(part, jnp.float64) for part in setting.prompts)))


def _step(model: SequenceModel, state: Any, tokens: Any, targets: Any) -> Any:
    """Both after a step, and the loss."""

    def loss(model: SequenceModel) -> Any:
        return jnp.mean((jax.vmap(model)(tokens)[:, 0] - targets) ** 2)

    value, gradient = jax.value_and_grad(loss)(model)
    updates, state = OPTIMIZER.update(gradient, state, model)
    return optax.apply_updates(model, updates), state, value


def _answer(result: Any) -> list[np.ndarray]:
    """The loss, and the first moments of some weights, which are a tenth of the gradient."""
    _, state, loss = result
    moments = state[0].mu
    first, last = moments.blocks[0], moments.blocks[-1]
    query = first.mixer.query
    parts = (loss, moments.embed.weight, query.reshape(-1, query.shape[-1]), first.mixer.position.table, last.feed_forward.outward, moments.norm.bias)
    return [np.asarray(part) for part in parts]


def in_torch(setting: Setting) -> Contender:
    """PyTorch's layers, its fused attention and its fused AdamW, without torch.compile, which needs a C++ compiler.

    The last block computes only the last token, as ours.

    Raises:
        Unavailable: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise Unavailable(NOT_INSTALLED)
    import torch
    from torch.nn import functional

    def tensor(array: Any) -> Any:
        return torch.nn.Parameter(torch.from_numpy(np.array(array)))

    def flat(part: Any) -> Any:
        return part.reshape(-1, part.shape[-1])

    model = initial(setting)
    embed = [tensor(part) for part in (model.embed.weight, model.embed.bias)]
    read = [tensor(part) for part in (model.readout.weight, model.readout.bias)]
    norm = [tensor(part) for part in (model.norm.scale, model.norm.bias)]
    blocks = []
    for block in model.blocks:
        mixer, feed = block.mixer, block.feed_forward
        norms = (block.mixer_norm.scale, block.mixer_norm.bias, block.feed_norm.scale, block.feed_norm.bias)
        keys = np.concatenate([flat(mixer.key), flat(mixer.value)])
        maps = (flat(mixer.query), keys, np.moveaxis(np.asarray(mixer.output), 0, 1).reshape(setting.dim, -1), mixer.position.table)
        blocks.append([tensor(part) for part in (*norms, *maps, feed.inward, feed.inward_bias, feed.outward, feed.outward_bias)])
    weights = [*embed, *read, *norm, *(part for block in blocks for part in block)]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY, fused=True)
    tokens, targets = map(torch.from_numpy, setting.prompts)
    buckets = torch.from_numpy(_buckets(model, setting.tokens))

    def normed(x: Any, scale: Any, bias: Any) -> Any:
        return functional.layer_norm(x, (setting.dim,), scale, bias, 1e-6)

    def split(x: Any) -> Any:
        return x.unflatten(-1, (setting.heads, -1)).transpose(1, 2)

    def run() -> Any:
        optimizer.zero_grad()
        x = functional.linear(tokens, *embed)
        for place, (*norms, query, keys, output, table, inward, inward_bias, outward, outward_bias) in enumerate(blocks):
            rows = slice(-1, None) if place == setting.layers - 1 else slice(None)
            h = normed(x, *norms[:2])
            k, v = functional.linear(h, keys).chunk(2, dim=-1)
            mixed = functional.scaled_dot_product_attention(split(functional.linear(h[:, rows], query)), split(k), split(v), attn_mask=table[:, buckets[rows]])
            x = x[:, rows] + functional.linear(mixed.transpose(1, 2).flatten(2), output)
            hidden = functional.gelu(functional.linear(normed(x, *norms[2:]), inward, inward_bias), approximate="tanh")
            x = x + functional.linear(hidden, outward, outward_bias)
        loss = functional.mse_loss(functional.linear(normed(x[:, -1], *norm), *read), targets)
        loss.backward()
        optimizer.step()
        return loss

    def answer(loss: Any) -> list[np.ndarray]:
        """After the first step."""
        compared = (embed[0], blocks[0][4], blocks[0][7], blocks[-1][10], norm[1])
        return [loss.detach().numpy(), *(optimizer.state[weight]["exp_avg"].numpy().copy() for weight in compared)]

    return Contender("torch", run, answer, note="PyTorch without torch.compile; its threads wait for each other, so other load slows it most")


def _buckets(model: SequenceModel, tokens: int) -> np.ndarray:
    """The entry of the table of biases for each pair of tokens, read off a table of numbers."""
    position: Any = model.blocks[0].mixer.position
    heads, buckets = position.table.shape
    numbered = type(position)(jnp.tile(jnp.arange(float(buckets)), (heads, 1)), position.max_distance, position.two_sided)
    places = jnp.arange(tokens)
    return np.asarray(numbered.bias(places, places)[0]).astype(np.int64)
