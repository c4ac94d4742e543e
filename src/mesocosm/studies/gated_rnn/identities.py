"""Identities in float64 on random instances: constructions, counts and limits.

Each comes with a named mutant, whose error must be large.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.analysis.in_context.gated_structure import silence
from mesocosm.nn.constructions.attention_as_rnn import independent_forms, thin_heads
from mesocosm.numerics.programs import filter_jit
from mesocosm.studies.gated_rnn.config import Identities
from mesocosm.studies.identity_trials import Errors, check_statements, instance_keys, on_instances, relative_error
from mesocosm.studies.interface import Context, Tables

SCALES = (2e-2, 1e-2)


def check_identities(config: Identities, context: Context) -> Tables:
    """Check every identity on `config.instances` random instances."""
    instances, tables = {"instance": range(config.instances)}, [check_statements(context, config, IDENTITIES)]
    limits = context.evaluate(Partial(on_instances, small_signals, config), shared=(instance_keys(context, len(IDENTITIES), config.instances),))
    minimal = minimal_identity(config, np.random.default_rng(0))
    counts = count_identity(config, np.random.default_rng(1))
    for name, errors in (("C3 minimal", minimal), ("C3 count", counts)):
        tables.append(context.rows(instances, identity=name, error=errors.error[None], mutant=errors.mutant[None]))
    return {
        "identities": pl.concat(tables),
        "limits": context.rows(instances, **limits._asdict()),
        "gates": missing_gates(config, context),
    }


def _draw(config: Identities, key: PRNGKeyArray) -> tuple[nn.LinearAttention, Float[Array, "time dim"]]:
    """Draw a teacher with values and keys of different size, and tokens."""
    layer_key, token_key = jax.random.split(key)
    attention = nn.LinearAttention.create(config.dim, heads=1, key_dim=config.dim, value_dim=config.dim - 1, std=config.dim**-0.5, key=layer_key)
    return attention, jax.random.normal(token_key, (config.length, config.dim))


def construction_identity(construction: Callable[[nn.LinearAttention], nn.GatedLinearRNN], config: Identities, key: PRNGKeyArray) -> Errors:
    """C1: the gated RNN equals linear attention at every position. Mutant: its first memory neuron is not read."""
    attention, tokens = _draw(config, key)
    rnn, wanted = construction(attention), attention(tokens)
    without = silence(rnn, jnp.ones(rnn.decay().shape).at[0].set(0.0))
    return Errors(relative_error(rnn(tokens), wanted), relative_error(without(tokens), wanted))


IDENTITIES = {
    "C1 full": partial(construction_identity, nn.full_construction),
    "C1 compact": partial(construction_identity, nn.compact_construction),
}


# --- counts ---------------------------------------------------------------------------------------------------------


def _low_rank(random: np.random.Generator, dim: int, ranks: tuple[int, int, int]) -> nn.LinearAttention:
    """One head whose value and key spaces have the dimensions value_rank and key_rank, and share a subspace of dimension `shared`."""
    value_rank, key_rank, shared = ranks
    basis = np.linalg.qr(random.standard_normal((dim, dim)))[0]
    value = random.standard_normal((value_rank, value_rank)) @ basis[:value_rank]
    key = random.standard_normal((key_rank, key_rank)) @ basis[value_rank - shared : value_rank - shared + key_rank]
    query, output = random.standard_normal((key_rank, dim)), random.standard_normal((dim, value_rank))
    return nn.LinearAttention(*(jnp.asarray(weights)[None] for weights in (query, key, value, output)))


def _ranks(random: np.random.Generator, dim: int) -> tuple[int, int, int]:
    value_rank, key_rank = (int(random.integers(1, dim)) for _ in range(2))
    smallest = max(0, value_rank + key_rank - dim)
    return value_rank, key_rank, int(random.integers(smallest, min(value_rank, key_rank) + 1))


def count_identity(config: Identities, random: np.random.Generator) -> Errors:
    """C3: the rank of the needed forms is r_v r_k - s(s-1)/2, for random ranks and overlaps in 6 dimensions. Mutant: the overlap is ignored."""
    found = []
    for _ in range(config.instances):
        value_rank, key_rank, shared = ranks = _ranks(random, 6)
        count = nn.minimal_count(_low_rank(random, 6, ranks)) - key_rank
        found.append((abs(count - value_rank * key_rank + shared * (shared - 1) // 2), abs(count - value_rank * key_rank)))
    return Errors(*(np.asarray(column, np.float64) for column in zip(*found, strict=True)))


RANKS = ((2, 3, 0), (3, 3, 2), (2, 2, 1), (4, 2, 2), (1, 4, 1))


def minimal_identity(config: Identities, random: np.random.Generator) -> Errors:
    """C3: with that many neurons, the RNN equals attention, for five sets of ranks; error over the forms' condition number. Mutant: the last is not read."""
    found, dim = [], 6
    for ranks in RANKS:
        layers = [_low_rank(random, dim, ranks) for _ in range(-(-config.instances // len(RANKS)))]
        conditions = np.array([independent_forms(thin_heads(layer)).condition for layer in layers])
        tokens = jnp.asarray(random.standard_normal((len(layers), config.length, dim)))
        rnns = [nn.minimal_construction(layer) for layer in layers]
        attentions, networks = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *group) for group in (layers, rnns))
        errors = filter_jit(jax.vmap(_minimal_errors))(attentions, networks, tokens)
        found.append(Errors(np.asarray(errors.error) / conditions, np.asarray(errors.mutant)))
    return Errors(*(np.concatenate(column)[: config.instances] for column in zip(*found, strict=True)))


def _minimal_errors(attention: nn.LinearAttention, rnn: nn.GatedLinearRNN, tokens: Array) -> Errors:
    wanted = attention(tokens)
    without = silence(rnn, jnp.ones(rnn.decay().shape).at[-1].set(0.0))
    return Errors(relative_error(rnn(tokens), wanted), relative_error(without(tokens), wanted))


# --- limits ---------------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    """Relative errors of the small-signal limits, and their ratios between two scales; `held` has the multiplying gate fixed at a half."""

    lstm: Array
    lstm_ratio: Array
    lstm_held_ratio: Array
    gru: Array
    gru_ratio: Array


def small_signals(config: Identities, key: PRNGKeyArray) -> Limits:
    """C8: LSTM and GRU configured as linear attention for small signals."""
    attention, tokens = _draw(config, key)
    wanted = attention(tokens)

    def errors(limit: Callable[[nn.LinearAttention, float], nn.LSTM | nn.GRU], mutate: Callable[[Any], Any] = lambda layer: layer) -> list[Array]:
        return [relative_error(mutate(limit(attention, scale))(tokens), wanted) for scale in SCALES]

    lstm, held, gru = errors(nn.lstm_limit), errors(nn.lstm_limit, _hold_output_gate), errors(nn.gru_limit)
    return Limits(lstm[1], lstm[0] / lstm[1], held[0] / held[1], gru[1], gru[0] / gru[1])


def _hold_output_gate(layer: nn.LSTM) -> nn.LSTM:
    cells = layer.recurrent_weight.shape[1]
    return eqx.tree_at(lambda lstm: lstm.input_weight, layer, layer.input_weight.at[3 * cells :].set(0.0))


# --- missing gates --------------------------------------------------------------------------------------------------

DECAYS = np.array([0.0, 0.7, 1.0])
SAMPLES = 1500


def missing_gates(config: Identities, context: Context) -> pl.DataFrame:
    """C1: the fraction of a teacher's power (d = 2, six tokens) that the best weights leave unexplained, by missing gate. Fits by least squares everything
    that such a layer can compute from recurrent neurons with decays 0, 0.7 and 1."""
    random, rows = np.random.default_rng(2), []
    for _ in range(config.instances):
        tokens = random.standard_normal((SAMPLES, 6, 2))
        query, key, value = random.standard_normal((3, 2, 2))
        targets = np.einsum("vi,bsi,kj,bsj,kl,bl->bv", value, tokens, key, tokens, query, tokens[:, -1], optimize=True)
        rows.append([_unexplained(features, targets) for features in _features(tokens).values()])
    names = list(_features(np.zeros((1, 2, 2))))
    return context.rows({"instance": range(config.instances), "missing": names}, unexplained=np.asarray(rows)[None])


def _features(tokens: Float[np.ndarray, "batch time dim"]) -> dict[str, Float[np.ndarray, "batch features"]]:
    with_one = np.concatenate([tokens, np.ones((*tokens.shape[:2], 1))], axis=-1)
    linear, gated = _neurons(with_one), _neurons(_pairs(with_one))
    return {
        "input gate": _pairs(linear),
        "output gate": gated,
        "input gate, side gating": (linear[:, :, None] * with_one[:, -1, None]).reshape(len(tokens), -1),
        "none": np.concatenate([_pairs(linear), (gated[:, :, None] * with_one[:, -1, None]).reshape(len(tokens), -1)], axis=1),
    }


def _neurons(inputs: Float[np.ndarray, "batch time n"]) -> Float[np.ndarray, "batch m"]:
    """Final states for every decay and input, and a constant 1."""
    kept = DECAYS[:, None] ** np.arange(inputs.shape[1])[::-1]
    states = np.einsum("ks,bsn->bkn", kept, inputs).reshape(len(inputs), -1)
    return np.concatenate([states, np.ones((len(inputs), 1))], axis=1)


def _pairs(columns: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows pairs"]:
    i, j = np.triu_indices(columns.shape[-1])
    return columns[..., i] * columns[..., j]


def _unexplained(features: Float[np.ndarray, "batch n"], targets: Float[np.ndarray, "batch out"]) -> float:
    weights = np.linalg.pinv(features.T @ features, rcond=1e-12, hermitian=True) @ (features.T @ targets)
    return float(np.sum((targets - features @ weights) ** 2) / np.sum(targets**2))
