"""Weights of trained networks: their block pattern, and the loss after compressing each block to one number."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from mesocosm.analysis.in_context.attention_products import BlockScalars, ProductAttention, compress, effective_step_size, expand, pattern_strength
from mesocosm.analysis.in_context.regression import line_search
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.analysis.tables import long_table
from mesocosm.nn import LinearAttention, Mixer, ResidualStack
from mesocosm.studies.interface import Context
from mesocosm.studies.mesa.networks import NetworkArm, Trained, predict
from mesocosm.studies.mesa.references import sequence_losses


def products_of(layer: Mixer) -> ProductAttention:
    """The layer as weight products."""
    assert isinstance(layer, LinearAttention)
    return ProductAttention.from_factors(layer.query, layer.key, layer.value, layer.output)


def compressed(network: ResidualStack, dim: int) -> ResidualStack:
    """The network with each block of its weight products compressed to one number."""
    layers = tuple(expand(compress(products_of(layer), dim), dim) for layer in network.layers)
    return ResidualStack(layers, clip=network.clip, visible=network.visible)


class Weights(NamedTuple):
    """Measurements of a one-layer network's weight products."""

    scalars: BlockScalars
    products: ProductAttention
    step_size: Array
    searched: Array
    off_pattern: Array
    identity: Array


def read_weights(dim: int, network: ResidualStack, tuning: Array) -> Weights:
    """Compress the products; measure the equivalent step size of gradient descent and the weight off its pattern."""
    products = products_of(network.layers[0])
    scalars, strength = compress(products, dim), pattern_strength(products, dim)
    return Weights(scalars, products, effective_step_size(scalars), line_search(tuning), strength.off_pattern, strength.identity)


def measure_weights(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    """The pattern of all seeds' weights, their block scalars, and the products of the first seed."""
    weights = context.evaluate(Partial(read_weights, arm.systems.dim), trained.networks, trained.sequences.tuning)
    pattern = context.rows(off_pattern=weights.off_pattern, identity=weights.identity, step_size=weights.step_size, searched_step_size=weights.searched)
    axes = {"product": ["query-key", "value-output"], "head": range(arm.network.heads)}
    blocks = {**axes, "row": range(4), "column": range(4)}
    channels = {**axes, "row": range(4 * arm.systems.dim), "column": range(4 * arm.systems.dim)}
    scalars = np.stack([weights.scalars.query_key, weights.scalars.value_output], axis=1)
    products = np.stack([weights.products.query_key, weights.products.value_output], axis=1)
    first = {"seed": context.seeds[:1]}
    return {
        "pattern": pattern,
        "block_scalars": context.rows(blocks, value=scalars),
        "products": long_table({**first, **channels}, value=products[:1]),
    }


def measure_compressed(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    """Log ratios of losses, compressed over whole network; the mutant lacks the blocks whose keys contain the previous state."""
    losses = context.evaluate(Partial(_compressed_losses, arm.systems.dim), trained.networks, trained.sequences.test)
    whole, small, mutant = (part.mean(-1) for part in losses)
    versus, error = log_ratio_of_means(small, whole)
    mutant_versus, mutant_error = log_ratio_of_means(mutant, whole)
    table = context.rows(layers=arm.network.layers, versus_network=versus, versus_network_error=error, mutant=mutant_versus, mutant_error=mutant_error)
    return {"compressed": table}


def _compressed_losses(dim: int, network: ResidualStack, test: Array) -> tuple[Array, Array, Array]:
    small = compressed(network, dim)
    without = eqx.tree_at(lambda stack: [layer.query_key for layer in stack.layers], small, replace_fn=lambda m: m.at[:, :, 3 * dim :].set(0.0))
    return tuple(sequence_losses(Partial(predict, net), test) for net in (network, small, without))  # type: ignore[return-value]
