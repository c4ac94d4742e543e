"""Students with the teacher's symmetries, the counterexamples, the Jacobian, and the theorem itself on students without loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from mesocosm.analysis.modules.alignment import alignment, code_map, in_teacher_basis, match_units
from mesocosm.analysis.modules.composed_network import ComposedNetwork, _derivatives, best_codes, fit_students, outputs
from mesocosm.analysis.modules.counterexamples import doubled, split_units, swapped, wide
from mesocosm.numerics.levenberg_marquardt import levenberg_marquardt
from mesocosm.numerics.programs import jit

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def normal(number, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, number), shape)


def teacher(modules=6, hidden=8, inputs=8, out=1):
    return ComposedNetwork(normal(0, modules, hidden, inputs), normal(1, out, hidden) + 2 * jnp.sign(normal(1, out, hidden)))


def relative_loss(student, codes, teacher, teacher_codes, activation=jax.nn.relu):
    x = normal(2, len(codes), 50, teacher.modules.shape[-1])
    wanted = outputs(teacher, teacher_codes, x, activation)
    return float(jnp.sum((outputs(student, codes, x, activation) - wanted) ** 2) / jnp.sum(wanted**2))


def best_losses(student, codes, teacher, starts=6):
    """The loss of each code with the best of some student codes."""
    x = normal(3, len(codes), 50, teacher.modules.shape[-1])
    near = normal(4, len(codes), starts, student.modules.shape[0])
    return np.asarray(jit(best_codes, static_argnames="steps")(student, x, outputs(teacher, codes, x), near, steps=40)[1])


def masked(modules, *active):
    """Codes with these active modules, of any sign."""
    return normal(5, len(active), modules) * jnp.array([np.isin(np.arange(modules), mask) for mask in active])


def test_the_formula():
    network, code, x = teacher(3, 4, 5, out=2), normal(6, 1, 3), normal(7, 1, 1, 5)
    theta, a = np.asarray(network.modules), np.asarray(network.readout)
    weights = sum(z * module for z, module in zip(np.asarray(code[0]), theta, strict=True))
    np.testing.assert_allclose(outputs(network, code, x)[0, 0], a @ np.maximum(weights @ np.asarray(x[0, 0]) / np.sqrt(5), 0), rtol=1e-12)


@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.gelu])
@pytest.mark.slow
def test_the_derivatives_are_those_of_automatic_differentiation(activation):
    network, codes, x = teacher(3, 4, 5, out=2), normal(6, 2, 3), normal(7, 2, 6, 5)
    value, found = _derivatives(network, codes, x, activation)
    np.testing.assert_allclose(value, outputs(network, codes, x, activation), rtol=1e-12)
    wanted, by_codes = jax.jacobian(lambda network, codes: outputs(network, codes, x, activation), argnums=(0, 1))(network, codes)
    for ours, theirs in zip(found, (*wanted, jnp.einsum("tpotm->tpom", by_codes)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.whole
def test_the_minimum_is_scipys():
    a, b = normal(8, 12, 3), normal(9, 12)

    def residuals(p):
        return jnp.tanh(a @ p) - 0.1 * b

    starts = normal(10, 5, 3)
    found = jax.vmap(lambda start: levenberg_marquardt(lambda p: (residuals(p), jax.jacfwd(residuals)(p)), start, steps=60))(starts)
    best = int(jnp.argmin(found.loss))
    theirs = least_squares(residuals, np.asarray(starts[best]), method="lm", xtol=1e-14, ftol=1e-14)
    np.testing.assert_allclose(found.parameters[best], theirs.x, rtol=1e-6)
    np.testing.assert_allclose(found.loss[best], 2 * theirs.cost, rtol=1e-10)


def test_a_parameter_without_effect_stays_and_the_loss_never_rises():
    def linearise(p):
        return jnp.array([p[0] - 2.0, 0.0 * p[1]]), jnp.array([[1.0, 0.0], [0.0, 0.0]])

    found = levenberg_marquardt(linearise, jnp.array([5.0, 3.0]), steps=30)
    np.testing.assert_allclose(found.parameters, [2.0, 3.0], rtol=1e-10)
    steep = levenberg_marquardt(lambda p: (jnp.arctan(p) * 3, jnp.diag(3 / (1 + p**2))), jnp.array([30.0]), steps=1)
    assert steep.loss <= 9 * jnp.arctan(30.0) ** 2 * (1 + 1e-12)


def symmetric_student(network, number=0):
    """(student, map of codes) by a random basis, permutation and scales."""
    modules, hidden = network.modules.shape[:2]
    change, scale = normal(20 + number, modules, modules) + 2 * jnp.eye(modules), jnp.exp(normal(30 + number, hidden))
    order = jax.random.permutation(jax.random.fold_in(KEY, number), hidden)
    moved = jnp.einsum("tm,thn->mhn", jnp.linalg.inv(change), network.modules)[:, order] / scale[:, None]
    return ComposedNetwork(moved, scale * network.readout[:, order]), change, order, scale


@pytest.mark.parametrize("out", [1, 3])
@pytest.mark.whole
def test_the_symmetries_change_neither_the_output_nor_the_alignment(out):
    network = teacher(4, 5, 6, out)
    student, change, order, scale = symmetric_student(network)
    codes = normal(11, 20, 4)
    ours = codes @ change.T
    assert relative_loss(student, ours, network, codes) < 1e-24
    back = in_teacher_basis(np.asarray(student.modules), code_map(np.asarray(ours), np.asarray(codes)))
    found, matched = alignment(np.asarray(network.modules), back), match_units(np.asarray(network.modules), back)
    np.testing.assert_allclose(found, 1.0, atol=1e-9)
    np.testing.assert_array_equal(matched.units, np.argsort(order))
    np.testing.assert_allclose(matched.scales, np.asarray(scale)[np.argsort(order)], rtol=1e-9)
    assert matched.error < 1e-9


def test_a_flipped_unit_is_aligned_up_to_sign_and_another_teacher_is_not():
    network = teacher(4, 5, 6)
    theta = np.asarray(network.modules)
    flipped = theta.copy()
    flipped[:, 2] *= -1
    assert alignment(theta, flipped).worst == pytest.approx(1.0)
    assert alignment(theta, flipped).signed < 0.9
    assert match_units(theta, flipped).scales[2] == pytest.approx(-1.0)
    other = alignment(theta, np.asarray(normal(12, *theta.shape)))
    assert other.worst < other.mean < 0.7
    assert match_units(theta, np.asarray(normal(12, *theta.shape))).error > 0.7


def test_the_assignment_is_exact_where_the_greedy_one_is_not():
    units = np.eye(2)[None]  # one module; the rows are units
    student = np.array([[[0.9, 0.8], [0.95, 0.0]]])  # both teacher units prefer the first student unit but one
    np.testing.assert_array_equal(match_units(units, student).units, [1, 0])


def test_ridge_shrinks_the_map_and_the_limit_is_exact():
    codes, change = np.asarray(normal(13, 30, 4)), np.asarray(normal(14, 4, 3))
    np.testing.assert_allclose(code_map(codes, codes @ change), change, rtol=1e-9)
    ridge = np.linalg.solve(codes.T @ codes + 0.3 * np.eye(4), codes.T @ codes @ change)
    np.testing.assert_allclose(code_map(codes, codes @ change, l2=0.3), ridge, rtol=1e-9)


INSIDE = [(0, 1), (1, 2), (0, 1, 2), (3,), (4, 5), (3, 4, 5)]
MIXED = [(0, 3), (1, 4), (2, 3, 4), (0, 1, 2, 3, 4, 5)]


@pytest.mark.parametrize("construct", [swapped, doubled])
@pytest.mark.whole
def test_disconnected_clusters_admit_students_that_fail_on_mixed_codes(construct):
    network = teacher()
    student = construct(network, (3, 4, 5))
    for mask in INSIDE:
        assert relative_loss(student, masked(6, mask), network, masked(6, mask)) < 1e-20
    assert best_losses(student, masked(6, *MIXED), network).min() > 1e-3


@pytest.mark.whole
def test_a_connected_support_is_not_enough_for_a_wider_student():
    network = teacher(3, 1, 5)
    student = wide(network)
    assert student.modules.shape == (3, 3, 5)
    for mask in ((0,), (0, 1), (1, 2), (2,)):
        assert relative_loss(student, masked(3, mask), network, masked(3, mask)) < 1e-28
    code = jnp.array([[0.7, 0.4, 0.5]])
    assert relative_loss(student, code, network, code) > 1e-2
    assert best_losses(student, code, network, starts=30).min() > 1e-3


@pytest.mark.whole
def test_split_units_are_right_everywhere():
    network = teacher(4, 5, 6, out=2)
    student = split_units(network, jax.random.uniform(KEY, (5,)))
    codes = normal(15, 10, 4)
    assert relative_loss(student, codes, network, codes) < 1e-24
    assert relative_loss(ComposedNetwork(student.modules[:, :10], student.readout[:, :10]), codes, network, codes) < 1e-24
    assert relative_loss(ComposedNetwork(student.modules[:, :5], student.readout[:, :5]), codes, network, codes) > 1e-3


def test_impossible_constructions_are_refused():
    with pytest.raises(ValueError, match="this teacher has 2"):
        swapped(teacher(out=2), (3,))
    with pytest.raises(ValueError, match="none can be exchanged"):
        swapped(ComposedNetwork(normal(0, 6, 2, 4), jnp.array([[1.0, -1.0]])), (3,))
    with pytest.raises(ValueError, match="for 3 modules, not 6"):
        wide(teacher())


@pytest.mark.whole
def test_a_student_without_loss_on_a_connected_support_has_found_the_modules():
    """One hidden unit of each sign: from every start that ends without loss, all codes are solved, and a module that is in no task is not found."""
    network = ComposedNetwork(normal(0, 3, 2, 4), jnp.array([[1.2, -0.8]]))
    program = jit(fit_students, static_argnames=("modules", "hidden", "steps"))
    found = {}
    for name, masks in {"connected": [(0, 1)] * 3 + [(1, 2)] * 3, "absent": [(0, 1)] * 6}.items():
        codes = masked(3, *masks)
        x = normal(16, 6, 24, 4)
        students = program(x, outputs(network, codes, x), jax.random.split(KEY, 16), modules=3, hidden=2, steps=120)
        zero = np.flatnonzero(np.asarray(students.loss) < 1e-20)
        found[name] = [
            alignment(
                np.asarray(network.modules),
                in_teacher_basis(np.asarray(students.network.modules[s]), code_map(np.asarray(students.codes[s]), np.asarray(codes))),
            )
            for s in zero
        ]
    assert len(found["connected"]) >= 2
    assert len(found["absent"]) >= 2
    assert min(each.worst for each in found["connected"]) > 0.999
    assert max(each.worst for each in found["absent"]) < 0.99
