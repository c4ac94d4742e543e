"""Layers with numbers from NumPy: to compile the drawing of a layer takes longer than to compile the layer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def with_random_weights(make, seed=0):
    """The layer `make(key)`, but every array of it N(0, 1/4), in its dtype: initial zeros too, so that one left out shows."""
    random = np.random.default_rng(seed)

    def fill(leaf):
        return jnp.asarray((0.5 * random.standard_normal(leaf.shape)).astype(leaf.dtype)) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree.map(fill, eqx.filter_eval_shape(make, jax.random.key(0)))
