"""The comparison of layers is fair: equal parameters, the same examples, rates chosen on pilots alone, one scale; and its table says what the numbers say."""

import importlib
import json
import math
import pkgutil
import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest

from mesocosm import tasks
from mesocosm.claims.intervals import t_interval
from mesocosm.claims.view import View
from mesocosm.cli import main
from mesocosm.cli.parse import parse_compare
from mesocosm.comparisons.layers import STUDY
from mesocosm.comparisons.layers.config import LAYERS, PRESETS, TASKS, Config, Network
from mesocosm.comparisons.layers.networks import Shape, Stack, build, constant_loss, parameters, posed_loss, sizes_of, widths
from mesocosm.comparisons.layers.problems import PROBLEMS, Posed
from mesocosm.comparisons.layers.summary import MEAN, at_the_ends, chosen_rates, compared, searched
from mesocosm.comparisons.layers.train import flat_adamw
from mesocosm.comparisons.layers.trials import check, label, trials
from mesocosm.lab.report.figures import draw
from mesocosm.lab.store.run_directory import Run
from mesocosm.learning.optimizers import adamw
from mesocosm.nn.layers import LAYERS as REGISTRY
from mesocosm.tasks.task import Task, batch

SMOKE: Config = PRESETS["smoke"].config


# --- equal parameters -------------------------------------------------------------------------------------------------


def test_all_layers_have_blocks_of_equal_parameters_to_half_a_hidden_unit():
    network = Network(dim=(dim := 16))
    for layer in REGISTRY:
        spent = widths(layer, network)
        assert abs(spent.block - spent.wanted) <= dim + 0.5, layer
        assert abs(spent.block / spent.wanted - 1) < 0.005


@pytest.mark.parametrize("layer", ["attention", "mesa(heads=2)"])
def test_the_counted_parameters_are_those_of_the_network(layer):
    """Embedding, positions and readout are the same for every layer; norms have a scale and a shift."""
    shape = Shape(layer, "recall", 16, Network(dim=8, blocks=2))
    whole = parameters(jax.eval_shape(lambda key: build(shape, key), jax.random.key(0)))
    sizes, dim = sizes_of("recall", 16), 8
    around = sizes.vocabulary * dim + sizes.length * dim + sizes.outputs * (dim + 1)
    assert whole == 2 * widths(layer, shape.network).block + around + 5 * 2 * dim


@pytest.mark.whole
def test_a_stack_is_its_blocks_one_after_another():
    model = build(Shape("gru", "regression", 12, Network(dim=4, blocks=3)), jax.random.key(0))
    stack, x = model.blocks[0], jax.random.normal(jax.random.key(1), (12, 4))
    assert isinstance(stack, Stack)
    arrays, static = eqx.partition(stack.blocks, eqx.is_array)
    wanted = x
    for place in range(3):
        wanted = eqx.combine(jax.tree.map(lambda leaf, place=place: leaf[place], arrays), static)(wanted)
    np.testing.assert_allclose(stack(x), wanted, rtol=1e-5, atol=1e-6)
    first = jax.tree.leaves(arrays.mixer)[0]
    assert not np.allclose(first[0], first[1])


def test_the_optimiser_of_one_vector_takes_the_steps_of_adamw():
    weights = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.array([1.0, -2.0])}
    options = {"learning_rate": 0.1, "clip_norm": 1.0, "weight_decay": 0.3, "warmup": 1.0, "steps": 5.0, "floor": 0.1}
    found = []
    for transform in (flat_adamw(**options), adamw(**options)):
        state, moved = transform.init(weights), weights
        for _ in range(3):
            moves, state = transform.update(jax.tree.map(lambda leaf: 3 * leaf + 1, moved), state, moved)
            moved = optax.apply_updates(moved, moves)
        found.append(moved)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), *found)
    assert not np.allclose(found[0]["b"], weights["b"])


def test_a_layer_without_room_for_a_feed_forward_part_is_rejected():
    with pytest.raises(ValueError, match=r"lstm has \d+ parameters .* raise --config.network.parameters"):
        widths("lstm", Network(dim=16, parameters=8))


# --- tasks and losses -------------------------------------------------------------------------------------------------


def test_the_tasks_of_the_config_are_all_that_there_are():
    assert set(TASKS) == set(PROBLEMS)
    assert set(LAYERS) <= set(REGISTRY)


LEFT_OUT = {
    "CycleColouring": "a graph has no order",
    "BitRecall": "more than a model can store",
    "FewShotRegression": "tests networks that were trained on systems",
    "Hyperteacher": "compared in prompts",
    "Unstructured": "the same without modules",
    "AssociativeRecall": "recall with one query",
}


def test_every_sequence_task_of_the_library_is_compared_or_left_out_by_name():
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(tasks.__path__, "mesocosm.tasks.")]
    of_library = {
        name for module in modules for name, found in vars(module).items() if isinstance(found, type) and issubclass(found, Task) and found is not Task
    }
    drawn = {type(problem.draw(3, 24)).__name__ for problem in PROBLEMS.values()}
    assert of_library - drawn == LEFT_OUT.keys()


@pytest.mark.parametrize("task", [task if task in ("induction", "regression") else pytest.param(task, marks=pytest.mark.whole) for task in TASKS])
def test_a_problem_has_scored_targets_at_its_last_positions_on_every_split(task):
    problem, sizes = PROBLEMS[task], sizes_of(task, 24)
    for split in problem.splits:
        posed = jax.vmap(problem.pose)(batch(problem.draw(3, 24), jax.random.key(1), 4, split))
        assert posed.inputs.shape[1] == sizes.length <= 24
        assert posed.targets.shape[:2] == posed.weights.shape == (4, sizes.read)
        scored = posed.weights.sum(axis=1)
        assert (scored == scored[0]).all()  # the mean of the examples' losses is the mean over positions
        assert scored[0] > 0
        symbols = jnp.issubdtype(posed.targets.dtype, jnp.integer)
        assert (posed.targets < sizes.outputs).all() if symbols else posed.targets.shape[2] == sizes.outputs
    assert ("ood" in problem.splits) == bool(problem.held_out)


@pytest.mark.whole
def test_seeds_have_teachers_and_splits_of_their_own():
    for task in ("hyperteacher", "fuzzy-logic", "raven", "linear-attention"):
        one, other = (jax.tree.leaves(PROBLEMS[task].draw(seed, 24)) for seed in (0, 1))
        assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True)), task


def test_a_constant_scores_zero_and_perfect_answers_one():
    """By hand: three symbols of one kind and one of another at scored positions; vectors of variance 1 and 4."""
    symbols = Posed(jnp.zeros((2, 2), int), jnp.array([[1, 1], [1, 2]]), jnp.ones((2, 2)))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert constant_loss(symbols, 3) == pytest.approx(entropy)
    frequencies = jnp.log(jnp.array([1e-30, 0.75, 0.25]))
    losses = [posed_loss(jnp.tile(frequencies, (2, 1)), jax.tree.map(lambda leaf, i=i: leaf[i], symbols)) for i in range(2)]
    assert np.mean(losses) == pytest.approx(entropy, rel=1e-5)
    assert posed_loss(40.0 * jax.nn.one_hot(jnp.array([1, 2]), 3), jax.tree.map(lambda leaf: leaf[1], symbols)) == pytest.approx(0, abs=1e-6)
    vectors = Posed(jnp.zeros((2, 1, 2)), jnp.array([[[5.0, 2.0]], [[7.0, -2.0]]]), jnp.ones((2, 1)))
    assert constant_loss(vectors, 2) == pytest.approx(0.5 * (1 + 4))


def test_unscored_positions_count_nothing():
    posed = Posed(jnp.zeros(3), jnp.array([[1.0], [9.0], [2.0]]), jnp.array([1.0, 0.0, 1.0]))
    assert posed_loss(jnp.array([[1.0], [0.0], [4.0]]), posed) == pytest.approx(0.5 * 4 / 2)
    assert constant_loss(jax.tree.map(lambda leaf: leaf[None], posed), 1) == pytest.approx(0.5 * 0.25)


# --- the search -------------------------------------------------------------------------------------------------------


def pilots(losses):
    """(layer, task, rate) -> losses of its pilot seeds; None where it diverged."""
    rows = [
        {"layer": layer, "task": task, "learning_rate": rate, "seed": 1000 + seed, "loss": 0.0 if loss is None else loss, "diverged": loss is None}
        for (layer, task, rate), found in losses.items()
        for seed, loss in enumerate(found)
    ]
    return pl.DataFrame(rows)


def test_the_rate_with_the_smallest_mean_is_chosen_unless_it_diverges():
    config = replace(SMOKE, layers=("b", "a"), tasks=("recall", "copy"), grid=(0.1, 0.2))
    table = searched(
        config,
        pilots(
            {
                ("a", "recall", 0.1): [1.0, 3.0],
                ("a", "recall", 0.2): [0.5, 3.2],
                ("a", "copy", 0.1): [9.0, 9.0],
                ("a", "copy", 0.2): [0.1, None],
                ("b", "recall", 0.1): [1.0, 1.0],
                ("b", "recall", 0.2): [2.0, 2.0],
                ("b", "copy", 0.1): [None, None],
                ("b", "copy", 0.2): [None, 7.0],
            }
        ),
    )
    assert chosen_rates(table) == (0.1, 0.1, 0.2, 0.1)  # b recall, b copy (all diverge), a recall, a copy
    assert table["layer"].unique(maintain_order=True).to_list() == ["b", "a"]
    assert table["chosen"].sum() == 8
    assert at_the_ends(replace(config, grid=(0.1, 0.2, 0.3), learning_rates=(0.1, 0.2, 0.2, 0.3))) == 2


def test_the_trials_of_the_search_differ_from_the_judged_ones_only_in_their_rates():
    config = replace(SMOKE, learning_rates=(1.0, 2.0, 3.0, 4.0))
    tried, judged = trials(SMOKE), trials(config)
    assert [trial.name for trial in tried] == ["induction-attention", "regression-attention", "induction-gru", "regression-gru"]
    assert [trial.name for trial in judged] == [*(trial.name for trial in tried), "cost-attention", "cost-gru"]
    for one, other, rate in zip(tried, judged[:4], config.learning_rates, strict=True):
        assert one.config.rates == SMOKE.grid
        assert other.config == replace(one.config, rates=(rate,))


# --- the table --------------------------------------------------------------------------------------------------------


def view(scores, error=0.0, **options):
    """(layer, task, split) -> score by seed."""
    rows = [
        {"layer": layer, "task": task, "split": split, "seed": seed, "digest": f"{task} {split} {seed}", "score": score, "score_error": error}
        for (layer, task, split), found in scores.items()
        for seed, score in enumerate(found)
    ]
    layers, tasks = (tuple(dict.fromkeys(key[place] for key in scores)) for place in (0, 1))
    accuracy = pl.DataFrame({"layer": [layers[0]] * 2, "task": [tasks[0]] * 2, "split": ["iid"] * 2, "accuracy": [0.25, 0.75]})
    return View(replace(SMOKE, layers=layers, tasks=tasks), "smoke", {"score": pl.DataFrame(rows), "accuracy": accuracy})


def test_intervals_are_over_seeds_and_differences_are_paired():
    common = np.array([0.1, 0.5, 0.3, 0.7])
    own = np.array([0.01, -0.01, 0.02, -0.02])
    table = compared(view({("a", "recall", "iid"): common, ("b", "recall", "iid"): common + 0.1 + own, ("a", "recall", "ood"): common - 1}))
    a, b = (table.filter(layer=layer, task="recall", split="iid").row(0, named=True) for layer in "ab")
    wanted = t_interval(common, np.zeros(4))
    assert (a["score"], a["score_low"], a["score_high"], a["n"]) == pytest.approx((wanted.estimate, wanted.low, wanted.high, 4))
    paired = t_interval(0.1 + own, np.zeros(4))
    assert (b["difference"], b["difference_low"], b["difference_high"]) == pytest.approx((paired.estimate, paired.low, paired.high))
    assert b["difference_high"] - b["difference_low"] < 0.2 * (b["score_high"] - b["score_low"])
    assert b["holm"] is True
    assert (a["difference"], a["holm"]) == (None, None)
    assert (a["accuracy"], b["accuracy"]) == (0.5, None)
    assert table.filter(split="ood")["layer"].to_list() == ["a"]


def test_a_difference_must_survive_the_correction_for_all():
    """An interval above 0, p = 0.03, among four."""
    barely = np.array([0.03, 0.13, 0.11, 0.03, 0.15, 0.0])
    scores = {}
    for task in ("recall", "copy", "text"):
        scores[("a", task, "iid")] = np.zeros(6)
        scores[("b", task, "iid")] = barely if task == "recall" else np.array([0.1, -0.1, 0.2, -0.2, 0.0, 0.01])
    alone = compared(view({key: found for key, found in scores.items() if key[1] == "recall"})).filter(layer="b", task="recall").row(0, named=True)
    among = compared(view(scores)).filter(layer="b", task="recall").row(0, named=True)
    assert alone["difference_low"] == among["difference_low"] > 0
    assert not among["holm"]


def test_the_mean_over_tasks_is_by_seed_and_needs_all_tasks():
    scores = {("a", "recall", "iid"): np.array([0.0, 1.0]), ("a", "copy", "iid"): np.array([1.0, 0.0]), ("b", "recall", "iid"): np.array([0.5, 0.5])}
    rows = compared(view(scores, error=0.3)).filter(task=MEAN)
    assert rows["layer"].to_list() == ["a"]
    assert rows["score"].item() == 0.5
    error = math.hypot(0.3, 0.3) / 2  # the means of both seeds agree, and are as uncertain as their evaluation
    assert rows["score_high"].item() == pytest.approx(t_interval(np.array([0.5, 0.5]), np.array([error, error])).high)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["atention"], "did you mean attention"),
        (["attention", "softmax"], "the layer attention is named twice"),
        (["gru", "--task", "recal"], "there is no task 'recal'; the sequence tasks are recall, copy"),
        (["gru", "--seeds", "1"], "--seeds must be 2 to 500"),
        (["gru", "--first-seed", "999"], "seeds lie below 1000"),
        (["gru", "--config.grid", "0.0"], "positive numbers"),
        (["gru", "--config.pilots", "0"], "--config.pilots must be 1 or more"),
        (["lstm", "--config.network.parameters", "8"], "raise --config.network.parameters"),
        (["gru", "--preset", "paper"], "has no preset 'paper'"),
        (["gru", "--config.learning-rates", "0.1"], "1 layers on 2 tasks need as many learning rates, not 1"),
        (["no.such.package:Layer"], "the module no.such.package cannot be imported"),
        (["gru", "--out", __file__], "is not a comparison"),
        (["gru", "--tasks", "recall"], "perhaps you meant"),
    ],
)
def test_a_mistake_is_one_line(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words, *(["--preset", "smoke"] if "--preset" not in words else [])]) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["run", "layers"], ["search", "layers"]])
def test_a_comparison_is_not_run_as_a_study(words, capsys):
    assert main(words) == 2
    assert "layers is a comparison, not a study: `mesocosm compare`" in capsys.readouterr().err


def test_softmax_is_attention_and_nothing_else_is_renamed():
    _, command = parse_compare(["softmax", "softmax(heads=2)", "softmax.module:Layer", "hyla(variant='softmax')", "--preset", "smoke", "--task", "copy"])
    assert command.config.layers == ("attention", "attention(heads=2)", "softmax.module:Layer", "hyla(variant='softmax')")
    assert (command.config.tasks, command.seeds) == (("copy",), 2)
    assert [label(layer) for layer in command.config.layers] == ["attention", "attention-heads=2", "softmax.module-Layer", "hyla-variant=-softmax"]


def test_a_layer_that_sees_later_tokens_is_rejected():
    with pytest.raises(ValueError, match="depends on later tokens"):
        check(replace(SMOKE, layers=("attention(causal=False)",)))


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The smoke preset, by the command that a user types."""
    path = tmp_path_factory.mktemp("compare") / "smoke"
    assert main(["compare", "--preset", "smoke", "--out", str(path)]) == 0
    return path


@pytest.mark.whole
def test_the_search_used_pilots_alone_and_its_choice_was_trained(folder):
    search, run = pl.read_csv(folder / "search.csv"), Run(folder / "run")
    assert set(search["seed"]) == {1000, 1001}
    assert run.seeds == (0, 1)
    assert set(search.group_by("layer", "task").agg(pl.col("learning_rate").n_unique())["learning_rate"]) == {2}
    assert run.config.learning_rates == chosen_rates(search)
    trained = run.tables["score"].select("layer", "task", "learning_rate").unique()
    assert set(trained.rows()) == set(search.filter("chosen").select("layer", "task", "learning_rate").unique().rows())


@pytest.mark.whole
def test_every_layer_was_tested_on_the_same_examples(folder):
    digests = Run(folder / "run").tables["score"].group_by("task", "split", "seed").agg(pl.col("digest").n_unique(), pl.col("layer").n_unique())
    assert set(digests["digest"]) == {1}
    assert set(digests["layer"]) == {2}


@pytest.mark.whole
def test_the_page_has_every_figure_and_table_and_no_claims(folder):
    run = Run(folder / "run")
    assert [figure.reason for figure in draw(run)] == [None] * len(STUDY.figures)
    page = (run.path / "index.html").read_text()
    assert all(f"<code>{name}</code>" in page for name in ("score", "accuracy", "cost"))
    assert 'id="claims"' not in page
    assert pl.read_csv(folder / "comparison.csv").height == compared(run.view()).height == 2 * (1 + 2) + 2


@pytest.mark.whole
def test_the_same_command_trains_nothing_again_and_another_is_refused(folder, capsys):
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/trials/*/tables/*.parquet")}
    assert main(["compare", "--preset", "smoke", "--out", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"regression, held out +\S+ \[.*\] +\S+ \[", shown)
    assert "mean over tasks" in shown
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*/trials/*/tables/*.parquet")} == before
    assert main(["compare", "gru", "--preset", "smoke", "--out", str(folder)]) == 2
    assert "holds another comparison, whose config differ" in capsys.readouterr().err
    assert json.loads((folder / "comparison.json").read_text())["seeds"] == [0, 1]
