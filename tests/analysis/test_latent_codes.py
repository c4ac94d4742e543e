"""Latent codes: which numbers they are, and analyses on codes whose structure is known."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mesocosm.analysis.latent_codes import embedding, latent_codes, logistic_probe, ridge_probe, silhouettes, similarity
from mesocosm.nn import LRU, Diagnostics, LayerNorm, Linear, SequenceModel, TransformerBlock, hyla
from mesocosm.tasks.data_sets import NotInstalled

RANDOM = np.random.default_rng(0)
RULES = RANDOM.integers(0, 3, 240)
CENTRES = np.array([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, -2, 0, 0]])
NOISE = RANDOM.standard_normal((2, 240, 4))
CODES = np.stack([NOISE[0], CENTRES[RULES] + 0.3 * NOISE[1]])  # the first layer knows nothing
FIT, TEST = slice(0, 120), slice(120, None)


@pytest.mark.whole
def test_codes_are_the_weights_of_pairs_over_heads():
    keys = jax.random.split(jax.random.key(0), 4)
    mixer = partial(hyla, heads=3, key_dim=2, causal=False)
    blocks = tuple(TransformerBlock.create(6, mixer=mixer, feed_forward=None, key=key) for key in keys[:2])
    readout = Linear.create(6, out_dim=2, key=keys[2])
    model = SequenceModel(Linear.create(5, out_dim=6, key=keys[3]), None, blocks, LayerNorm.create(6), readout, (-1, 0))
    inputs = jax.random.normal(jax.random.key(1), (4, 7, 5))
    outputs, shown = jax.vmap(model.explain)(inputs)
    np.testing.assert_allclose(outputs, jax.vmap(model)(inputs), rtol=1e-4, atol=1e-5)
    codes = latent_codes(shown, -1, (2, 5))
    assert codes.shape == (2, 4, 6)
    stream = model.activations(inputs[3])
    second = blocks[1].explain(stream[1])[1].attention
    np.testing.assert_allclose(codes[1, 3], np.concatenate([second[:, 6, 2], second[:, 6, 5]]), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(latent_codes([np.asarray(layer.attention) for layer in shown], 6, [2, 5]), codes)


@pytest.mark.whole
def test_layers_without_codes_or_with_other_heads_are_refused():
    lru = LRU.create(4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="layer 1 shows no attention"):
        latent_codes([np.zeros((1, 2, 3, 3)), jax.vmap(lru.explain)(jnp.ones((1, 3, 4)))[1]], 0, (0,))
    with pytest.raises(ValueError, match=r"sizes \[2, 3\]"):
        latent_codes([Diagnostics(jnp.zeros((1, 2, 3, 3))), Diagnostics(jnp.zeros((1, 3, 3, 3)))], 0, (0,))


@pytest.fixture
def unchecked(monkeypatch):
    """Without the run-time check of shapes, which complains first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_codes_of_no_layer_or_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="no layers"):
        latent_codes([], 0, (0,))
    with pytest.raises(ValueError, match=r"numbers of examples, \[1, 2\]"):
        latent_codes([np.zeros((1, 2, 3, 3)), np.zeros((2, 2, 3, 3))], 0, (0,))


@pytest.mark.parametrize(
    ("labels", "held_out", "options", "told"),
    [
        (RULES[:119], RULES[TEST], {}, r"to fit, there are codes of 120 examples, and labels or features of shape \(119,\)"),
        (RULES[FIT], RULES[TEST][1:], {}, r"held out, there are codes of 120 examples, and labels or features of shape \(119,\)"),
        (np.zeros((120, 0), bool), np.zeros((120, 0), bool), {}, r"shape \(120, 0\)"),
        (np.zeros((120, 2), bool), np.zeros((120, 3), bool), {}, r"labels of shape \(2,\) and \(3,\)"),
        (RULES[FIT], RULES[TEST], {"strength": 0.0}, "positive, not 0.0"),
        (RULES[FIT], RULES[TEST], {"strength": float("nan")}, "positive, not nan"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_labels_that_do_not_fit_the_codes_are_refused(labels, held_out, options, told):
    with pytest.raises(ValueError, match=told):
        logistic_probe(CODES[:, FIT], labels, CODES[:, TEST], held_out, **options)


@pytest.mark.usefixtures("unchecked")
def test_layers_to_fit_and_held_out_ones_are_as_many():
    with pytest.raises(ValueError, match="2 and 1 layers"):
        logistic_probe(CODES[:, FIT], RULES[FIT], CODES[1:, TEST], RULES[TEST])


@pytest.mark.usefixtures("unchecked")
def test_features_that_do_not_fit_the_codes_are_refused():
    for features, codes, told in (
        (NOISE[0][:100], CODES, "of 240 examples"),
        (NOISE[0][:, :0], CODES, "each example needs some"),
        (NOISE[0][:1], CODES[:, :1], "two"),
    ):
        with pytest.raises(ValueError, match=told):
            ridge_probe(features, codes)
    with pytest.raises(ValueError, match="positive, not -1"):
        ridge_probe(NOISE[0], CODES, strength=-1)


def test_a_logistic_probe_decodes_what_is_there_and_nothing_else():
    found = logistic_probe(CODES[:, FIT], RULES[FIT], CODES[:, TEST], RULES[TEST])
    assert found.f1[1] > 0.98
    assert found.accuracy[1] > 0.98
    assert 0.15 < found.f1[0] < 0.5
    rescaled = [np.array([[[1e-4]], [[1e4]]]) * part + 7 for part in (CODES[:, FIT], CODES[:, TEST])]
    np.testing.assert_allclose(logistic_probe(rescaled[0], RULES[FIT], rescaled[1], RULES[TEST]).f1, found.f1)


def test_several_labels_have_a_probe_each_and_macro_f1_counts_classes_alike():
    several = np.stack([RULES == 0, RULES == 1, np.arange(240) % 40 == 0], axis=1)
    found = logistic_probe(CODES[1:, FIT], several[FIT], CODES[1:, TEST], several[TEST])
    alone = [logistic_probe(CODES[1:, FIT], one[FIT].astype(int), CODES[1:, TEST], one[TEST].astype(int)) for one in several.T]
    np.testing.assert_allclose(found.f1, np.mean([one.f1 for one in alone], axis=0))
    assert alone[0].f1 > 0.98
    assert alone[2].f1 < 0.6  # the rare label is never guessed, though that is right 39 times of 40
    assert alone[2].accuracy > 0.95


def test_a_strong_penalty_leaves_the_guess_of_the_larger_class():
    """Its F1 is 2p / (1 + p) for a fraction p, and that of the other class 0."""
    rare = (RULES == 0).astype(int)
    strong, weak = (logistic_probe(CODES[1:], rare, CODES[1:], rare, strength=strength).f1[0] for strength in (1e4, 1e-4))
    np.testing.assert_allclose(strong, (1 - rare.mean()) / (2 - rare.mean()))
    assert weak > 0.98


def test_a_ridge_probe_is_scored_on_what_it_is_not_fitted_on():
    """Forty random features fit the noise of fifty examples; the next fifty are then explained worse than by the mean."""
    assert ridge_probe(RANDOM.standard_normal((100, 40)), NOISE[:1, :100])[0] < -0.5


def test_a_ridge_probe_says_how_much_of_the_codes_features_explain():
    features = RANDOM.standard_normal((400, 3))
    noise = RANDOM.standard_normal((400, 2))
    linear = features @ RANDOM.standard_normal((3, 2)) + 5
    half = linear / linear.std(axis=0) + noise
    constant = np.concatenate([linear, np.ones((400, 1))], axis=1)
    found = [float(ridge_probe(features, layer[None])[0]) for layer in (linear, half, noise, constant)]
    assert found[0] > 0.999
    assert 0.35 < found[1] < 0.6
    assert -0.1 < found[2] < 0.05
    assert found[3] > 0.999


def test_a_ridge_probe_counts_coordinates_alike_and_a_strong_penalty_leaves_the_mean():
    random = np.random.default_rng(0)
    features = random.standard_normal((400, 3))
    codes = np.stack([100 * features[:, 0], random.standard_normal(400)], axis=1)[None]
    assert 0.45 < ridge_probe(features, codes)[0] < 0.52
    assert abs(ridge_probe(features, codes, strength=1e9)[0]) < 0.05


def test_silhouettes_and_the_embedding_show_clusters():
    by_layer = silhouettes(CODES, RULES)
    assert by_layer[1] > 0.6
    assert abs(by_layer[0]) < 0.1
    plane = embedding(CODES[1, :60], perplexity=10.0)
    assert plane.shape == (60, 2)
    assert silhouettes(plane[None], RULES[:60])[0] > 0.5


def test_similarity_is_the_cosine_of_centred_means():
    """Means (2, 0), (0, 2), (0, -2): their mean is (2/3, 0), so that the last two have the cosine (4/9 - 4) / (4/9 + 4) = -0.8."""
    exact = similarity(CENTRES[[0, 0, 1, 2]], np.array([4, 4, 6, 9]))
    assert exact.labels.tolist() == [4, 6, 9]
    np.testing.assert_allclose(np.diag(exact.cosine), 1)
    np.testing.assert_allclose(exact.cosine[1, 2], -0.8)
    np.testing.assert_allclose(exact.cosine[0, 1], exact.cosine[0, 2])
    assert exact.cosine[0, 1] < 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_codes_say_nothing(dtype):
    """Means of 0.1 over 50 and over 17 examples differ by rounding errors, which are no structure."""
    same, labels = np.full((50, 3), 0.1, dtype), np.arange(50) % 3
    np.testing.assert_array_equal(similarity(same, labels).cosine, 0)
    np.testing.assert_array_equal(similarity(CODES[1], np.zeros(240, int)).cosine, [[0]])
    np.testing.assert_array_equal(ridge_probe(NOISE[0, :50], same[None]), [0])
    np.testing.assert_array_equal(embedding(same), 0)
    np.testing.assert_array_equal(silhouettes(same[None], labels), 0)


def test_without_scikit_learn_the_command_that_installs_it_is_shown(monkeypatch):
    for name in ("metrics", "linear_model", "manifold", "pipeline"):
        monkeypatch.setitem(sys.modules, f"sklearn.{name}", None)
    for analysis in (lambda: silhouettes(CODES, RULES), lambda: ridge_probe(CODES[0], CODES), lambda: embedding(CODES[0])):
        with pytest.raises(NotInstalled, match=r"scikit-learn; to get it: python -m pip install 'mesocosm\[data\]'"):
            analysis()


def test_codes_and_labels_that_do_not_vary_tell_nothing():
    random = np.random.default_rng(0)
    constant = np.full((1, 40, 3), 0.1) + 1e-9 * random.standard_normal((1, 40, 3))
    labels = np.zeros(40, int)
    assert logistic_probe(constant, labels, constant, 1 - labels).accuracy[0] == 0
    assert ridge_probe(random.standard_normal((40, 2)), constant)[0] == 0
    np.testing.assert_array_equal(embedding(np.ones((40, 3))), np.zeros((40, 2)))
    np.testing.assert_array_equal(similarity(np.ones((40, 3)), labels).cosine, [[0]])
