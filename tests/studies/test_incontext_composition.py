"""The incontext-composition study: supports, prompts, exact statements, curves at equal fit, claims that can come out either way, and a user's layer."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.in_context.prompt_regression import affine_features
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.replicates import NotJudged
from mesocosm.claims.view import View
from mesocosm.learning.streams import stream_keys
from mesocosm.nn import Attention, Bottleneck, Composed, DeltaNet
from mesocosm.studies.incontext_composition import claims, identities, measures, references, train
from mesocosm.studies.incontext_composition.config import PRESETS, Identities
from mesocosm.studies.incontext_composition.networks import (
    WithCode,
    build,
    draw_labelled,
    draw_prompts,
    execution_loss,
    executor_learner,
    learner,
    prompt_loss,
    split_of,
    with_code,
)
from mesocosm.studies.incontext_composition.trials import check, trials
from mesocosm.tasks.compositional_supports import masks_of
from mesocosm.tasks.hyperteacher import Prompt, Teacher

KEY = jax.random.key(0)
SEEDS = list(range(10))
SPREAD = np.random.default_rng(0).normal(0, 0.01, 10)


def arm(name, preset="smoke", **changes):
    return next(trial for trial in trials(replace(PRESETS[preset].config, **changes)) if trial.name == name).config


def pairs_in(masks):
    return {tuple(np.flatnonzero(mask).tolist()) for mask in np.asarray(masks)}


def teacher_of(task):
    return task.task.teacher


# --- tasks and models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("support", identities.TABLE_1)
def test_a_split_has_the_pairs_of_table_1_equally_often(support):
    split = split_of(support)
    for rows, wanted in zip((split.train, split.held_out), identities.TABLE_1[support], strict=True):
        assert pairs_in(rows) == set(wanted)
        assert set(np.unique(np.asarray(rows), axis=0, return_counts=True)[1]) == {len(rows) // len(wanted)}


def test_the_shared_pairs_are_those_that_two_supports_hold_out():
    connected, disconnected = (set(identities.TABLE_1[name][1]) for name in ("connected", "disconnected"))
    assert set(train.SHARED) == connected & disconnected
    assert len(train.SHARED) == 7


@pytest.mark.whole
def test_test_prompts_are_of_the_sets_that_they_are_named_after():
    """Prompts with shared modules are the teacher's network; the others are not."""
    task = draw_prompts("connected", 6, 2, KEY)
    sets = jax.jit(lambda task: train.draw_sets(120, KEY, task))(task)
    known, held_out = identities.TABLE_1["connected"]
    wanted = dict(zip(train.SETS, (known, held_out, train.SHARED, known), strict=True))
    for place, (name, pairs) in enumerate(wanted.items()):
        assert pairs_in(sets.code[place] > 0) == set(pairs), name
        outputs = jax.vmap(teacher_of(task).execute)(sets.plain_code[place], sets.queries[place, ..., :-1])
        assert (np.abs(outputs - sets.targets[place]).max() < 1e-5) == (name != "unstructured")


@pytest.mark.whole
def test_the_code_stands_in_front_of_every_token_that_a_model_is_told_it_in():
    prompts = draw_prompts("connected+", 48, 16, KEY)
    plain, told = prompts.sample(KEY), WithCode(prompts).sample(KEY)
    assert (told.context[:, :6] == plain.plain_code).all()
    assert (told.queries[:, :6] == plain.plain_code).all()
    for tokens, without in ((told.context, plain.context), (told.queries, plain.queries)):
        np.testing.assert_array_equal(tokens[:, 6:], without)
    assert arm("told-short", "cpu").shape.model == "told"
    model = eqx.filter_eval_shape(build, arm("told-short", "cpu"), KEY)
    assert eqx.filter_eval_shape(lambda m: m(told.context, told.queries), model).shape == (16, 1)


def test_arms_of_one_kind_share_their_shape_and_the_vanilla_model_decays_but_where_decay_is_swapped():
    found = {trial.name: trial.config for trial in trials(PRESETS["cpu"].config)}
    vanilla = [arm for name, arm in found.items() if name.startswith("vanilla")]
    assert len(vanilla) == 5
    assert len({arm.shape for arm in vanilla}) == 1
    rates = {name: arm.learning_rate for name, arm in found.items() if hasattr(arm, "learning_rate")}
    assert {rate for name, rate in rates.items() if name.startswith("hypernet")} == {2e-3}
    assert {rate for name, rate in rates.items() if name.startswith("vanilla")} == {4e-3}
    decayed = {name for name, arm in found.items() if getattr(arm, "decay", 0) > 0}
    assert decayed == {
        *("vanilla", "vanilla-short", "vanilla-connected", "vanilla-disconnected", "told-short", "hyla-short"),
        *("hypernet-decayed", "latent-mlp-decayed"),
    }


def test_arms_that_are_compared_are_trained_as_long_and_differ_in_one_thing():
    found = {trial.name: trial.config for trial in trials(PRESETS["cpu"].config)}
    for one, other, differs in (
        ("hypernet", "hypernet-decayed", {"decay"}),
        ("latent-mlp", "latent-mlp-decayed", {"decay"}),
        ("vanilla-short", "vanilla-undecayed", {"decay"}),
        ("vanilla-short", "hyla-short", {"shape"}),
        ("vanilla-short", "vanilla", {"training"}),
        ("hypernet-625", "hypernet", {"training"}),
        ("vanilla-connected", "vanilla-disconnected", {"support"}),
    ):
        assert {name for name, value in vars(found[one]).items() if value != vars(found[other])[name]} == differs


def test_the_record_has_ten_teachers_and_two_hours_of_one_core():
    preset = PRESETS["cpu"]
    assert preset.seeds == 10
    assert set(preset.minutes) == {trial.name for trial in trials(preset.config)}
    assert sum(preset.minutes.values()) <= 120
    assert preset.config.execution == PRESETS["quick"].config.execution


@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_trainings_that_differ_in_length_alone_exist_shortest_first(preset):
    config = PRESETS[preset].config
    steps = {trial.name: trial.config.training.steps for trial in trials(config) if hasattr(trial.config, "training")}
    for model, count in (("vanilla", 1), ("hypernet", 3), ("latent-mlp", 1)):
        of_model = [steps[name] for name in config.trainings(model)]
        assert of_model == sorted(of_model)
        assert len(of_model) >= count + (preset == "cpu")


def test_a_training_that_is_as_long_as_the_short_one_is_one_trial():
    names = [trial.name for trial in trials(PRESETS["paper"].config)]
    assert len(set(names)) == len(names)
    assert {"vanilla", "told", "hyla"} <= set(names)
    assert not [name for name in names if name.endswith("-short")]


@pytest.mark.parametrize(
    ("name", "decay"), [("vanilla", 0.1), ("vanilla-undecayed", 0.0), ("hypernet", 0.0), ("hypernet-decayed", 0.1), ("latent-mlp-decayed", 0.1)]
)
def test_an_arms_weight_decay_reaches_its_optimiser(name, decay):
    sets = jax.eval_shape(lambda task: train.draw_sets(4, KEY, task), draw_prompts("connected+", 8, 2, KEY))
    assert learner(arm(name), draw_prompts("connected+", 8, 2, KEY), sets).hyperparameters["weight_decay"] == decay


@pytest.mark.whole
def test_every_teacher_has_test_tasks_of_its_own_that_its_arms_share_and_scores_are_those_at_the_end(smoke_of):
    run = smoke_of("incontext-composition")
    explained, curve = run.tables["explained"], run.tables["curve"]
    for support, models in (("connected+", 9), ("connected", 2)):
        tables = [explained, run.tables["executed"], run.tables["references"].filter(pairs=8)]
        on_support = pl.concat([table.filter(support=support).select("seed", "trial", "digest") for table in tables])
        assert on_support["trial"].n_unique() >= models
        assert on_support["digest"].n_unique() == on_support["seed"].n_unique() == 2
        assert (on_support.group_by("seed").agg(pl.col("digest").n_unique())["digest"] == 1).all()
    last = curve.filter(pl.col("step") == pl.col("step").max().over("trial")).sort("trial", "seed")
    for name in ("train", "held_out", "unstructured", "decoded"):
        np.testing.assert_array_equal(last[name], explained.sort("trial", "seed")[name])


@pytest.mark.whole
def test_the_sets_of_a_teacher_have_inputs_of_their_own():
    sets = jax.jit(lambda task: train.draw_sets(4, KEY, task))(draw_prompts("connected+", 8, 2, KEY))
    assert len({np.asarray(inputs).tobytes() for inputs in sets.context[..., :16]}) == len(train.SETS)


def test_a_models_own_learning_rate_counts_for_it_alone():
    rates = {name: arm(name, "cpu", learning_rates=(("hyla", 0.5),)).learning_rate for name in ("hyla-short", "vanilla", "told-short")}
    assert rates == {"hyla-short": 0.5, "vanilla": 4e-3, "told-short": 4e-3}


def test_the_mlp_that_reads_a_code_has_as_many_parameters_as_the_hypernetwork():
    sizes = []
    for name in ("hypernet", "latent-mlp"):
        executor: Any = eqx.filter_eval_shape(build, arm(name, "cpu"), KEY).execute
        sizes.append(sum(leaf.size for leaf in jax.tree.leaves(executor) if isinstance(leaf, jax.ShapeDtypeStruct)))
    assert abs(sizes[1] / sizes[0] - 1) < 0.03


@pytest.mark.whole
@pytest.mark.parametrize("name", ["vanilla", "hyla"])
def test_queries_do_not_see_each_other(name):
    model = build(arm(name, models=("vanilla", "hyla")), KEY)
    context, queries = jax.random.normal(KEY, (8, 17)), jax.random.normal(KEY, (2, 17))
    run = eqx.filter_jit(lambda model, queries: model(context, queries))
    changed = run(model, queries.at[0].add(1.0)) != run(model, queries)
    np.testing.assert_array_equal(changed[:, 0], [True, False])


@pytest.mark.parametrize(("name", "size"), [("vanilla", 398_465), ("hypernet", 104_486)])
def test_the_papers_models_are_below_a_million_parameters(name, size):
    network = eqx.filter_eval_shape(build, arm(name, "paper"), KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(network) if isinstance(leaf, jax.ShapeDtypeStruct)) == size


@pytest.mark.whole
def test_the_oracle_explains_shared_modules_and_ridge_only_a_part():
    task = draw_prompts("connected+", 40, 4, KEY)
    sets = jax.jit(lambda task: train.draw_sets(40, KEY, task))(task)
    score = jax.jit(references.oracle)(KEY, task, sets)
    assert (score.value[:3] > 0.99).all()
    assert score.value[3] < 0.5
    for features in (affine_features, references.drawn_features(KEY)):
        found = references.ridge(features, sets).value
        assert ((found > 0.3) & (found < 0.9)).all()


@pytest.mark.whole
def test_modules_that_are_the_teachers_in_another_basis_are_aligned():
    task = draw_prompts("connected+", 8, 2, KEY)
    modules = teacher_of(task).layers[0]
    model = build(replace(arm("hypernet"), shape=replace(arm("hypernet").shape, network=replace(arm("hypernet").shape.network, hidden=16))), KEY)
    basis = jax.random.normal(KEY, (6, 6))
    flat = (basis @ modules.reshape(6, -1)).reshape(6, -1)
    model = eqx.tree_at(lambda m: m.execute.hypernetwork.generators[0].modules, model, flat)
    sets = jax.jit(lambda task: train.draw_sets(16, KEY, task))(task)
    found, codes = train.read_modules(model, sets)
    assert codes.shape == (16, 6)
    np.testing.assert_allclose(found, jnp.tensordot(basis, modules, 1), atol=1e-5)


class Told(Bottleneck):
    """Is told the code in front of the tokens, and has it in its stream."""

    def code(self, context):
        return context[0, :6]

    def stream(self, context, queries):
        return jnp.concatenate([self.code(context), queries[0, 6:]])


class Knowing(Composed):
    """Executes the codes of the ring by the teacher, and predicts 0 for others."""

    teacher: Teacher

    def __call__(self, code, x):
        known = jnp.any(jnp.all((code > 0) == masks_of(6, identities.RING), axis=1))
        return jnp.where(known, self.teacher.execute(code, x), 0.0)


class Mean(eqx.Module):
    """Predicts the mean of the context, and has the code in its stream."""

    def __call__(self, context, queries):
        return jnp.broadcast_to(context[:, -1:].mean(axis=0), (len(queries), 1))

    def stream(self, context, queries):
        return 100 * context[0, :6]


@pytest.mark.whole
def test_a_measurement_scores_each_set_and_reads_the_codes_of_held_out_pairs_alone():
    """The codes of held-out pairs alone are changed, so a probe is right on training's and wrong there."""
    task = draw_prompts("connected+", 6, 2, KEY)
    sets = with_code(jax.jit(lambda task: train.draw_sets(120, KEY, task))(task))
    found = jax.jit(lambda sets: train.measure(learner(arm("vanilla"), task, sets), SimpleNamespace(model=Mean()), KEY))
    honest = found(sets)
    assert honest["r2"].shape == (4,)
    assert np.abs(honest["r2"]).max() < 1e-5
    assert honest["decoded"] > 0.9
    assert honest["decoded_shuffled"] < 0.2
    wrong = found(sets._replace(code=sets.code.at[1].set(1 - sets.code[1])))
    assert wrong["decoded"] < 0
    assert found(sets._replace(code=sets.code.at[2:].set(0)))["decoded"] == honest["decoded"]


@pytest.mark.whole
def test_execution_is_scored_on_trainings_pairs_first_and_against_the_mean_of_the_context():
    task = draw_prompts("connected", 6, 4, KEY)
    sets = jax.jit(lambda task: train.draw_sets(40, KEY, task))(task)
    model = Knowing(Composed.create(16, 1, code=6, hidden=2, key=KEY).hypernetwork, teacher_of(task))
    score = jax.jit(train.execute)(model, sets)
    assert score.value.shape == (4,)
    assert score.value[0] > 0.999
    assert (score.value[1:3] < 0.1).all()
    base = np.mean((sets.context[1, ..., -1:].mean(axis=1, keepdims=True) - sets.targets[1]) ** 2)
    assert float(score.value[1]) == pytest.approx(1 - float(np.mean(sets.targets[1] ** 2) / base), abs=1e-4)


@pytest.mark.whole
def test_a_student_with_the_teachers_modules_is_aligned_with_its_own_teacher_only():
    seeds, of = [1000, 1001], arm("hypernet")
    drawn = jax.vmap(lambda key: draw_prompts("connected+", 8, 2, key))(stream_keys(seeds, "env"))
    sets = with_code(jax.vmap(lambda task: train.draw_sets(36, KEY, task))(drawn))
    executor = Composed.create(16, 1, code=6, hidden=16, key=KEY)
    encoder: Any = build(of, KEY)

    def student(task):
        flat = task.task.teacher.layers[0].reshape(6, -1)
        return Told(encoder.infer, eqx.tree_at(lambda e: e.hypernetwork.generators[0].modules, executor, flat), 16)

    unused = dict.fromkeys(("seeds", "parents", "evaluation_key", "fit", "publish", "model"), len)
    context: Any = SimpleNamespace(
        **unused,
        evaluate=lambda function, *parts: jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(*parts)),
        keys=lambda stream: stream_keys(seeds, stream),
        rows=lambda **columns: columns,
    )
    modules, codes = context.evaluate(train.read_modules, jax.vmap(student)(drawn), sets)
    found = train._aligned(of.support, context, modules, codes, teacher_of(drawn), sets)
    assert np.allclose(found["own"], 1, atol=1e-4)
    assert np.max(found["foreign"]) < 0.6


@pytest.mark.parametrize(("name", "rate"), [("vanilla", 4e-3), ("hypernet", 2e-3), ("latent-mlp", 4e-3)])
def test_an_arms_training_reaches_its_optimiser(name, rate):
    of, drawn = arm(name, "cpu"), draw_prompts("connected+", 8, 2, KEY)
    made = learner(of, drawn, jax.eval_shape(lambda task: train.draw_sets(4, KEY, task), drawn))
    assert made.hyperparameters == {"learning_rate": rate, "warmup": 200.0, "steps": 5000.0, "clip_norm": 1.0, "weight_decay": of.decay}
    assert made.batch_size == 16


@pytest.mark.whole
def test_a_hypernetwork_that_is_given_the_code_learns_plain_codes_without_weight_decay():
    drawn = draw_labelled("connected", 16, KEY)
    made = executor_learner(arm("given-code-connected", "cpu"), drawn)
    assert made.hyperparameters == {"learning_rate": 1e-2, "warmup": 200.0, "steps": 10_000.0, "clip_norm": 1.0, "weight_decay": 0.0}
    example = drawn.sample(KEY)
    knowing = Knowing(Composed.create(16, 1, code=6, hidden=2, key=KEY).hypernetwork, drawn.teacher)
    assert execution_loss(knowing, example, KEY) < 1e-10
    assert execution_loss(knowing, example._replace(outputs=example.outputs + 2.0), KEY) == pytest.approx(4.0, rel=1e-4)


def test_the_loss_is_the_mean_squared_error_at_the_queries():
    prompt = draw_prompts("connected", 6, 2, KEY).sample(KEY)
    errors = jnp.asarray([[0.1], [-3.0]])
    assert prompt_loss(lambda context, queries: prompt.targets + errors, prompt, KEY) == pytest.approx(9.01 / 2, rel=1e-5)


@pytest.mark.whole
def test_a_hypernetwork_that_is_given_the_code_is_trained_and_tested_on_one_teacher():
    seeds, learners, made = [1000, 1001], [], []

    class Trained(Exception): ...

    def fit(name, learner, steps, **options):
        learners.append(learner)
        raise Trained

    def evaluate(function, *parts):
        made.append(jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(*parts)))
        return made[-1]

    context: Any = SimpleNamespace(
        seeds=seeds,
        parents=(),
        evaluation_key=KEY,
        keys=lambda stream: stream_keys(seeds, stream),
        fit=fit,
        evaluate=evaluate,
        publish=len,
        model=len,
        rows=len,
    )
    with pytest.raises(Trained):
        train.train_executor(arm("given-code-connected"), context)
    sets = made[-1]
    execute = jax.vmap(jax.vmap(jax.vmap(Teacher.execute, (None, 0, 0)), (None, 0, 0)))
    found = execute(learners[0].task.teacher, sets.plain_code, sets.queries[..., :16])
    np.testing.assert_allclose(found[:, :3], sets.targets[:, :3], atol=1e-5)


@pytest.mark.whole
def test_the_penalty_of_ridge_regression_is_chosen_on_trainings_pairs(monkeypatch):
    """Training's outputs are linear in the inputs, so that the smallest penalty is best; those of held-out pairs are noise, for which the largest would be."""
    keys = jax.random.split(KEY, 3)
    inputs = jax.random.normal(keys[0], (4, 20, 32, 16))
    outputs = jnp.einsum("stpi,sti->stp", inputs, jax.random.normal(keys[1], (4, 20, 16)))[..., None]
    outputs = outputs.at[1].set(jax.random.normal(keys[2], outputs[1].shape))
    tokens, code = jnp.concatenate([inputs, outputs], axis=-1), jnp.zeros((4, 20, 6))
    sets = Prompt(tokens[:, :, :24], tokens[:, :, 24:].at[..., 16:].set(0), outputs[:, :, 24:], code, code)
    chosen = references.ridge(affine_features, sets).value
    fixed = []
    for strength in (0.1, 10.0):
        monkeypatch.setattr(references, "STRENGTHS", (strength,))
        fixed.append(references.ridge(affine_features, sets).value)
    np.testing.assert_allclose(chosen, fixed[0], rtol=1e-5)
    assert fixed[1][1] > chosen[1] + 0.1


@pytest.mark.whole
def test_hyla_sees_both_sides_as_attention_does():
    for name in ("vanilla", "hyla"):
        layer = build(arm(name, models=("vanilla", "hyla")), KEY).model.blocks[0].mixer
        attention = layer.explain(jax.random.normal(KEY, (10, 8)))[1].attention
        assert np.all(attention[:, 0, 1:8] != 0)
        bias = layer.position.bias(jnp.arange(3), jnp.arange(3))
        assert np.all(bias[:, 0, 2] != bias[:, 0, 0])
        assert np.all(bias[:, 0, 2] != bias[:, 2, 0])


# --- exact statements -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", identities.IDENTITIES)
def test_a_statement_holds_and_its_mutant_does_not(name):
    with jax.enable_x64(True):
        errors = jax.jit(lambda key: identities.IDENTITIES[name](Identities(), key))(KEY)
        assert errors.error < 1e-12
        assert errors.mutant > 1e-2


# --- measurements -----------------------------------------------------------------------------------------------------


def ends(model, *points, seeds=(0,), noise=0.0):
    """A model before training, after the short training and after the usual one: R^2 on training's pairs and on held-out ones. Midway through a training,
    both are what they never are at an end."""
    (untrained, _), *_ = points
    last = {f"{model}-short": points[1], model: points[2]}
    rows = [
        {"trial": trial, "model": model, "seed": seed, "step": step, "train": fit, "held_out": composed + noise * SPREAD[seed], "digest": str(seed)}
        for place, trial in enumerate(last)
        for seed in seeds
        for step, (fit, composed) in ((0, points[0]), (place + 1, (0.9999, untrained)), (place + 10, last[trial]))
    ]
    return pl.DataFrame(rows).with_columns(train_error=0.001, held_out_error=0.01)


def at_equal_fit(*tables):
    config = replace(PRESETS["cpu"].config, lengths=())
    return measures.ahead_at_equal_fit("hypernet", "vanilla")(View(config, "cpu", {"curve": pl.concat(tables)}))


def test_models_are_compared_where_both_first_fit_as_well_as_the_worse_one_does_at_its_best():
    """1 - 0.968377 and 1 - 0.8 are the geometric means of 0.1 and 0.01, and of 0.4 and 0.1."""
    found = at_equal_fit(
        ends("hypernet", (0.0, 0.0), (0.9, 0.6), (0.99, 0.9)),
        ends("vanilla", (0.0, 0.0), (0.968377, 0.75), (0.95, 0.6)),
    )
    assert found.values == pytest.approx([0.8 - 0.75], abs=1e-5)
    assert 0.01 < found.errors[0] < 0.03


def test_a_model_that_fits_better_after_the_shortest_training_is_not_compared_with_its_untrained_self():
    """A line in R^2 from the untrained model's would give -0.25."""
    found = at_equal_fit(
        ends("hypernet", (-11.0, -11.0), (0.91, 0.84), (0.91, 0.84)),
        ends("vanilla", (-5.0, -5.0), (0.89, 0.6), (0.89, 0.6)),
    )
    assert 0.15 < found.values[0] < 0.24


def test_a_model_that_composes_perfectly_has_a_value_and_an_error():
    found = at_equal_fit(
        ends("hypernet", (0.0, 0.0), (0.9, 0.9), (0.99, 0.999)),
        ends("vanilla", (0.0, 0.0), (0.9, 0.7), (0.99, 0.75)),
    )
    assert found.values == pytest.approx([0.249])
    assert np.isfinite(found.errors).all()


def test_a_model_that_training_makes_worse_is_compared_before_training():
    found = at_equal_fit(
        ends("hypernet", (0.5, 0.3), (0.4, 0.7), (0.4, 0.7)),
        ends("vanilla", (0.0, 0.0), (0.5, 0.25), (0.5, 0.25)),
    )
    assert found.values == pytest.approx([0.3 - 0.25])


def test_a_fit_that_is_not_a_number_gives_no_value():
    for broken in ((float("nan"), 0.9), (0.99, float("nan"))):
        with pytest.raises(NotJudged):
            at_equal_fit(ends("hypernet", (0.0, 0.0), (0.9, 0.6), broken), ends("vanilla", (0.0, 0.0), (0.9, 0.7), (0.99, 0.75)))


def test_a_model_without_trainings_is_not_compared():
    with pytest.raises(NotJudged, match="latent-mlp"):
        measures.ahead_at_equal_fit("latent-mlp", "vanilla")(
            View(replace(PRESETS["cpu"].config, models=("vanilla",), short_models=("vanilla",)), "cpu", {"curve": ends("vanilla", *[(0.5, 0.5)] * 3)})
        )


def test_a_decline_is_from_the_best_of_the_first_third():
    steps, composed = range(11), [0.0, 0.5, 0.7, 0.6, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.55]
    rows = pl.DataFrame({"trial": "vanilla", "seed": 0, "step": steps, "held_out": composed, "held_out_error": 0.01})
    found = measures.decline(claims.VANILLA)(View(PRESETS["paper"].config, "paper", {"curve": rows}))
    assert found.values == pytest.approx([0.15])


# --- claims -----------------------------------------------------------------------------------------------------------


def judged(check, preset="cpu", **tables):
    """The row of a check, judged on these tables."""
    view = View(PRESETS[preset].config, preset, tables)
    claim, _, name = check.partition(".")
    found = next(found for found in claims.CLAIMS if found.id == claim)
    kept = replace(found, checks=[one for one in found.checks if one.name == name])
    (row,) = judge("incontext-composition", [kept], view, Circumstances(command=""), strict=True)
    return row.verdict


def scores(trial, columns, **axes):
    """A table of scores with an error of 0.002; arms differ by a little noise of their own."""
    noise = np.random.default_rng(len(trial)).normal(0, 0.004, 10)
    values = {name: value + SPREAD * (1 - value) + noise * (1 - value) for name, value in columns.items()}
    errors = {f"{name}_error": [0.002] * 10 for name in columns if name not in ("decoded", "decoded_shuffled", "own", "foreign")}
    return pl.DataFrame({"trial": trial, "seed": SEEDS, "digest": [str(seed) for seed in SEEDS], **axes, **values, **errors})


def explained(**arms):
    """R^2 of arms, named with underscores for dashes."""
    usual = {"train": 0.97, "held_out": 0.85, "shared": 0.85, "unstructured": -0.3, "decoded": 0.5, "decoded_shuffled": 0.0}
    return pl.concat(scores(name.replace("_", "-"), usual | columns) for name, columns in arms.items())


def ridge(preset="cpu", oracle=1.0, disconnected=0.6, **columns):
    """Ridge regression and the oracle; `columns` are those of ridge regression on Connected+, `disconnected` is on Disconnected's held-out pairs."""
    usual = {"train": 0.6, "held_out": 0.6, "unstructured": 0.6}
    pairs = PRESETS[preset].config.prompting.pairs
    found = [("ridge", "connected+", usual | columns), ("oracle", "connected+", usual | {"held_out": oracle})]
    found += [("ridge", "connected", usual), ("ridge", "disconnected", usual | {"held_out": disconnected})]
    found += [("oracle", "connected", usual | {"held_out": 1.0}), ("oracle", "disconnected", usual)]
    rows = [scores("references", values, predictor=name, support=support, pairs=pairs) for name, support, values in found]
    wrong = [
        scores("references", dict.fromkeys(usual, value), predictor="ridge", support=support, pairs=16)
        for support, value in (("connected", 0.9), ("connected+", 0.8), ("disconnected", 0.5))
    ]
    return pl.concat(rows + wrong)


@pytest.mark.parametrize(("held_out", "blind", "verdict"), [(0.85, 0.6, "holds"), (0.96, 0.6, "fails"), (0.85, 0.4, "not judged")])
def test_the_vanilla_model_can_compose(held_out, blind, verdict):
    assert judged("C1.gap", explained=explained(vanilla={"held_out": held_out}), references=ridge(held_out=blind)) == verdict


@pytest.mark.parametrize(("held_out", "executed", "verdict"), [(0.85, 0.98, "holds"), (0.96, 0.98, "fails"), (0.85, 0.85, "not judged")])
def test_a_model_that_is_told_the_code_can_compose_or_nothing_can(held_out, executed, verdict):
    ours = explained(told_short={"held_out": held_out})
    assert judged("H2.gap", explained=ours, executed=scores("given-code-connected+", {"train": 0.99, "held_out": executed})) == verdict


@pytest.mark.parametrize(("check", "trial"), [("C1.fits", "vanilla"), ("C7.fits", "hypernet")])
@pytest.mark.parametrize(("fit", "blind", "verdict"), [(0.97, 0.6, "holds"), (0.9, 0.6, "fails"), (0.97, 0.98, "not judged")])
def test_a_model_can_fit_badly(check, trial, fit, blind, verdict):
    assert judged(check, explained=explained(**{trial: {"train": fit}}), references=ridge(train=blind)) == verdict


@pytest.mark.parametrize(
    ("check", "model", "control", "other"),
    [
        ("C3.better", "hypernet", "latent_mlp", "vanilla"),
        ("C3.decay", "hypernet_short", "latent_mlp_short", "vanilla_undecayed"),
        ("C3.both-decay", "hypernet_decayed", "latent_mlp_decayed", "vanilla"),
    ],
)
@pytest.mark.parametrize(("ours", "mlp", "verdict"), [(0.95, 0.8, "holds"), (0.85, 0.8, "fails"), (0.95, 0.95, "not judged")])
def test_the_bottleneck_can_be_no_better_or_any_bottleneck_as_good(check, model, control, other, ours, mlp, verdict):
    assert judged(check, explained=explained(**{model: {"held_out": ours}, control: {"held_out": mlp}, other: {"held_out": 0.85}})) == verdict


@pytest.mark.parametrize(("ours", "vanilla", "verdict"), [(0.95, 0.85, "holds"), (0.85, 0.8, "fails"), (0.95, 0.95, "not judged")])
def test_the_bottlenecks_gap_can_be_wide_or_the_vanilla_models_narrow(ours, vanilla, verdict):
    assert judged("C3.gap", explained=explained(hypernet={"held_out": ours}, vanilla={"held_out": vanilla})) == verdict


@pytest.mark.parametrize(("ours", "mlp", "verdict"), [(0.9, 0.7, "holds"), (0.7, 0.7, "fails"), (0.9, 0.95, "not judged")])
@pytest.mark.slow
def test_at_equal_fit_the_bottleneck_can_be_no_better(ours, mlp, verdict):
    arms = {"hypernet": (ours, 1.0), "latent-mlp": (mlp, 0.5), "vanilla": (0.8, 0.0)}
    tables = [ends(name, (0.0, 0.0), (0.9, 0.9 * value), (0.99, 0.99 * value), seeds=SEEDS, noise=noise) for name, (value, noise) in arms.items()]
    longer = [tables[0].filter(trial="hypernet").with_columns(trial=pl.lit(f"hypernet-{steps}")) for steps in PRESETS["cpu"].config.lengths]
    assert judged("H3.equal-fit", curve=pl.concat([*tables, *longer])) == verdict


@pytest.mark.parametrize(("own", "others", "verdict"), [(0.8, 0.0, "holds"), (0.4, 0.0, "fails"), (0.8, 0.7, "not judged")])
def test_the_code_can_be_unreadable(own, others, verdict):
    assert judged("C4.decoded", "paper", explained=explained(vanilla={"decoded": own, "decoded_shuffled": others})) == verdict


def by_support(model, connected, disconnected, column="held_out"):
    return {f"{model}_connected": {column: connected}, f"{model}_disconnected": {column: disconnected}}


@pytest.mark.parametrize(("check", "column", "other"), [("C5.support", "held_out", "shared"), ("C5.same-pairs", "shared", "held_out")])
@pytest.mark.parametrize(("ours", "vanilla", "verdict"), [(0.7, 0.85, "holds"), (0.84, 0.85, "fails"), (0.7, 0.7, "not judged")])
def test_a_support_can_matter_to_no_model_or_to_both(check, column, other, ours, vanilla, verdict):
    """On the other set of pairs it is the other way round."""
    arms = by_support("hypernet", 0.85, ours, column) | by_support("vanilla", 0.85, vanilla, column)
    arms["hypernet_disconnected"][other], arms["vanilla_disconnected"][other] = 1.55 - ours, 1.55 - vanilla
    assert judged(check, explained=explained(**arms)) == verdict


@pytest.mark.parametrize(("composed", "blind", "verdict"), [(0.7, 0.58, "holds"), (0.98, 0.58, "fails"), (0.7, 0.4, "not judged")])
def test_execution_can_compose_on_any_support_or_one_supports_pairs_be_harder_for_all(composed, blind, verdict):
    assert judged("C5.given-code", executed=executed("held_out", (0.99, 0.99), (0.99, composed)), references=ridge(disconnected=blind)) == verdict


@pytest.mark.parametrize(("composed", "fit", "verdict"), [(0.7, 0.99, "holds"), (0.98, 0.99, "fails"), (0.7, 0.8, "not judged")])
def test_execution_can_compose_the_same_pairs_on_any_support(composed, fit, verdict):
    assert judged("C5.given-code-same-pairs", executed=executed("shared", (0.99, 0.99), (fit, composed))) == verdict


def executed(column, connected, disconnected):
    """A hypernetwork that is given the code: R^2 on training's pairs and on one set of others, by support; the other set would fail every check."""
    usual = {"held_out": 0.5, "shared": 0.5}
    found = {"connected": connected, "disconnected": disconnected}
    return pl.concat(scores(f"given-code-{support}", usual | {"train": known, column: value}) for support, (known, value) in found.items())


@pytest.mark.parametrize(("found", "blind", "verdict"), [(1.0, 0.6, "holds"), (0.9, 0.6, "fails"), (1.0, 0.99, "not judged")])
def test_the_oracle_can_miss_and_ridge_can_suffice(found, blind, verdict):
    assert judged("C6.oracle", references=ridge(oracle=found, held_out=blind)) == verdict


@pytest.mark.parametrize(("ours", "mlp", "verdict"), [(0.99, 0.95, "holds"), (0.973, 0.95, "fails"), (0.95, 0.95, "fails"), (0.99, 0.99, "not judged")])
def test_the_bottleneck_can_fit_worse_or_hardly_better(ours, mlp, verdict):
    arms = {"hypernet": {"train": ours}, "latent_mlp": {"train": mlp}, "vanilla": {"train": 0.97}}
    assert judged("C7.smaller", explained=explained(**arms)) == verdict


def decoded_at(step, others=0.0, **arms):
    """R^2 of the code at a step; `others` is that of a probe for other tasks' codes of the hypernetwork transformer."""
    return pl.concat(scores(name, {"decoded": value, "decoded_shuffled": others * (name == "hypernet")}, step=step) for name, value in arms.items())


@pytest.mark.parametrize(("vanilla", "others", "verdict"), [(0.1, 0.0, "holds"), (0.7, 0.0, "fails"), (0.1, 0.6, "not judged")])
def test_the_code_can_be_read_early_from_both_or_so_can_other_tasks_codes(vanilla, others, verdict):
    at_the_end = decoded_at(PRESETS["cpu"].config.training.steps, hypernet=0.8, vanilla=vanilla, others=others)
    assert judged("C8.early", curve=pl.concat([decoded_at(0, hypernet=0.0, vanilla=0.0), at_the_end])) == verdict


@pytest.mark.parametrize(("vanilla", "before", "verdict"), [(0.85, 0.1, "holds"), (0.5, 0.1, "fails"), (0.99, 0.1, "fails"), (0.85, 0.8, "not judged")])
def test_the_code_can_be_read_less_or_more_well_in_the_end(vanilla, before, verdict):
    tables = explained(hypernet={"decoded": 0.86}, vanilla={"decoded": vanilla})
    assert judged("C8.end", "paper", curve=decoded_at(5000, hypernet=0.8, vanilla=before), explained=tables) == verdict


@pytest.mark.parametrize(("ours", "blind", "verdict"), [(-0.3, 0.6, "holds"), (0.2, 0.6, "fails"), (-0.3, -0.2, "not judged")])
def test_unstructured_tasks_can_be_solved(ours, blind, verdict):
    assert judged("C9.fails", explained=explained(hypernet={"unstructured": ours}), references=ridge(unstructured=blind)) == verdict


@pytest.mark.parametrize(("vanilla", "held_out", "verdict"), [(0.16, 0.85, "holds"), (-0.3, 0.85, "fails"), (0.16, 0.6, "not judged")])
def test_the_vanilla_model_can_fail_on_unstructured_tasks_too(vanilla, held_out, verdict):
    arms = {"vanilla": {"unstructured": vanilla}, "hypernet": {"held_out": held_out}}
    assert judged("C9.modest", "paper", explained=explained(**arms)) == verdict


@pytest.mark.parametrize(("check", "column"), [("C10.support", "held_out"), ("C10.same-pairs", "shared")])
@pytest.mark.parametrize(("vanilla", "given", "verdict"), [(0.85, 0.7, "holds"), (0.7, 0.7, "fails"), (0.95, 0.7, "fails"), (0.85, 0.85, "not judged")])
def test_a_support_can_matter_to_the_vanilla_model_or_not_even_to_execution(check, column, vanilla, given, verdict):
    arms = by_support("vanilla", 0.85, vanilla, column)
    assert judged(check, explained=explained(**arms), executed=executed(column, (0.99, 0.85), (0.99, given))) == verdict


@pytest.mark.parametrize(("own", "foreign", "verdict"), [(0.97, 0.3, "holds"), (0.6, 0.3, "fails"), (0.97, 0.95, "not judged")])
def test_modules_can_be_others(own, foreign, verdict):
    assert judged("C11.modules", modules=scores("hypernet", {"own": own, "foreign": foreign})) == verdict


@pytest.mark.parametrize(("vanilla", "ours", "verdict"), [(0.87, 0.98, "holds"), (0.89, 0.98, "fails"), (0.92, 0.98, "fails"), (0.87, 0.8, "not judged")])
def test_composition_can_rise_to_the_end_or_decline_in_both(vanilla, ours, verdict):
    rows = pl.concat(
        scores(name, {"held_out": value}, step=step) for name, last in (("vanilla", vanilla), ("hypernet", ours)) for step, value in ((20, 0.89), (100, last))
    )
    assert judged("C12.declines", "paper", curve=rows) == verdict


@pytest.mark.parametrize(("hyla", "softmax", "verdict"), [(0.9, 0.85, "holds"), (0.85, 0.85, "fails"), (0.9, 0.9, "not judged")])
def test_hyla_can_be_no_better_or_softmax_attention_as_good(hyla, softmax, verdict):
    arms = {"hyla_short": {"held_out": hyla}, "vanilla_short": {}, "vanilla_undecayed": {"held_out": softmax}}
    assert judged("H1.better", explained=explained(**arms)) == verdict


# --- a user's layer ---------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_a_users_layer_is_trained_in_the_vanilla_model_beside_ours():
    config = replace(PRESETS["smoke"].config, mixer="delta-net(heads=2)")
    check(config)
    found = {trial.name: trial for trial in trials(config)}
    assert set(found) == {"vanilla", "hypernet", "user"}
    assert found["user"].user_parts
    model = build(found["user"].config, KEY)
    parts = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, DeltaNet | Attention))
    assert any(isinstance(part, DeltaNet) for part in parts)
    assert not any(isinstance(part, Attention) for part in parts)
    assert model(jnp.zeros((8, 17)), jnp.zeros((2, 17))).shape == (2, 1)
