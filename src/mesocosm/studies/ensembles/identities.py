"""Identities in float64 on random instances. Each gives the error of the statement and of a named mutant."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.analysis.tangent.kernel import kernel_block, of_module
from mesocosm.analysis.tangent.variance_decomposition import VarianceParts, variance_parts
from mesocosm.nn.tangent_parametrisation import TangentMLP, negate_readout
from mesocosm.studies.ensembles.config import Identities
from mesocosm.studies.ensembles.kernels import Draws, models_of, weights_of
from mesocosm.studies.identity_trials import Errors, instance_keys, relative_error, statement_rows
from mesocosm.studies.interface import Context, Tables


class Instance(NamedTuple):
    """A small random problem.

    Attributes:
        members: the ensemble.
        mirrors: the same members with negated read-outs.
        mean_weights: Qbar, from other members.
        targets: the labels.
    """

    members: Draws
    mirrors: Draws
    mean_weights: Array
    targets: Array

    def parts(self, targets: Array | None = None, scale: float = 1.0) -> VarianceParts:
        """Variances of the kernel models, optionally for other labels or a scaled read-out."""
        scaled = Draws(scale * self.members.start, scale**2 * self.members.kernel)
        return variance_parts(models_of(scaled, self.mean_weights, self.targets if targets is None else targets))


def check_identities(config: Identities, context: Context) -> Tables:
    """Check every identity on `config.instances` random instances. Those of kernel models share their draws, which take long to compile."""
    keys = [instance_keys(context, number, config.instances) for number in range(2)]
    instances = context.evaluate(Partial(draw_instances, config), shared=(keys[0],))
    one = jax.tree.map(lambda leaf: leaf[0], instances)
    given = {"kernel": (kernel_identity, keys[1])} | {name: (statement, one) for name, statement in OF_MODELS.items()}
    tables = [statement_rows(context, config, statement, each, labels={"identity": name}) for name, (statement, each) in given.items()]
    return {"identities": pl.concat(tables)}


def draw_instances(config: Identities, keys: Array) -> Instance:
    """Draw one instance per key."""
    return jax.vmap(partial(draw_instance, config))(keys)


def draw_instance(config: Identities, key: PRNGKeyArray) -> Instance:
    """Draw random points, labels and members; the averaged kernel is that of other members."""
    data_key, label_key, member_key = jax.random.split(key, 3)
    points = jax.random.normal(data_key, (config.test + config.train, config.dim))

    def draw(network: TangentMLP) -> Draws:
        function, params = of_module(network)
        return Draws(jax.vmap(network)(points)[:, 0], kernel_block(function, params, points, points[config.test :])[:, 0, :, 0])

    networks = eqx.filter_vmap(partial(_network, config))(jax.random.split(member_key, 2 * config.members))
    arrays, static = eqx.partition(networks, eqx.is_array)
    mirrored = negate_readout(eqx.combine(jax.tree.map(lambda leaf: leaf[: config.members], arrays), static))
    both = eqx.combine(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), arrays, eqx.filter(mirrored, eqx.is_array)), static)
    drawn = eqx.filter_vmap(draw)(both)
    members, others, mirrors = (Draws(*(leaf[n * config.members : (n + 1) * config.members] for leaf in drawn)) for n in range(3))
    return Instance(members, mirrors, weights_of(others.kernel.mean(axis=0)), jax.random.normal(label_key, (config.train,)))


def _network(config: Identities, key: PRNGKeyArray, outputs: int = 1) -> TangentMLP:
    return TangentMLP.create(config.dim, outputs, width=config.width, depth=2, bias_scale=0.3, key=key)


# --- the identities ---------------------------------------------------------------------------------------------------


def kernel_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """Structured derivatives equal contracted Jacobians for three outputs. Mutant: the coupling of outputs is dropped."""
    network_key, data_key = jax.random.split(key)
    function, params = of_module(_network(config, network_key, outputs=3))
    x = jax.random.normal(data_key, (config.train, config.dim))
    wanted = kernel_block(function, params, x, method="contraction")
    uncoupled = jnp.einsum("nm,cd->ncmd", kernel_block(function, params, x, outputs="mean"), jnp.eye(3))
    return Errors(relative_error(kernel_block(function, params, x), wanted), relative_error(uncoupled, wanted))


def mirrored_identity(config: Identities, instance: Instance) -> Errors:
    """Over members and their mirrors, kernel noise is uncorrelated with the other two parts. Mutant: the same members without mirrors."""
    pairs = Draws(*(jnp.concatenate(both) for both in zip(instance.members, instance.mirrors, strict=True)))
    parts = variance_parts(models_of(pairs, instance.mean_weights, instance.targets))
    return Errors(_correlation(parts), _correlation(instance.parts()))


def _correlation(parts: VarianceParts) -> Array:
    """Largest absolute correlation of the kernel part with the others."""
    with_function = parts.function_kernel / jnp.sqrt(4 * parts.function * parts.kernel)
    with_interaction = parts.kernel_interaction / jnp.sqrt(4 * parts.interaction * parts.kernel)
    return jnp.max(jnp.abs(jnp.concatenate([with_function, with_interaction])))


def labels_identity(config: Identities, instance: Instance) -> Errors:
    """Doubling the labels leaves V^a and V^i unchanged and multiplies V^c by four. Mutant: V[f^lin] by four."""
    once, twice = instance.parts(), instance.parts(2 * instance.targets)
    pairs = ((twice.function, once.function), (twice.interaction, once.interaction), (twice.kernel, 4 * once.kernel))
    return Errors(jnp.max(jnp.stack([relative_error(*pair) for pair in pairs])), relative_error(twice.full, 4 * once.full))


def readout_identity(config: Identities, instance: Instance) -> Errors:
    """Doubling the read-out multiplies V^a and V^i by four and leaves V^c unchanged. Mutant: V[f^lin] by four."""
    once, twice = instance.parts(), instance.parts(scale=2.0)
    pairs = ((twice.function, 4 * once.function), (twice.interaction, 4 * once.interaction), (twice.kernel, once.kernel))
    return Errors(jnp.max(jnp.stack([relative_error(*pair) for pair in pairs])), relative_error(twice.full, 4 * once.full))


OF_MODELS = {"mirrored": mirrored_identity, "labels": labels_identity, "readout": readout_identity}
