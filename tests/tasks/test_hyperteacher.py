"""The hyperteacher: linearity in the code, symmetries, laws of codes and inputs, masks of the splits, and the tokens of a prompt."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mesocosm.tasks.compositional_supports import k_hot, support
from mesocosm.tasks.hyperteacher import Hyperteacher, Prompts, Teacher, Unstructured, binary, damped, operator_norm, simplex
from mesocosm.tasks.task import batch

SIZES, MODULES = (16, 16, 1), 6


def teacher(seed=0, **options):
    given = {"module_gain": (16 / MODULES) ** 0.5, "activation": jax.nn.gelu, "normalised": True} | options
    return Teacher.create(*SIZES, modules=MODULES, key=jax.random.key(seed), **given)


def task(name="connected+", points=8, seed=0, **options):
    return Hyperteacher(teacher(seed), support(name, k_hot(MODULES, 2)), points, **options)


def draw(task, size, split="train", seed=0):
    return jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(seed), size, split)


def largest_singular_value(matrix):
    return np.linalg.svd(np.asarray(matrix), compute_uv=False)[0]


def test_weights_are_linear_in_the_plain_code_and_of_norm_one_for_a_code():
    with jax.enable_x64(True):
        of = teacher()
        one, two = jax.random.normal(jax.random.key(1), (2, MODULES))
        combined = 2 * of.weights(one)[0] - 3 * of.weights(two)[0]
        np.testing.assert_allclose(of.weights(2 * one - 3 * two)[0], combined, rtol=0, atol=1e-12)
        assert abs(largest_singular_value(of.weights(of.plain_code(one))[0]) - 1) < 1e-12
        for m, code in enumerate(jnp.eye(MODULES)):
            module = of.layers[0][m]
            np.testing.assert_allclose(of.weights(of.plain_code(code))[0], module / largest_singular_value(module), rtol=0, atol=1e-12)


def test_the_operator_norm_is_the_largest_singular_value():
    """Also where the two largest are nearly equal, which takes the iteration longest; the bound is over all gaps."""
    random = jax.random.normal(jax.random.key(0), (500, 12, 16))
    found = np.asarray(jax.jit(jax.vmap(operator_norm))(random))
    np.testing.assert_allclose(found, np.linalg.svd(np.asarray(random), compute_uv=False)[:, 0], rtol=2e-6)
    for gap in (0, 1e-6, 1e-5, 1e-4, 1e-3):
        assert abs(operator_norm(jnp.diag(jnp.asarray([1 - gap, 0.1, 1]))) - 1) < 3e-6
    assert operator_norm(jnp.full((3, 5), 1e-12)) > 3.8e-12


def test_the_length_of_a_code_has_no_effect_and_its_sign_has():
    code, x = jax.random.uniform(jax.random.key(1), (MODULES,)), jax.random.normal(jax.random.key(2), (50, 16))
    wanted = teacher()(x, code)
    np.testing.assert_allclose(teacher()(x, 7 * code), wanted, rtol=0, atol=1e-5)
    assert np.abs(teacher()(x, -code) - wanted).max() > 0.05


def test_outputs_are_those_of_the_network_written_out():
    deep = Teacher.create(3, 5, 4, 2, modules=4, generated=(1, 2), key=jax.random.key(0))
    assert [layer.ndim for layer in deep.layers] == [2, 3, 3]
    x, z = np.asarray(jax.random.normal(jax.random.key(1), (3,))), np.asarray([0.5, 0, -1, 2], np.float32)
    first, second, last = (np.asarray(layer) for layer in deep.layers)
    hidden = np.maximum(sum(z[m] * second[m] for m in range(4)) @ np.maximum(first @ x, 0), 0)
    np.testing.assert_allclose(deep(jnp.asarray(x), jnp.asarray(z)), sum(z[m] * last[m] for m in range(4)) @ hidden, rtol=1e-5, atol=1e-6)


def test_permuted_hidden_units_are_the_same_teacher_and_scaled_ones_are_not():
    """GELU is not homogeneous; a ReLU teacher may also be scaled unit by unit."""
    order, scale = jax.random.permutation(jax.random.key(0), 16), jnp.linspace(0.5, 2, 16)
    x, z = jax.random.normal(jax.random.key(1), (20, 16)), jnp.ones(MODULES)
    for activation, changed in ((jax.nn.gelu, True), (jax.nn.relu, False)):
        old = teacher(normalised=False, activation=activation)
        permuted = Teacher((old.layers[0][:, order], old.layers[1][:, order]), activation)
        np.testing.assert_allclose(permuted(x, z), old(x, z), rtol=0, atol=1e-5)
        scaled = Teacher((old.layers[0] * scale[:, None], old.layers[1] / scale), activation)
        assert (np.abs(scaled(x, z) - old(x, z)).max() > 1e-2) == changed


@pytest.mark.parametrize("active", [1, 2, 3])
def test_codes_follow_their_laws(active):
    mask = (jnp.arange(MODULES) < active).astype(int)
    keys = jax.random.split(jax.random.key(0), 5000)
    z = np.asarray(jax.vmap(lambda key: simplex(key, mask))(keys))
    assert np.all(z[:, active:] == 0)
    assert np.all((z[:, :active] >= 0.5) & (z[:, :active] <= 1))
    np.testing.assert_allclose(z.sum(axis=1), 0.5 * (1 + active), atol=1e-6)
    w = np.asarray(jax.vmap(lambda key: damped(key, mask))(keys))
    assert np.all(w[:, active:] == 0)
    assert np.all((w[:, :active] >= 0.5) & (w[:, :active] < 1))
    assert np.all((2 * w - 1)[:, :active].sum(axis=1) < 1)
    if active == 2:
        assert stats.kstest(2 * z[:, 0] - 1, "uniform").pvalue > 0.01
    if active == 1:  # e / (1 + e) for e ~ Exp(1)
        assert stats.kstest(2 * w[:, 0] - 1, lambda u: 1 - np.exp(-u / (1 - u))).pvalue > 0.01
    np.testing.assert_array_equal(binary(keys[0], mask), np.asarray(mask, float))


def test_inputs_and_weights_have_the_variances_of_the_paper():
    x = np.asarray(draw(task(points=100), 200).inputs)
    assert abs(x.mean()) < 0.01
    assert abs(x.var() - 1) < 0.01
    assert np.abs(x).max() < 3**0.5
    modules, readout = (np.concatenate([np.asarray(teacher(seed).layers[n]).ravel() for seed in range(60)]) for n in (0, 1))
    for weights, std in ((modules, MODULES**-0.5), (readout, 16**-0.5)):
        assert abs(weights.std() / std - 1) < 0.03
        assert np.abs(weights).max() < 2.28 * std  # two standard deviations of the normal that is cut


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.whole) for name in ("connected", "disconnected")), "connected+"])
def test_training_never_shows_a_held_out_mask_and_every_split_shows_all_of_its_own(name):
    of = task(name, points=1)
    for split, allowed in (("train", of.support.train), ("iid", of.support.train), ("ood", of.support.held_out)):
        seen = {tuple(row) for row in (np.asarray(draw(of, 5_000, split).code) > 0).astype(int).tolist()}
        assert seen == {tuple(row) for row in np.asarray(allowed).tolist()}


def test_outputs_are_the_teachers_and_keys_decide():
    of = task()
    examples, again, other = draw(of, 20), draw(of, 20), draw(of, 20, seed=1)
    np.testing.assert_array_equal(examples.outputs, again.outputs)
    assert np.abs(examples.inputs - other.inputs).min() > 0
    for x, y, z, _ in zip(*examples, strict=True):
        first = np.einsum("m,mhd->hd", z, of.teacher.layers[0])
        hidden = jax.nn.gelu(x @ (first / largest_singular_value(first)).T)
        np.testing.assert_allclose(y, hidden @ of.teacher.layers[1].T, rtol=0, atol=1e-5)


@pytest.mark.whole
def test_a_student_with_the_teachers_modules_and_divided_codes_is_the_teacher():
    """Also in an invertible reparametrisation of modules and codes."""
    of, mixing = task("disconnected"), jax.random.normal(jax.random.key(5), (MODULES, MODULES))
    modules, readout = of.teacher.layers
    student = Teacher((jnp.einsum("mn,nhd->mhd", jnp.linalg.inv(mixing), modules), readout), jax.nn.gelu)
    for split in ("train", "ood"):
        for x, y, z, plain_code in zip(*draw(of, 10, split), strict=True):
            code = z / largest_singular_value(of.teacher.weights(z)[0])
            np.testing.assert_allclose(plain_code, code, rtol=1e-5)
            np.testing.assert_allclose(student(x, code @ mixing), y, rtol=0, atol=1e-4)


@pytest.mark.whole
def test_unstructured_tasks_have_new_modules_and_the_same_readout():
    """With the identity for an activation, the outputs' covariance with inputs is the readout times a matrix that differs among tasks."""
    of = Hyperteacher(teacher(activation=_identity), support("connected+", k_hot(MODULES, 2)), 40)
    examples = draw(Unstructured(of), 50, "ood")
    maps = [np.linalg.lstsq(np.asarray(x), np.asarray(y)[:, 0], rcond=None)[0] for x, y, *_ in zip(*examples, strict=True)]
    modules, readout = (np.asarray(layer) for layer in of.teacher.layers)
    spanned = np.linalg.svd(np.einsum("h,mhd->md", readout[0], modules), full_matrices=False)[2]
    outside = [np.linalg.norm(row - row @ spanned.T @ spanned) / np.linalg.norm(row) for row in maps]
    assert np.median(outside) > 0.5
    shared = [np.linalg.lstsq(np.asarray(x), np.asarray(y)[:, 0], rcond=None)[0] for x, y, *_ in zip(*draw(of, 50, "ood"), strict=True)]
    assert max(np.linalg.norm(row - row @ spanned.T @ spanned) / np.linalg.norm(row) for row in shared) < 1e-4
    assert all(np.linalg.norm(row) <= np.linalg.norm(readout) * (1 + 1e-4) for row in maps)  # the norm of the generated weights is 1


def test_the_modules_of_unstructured_tasks_have_their_gain():
    of = Hyperteacher(Teacher.create(16, 16, 1, modules=6, key=jax.random.key(0), activation=jax.nn.relu), support("connected+", k_hot(6, 2)), 4)
    one, two = (Unstructured(of, gain).sample(jax.random.key(0)).outputs for gain in (1.0, 3.0))
    np.testing.assert_allclose(two, 3 * one, rtol=1e-4)


@pytest.mark.whole
def test_a_prompt_hides_the_outputs_of_its_queries():
    example, prompts = draw(task(points=7), 3), draw(Prompts(task(points=7), 2), 3)
    assert (prompts.context.shape, prompts.queries.shape, prompts.targets.shape) == ((3, 5, 17), (3, 2, 17), (3, 2, 1))
    np.testing.assert_array_equal(prompts.context[..., :16], example.inputs[:, :5])
    np.testing.assert_array_equal(prompts.context[..., 16:], example.outputs[:, :5])
    np.testing.assert_array_equal(prompts.queries[..., :16], example.inputs[:, 5:])
    np.testing.assert_array_equal(prompts.queries[..., 16], 0)
    np.testing.assert_array_equal(prompts.targets, example.outputs[:, 5:])
    np.testing.assert_array_equal(prompts.code, example.code)


@pytest.mark.parametrize("queries", [0, 7, 8])
def test_a_prompt_needs_queries_and_pairs(queries):
    with pytest.raises(ValueError, match=f"{queries} of 7 pairs cannot be queries"):
        draw(Prompts(task(points=7), queries), 3)


def test_layers_that_do_not_exist_are_rejected():
    for generated in ((), (2,)):
        with pytest.raises(ValueError, match="a network of 2 layers"):
            teacher(generated=generated)
    with pytest.raises(ValueError, match="2 layers would be generated and normalised"):
        teacher(generated=(0, 1))
    np.testing.assert_array_equal(teacher(normalised=False).plain_code(jnp.ones(MODULES)), 1)


_identity = partial(jnp.multiply, 1.0)
