"""Exact statements: attention as a hypernetwork, HYLA's value networks, in float64 on random instances; ambiguous matrices by enumeration.

Each identity comes with a named mutant, whose error must be large.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.studies.hyla.config import Ambiguity, Identities
from mesocosm.studies.identity_trials import Errors, check_statements, relative_error
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.raven_matrices import OtherAnswers, RavenMatrices, other_answers
from mesocosm.tasks.task import batch


def check_identities(config: Identities, context: Context) -> Tables:
    """Check identities on `config.instances` random instances."""
    chosen = {name: statement for name, statement in IDENTITIES.items() if not config.only or name in config.only}
    return {"identities": check_statements(context, config, chosen)}


# --- value networks ---------------------------------------------------------------------------------------------------


def _draw(variant: str, config: Identities, key: PRNGKeyArray) -> tuple[nn.Attention, Float[Array, "time dim"]]:
    """A layer with random weights and biases, and tokens."""
    layer_key, bias_key, token_key = jax.random.split(key, 3)
    layer = nn.hyla(config.dim, variant=variant, heads=config.heads, key_dim=2, value_dim=4, causal=False, key=layer_key)
    leaves, tree = jax.tree.flatten(layer.biases)
    biases = [jax.random.normal(k, leaf.shape) for k, leaf in zip(jax.random.split(bias_key, len(leaves)), leaves, strict=True)]
    return eqx.tree_at(lambda m: m.biases, layer, jax.tree.unflatten(tree, biases)), jax.random.normal(token_key, (config.length, config.dim))


def code(layer: nn.Attention, variant: str, x: Float[Array, "time dim"]) -> Float[Array, "heads q k"]:
    """The latent code of every pair of tokens, from the layer's weights."""
    biases = layer.biases
    assert biases is not None
    queries, keys = (jnp.einsum("hnd,td->htn", w, x) + b[:, None] for w, b in ((layer.query, biases.query), (layer.key, biases.key)))
    scores = queries @ keys.swapaxes(1, 2) / layer.key.shape[1] ** 0.5
    if variant in ("softmax", "hyla-softmax"):
        return jnp.exp(scores) / jnp.sum(jnp.exp(scores), axis=-1, keepdims=True)
    if variant in ("linear", "hyla-unnormalised", "hyla-linear-unnormalised"):
        return scores
    return scores / jnp.sqrt(jnp.mean(scores**2, axis=0) + 1e-6)


def attention_identity(variant: str, config: Identities, key: PRNGKeyArray) -> Errors:
    """C1: a linear value network, generated for every pair of tokens by its code, gives multi-head attention. Mutant: the code of the next key."""
    layer, x = _draw(variant, config, key)
    biases, a = layer.biases, code(layer, variant, x)
    assert biases is not None

    def generated(a: Array) -> Array:
        weights = jnp.einsum("hqk,hdv,hve->qkde", a, layer.output, layer.value)
        constants = jnp.einsum("hqk,hdv,hv->qkd", a, layer.output, biases.value)
        return jnp.sum(jnp.einsum("qkde,ke->qkd", weights, x) + constants, axis=1) + biases.output

    wanted = layer(x)
    return Errors(relative_error(generated(a), wanted), relative_error(generated(jnp.roll(a, 1, axis=2)), wanted))


def value_network_identity(variant: str, config: Identities, key: PRNGKeyArray) -> Errors:
    """C2: the variant is its value network, generated for every pair of tokens. Mutant: one generated layer less or, where there is one, the code of the next
    key.
    """
    layer, x = _draw(variant, config, key)
    a, wanted = code(layer, variant, x), layer(x)
    deep, steps = variant == "hyla-deep", variant.startswith("hyla")
    mutant = (
        value_networks(layer, variant.removesuffix("-deep") if deep else "linear", x, a) if steps else value_networks(layer, variant, x, jnp.roll(a, 1, axis=2))
    )
    return Errors(relative_error(value_networks(layer, variant, x, a), wanted), relative_error(mutant, wanted))


def value_networks(layer: nn.Attention, variant: str, x: Float[Array, "time dim"], a: Float[Array, "heads q k"]) -> Float[Array, "time dim"]:
    """The sum over keys of the value network of every pair of tokens."""
    biases = layer.biases
    assert biases is not None
    outward = jnp.einsum("hqk,hdv->qkdv", a, layer.output)
    if variant.startswith("linear"):  # what is inside is not generated
        inner = jnp.einsum("hve,ke->khv", layer.value, x) + biases.value
        inner = jax.nn.relu(inner) if variant.endswith("relu") else inner
        return jnp.einsum("hqk,hdv,khv->qd", a, layer.output, inner) + biases.output
    inward = jnp.einsum("hqk,hve->qkve", a, layer.value)
    hidden = jnp.einsum("qkve,ke->qkv", inward, x) + jnp.einsum("hqk,hv->qkv", a, biases.value)
    hidden = hidden if "linear" in variant else jax.nn.relu(hidden)
    if variant == "hyla-deep":
        assert isinstance(layer.network, nn.DeepValues)
        middle = jnp.einsum("hqk,hwv->qkwv", a, layer.network.maps)
        hidden = jax.nn.relu(jnp.einsum("qkwv,qkv->qkw", middle, hidden))
    return jnp.einsum("qkdv,qkv->qd", outward, hidden) + biases.output


def separate_keys_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C2: the output over two sets of keys is the sum of those over each, so that keys do not communicate. Mutant: softmax over keys."""

    def error(variant: str) -> Array:
        layer, x = _draw(variant, config, key)
        first = jnp.arange(config.length) < config.length // 2
        assert layer.biases is not None
        parts = [layer(x, valid=chosen) - layer.biases.output for chosen in (first, ~first)]
        return relative_error(parts[0] + parts[1], layer(x) - layer.biases.output)

    return Errors(error("hyla"), error("hyla-softmax"))


VALUE_NETWORKS = tuple(variant for variant in nn.HYLA_VARIANTS if variant not in ("softmax", "linear"))
IDENTITIES = {
    **{f"C1 {variant}": partial(attention_identity, variant) for variant in ("softmax", "linear")},
    **{f"C2 {variant}": partial(value_network_identity, variant) for variant in VALUE_NETWORKS},
    "C2 keys": separate_keys_identity,
}


# --- ambiguous matrices -----------------------------------------------------------------------------------------------


def find_ambiguous(config: Ambiguity, context: Context) -> Tables:
    """Look for other answers to random matrices of all multisets of rules, in all readings of each. Each record has matrices of its own."""
    (key,) = context.keys("eval")
    tables = []
    for features in config.features:
        found = context.evaluate(Partial(enumerate_answers, config.matrices, key), shared=(all_multisets(features, config.symbols),))
        columns = {name: value.astype(int) for name, value in found._asdict().items()}
        tables.append(context.rows({"matrix": range(config.matrices)}, features=features, **columns))
    return {"ambiguous": pl.concat(tables)}


def all_multisets(features: int, symbols: int) -> RavenMatrices:
    """Matrices of which no combination is held out."""
    split = RavenMatrices.create(features=features, symbols=symbols)
    every = jnp.concatenate([split.combinations.train, split.combinations.held_out])
    return replace(split, combinations=CombinationSplit(every, every))


def enumerate_answers(matrices: int, key: PRNGKeyArray, task: RavenMatrices) -> OtherAnswers:
    """Whether each random matrix has other answers."""
    panels = batch(task, key, matrices, "iid").panels
    return jax.lax.map(lambda one: other_answers(one, task.symbols, task.rules), panels, batch_size=100)
