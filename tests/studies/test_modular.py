"""The modular study: splits, targets and decoding by hand, students known to be right or wrong, rows that hold and fail, and what the smoke run shows."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.modules.composed_network import ComposedNetwork, outputs
from mesocosm.analysis.modules.counterexamples import swapped
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.studies.interface import View
from mesocosm.studies.modular import claims, constructions, descent, identification, imitation, teachers
from mesocosm.studies.modular.config import PRESETS, Constructions, Descent, Goals, Hyperteacher, Preferences
from mesocosm.studies.modular.constructions import draw, draw_teacher
from mesocosm.studies.modular.networks import Sizes, build
from mesocosm.studies.modular.trials import trials
from mesocosm.studies.modular.worlds import WALL
from mesocosm.tasks.compositional_supports import is_compositional, is_connected, masks_of
from mesocosm.tasks.task import batch

CPU = PRESETS["cpu"].config
METHODS = ("linear", "nonlinear", "anil", "maml")


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("modular")


# --- tasks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "sizes"),
    [
        ({"active": 1}, (12, 4)),
        ({"active": 2}, (75, 25)),
        ({"modules": 8}, (972, 324)),
        ({"modules": 8, "support": "non-compositional"}, (1008, 288)),
        ({"modules": 6, "support": "connected"}, (36, 117)),
        ({"modules": 6, "support": "disconnected"}, (36, 117)),
    ],
)
def test_numbers_of_training_and_held_out_combinations(problem, sizes):
    split = teachers.combinations(Hyperteacher(**problem), seed=3)
    assert (len(split.train), len(split.held_out)) == sizes


def test_supports_by_halves_share_what_is_held_out_and_only_one_connects_them():
    connected, disconnected = (teachers.combinations(Hyperteacher(modules=6, support=name), seed=1) for name in ("connected", "disconnected"))
    np.testing.assert_array_equal(connected.held_out, disconnected.held_out)
    halves = np.asarray(disconnected.train).reshape(-1, 2, 2, 3).sum(axis=(1, 3))
    assert (halves > 0).sum(axis=1).max() == 1
    assert ((np.asarray(connected.train).reshape(-1, 2, 2, 3).sum(axis=(1, 3)) > 0).sum(axis=1) == 2).any()


@pytest.mark.whole
def test_targets_are_classes_of_outputs_that_are_normalised_in_each_task():
    problem = Hyperteacher(points=5, normalising=40)
    task = teachers.task_of(problem, 1, jax.random.key(0))
    example = task.sample(jax.random.key(1))
    usual = task.teacher(task.normalising, example.code)
    wanted = (task.teacher(example.query.x, example.code) - usual.mean(axis=0)) / usual.std(axis=0) / problem.temperature
    np.testing.assert_allclose(jnp.log(example.query.probabilities), jax.nn.log_softmax(wanted), rtol=2e-3, atol=1e-3)
    assert float(teachers.classes_loss(lambda x: (task.teacher(x, example.code) - usual.mean(axis=0)) / usual.std(axis=0) / 0.1, example.query, None)) < 1e-5


@pytest.mark.whole
def test_tasks_of_a_split_have_its_codes():
    task = teachers.task_of(Hyperteacher(active=1, points=2, normalising=4), 2, jax.random.key(0))
    for split, rows in (("iid", task.combinations.train), ("ood", task.combinations.held_out)):
        codes = {tuple(row) for row in np.asarray(batch(task, jax.random.key(1), 40, split).code).tolist()}
        assert codes <= {tuple(map(float, row)) for row in rows.tolist()}


def test_all_networks_but_the_nonlinear_one_have_no_more_parameters_than_the_linear_one():
    sizes = Sizes(8, 8, 1, 16)
    shapes = {
        method: jax.eval_shape(lambda key, m=method: build(m, PRESETS["cpu"].config.training.of(m).width, sizes, key), jax.random.key(0)) for method in METHODS
    }
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(shape)) for name, shape in shapes.items()}
    assert counts == {"linear": 8872, "nonlinear": 25696, "anil": 8712, "maml": 2184}


def test_outputs_of_a_coded_network_are_those_of_single_calls():
    network, x = build("linear", 4, Sizes(3, 2, 1, 5), jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 3))
    np.testing.assert_allclose(teachers.outputs_of(network, x), jax.vmap(network)(x), rtol=1e-5)


def test_decoding_is_ridge_regression_in_its_primal_form():
    generator = np.random.default_rng(0)
    fast, code = generator.standard_normal((30, 7)), generator.standard_normal((30, 3))
    other, wanted = generator.standard_normal((20, 7)), np.column_stack([generator.standard_normal((20, 2)), np.ones(20)])  # the last entry is constant
    x, y = fast - fast.mean(axis=0), code - code.mean(axis=0)
    guess = code.mean(axis=0) + (other - fast.mean(axis=0)) @ np.linalg.solve(x.T @ x + np.eye(7), x.T @ y)
    r2 = 1 - ((wanted - guess) ** 2).mean(axis=0)[:2] / wanted.var(axis=0)[:2]
    none = np.zeros(30)
    assert teachers.decoded(teachers.Tested(none, none, fast, code), teachers.Tested(none, none, other, wanted)) == pytest.approx(r2.mean(), abs=1e-9)
    scaled = teachers.Tested(none, none, 1e4 * fast, fast @ np.ones((7, 2)))
    assert teachers.decoded(scaled, scaled) == pytest.approx(1, abs=1e-6)


def test_known_codes_are_decoded_by_tasks_that_are_not_scored():
    """Parameters that are noise tell nothing of other tasks' codes, however many there are to fit one's own."""
    generator = np.random.default_rng(0)
    tested = teachers.Tested(*(generator.standard_normal(shape) for shape in (41, 41, (41, 400), (41, 2))))
    first, second = teachers.halved(tested)
    assert [len(part.code) for part in (first, second)] == [20, 21]
    np.testing.assert_array_equal(np.concatenate([first.fast, second.fast]), tested.fast)
    assert teachers.decoded(first, second) < 0.3
    assert teachers.decoded(first, first) > 0.9


# --- preferences and goals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "sizes"),
    [
        (Preferences(), (31, 10)),
        (Preferences(modules=8), (69, 23)),
        (Preferences(modules=8, support="non-compositional"), (63, 29)),
        (Preferences(modules=8, active=2, support="connected", apart=2), (24, 10)),
        (Preferences(modules=8, active=2, support="disconnected", apart=2), (20, 10)),
        (Preferences(active=2, support="connected"), (12, 7)),
        (Preferences(active=2, support="disconnected"), (12, 7)),
        (Goals(), (54, 18)),
        (Goals(mazes=5, kinds=5), (150, 50)),
        (Goals(mazes=5, kinds=5, support="non-compositional"), (150, 50)),
    ],
)
def test_numbers_of_mixtures_and_goals_in_training_and_held_out(world, sizes):
    """With the authors' sizes, as many as in their code."""
    split = (imitation.preference_split if isinstance(world, Preferences) else imitation.goal_split)(world, 3)
    assert (len(split.train), len(split.held_out)) == sizes
    assert not {tuple(row) for row in split.train.tolist()} & {tuple(row) for row in split.held_out.tolist()}
    assert all(set(held) <= set(known) for held, known in zip(split.held_out.T.tolist(), split.train.T.tolist(), strict=True)) == (
        world.support != "non-compositional"
    )


@pytest.fixture(scope="module")
def goals():
    world = Goals(episodes=2)
    return world, batch(imitation.task_of(world, 1, jax.random.key(0)), jax.random.key(1), 16)


@pytest.mark.slow
def test_goals_are_shown_to_the_end_in_mazes_that_an_episode_is_long_enough_for(goals):
    world, examples = goals
    taken = np.asarray(examples.query.taken).reshape(16, 2, world.length)
    interacts = np.asarray(examples.query.target)[..., 4:].sum(axis=-1).reshape(taken.shape)
    steps = taken.sum(axis=2).astype(int)
    assert (np.diff(taken, axis=2) <= 0).all()
    assert steps.min() > world.side
    np.testing.assert_array_equal(np.take_along_axis(interacts, steps[..., None] - 1, axis=2), 1)
    assert ((interacts * taken).sum(axis=2) == 1).all()


@pytest.mark.whole
def test_losses_ignore_steps_after_the_end(goals):
    data = jax.tree.map(lambda leaf: leaf[0], goals[1].support)
    other = data._replace(x=jnp.where(data.taken[:, None] > 0, data.x, 7.0), target=jnp.where(data.taken[:, None] > 0, data.target, 5.0))
    network = build("maml", 3, Sizes(data.x.shape[1], data.target.shape[1], 1, 8), jax.random.key(2))
    chosen = np.asarray(data.taken) > 0
    y, wanted = (np.asarray(part, np.float64)[chosen] for part in (jax.vmap(network)(data.x), data.target))
    squared = 0.5 * ((y - wanted) ** 2).sum(axis=1).mean()
    entropy = -((y - np.log(np.exp(y).sum(axis=1, keepdims=True))) * wanted).sum(axis=1).mean()
    for loss, value in ((imitation.value_loss, squared), (imitation.action_loss, entropy)):
        assert float(loss(network, other, None)) == pytest.approx(float(loss(network, data, None)), rel=1e-6)
        assert float(loss(network, data, None)) == pytest.approx(value, rel=1e-5)


@pytest.mark.whole
def test_an_agent_that_knows_the_goal_is_always_right(goals):
    """A network that ignores its codes and returns the actions that were shown."""
    data = jax.tree.map(lambda leaf: leaf[0], goals[1])
    assert float(imitation.right_shares(data.query.target, data.query, 2).accuracy) == 1
    wrong = data.query.target.at[0].set(jnp.roll(data.query.target[0], 1))
    found = imitation.right_shares(wrong, data.query, 2)
    assert float(found.accuracy) == pytest.approx(1 - 1 / float(data.query.taken.sum()))
    assert float(found.episodes) == 0.5


@pytest.mark.whole
def test_strangers_have_their_own_queries_and_the_demonstrations_of_another_task(goals):
    examples = goals[1]
    found = imitation.strangers(examples)
    for mine, theirs in zip(found.support, examples.support, strict=True):
        np.testing.assert_array_equal(mine[1:], theirs[:-1])
        np.testing.assert_array_equal(mine[0], theirs[-1])
    np.testing.assert_array_equal(found.query.x, examples.query.x)


def test_spread_is_half_the_variance_of_the_targets_before_the_end():
    """One task with one step, and one with two, so that each task counts once."""
    target = jnp.array([[[1.0, 0.0], [7.0, 7.0]], [[2.0, 4.0], [4.0, 4.0]]])
    steps = imitation.Steps(jnp.zeros((2, 2, 3)), target, jnp.array([[1.0, 0.0], [1.0, 1.0]]))
    mean = np.array([(1 + 3) / 2, (0 + 4) / 2])
    wanted = [0.5 * ((np.array([1, 0]) - mean) ** 2).sum(), 0.25 * (((np.array([[2, 4], [4, 4]]) - mean) ** 2).sum())]
    np.testing.assert_allclose(imitation.spread(imitation.Demonstrated(steps, steps)), wanted, rtol=1e-6)


# --- students ----------------------------------------------------------------------------------------------------------


def test_a_swap_inside_a_program_is_the_swap_of_the_library():
    with jax.enable_x64(True):
        teacher = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), draw_teacher(np.random.default_rng(0), 1, 3, 5, 4))
        for found, wanted in zip(constructions._swapped(teacher), swapped(teacher, [0]), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("statement", [constructions.symmetric, constructions.split, constructions.unscaled])
def test_statements_hold_and_their_mutants_do_not(statement):
    with jax.enable_x64(True):
        drawn = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), draw(Constructions(instances=1, points=5, codes=2, starts=1), np.random.default_rng(1)))
        errors = statement(drawn)
        assert float(errors.error) < 1e-12
        assert float(errors.mutant) > 1e-2


@pytest.mark.whole
def test_the_teacher_in_another_basis_has_no_loss_with_codes_that_are_found():
    with jax.enable_x64(True):
        config = Constructions(instances=1, points=16, codes=2, starts=6)
        losses = constructions.counterexamples(config, jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), draw(config, np.random.default_rng(2))))
        at = list(constructions.TRAINED).index("teacher")
        assert float(losses.trained[at]) < 1e-25
        assert float(losses.unseen[at]) < 1e-25
        assert float(jnp.delete(losses.unseen, at).min()) > 1e-4


def test_a_student_that_memorises_tasks_composes_them():
    """One module per training task, and no training loss. If the tasks' codes span all codes, this student is right everywhere; the specification said not."""
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        teacher = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), draw_teacher(generator, 1, 4, 3, 4))
        tasks = np.array([[1.0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0]])
        memory = ComposedNetwork(jnp.tensordot(tasks, teacher.modules, 1), teacher.readout)
        x, codes = jnp.asarray(generator.standard_normal((6, 8, 4))), jnp.asarray(generator.standard_normal((6, 4)))
        np.testing.assert_allclose(outputs(memory, codes @ np.linalg.inv(tasks), x), outputs(teacher, codes, x), atol=1e-12)


def test_a_teacher_as_its_own_student_is_aligned_by_descents_measure():
    arm = descent.DescentArm("connected", Descent(points=2))
    task = jax.tree.map(lambda leaf: np.asarray(leaf[0]), descent._tasks(arm, jax.random.split(jax.random.key(0), 1)))
    assert task.codes.min() == 0
    assert ((task.codes > 0).sum(axis=1) == 2).all()
    assert 0.5 <= task.codes[task.codes > 0].min() < task.codes.max() < 1
    worst, mean = descent._aligned(descent.CodedStudent(task.teacher, jnp.asarray(task.codes)), task)
    assert worst == pytest.approx(1, abs=5e-3)  # of the ridge
    assert mean >= worst
    other = np.random.default_rng(0).standard_normal(task.teacher.modules.shape)
    assert descent._aligned(descent.CodedStudent(task.teacher._replace(modules=other), jnp.asarray(task.codes)), task)[0] < 0.7


def test_supports_of_descent_are_connected_or_not_and_cover_all_modules():
    found = {name: masks_of(12 if name == "apart" else 6, sets) for name, sets in descent.SUPPORTS.items()}
    assert {name: is_connected(masks) for name, masks in found.items()} == {name: name not in ("disconnected", "apart") for name in found}
    assert all(map(is_compositional, found.values()))
    assert {len(masks) for name, masks in found.items() if name != "singles"} == {6}
    assert (found["apart"].sum(axis=0) == 1).all()


def test_discrete_codes_are_normalised_masks_and_continuous_ones_have_their_modules():
    for discrete, tasks in ((True, 12), (False, 36)):
        arm = descent.DescentArm("singles", Descent(points=2, tasks=3), discrete)
        codes = np.asarray(descent._tasks(arm, jax.random.split(jax.random.key(0), 1)).codes[0])
        assert codes.shape == (tasks, 6)
        np.testing.assert_array_equal(codes > 0, descent._masks(arm) > 0)
        assert np.allclose(np.linalg.norm(codes, axis=1), 1) == discrete


@pytest.mark.parametrize("modules", [2, 3, 4])
def test_conditions_give_every_family_one_task_more_than_it_spans_or_one_at_all(modules):
    given = identification.coded(modules)
    assert given.masks.shape[1:] == (3 * (modules - 1), modules)
    for name, masks, codes in zip(identification.conditions(modules), given.masks, given.codes, strict=True):
        for family in np.unique(masks, axis=0):
            tasks = np.unique(codes[(masks == family).all(axis=1)])
            assert len(tasks) >= (1 if name == "one task" else family.sum() + 1)


def test_trials_of_the_record_have_each_arm_once_and_controls_of_equal_sizes():
    arms = {trial.name: trial.config for trial in trials(CPU)}
    assert len(arms) == len(trials(CPU))
    assert {name for name in arms if name.startswith("preferences")} == {
        *(f"preferences-random-{method}" for method in ("linear", "anil", "maml")),
        *(f"preferences-{support}-linear" for support in ("non-compositional", "connected", "disconnected")),
    }
    larger = {trial.name: trial.config for trial in trials(PRESETS["paper"].config)}
    shorter, chosen = larger["preferences-random-linear-short"], larger["preferences-random-linear"]
    assert replace(shorter, world=replace(shorter.world, codes=chosen.world.codes)) == chosen
    assert chosen.world.codes == 2 * shorter.world.codes > chosen.world.modules
    again, few, narrow, plain = (arms[f"k2-linear{variant}"] for variant in ("-again", "-few", "-narrow", ""))
    assert replace(again, variant="") == plain
    assert replace(few, variant="", problem=replace(few.problem, points=4 * few.problem.points)) == plain
    assert replace(narrow, variant="", training=replace(narrow.training, width=plain.training.width)) == plain
    assert narrow.training.width == plain.problem.hidden[0]
    small, usual = arms["goals-random-linear-scaled"], arms["goals-random-linear"]
    assert (2 * small.training.width, 2 * small.world.codes) == (usual.training.width, usual.world.codes)
    assert replace(small, training=usual.training, world=usual.world) == usual
    few, many = (arms[f"descent-discrete-{times}x4"].descent for times in (2, 16))
    assert replace(many, more_modules=2) == few


# --- rows can hold and can fail ----------------------------------------------------------------------------------------

TRAINED = {"C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17", "C18", "C21"}


PAPERS = {
    "preferences-random-linear": 0.0303,
    "preferences-random-nonlinear": 0.0266,
    "preferences-random-anil": 0.0633,
    "preferences-random-maml": 0.0577,
    "preferences-non-compositional-linear": 0.0805,
}
"""Losses on held-out mixtures in Fig. 4C."""


def tables_if(found, generator):
    """Made-up rows, if networks have found the modules where the paper says so, or never."""

    def noise(mean, n=10):
        return mean + 0.01 * generator.uniform(-1, 1, n)

    def losses(trial, known, held_out):
        columns = {"known_loss": noise(1, 10) * known, "held_out_loss": noise(1, 10) * held_out, "strangers_loss": noise(1, 10)}
        columns |= {
            "last_loss": noise(1, 10) * (held_out if found else 0.3),
            "last_spread": noise(2.2),
            "known_spread": noise(2.0),
            "held_out_spread": noise(2.2 if "non-compositional" in trial else 2.0),
        }
        columns |= {f"{name}_error": np.full(10, 1e-3) for name in tuple(columns)}
        world = trial.removesuffix("-short").rsplit("-", 1)[0]
        return pl.DataFrame({"seed": range(10), "trial": [trial] * 10, "digest": [f"{world}{i}" for i in range(10)]} | columns)

    accuracy = []
    for trial in (f"{problem}-{method}" for problem in ("k2", "k1", "non-compositional") for method in METHODS):
        works = found and trial in ("k2-linear", "k2-nonlinear")
        alone = found and trial.endswith("linear") and not works
        r2 = 0.97 if works else 0.3 if alone else 0.8
        held_out = 0.87 if works else 0.5 if alone else 0.6
        columns = {"known": noise(0.88 if works or alone else 0.62), "held_out": noise(held_out), "every": noise(0.6), "longer": noise(0.6), "r2": noise(r2)}
        columns["r2_known"] = noise(0.95)
        accuracy.append((trial, columns))
    supports = {"connected": 0.9, "disconnected": 0.4}
    accuracy += [(f"{name}-linear", {"r2": noise(r2 if found else 0.5), "r2_known": noise(0.9)}) for name, r2 in supports.items()]
    for variant, worse in (("-again", 0.0), ("-few", 0.2 if found else 0.0), ("-narrow", 0.2 if found else 0.0)):
        accuracy.append((f"k2-linear{variant}", {**accuracy[0][1], "held_out": noise(accuracy[0][1]["held_out"].mean() - worse)}))
    frames = []
    for trial, columns in accuracy:
        columns |= {f"{name}_error": np.full(10, 1e-3) for name in ("known", "held_out", "every", "longer")}
        frames.append(pl.DataFrame({"seed": range(10), "trial": [trial] * 10, "digest": [f"{trial.split('-')[0]}{i}" for i in range(10)]} | columns))
    worlds = []
    for trial in (f"goals-{support}-{method}" for support in ("random", "non-compositional") for method in METHODS):
        composes, alone = found and trial in ("goals-random-linear", "goals-random-nonlinear"), trial.startswith("goals-non-compositional")
        columns = {"known_accuracy": noise(0.9), "held_out_accuracy": noise(0.5 if alone else 0.9 if composes else 0.7)}
        columns["held_out_episodes"] = noise(0.0 if alone else 0.5 if composes else 0.2)
        columns |= {f"{name}_error": np.full(10, 1e-3) for name in tuple(columns)}
        worlds.append(pl.DataFrame({"seed": range(10), "trial": [trial] * 10, "digest": [f"{trial.rsplit('-', 1)[0]}{i}" for i in range(10)]} | columns))
    worlds.append(worlds[0].with_columns(trial=pl.lit("goals-random-linear-scaled"), held_out_accuracy=pl.col("held_out_accuracy") + (0.0 if found else 0.1)))
    for trial in PAPERS:
        worlds.append(losses(trial, 0.1, PAPERS[trial] if found else 0.3))
    worlds += [losses("preferences-connected-linear", 0.1, 0.2), losses("preferences-disconnected-linear", 0.1, 0.4 if found else 0.2)]
    worlds.append(losses("preferences-random-linear-short", 0.1, 0.1))
    fails = {"apart": 0.5, "disconnected": 0.8, "discrete-16x4": 0.6} if found else {}
    names = ("connected", "reordered", "disconnected", "apart", "discrete-2x4", "discrete-16x4", "continuous-2x4", "continuous-16x4")
    rows = []
    for name in names:
        columns = {"loss": np.full(10, 1e-8), "alignment": noise(fails.get(name, 0.98 if found else 0.8))}
        rows.append(pl.DataFrame({"seed": range(10), "trial": [f"descent-{name}"] * 10} | columns))
    return {"imitation": pl.concat(worlds, how="diagonal"), "accuracy": pl.concat(frames, how="diagonal"), "descent": pl.concat(rows)}


def verdicts(chosen, tables):
    trained = [claim for claim in claims.CLAIMS if claim.checks and (claim.id in TRAINED) == chosen]
    rows = judge("modular", trained, View(PRESETS["paper"].config, "paper", tables), Circumstances("", fingerprints=fingerprints(trained)), strict=True)
    return {row.id.removeprefix("modular/"): row.verdict for row in rows}


def test_rows_about_networks_hold_if_they_are_as_the_paper_says_and_fail_if_all_are_alike():
    assert set(verdicts(True, tables_if(True, np.random.default_rng(0))).values()) == {"holds"}
    found = verdicts(True, tables_if(False, np.random.default_rng(0)))
    assert "holds" not in set(found.values()) - {found["C7.anil-underfits"], found["C7.maml-underfits"]}


@pytest.mark.parametrize(("loss", "verdict"), [(1e-7, "holds"), (1e-3, "not judged"), (float("nan"), "not judged")])
def test_alignment_is_judged_if_all_students_have_fitted_their_tasks(loss, verdict):
    tables = tables_if(True, np.random.default_rng(0))
    worst = (pl.col("trial") == "descent-connected") & (pl.col("seed") == 3)
    tables["descent"] = tables["descent"].with_columns(loss=pl.when(worst).then(loss).otherwise(pl.col("loss")))
    assert verdicts(True, tables)["C5.connected"] == verdict


def students_if(theorem, generator):
    """Four students of twenty teachers in each condition, half of which are right where they need not be."""
    rows = []
    arms = [("identification" if modules == 4 else f"identification-{modules}", name) for modules in (2, 3, 4) for name in identification.conditions(modules)]
    for trial, condition in arms:
        must = theorem and condition in ("connected", "smooth")
        never = condition in ("absent", "one task")
        for seed in range(20):
            for student in range(4):
                right = must or (not never and student % 2 == 0)
                rows.append(
                    {
                        "seed": seed,
                        "trial": trial,
                        "condition": condition,
                        "fitted": True,
                        "unseen": 1e-31 if right else 0.1,
                        "alignment": 1.0 if right and (theorem or student) else 0.5,
                        "unmapped": generator.uniform(0.3, 0.9),
                        "scale": 1e-15 if condition == "smooth" else 0.5,
                    }
                )
    return pl.DataFrame(rows)


def test_students_whose_loss_is_not_finite_are_not_counted_as_wrong():
    students = students_if(True, np.random.default_rng(0))
    lost = (pl.col("condition") == "absent") & (pl.col("seed") == 3)
    found = verdicts(False, {"students": students.with_columns(unseen=pl.when(lost).then(float("nan")).otherwise(pl.col("unseen")))})
    assert found["C4.absent"] == "not judged"
    assert found["C2.tasks"] == "holds"


def test_rows_about_students_without_loss_hold_by_the_theorem_and_fail_without_it():
    generator, axes = np.random.default_rng(0), {"seed": [0] * 100, "instance": list(range(100))}
    built = [pl.DataFrame({**axes, "built": [name] * 100, "trained": 1e-32, "unseen": 1e-32 if name == "teacher" else 0.1}) for name in constructions.TRAINED]
    identities = [pl.DataFrame({**axes, "identity": [name] * 100, "error": 1e-15, "mutant": 0.3}) for name in constructions.STATEMENTS]
    tables = {"counterexamples": pl.concat(built), "identities": pl.concat(identities)}
    assert set(verdicts(False, tables | {"students": students_if(True, generator)}).values()) == {"holds"}
    found = verdicts(False, tables | {"students": students_if(False, generator)})
    assert "holds" not in {
        found[name]
        for name in (
            "C1.connected",
            "C1.compositional",
            "C2.tasks",
            "C2.two-modules",
            "C2.three-modules",
            "C3.equivalent",
            "C4.disconnected",
            "C19.wider",
            "C20.unscaled",
        )
    }


# --- the smoke run -----------------------------------------------------------------------------------------------------


def test_agents_walk_from_cell_to_cell_and_not_through_walls(smoke):
    for world, side in (("preference", 7), ("goal", 11)):
        cells = smoke.table("cells").filter(pl.col("world") == world)
        walls = set(cells.filter(pl.col("what") == WALL)["cell"])
        path = smoke.table("paths").filter(pl.col("world") == world).sort("time")["cell"].to_list()
        assert not walls & set(path)
        assert all(sum(map(abs, np.subtract(divmod(a, side), divmod(b, side)))) <= 1 for a, b in pairwise(path))
        assert len(set(path)) > 1
