"""HYLA as its formula is written, array by array, inside the same model; flax's softmax attention; and the training step that all of them take."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.nn import Attention, FeedForward, LayerNorm, Linear, Mixer, RelativeBias, SequenceModel, TransformerBlock, hyla, softmax
from mesocosm.numerics import programs
from peers.problem import NOT_INSTALLED, Unavailable
from stopwatch.timing import Contender

OPTIMIZER = optax.adamw(3e-3, weight_decay=0.1)
Run = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Setting:
    """The paper's model for one of its tasks: key and value sizes per head, and a feed-forward part twice as wide as the tokens."""

    name: str
    batch: int
    length: int
    inputs: int
    outputs: int
    read: int
    layers: int
    dim: int
    heads: int
    key_dim: int

    def __str__(self) -> str:
        return f"{self.name}: {self.batch} x {self.length} tokens of {self.dim} channels, {self.heads} heads of size {self.key_dim}"

    @property
    def tokens(self) -> np.ndarray:
        """The layer's input; the same at every call."""
        return np.random.default_rng(0).standard_normal((self.batch, self.length, self.dim)).astype(np.float32)

    @property
    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """The model's input, and targets for the positions that are read."""
        random = np.random.default_rng(1)
        shapes = (self.batch, self.length, self.inputs), (self.batch, self.read, self.outputs)
        return tuple(random.standard_normal(shape).astype(np.float32) for shape in shapes)  # pyright: ignore[reportReturnType]


class Transcribed(Mixer):
    """The formula with one einsum per sum, all positions and all pairs, and its gradient by automatic differentiation."""

    layer: Attention

    def __call__(self, x: Any, *, key: Any = None) -> Any:
        """Map tokens to tokens."""
        layer, rows = self.layer, jnp.arange(x.shape[0])
        q, k, v = (jnp.einsum("td,hnd->thn", x, w) + b for w, b in zip((layer.query, layer.key, layer.value), layer.biases[:3], strict=True))
        scores = jnp.einsum("qhn,khn->hqk", q, k) / jnp.sqrt(q.shape[-1]) + layer.position.bias(rows, rows)
        if layer.normalisation is softmax:
            a = jax.nn.softmax(scores, axis=-1)
            heads = jnp.einsum("hqk,khv->qhv", a, v)
        else:
            a = scores / jnp.sqrt(jnp.mean(scores**2, axis=0) + 1e-6)
            heads = jnp.einsum("hqk,qkv->qhv", a, jax.nn.relu(jnp.einsum("hqk,khv->qkv", a, v)))
        return jnp.einsum("qhv,hdv->qd", heads, layer.output) + layer.biases.output


@cache
def layer_of(setting: Setting, variant: str) -> Attention:
    """One layer with random numbers everywhere, so that biases count."""
    position = partial(RelativeBias.create, buckets=setting.length, max_distance=setting.length)
    made = hyla(setting.dim, variant=variant, heads=setting.heads, key_dim=setting.key_dim, position=position, causal=False, key=jax.random.key(0))
    biases = jax.tree.map(lambda b: 0.1 * jnp.cos(jnp.arange(b.size, dtype=b.dtype)).reshape(b.shape), made.biases)
    return replace(made, biases=biases)


@cache
def model_of(setting: Setting, variant: str) -> SequenceModel:
    """The whole model, which reads the last positions."""
    feed = partial(FeedForward.create, hidden=2 * setting.dim)
    keys = jax.random.split(jax.random.key(1), setting.layers + 2)
    blocks = tuple(TransformerBlock.create(setting.dim, mixer=lambda dim, key: layer_of(setting, variant), feed_forward=feed, key=key) for key in keys[2:])
    embed, read = Linear.create(setting.inputs, out_dim=setting.dim, key=keys[0]), Linear.create(setting.dim, out_dim=setting.outputs, key=keys[1])
    return SequenceModel(embed, None, blocks, LayerNorm.create(setting.dim), read, tuple(range(-setting.read, 0)))


def transcribed(model: SequenceModel) -> SequenceModel:
    """The model with its mixers transcribed, which computes all positions."""
    return replace(model, blocks=tuple(replace(block, mixer=Transcribed(block.mixer)) for block in model.blocks), readout_positions=None)


def forward(layer: Any, x: Any) -> Any:
    """The outputs."""
    return (jax.vmap(layer)(x),)


def backward(layer: Any, x: Any) -> Any:
    """The gradient of a weighted sum over the outputs by the tokens and the maps."""
    by_layer, by_tokens = jax.grad(lambda layer, x: weighted_sum(jax.vmap(layer)(x)), (0, 1))(layer, x)
    return by_tokens, *jax.tree.leaves(by_layer)


def weighted_sum(y: Any) -> Any:
    """A sum with random weights, so that nothing but the layer takes time."""
    return jnp.sum(np.random.default_rng(2).standard_normal(y.shape).astype(y.dtype) * y)


def training_step(setting: Setting, model: Any, state: Any, examples: Any) -> Any:
    """The model and the optimiser's state after one step, and the loss at the positions that are read."""
    inputs, targets = examples

    def loss(model: Any) -> Any:
        return jnp.mean((jax.vmap(model)(inputs)[:, -setting.read :] - targets) ** 2)

    value, gradient = jax.value_and_grad(loss)(model)
    updates, state = OPTIMIZER.update(gradient, state, model)
    return optax.apply_updates(model, updates), state, value


def of_layer(setting: Setting, name: str, run: Run, layer: Any) -> Contender:
    """A layer's outputs or gradients; ours is compiled with the library's options, others with JAX's."""
    given = (layer, jnp.asarray(setting.tokens))
    compiled = _compiled(name, run, given)
    return Contender(name, lambda: jax.block_until_ready(compiled(*given)), lambda found: [np.asarray(part) for part in found])


def of_model(setting: Setting, name: str, model: Any) -> Contender:
    """One training step; the loss and the first moments of all parameters are compared."""
    given = (model, OPTIMIZER.init(model), jax.tree.map(jnp.asarray, setting.examples))
    compiled = _compiled(name, partial(training_step, setting), given)
    reserved = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Contender(name, lambda: jax.block_until_ready(compiled(*given)), _moments, mebibytes=reserved)


def _compiled(name: str, run: Callable[..., Any], given: Sequence[Any]) -> Any:
    return (programs.jit if name == "mesocosm" else jax.jit)(run).lower(*given).compile()


def _moments(result: Any) -> list[np.ndarray]:
    return [np.asarray(result[2]), *(np.asarray(leaf) for leaf in jax.tree.leaves(result[1][0].mu))]


def reference(run: Callable[..., Any], *given: Any) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """The transcribed formula in float64."""

    @cache
    def wide() -> list[np.ndarray]:
        with jax.enable_x64(True):
            arrays = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64 if np.asarray(leaf).dtype == np.float32 else None), given)
            return [np.asarray(part) for part in jax.jit(run)(*arrays)]

    return lambda answers: wide()


def step_reference(setting: Setting, model: SequenceModel) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """One step of the transcribed model in float64."""

    def run(model: Any, state: Any, examples: Any) -> Any:
        _, state, loss = training_step(setting, model, state, examples)
        return loss, *jax.tree.leaves(state[0].mu)

    plain = transcribed(model)
    return reference(run, plain, OPTIMIZER.init(plain), setting.examples)


def in_flax(setting: Setting, layer: Attention, run: Run) -> Contender:
    """flax's multi-head attention with the same weights, without the relative bias, which it does not have.

    Raises:
        Unavailable: flax is not installed.
    """
    if importlib.util.find_spec("flax") is None:
        raise Unavailable(NOT_INSTALLED)
    from flax import linen

    names = ("query", "key", "value")
    maps = {name: {"kernel": jnp.moveaxis(getattr(layer, name), 2, 0), "bias": bias} for name, bias in zip(names, layer.biases[:3], strict=True)}
    out = {"kernel": layer.output.swapaxes(1, 2), "bias": layer.biases.output}
    width = setting.heads * setting.key_dim
    attention = linen.MultiHeadDotProductAttention(num_heads=setting.heads, qkv_features=width, out_features=setting.dim)

    def tokens(variables: Any, x: Any) -> Any:
        if run is forward:
            return (attention.apply(variables, x),)
        return (jax.grad(lambda x: weighted_sum(attention.apply(variables, x)))(x),)

    return of_layer(setting, "flax", tokens, {"params": {**maps, "out": out}})
