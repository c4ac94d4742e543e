"""Linear attention as gated linear RNNs: equal to 1e-12, with the numbers of neurons that are promised, and never without both gates."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import (
    FreeDecay,
    LinearAttention,
    MesaAttention,
    as_gated_rnn,
    compact_construction,
    compact_count,
    full_construction,
    full_count,
    gru_limit,
    lstm_limit,
    minimal_construction,
    minimal_count,
    side_gated_construction,
)
from mesocosm.nn.constructions.attention_as_rnn import independent_forms, thin_heads

DIMS = [2, 3, 8]
run = jax.jit(lambda layer, x: layer(x))
limit_run = jax.jit(lambda limit, layer, scale, x: limit(layer, scale)(x), static_argnums=0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def attention(dim, *, key_dim=None, value_dim=None, heads=1, seed=0):
    random, key_dim, value_dim = np.random.default_rng(seed), key_dim or dim, value_dim or dim
    shapes = [(heads, key_dim, dim), (heads, key_dim, dim), (heads, value_dim, dim), (heads, dim, value_dim)]
    return LinearAttention(*(jnp.asarray(dim**-0.5 * random.standard_normal(shape)) for shape in shapes))


def tokens(dim, time=20, seed=1):
    return np.random.default_rng(seed).standard_normal((time, dim))


def as_rnn(construction, layer):
    """From tokens to the RNN's outputs and decays. The layer is no argument: the minimal construction reads its numbers on the host."""

    @jax.jit
    def run(x):
        rnn = as_gated_rnn(layer, construction)
        return rnn(x), rnn.decay()

    return run


def quadratic_form(layer, x):
    """y_t = sum_h P_h W_V X_t W_K^T W_Q x_t, with X_t written out: a second implementation of linear attention."""
    second_moments = np.cumsum(x[..., :, None] * x[..., None, :], axis=-3)
    maps = np.einsum("hov,hvi->hoi", layer.output, layer.value), np.einsum("hki,hkj->hij", layer.key, layer.query)
    return np.einsum("hoi,...tij,hjk,...tk->...to", maps[0], second_moments, maps[1], x, optimize=True)


def worst(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("construction", [full_construction, compact_construction, side_gated_construction])
@pytest.mark.parametrize("dim", DIMS)
def test_constructions_are_linear_attention(construction, dim):
    layer, x = attention(dim), tokens(dim)
    wanted = quadratic_form(layer, x)
    assert worst(run(layer, x), wanted) < 1e-12
    assert worst(as_rnn(construction, layer)(x)[0], wanted) < 1e-12


@pytest.mark.parametrize("construction", [full_construction, compact_construction, side_gated_construction, minimal_construction])
@pytest.mark.parametrize(
    ("key_dim", "value_dim", "heads", "time"),
    [(2, 5, 1, 200), (2, 3, 3, 20), pytest.param(3, 1, 1, 20, marks=pytest.mark.whole), pytest.param(7, 2, 2, 20, marks=pytest.mark.whole)],
)
def test_other_sizes_and_several_heads(construction, key_dim, value_dim, heads, time):
    layer, x = attention(4, key_dim=key_dim, value_dim=value_dim, heads=heads), tokens(4, time)
    assert worst(as_rnn(construction, layer)(x)[0], quadratic_form(layer, x)) < 1e-12


@pytest.mark.parametrize("dim", [2, 3, 4, 6, 8])
def test_numbers_of_neurons_and_parameters(dim):
    layer = attention(dim)
    full, compact, side = (jax.eval_shape(make, layer) for make in (full_construction, compact_construction, side_gated_construction))
    assert full.decay.value.size == full_count(dim, dim) == dim**2 + dim
    assert compact.decay.value.size == compact_count(dim) == dim * (dim + 3) // 2
    assert side.decay.value.size == dim * (dim + 1) // 2
    assert minimal_count(layer) == compact_count(dim)
    n, m = dim**2 + dim, dim**2
    parameters = sum(leaf.size for leaf in jax.tree.leaves(full))
    assert parameters == 2 * n * (dim + 1) + 2 * m * n + dim * m + n
    assert 2 * dim**4 < parameters < 8 * dim**4  # attention has 3 dim**2


@pytest.mark.parametrize("construction", [full_construction, compact_construction])
def test_the_memories_must_be_perfect(construction):
    """A hundredth lost per step costs far more than rounding."""
    layer, x = attention(4), tokens(4)
    leaking = jax.jit(lambda x: (rnn := construction(layer), replace(rnn, decay=FreeDecay(0.99 * rnn.decay()))(x))[1])
    assert worst(leaking(x), quadratic_form(layer, x)) > 1e-2


def low_rank(value_rank, key_rank, shared, dim, seed):
    """Linear attention whose row space of P W_V and column space of W_K^T W_Q meet in exactly `shared` dimensions."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.standard_normal((dim, dim)))[0]
    rows, columns = basis[:value_rank], basis[value_rank - shared : value_rank - shared + key_rank]
    mix = [random.standard_normal((n, n)) for n in (value_rank, key_rank)]
    value, key = mix[0] @ rows, mix[1] @ columns
    query, output = random.standard_normal((key_rank, dim)), random.standard_normal((dim, value_rank))
    return LinearAttention(*(jnp.asarray(w[None]) for w in (query, key, value, output)))


RANKS = [(2, 3, 0, 6), (3, 3, 3, 4), (2, 2, 1, 4), (1, 1, 0, 2), (1, 1, 1, 3), (3, 4, 2, 6), (3, 3, 0, 6), (5, 2, 2, 8)]


@pytest.mark.parametrize(("value_rank", "key_rank", "shared", "dim"), RANKS)
def test_the_smallest_number_follows_from_ranks_and_overlap(value_rank, key_rank, shared, dim):
    layer = low_rank(value_rank, key_rank, shared, dim, seed=3)
    formula = value_rank * key_rank - shared * (shared - 1) // 2 + key_rank
    assert minimal_count(layer) == formula
    x = tokens(dim)
    outputs, decays = as_rnn(minimal_construction, layer)(x)
    assert len(decays) == formula
    assert worst(outputs, quadratic_form(layer, x)) < 1e-10 * independent_forms(thin_heads(layer)).condition


def test_a_badly_conditioned_layer_is_still_met():
    layer = attention(4)
    steep = LinearAttention(layer.query, layer.key, jnp.asarray(layer.value * np.array([1.0, 1e-2, 1e-4, 1e-6])[:, None]), layer.output)
    x = tokens(4)
    assert worst(as_rnn(minimal_construction, steep)(x)[0], quadratic_form(steep, x)) < 1e-10


@pytest.mark.parametrize("construction", [full_construction, compact_construction, minimal_construction])
def test_attention_and_its_rnn_scale_with_the_third_power(construction):
    layer, x = attention(3), tokens(3)
    wanted, rnn = np.asarray(run(layer, x)), as_rnn(construction, layer)
    for alpha in (0.5, 3.0):
        assert worst(rnn(alpha * x)[0], alpha**3 * wanted) < 1e-12


def test_only_linear_attention_is_taken():
    with pytest.raises(TypeError, match="only linear attention"):
        as_gated_rnn(eqx.filter_jit(MesaAttention.create)(4, heads=1, key_dim=2, key=jax.random.key(0)))


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [lstm_limit, gru_limit])
@pytest.mark.parametrize(("dim", "heads"), [(2, 1), (3, 1), (2, 2)])
def test_small_signals_approach_attention_to_second_order(limit, dim, heads):
    layer, x = attention(dim, heads=heads), tokens(dim, 16)
    wanted = quadratic_form(layer, x)
    errors = [worst(limit_run(limit, layer, scale, x), wanted) for scale in (2e-2, 1e-2)]
    assert errors[1] < 3e-2
    assert 3 < errors[0] / errors[1] < 5


def test_without_its_gates_the_limit_is_lost():
    """The output gate of the LSTM and the reset gate of the GRU, held at a half."""
    layer, x = attention(3), tokens(3, 16)
    lstm, gru = (jax.jit(limit)(layer, 1e-2) for limit in (lstm_limit, gru_limit))
    cells, rows = lstm.recurrent_weight.shape[1], gru.recurrent_weight.shape[1]
    ungated, unreset = np.array(lstm.input_weight), np.array(gru.input_weight)
    ungated[3 * cells :] = unreset[:rows] = 0.0
    held_lstm = replace(lstm, input_weight=jnp.asarray(ungated))
    held_gru = replace(gru, input_weight=jnp.asarray(unreset))
    wanted = quadratic_form(layer, x)
    assert worst(run(held_lstm, x), wanted) > 0.5
    assert worst(run(held_gru, x), wanted) > 0.1


# --- what cannot do it ------------------------------------------------------------------------------------------------


def monomials(columns):
    """All products of two columns."""
    i, j = np.triu_indices(columns.shape[-1])
    return columns[..., i] * columns[..., j]


def recurrent_features(x, inputs):
    """Sums of `inputs` with several decays, and a 1."""
    decays = np.array([0.0, 0.5, 0.9, 1.0])
    lag = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])
    kernel = np.where(lag >= 0, decays[:, None, None] ** np.maximum(lag, 0), 0)
    states = np.einsum("kts,bsn->btkn", kernel, inputs).reshape(*x.shape[:2], -1)
    return np.concatenate([states, np.ones((*x.shape[:2], 1))], axis=-1)


@pytest.mark.parametrize(("missing", "reached"), [("input gate", 0.7), ("output gate", 0.5), ("input gate, side gating", 0.5), ("nothing", 1.0)])
def test_without_either_gate_no_weights_give_attention(missing, reached):
    """The best least-squares fit of all that such a layer can compute, whatever its weights; held out. With both gates it is exact."""
    layer = eqx.filter_jit(LinearAttention.create)(2, heads=1, key_dim=2, std=2**-0.5, key=jax.random.key(0))
    x = np.random.default_rng(5).standard_normal((3000, 6, 2))
    targets = quadratic_form(layer, x)[:, -1]
    token = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=-1)
    linear, gated = (recurrent_features(x, inputs)[:, -1] for inputs in (token, monomials(token)))
    features = {
        "input gate": monomials(linear),
        "output gate": gated,
        "input gate, side gating": np.einsum("bn,bk->bnk", linear, token[:, -1]).reshape(len(x), -1),
        "nothing": monomials(gated),
    }[missing]
    weights = np.linalg.lstsq(features[:2000], targets[:2000], rcond=None)[0]
    left = targets[2000:] - features[2000:] @ weights
    explained = 1 - np.sum(left**2) / np.sum(targets[2000:] ** 2)
    if missing == "nothing":
        assert explained > 1 - 1e-10
    else:
        assert explained < reached
