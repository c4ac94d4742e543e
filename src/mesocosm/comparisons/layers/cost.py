"""What a layer costs: parameters, operations and memory of its gradient, at several lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.analysis.operations import count_operations
from mesocosm.comparisons.layers.config import Network
from mesocosm.comparisons.layers.networks import layer_of, widths
from mesocosm.numerics.programs import jit
from mesocosm.studies.interface import Context, Tables


@dataclass(frozen=True)
class Cost:
    """A layer, and the lengths of sequences at which its operations and memory are counted."""

    layer: str
    network: Network
    lengths: tuple[int, ...]


def measure_cost(cost: Cost, context: Context) -> Tables:
    """Count parameters, and for the layer alone on one sequence, with its gradient: operations for each token, and the memory that the compiled program needs
    beside arguments and results."""
    spent, dim = widths(cost.layer, cost.network), cost.network.dim
    arrays, static = eqx.partition(layer_of(cost.layer, dim, key=jax.random.key(0)), eqx.is_inexact_array)

    def total(arrays: Any, tokens: Float[Array, "time dim"]) -> Float[Array, ""]:
        return jnp.sum(eqx.combine(arrays, static)(tokens))

    gradient, operations, memory = jax.grad(total, argnums=(0, 1)), [], []
    for length in cost.lengths:
        tokens = jax.ShapeDtypeStruct((length, dim), jnp.float32)
        operations.append(count_operations(gradient, arrays, tokens) / length)
        memory.append(jit(gradient).lower(arrays, tokens).compile().memory_analysis().temp_size_in_bytes)
    columns = {"layer_parameters": spent.layer, "hidden": spent.hidden, "block_parameters": spent.block, "wanted_parameters": spent.wanted}
    axes = {"length": cost.lengths}
    return {"cost": context.rows(axes, layer=cost.layer, **columns, operations_per_token=[operations], memory_bytes=[memory])}
