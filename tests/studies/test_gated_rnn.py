"""The gated-rnn study: what its smoke run measured, identities and mutants, students and regressors whose answer is known."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.pilots import pilots
from mesocosm.claims.view import View
from mesocosm.lab.store.run_directory import Run
from mesocosm.nn import GatedLinearRNN, LinearAttention, compact_construction
from mesocosm.studies.gated_rnn import claims, identities, prompts, structure, students, train
from mesocosm.studies.gated_rnn.config import PRESETS, Evaluation, Network
from mesocosm.studies.gated_rnn.networks import LAYERS
from mesocosm.studies.gated_rnn.trials import trials
from mesocosm.tasks.attention_teacher import LinearAttentionTeacher
from mesocosm.tasks.regression_prompts import gradient_step_attention
from mesocosm.tasks.task import batch


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("gated-rnn")


def test_a_published_student_answers_as_it_was_measured(smoke):
    """The loss in the table is the rebuilt network's on the sequences of its own teacher."""
    trial = next(trial for trial in smoke.study.trials(smoke.config) if trial.name == "student-18")
    teacher = train._draw_teacher(trial.config.teacher, _environment_key(1))
    test, _ = train._draw_sequences(smoke.config.evaluation, jax.random.key(2**31 - 1), teacher)
    student = smoke.model("student-18", seed=1)
    table = smoke.table("loss", trial="student-18")
    np.testing.assert_allclose(students.sequence_losses(student, test).mean(), table.filter(table["seed"] == 1)["loss"][0], rtol=1e-5)
    assert isinstance(student, GatedLinearRNN)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_network_is_built_and_answers_every_token(layer):
    """Traced, not run: also those that the smoke preset does not train."""
    network = eqx.filter_eval_shape(LAYERS[layer], 3, Network(layer, 6), 1.0, jax.random.key(0))
    answers = eqx.filter_eval_shape(lambda network: network(jnp.zeros((5, 3))), network)
    assert answers.shape == (5, 3)
    if isinstance(network, GatedLinearRNN):
        assert network.readout.shape == (3, 18)


def _environment_key(seed):
    from mesocosm.learning.streams import stream_key

    return stream_key(seed, "env")


def test_students_of_all_sizes_have_the_same_teachers_and_replicates_have_other_ones(smoke):
    digests = smoke.table("loss").filter(pl.col("trial") != "student-forgetful").group_by("seed").agg(pl.col("digest").n_unique())
    assert digests["digest"].to_list() == [1] * len(digests)
    assert smoke.table("loss", trial="student-18")["digest"].n_unique() == 2


@pytest.mark.whole
def test_the_teacher_itself_as_a_student_is_recognised():
    """A construction in the place of a trained student: no loss, its neurons all kept, its blocks and coefficients attention's."""
    teacher = LinearAttentionTeacher.draw(jax.random.key(0), 3)
    student = compact_construction(teacher.attention)
    test, held_out = train._draw_sequences(Evaluation(sequences=64, held_out=64), jax.random.key(1), teacher)
    found = structure.read_structure(1e-4, student, teacher, test, held_out)
    assert max(found.loss, found.snapped_loss, found.block_loss) < 1e-10
    assert found.other_block_loss > 1e-2
    assert found.kept.all()
    np.testing.assert_allclose([found.extreme, found.right_block], 1.0, rtol=1e-6)
    np.testing.assert_allclose(found.coefficients, found.wanted, atol=1e-5)
    polynomial = structure.read_polynomial(student, teacher, held_out)
    np.testing.assert_allclose(polynomial.derivative, polynomial.wanted, atol=1e-5)
    np.testing.assert_allclose(polynomial.fitted, polynomial.wanted, atol=1e-3)
    np.testing.assert_allclose(polynomial.explained, 1.0, atol=1e-5)


@pytest.mark.slow
def test_gradient_descent_as_a_regressor_is_recognised():
    """Linear attention with the weights of the best gradient step: its loss, its step size, nothing unexplained."""
    task = prompts.regression_task(PRESETS["cpu"].config.prompts)
    network = gradient_step_attention(3, 3, task.optimal_step_size())
    shown, large = batch(task, jax.random.key(0), 2000, "iid"), batch(task, jax.random.key(1), 50, "ood")
    found = prompts.measure_regressor(task, network, shown, large)
    np.testing.assert_allclose(found.losses, found.step_losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.slope, task.optimal_step_size(), rtol=1e-4)
    assert abs(found.unexplained) < 1e-5
    np.testing.assert_allclose([found.cosine, found.sensitivity], 1.0, atol=1e-3)
    wrong = prompts.measure_regressor(task, LinearAttention(network.query, network.key, network.value[:, ::-1], network.output), shown, large)
    assert wrong.unexplained > 0.2


def test_identities_hold_and_their_mutants_do_not(smoke):
    found = smoke.table("identities")
    assert {*identities.IDENTITIES, "C3 minimal", "C3 count"} == set(found["identity"])
    exact = found.filter(pl.col("identity") != "C3 count")
    assert exact["error"].max() < 1e-10
    assert exact.group_by("identity").agg(pl.col("mutant").max())["mutant"].min() > 1e-3
    counts = found.filter(pl.col("identity") == "C3 count")
    assert counts["error"].max() == 0
    assert counts["mutant"].max() >= 1


def test_features_without_a_gate_are_those_of_such_a_layer():
    """An RNN whose missing gate is replaced by a linear map is a combination of the features, exactly; one with both gates is not."""
    random = np.random.default_rng(0)
    tokens = random.standard_normal((400, 6, 2))
    neurons = random.standard_normal((3, 3))
    token = np.concatenate([tokens, np.ones((400, 6, 1))], axis=-1)
    states = np.einsum("k,ks,bsn,mn->bkm", np.ones(3), identities.DECAYS[:, None] ** np.arange(6)[::-1], token, neurons).reshape(400, -1)
    reads = random.standard_normal((2, 1, states.shape[1]))
    output = (states @ reads[0].T) * (states @ reads[1].T)
    features = identities._features(tokens)
    assert identities._unexplained(features["input gate"], output) < 1e-10
    assert identities._unexplained(features["output gate"], output) > 1e-2


def judged(check, **tables):
    """The row of a check, judged on these tables at the preset of the record."""
    view = View(PRESETS["cpu"].config, "cpu", {name: pl.DataFrame(rows) for name, rows in tables.items()})
    claim, _, name = check.partition(".")
    found = next(found for found in claims.CLAIMS if found.id == claim)
    kept = replace(found, checks=[one for one in found.checks if one.name == name])
    (row,) = judge("gated-rnn", [kept], view, Circumstances(command=""), strict=True)
    return row


SEEDS, SPREAD = list(range(10)), np.exp(np.random.default_rng(0).normal(0, 0.3, 10))


@pytest.mark.parametrize(("cost", "others", "verdict"), [(2.7, 1e4, "holds"), (9.0, 1e4, "fails"), (5.0, 1e4, "inconclusive"), (2.7, 2.7, "not judged")])
def test_pruning_can_cost_too_much_or_nothing_can_be_learned_from_it(cost, others, verdict):
    loss = 1e-5 * SPREAD
    rows = {"trial": "student-18", "seed": SEEDS, "loss": loss, "block_loss": cost * loss * SPREAD, "other_block_loss": others * loss * SPREAD}
    assert judged("C5.pruned", structure=rows).verdict == verdict


@pytest.mark.parametrize(("reached", "by_few", "verdict"), [(10, 0, "holds"), (0, 0, "fails"), (6, 0, "inconclusive"), (10, 10, "not judged")])
def test_students_may_find_the_teacher_or_not(reached, by_few, verdict):
    losses = {"student-18": np.where(np.arange(10) < reached, 1e-5, 0.01), "student-5": np.where(np.arange(10) < by_few, 1e-5, 0.01)}
    rows = [
        {"trial": trial, "seed": seed, "loss": loss, "error": 1e-7, "digest": str(seed)}
        for trial, arm in losses.items()
        for seed, loss in zip(SEEDS, arm, strict=True)
    ]
    assert judged("C4.loss", loss=rows).verdict == verdict


@pytest.mark.parametrize("name", ["glu", "lstm", "gru", "lru", "hawk"])
@pytest.mark.parametrize(("ratio", "side", "verdict"), [(100, 1.0, "holds"), (2, 1.0, "fails"), (100, 100, "not judged")])
def test_another_architecture_can_be_as_good_and_a_control_as_bad(name, ratio, side, verdict):
    losses = {f"student-{name}": ratio * SPREAD, "student-18": np.ones(10), "student-side": side * SPREAD}
    rows = [
        {"trial": trial, "seed": seed, "loss": 1e-5 * loss, "error": 1e-7, "digest": str(seed)}
        for trial, arm in losses.items()
        for seed, loss in zip(SEEDS, arm, strict=True)
    ]
    assert judged(f"C7.{name}", loss=rows).verdict == verdict


@pytest.mark.parametrize(("errors", "verdict"), [([0.5, 0.3], "holds"), ([0.5, 1e-4], "holds"), ([1e-3, 1e-4], "fails")])
def test_only_grus_that_compute_every_instance_refute_that_they_cannot(errors, verdict):
    rows = {"gru": np.resize(errors, 100), "lstm": np.full(100, 1e-3)}
    assert judged("C8.gru", limits=rows).verdict == verdict


@pytest.mark.parametrize("trial", ["student-glu", "student-lstm", "student-gru", "student-lru", "student-hawk"])
def test_a_learning_rate_is_the_best_of_the_same_search_for_all(trial):
    """Of four rates on the same four seeds, the one with the smallest mean log loss."""
    (arm,) = [found.config for found in trials(PRESETS["cpu"].config) if found.name == trial]
    trained = (pl.col("task") == "teacher") & (pl.col("layer") == arm.network.layer) & (pl.col("neurons") == arm.network.neurons)
    grid = trained & pl.col("learning_rate").is_in([0.003, 0.01, 0.03, 0.1]) & pl.col("seed").is_between(1100, 1103)
    tried = pilots("mesocosm.studies.gated_rnn").table.filter(grid).group_by("learning_rate").agg(pl.col("loss").log10().mean(), pl.len())
    assert tried["len"].to_list() == [4] * 4
    assert arm.training.learning_rate == tried.sort("loss")["learning_rate"][0]


def test_a_control_without_an_input_gate_is_trained_like_the_side_gated_student():
    arms = {found.name: found.config for found in trials(PRESETS["cpu"].config)}
    assert arms["student-side-ungated"].training == arms["student-side"].training


@pytest.mark.slow
def test_a_layer_of_ones_own_is_trained_beside(tmp_path):
    """The run is read without the layer, which only the other process can import."""
    (tmp_path / "layers.py").write_text(
        "import equinox as eqx\nclass Identity(eqx.Module):\n    scale: float = 1.0\n    def __init__(self, dim, *, key):\n        pass\n"
        "    def __call__(self, x):\n        return self.scale * x\n"
    )
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "gated-rnn", "--preset", "smoke", "--mixer", "layers:Identity", "--out", "run"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert finished.returncode == 0, finished.stderr
    run = Run(tmp_path / "run")
    assert "student-user" in run.trials
    assert {row["verdict"] for row in run.claims} == {"not judged"}


def test_the_optimum_is_that_of_the_task():
    task = prompts.regression_task(PRESETS["cpu"].config.prompts)
    np.testing.assert_allclose(jnp.asarray(task.one_step_loss()), 0.6087, atol=1e-4)
