"""Verdicts on made-up tables of networks on observations, algorithms over dimensions, and gated layers: each sentence holds, fails, and has a control."""

import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.tables import long_table
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.view import View
from mesocosm.studies.mesa import claims, raw_measures
from mesocosm.studies.mesa.config import PRESETS
from mesocosm.studies.mesa.language_claims import difference
from mesocosm.studies.mesa.tables import FewShot

SEEDS = {"seed": range(10)}
RANDOM = np.random.default_rng(0)


def verdicts(preset="cpu", **tables):
    rows = judge("mesa", claims.CLAIMS, View(PRESETS[preset].config, preset, tables), Circumstances(command=""), strict=True)
    return {row.id.removeprefix("mesa/"): row.verdict for row in rows if row.estimate is not None}


def noisy(values, size=0.01):
    """Ten replicates of some values."""
    values = np.asarray(values, float)
    return values * (1 + size * RANDOM.normal(size=(10, *values.shape)))


def table(axes, trial, **columns):
    return long_table({**SEEDS, **axes}, trial=trial, **{name: noisy(values) for name, values in columns.items()})


# --- networks on observations -----------------------------------------------------------------------------------------

LAYERS = {"softmax-3": 4, "hybrid": 3, "unplaced-3": 4}


def _inside(previous, attention, gradient):
    """Tables of what tokens hold; without positions, the previous token is like the others."""
    near = {"softmax-3": (previous, attention, gradient), "hybrid": (previous, attention, gradient), "unplaced-3": (0.33, 0.05, 1.0)}
    binding, mass, sensitivity = [], [], []
    for trial, (error, most, slope) in near.items():
        errors = np.full((LAYERS[trial], 8), 0.33)
        errors[1, :2] = 1e-4, error
        binding.append(table({"layer": range(LAYERS[trial]), "back": range(8)}, trial, error=errors))
        masses = np.full((4, 8), 0.05)
        masses[2, 1] = most
        mass.append(table({"head": range(1, 5), "back": range(8)}, trial, mass=masses, spread=0 * masses))
        sensitivity.append(table({"back": range(8)}, trial, sensitivity=[1.0, slope, *[1.0] * 6]))
    return {"binding": pl.concat(binding), "attention_mass": pl.concat(mass), "sensitivity": pl.concat(sensitivity)}


@pytest.mark.parametrize(("found", "verdict"), [((0.005, 0.9, 5.0), "holds"), ((0.2, 0.2, 1.5), "fails")])
def test_tokens_that_hold_their_predecessor_are_told_from_others(found, verdict):
    assert verdicts(**_inside(*found)) == dict.fromkeys(("C7.binding", "C7.hybrid", "C7.attention", "C7.gradient"), verdict)


def _losses(losses):
    """Mean and last losses; groups differ by a factor that networks share."""
    hard = 1 + 0.5 * np.random.default_rng(1).normal(size=64) ** 2
    return pl.concat(
        [table({"group": range(64)}, trial, loss=mean * hard, late=late * hard).with_columns(digest=pl.lit("a")) for trial, (mean, late) in losses.items()]
    )


def test_a_hybrid_is_compared_at_all_and_at_the_last_position():
    others = {"softmax-3": (0.35, 0.08), "hybrid-linear": (0.6, 0.4)}
    assert verdicts(raw_loss=_losses({**others, "hybrid": (0.25, 0.02)})) == {"C11.mean": "holds", "C11.late": "holds"}
    assert verdicts(raw_loss=_losses({**others, "hybrid": (0.36, 0.1)})) == {"C11.mean": "inconclusive", "C11.late": "fails"}
    partial = {f"partial-{trial}": losses for trial, losses in {**others, "hybrid": (0.25, 0.02)}.items()}
    assert verdicts(raw_loss=_losses(partial)) == {"C11.partial": "not judged"}
    assert verdicts("paper", raw_loss=_losses(partial)) == {"C11.partial": "holds"}


@pytest.mark.parametrize(("last", "verdict"), [(0.1, "holds"), (0.9, "fails")])
def test_decoding_is_judged_from_the_first_layer_to_the_last(last, verdict):
    target = np.array([1.7, 1.7, 0.6, 1.7 * last])[:, None] * np.ones(16)
    blind = np.array([1.7, 1.7, 1.0, 0.7])[:, None] * np.ones(16)
    arms = {"softmax-3": target, "unplaced-3": blind}
    probes = [table({"layer": range(4), "group": range(16)}, trial, target=found, shuffled_target=np.full((4, 16), 1.8)) for trial, found in arms.items()]
    assert verdicts(raw_probes=pl.concat(probes)) == {"C10.observed": verdict}


@pytest.mark.parametrize(("ratios", "verdict"), [((2.2, 1.4, 1.1), "holds"), ((1.1, 1.7, 1.6), "fails")])
def test_replaced_layers_are_compared_with_the_whole_network(ratios, verdict):
    """A softmax layer in the place of the first one costs a hundredth."""
    pupils = [(1, "softmax", 1.01), *((layer, "linear", by) for layer, by in enumerate(ratios, 1))]
    whole = np.full((1, 1, 1, 64), 0.3)
    rows = [
        table({"dim": [10], "layer": [layer], "pupil": [pupil], "group": range(64)}, "distilled-10", whole=whole, replaced=by * whole)
        for layer, pupil, by in pupils
    ]
    found = verdicts(distilled=pl.concat([part.with_columns(digest=pl.format("{}", "dim")) for part in rows]))
    assert found["C8.first"] == verdict
    assert found["C8.last"] == ("holds" if verdict == "holds" else "not judged")  # whose control, the first layer, costs nothing then


@pytest.mark.parametrize(("second", "verdict"), [((1.6, 1.15), "holds"), ((1.2, 1.6), "fails")])
def test_the_second_layers_replacement_is_compared_over_dimensions(second, verdict):
    """Losses with the second layer replaced, in the smallest and the largest dimension; the first layer's get worse."""
    whole = np.full((1, 1, 1, 64), 0.3)
    ratios = {(1, 4): 2.0, (1, 60): 3.5, (2, 4): second[0], (2, 60): second[1]}
    rows = [
        table({"dim": [dim], "layer": [layer], "pupil": ["linear"], "group": range(64)}, f"distilled-{dim}", whole=whole, replaced=by * whole)
        for (layer, dim), by in ratios.items()
    ]
    assert verdicts("paper", distilled=pl.concat([part.with_columns(digest=pl.format("{}", "dim")) for part in rows]))["C8.dimension"] == verdict


# --- few shots ----------------------------------------------------------------------------------------------------------

PAIRS = 32


def _learning(start, peak, end):
    """A loss that rises to its peak at the fourth pair and falls to its end."""
    return np.concatenate([np.linspace(start, peak, 4), peak + (end - peak) * (1 - np.exp(-np.arange(PAIRS - 4) / 6)) / (1 - np.exp(-(PAIRS - 5) / 6))])


def _few_shot(end, second, separator, prefix):
    flat = np.full(PAIRS, 1.7)
    two = _learning(1.7, 1.95, 0.9)
    two[PAIRS // 2 :] = np.linspace(2.3, second, PAIRS - PAIRS // 2)
    learned = {
        "one": _learning(1.7, 1.95, end),
        "two": two,
        "every": flat,
        "neighbours": _learning(1.65, 2.1, 0.8),
        "true_pairs": np.linspace(1.65, 0.01, PAIRS),
    }
    prompts = {"plain": learned}
    by = {"untuned": (1.2, 1.05), "separator": (1.1, separator), "prefix": (prefix, separator), "untuned-prefix": (1.2, separator)}
    for name, (first, later) in by.items():
        prompts[name] = {**learned, "one": learned["one"] * np.concatenate([np.full(6, first), np.full(PAIRS - 6, later)])}
    rows = [table({"prompt": [name], "pair": range(1, PAIRS + 1)}, "few-shot", **{c: v[None] for c, v in losses.items()}) for name, losses in prompts.items()]
    return pl.concat(rows).with_columns(digest=pl.lit("a"))


FEW_SHOT = ("C12.learns", "C12.ascent", "C12.least-squares", "C12.separator", "C12.prefix", "C13.jump", "C13.again")


def test_few_shot_learning_holds_where_the_losses_are_the_papers():
    assert verdicts(few_shot=_few_shot(0.8, 1.2, 0.8, 0.9)) == dict.fromkeys(FEW_SHOT, "holds")


def test_few_shot_learning_fails_where_nothing_is_learned_or_tuning_does_not_help():
    found = verdicts(few_shot=_few_shot(1.6, 2.2, 1.0, 1.15))
    assert {name for name in FEW_SHOT if found[name] == "fails"} == {"C12.learns", "C12.separator", "C12.prefix", "C13.again"}


def test_few_shot_measures_are_ratios_of_the_pairs_that_they_name():
    """The plain prompt's loss at a pair is its number; another prompt's is the square."""
    number = np.arange(1.0, 25)
    columns = ("one", "two", "every", "neighbours", "true_pairs")
    rows = [
        long_table({"seed": range(2), "prompt": [prompt], "pair": range(1, 25)}, trial="few-shot", digest="a", **dict.fromkeys(columns, losses))
        for prompt, losses in {"plain": np.tile(number, (2, 1, 1)), "tuned": np.tile(number**2, (2, 1, 1))}.items()
    ]
    view = View(PRESETS["cpu"].config, "cpu", {"few_shot": pl.concat(rows)})
    wanted = [
        (raw_measures.end_over_start(FewShot.one), 23 / 2),
        (raw_measures.ascent(FewShot.one), 5 / 2),
        (raw_measures.jump(FewShot.one), 13 / 11.5),
        (raw_measures.recovery(FewShot.one), 23 / 14),
        (raw_measures.prompted("tuned", "plain", 2, 6), (4 + 9 + 16 + 25 + 36) / 20),
        (raw_measures.prompted("plain", "tuned", 5), number[4:].sum() / (number[4:] ** 2).sum()),
    ]
    for measure, ratio in wanted:
        np.testing.assert_allclose(measure(view).values, np.log(ratio), rtol=1e-6)


# --- algorithms over dimensions -----------------------------------------------------------------------------------------


def _dimensions(kernel, least_squares):
    """Losses by (dimension, noise)."""
    rows = [
        table({"dim": [dim], "noise": [noise]}, "dimensions", kernel=[[kernel(dim, noise)]], least_squares=[[least_squares(dim, noise)]])
        for dim in (4, 6, 10, 20, 40, 60)
        for noise in (0.01, 0.1, 0.25, 0.5)
    ]
    return pl.concat([part.with_columns(digest=pl.format("{} {} {}", "seed", "dim", "noise")) for part in rows])


def test_the_kernels_losses_of_the_paper_hold_and_equal_algorithms_fail():
    def papers(dim, noise):
        low = {0.01: 0.08, 0.1: 0.1, 0.25: 0.23, 0.5: 0.64}[noise]
        return low + (dim - 4) / 56 * ({0.01: 0.114, 0.1: 0.57, 0.25: 3.7, 0.5: 15.2}[noise] - low)

    def ridge(dim, noise):
        return {0.01: 0.03, 0.1: 0.05, 0.25: 0.1, 0.5: 0.32}[noise] * (1 + (dim - 4) / 56 * {0.01: -0.3, 0.1: 0.0, 0.25: 1.1, 0.5: 1.6}[noise])

    names = ("C9.kernel", "C9.least-squares", "C9.gap", "C20.noise")
    assert verdicts(dimension=_dimensions(papers, ridge)) == dict.fromkeys(names, "holds")
    equal = verdicts(dimension=_dimensions(ridge, ridge))
    assert (equal["C9.gap"], equal["C20.noise"]) == ("fails", "fails")
    assert equal["C9.kernel"] in ("fails", "not judged")  # its control is the same algorithm now


# --- gated layers -------------------------------------------------------------------------------------------------------


def test_parity_is_judged_by_how_many_networks_solve_it():
    def parity(signed, unsigned):
        arms = {"parity-signed": signed, "parity-unsigned": unsigned}
        return pl.concat([long_table({**SEEDS, "factor": (1, 2, 4)}, trial=trial, accuracy=np.asarray(values)) for trial, values in arms.items()])

    lost = np.tile([1.0, 0.55, 0.5], (10, 1))
    assert verdicts(parity=parity(np.ones((10, 3)), lost)) == {"N10.longer": "holds", "N10.trained": "holds"}
    assert verdicts(parity=parity(lost, lost))["N10.longer"] == "fails"
    assert verdicts(parity=parity(np.ones((10, 3)), np.ones((10, 3))))["N10.longer"] == "not judged"


@pytest.mark.parametrize(("mesa", "verdict"), [(0.5, "holds"), (0.4, "fails"), (0.3, "fails")])
def test_recall_of_mesa_layers_is_compared_with_gated_linear_attention(mesa, verdict):
    accuracies = {"recall-mesa": mesa, "recall-gla": 0.42, "noisy-recall-mesa": 0.6, "noisy-recall-gla": 0.4}
    rows = [long_table(SEEDS, trial=trial, digest="a", accuracy=noisy(value, 0.001)) for trial, value in accuracies.items()]
    lesion = [table({"bound": ["1 steps"]}, f"{name}-mesa", accuracy=[0.1], loss=[1.0], steps=[1.0]) for name in ("recall", "noisy-recall")]
    found = verdicts(recall=pl.concat(rows), solver=pl.concat(lesion).with_columns(digest=pl.lit("a")))
    assert {name: found[name] for name in ("N6.recall", "N6.noisy")} == {"N6.recall": verdict, "N6.noisy": "holds"}


@pytest.mark.parametrize(("bounded", "steps", "found"), [(1.0001, 8.0, ("holds", "holds")), (1.02, 20.0, ("fails", "fails"))])
def test_a_tolerance_must_cost_no_loss_and_few_steps(bounded, steps, found):
    losses = {"0.0001": bounded, "30 steps": 1.0, "1 steps": 1.5}
    taken = {"0.0001": steps, "30 steps": 30.0, "1 steps": 1.0}
    random = np.random.default_rng(0)
    loss = np.asarray(list(losses.values())) + 0.1 * random.normal(size=(10, 1)) + 1e-4 * random.normal(size=(10, 3))
    steps = np.asarray(list(taken.values())) * (1 + 0.01 * random.normal(size=(10, 3)))
    solver = long_table({**SEEDS, "bound": list(losses)}, trial="recall-mesa", digest="a", loss=loss, accuracy=0 * loss, steps=steps)
    assert tuple(verdicts(solver=solver)[f"N4.{name}"] for name in ("equal", "fewer")) == found


@pytest.mark.parametrize(("mesa", "verdicts_of"), [(0.9, ("holds", "holds")), (0.6, ("fails", "fails"))])
def test_languages_of_automata_are_compared_with_other_memories(mesa, verdicts_of):
    rates = {"automata-mesa": mesa, "automata-gla": 0.75, "automata-attention": 0.92}
    rows = [long_table(SEEDS, trial=trial, digest="a", accuracy=noisy(value, 0.001)) for trial, value in rates.items()]
    lesion = table({"bound": ["1 steps"]}, "automata-mesa", accuracy=[0.3], loss=[1.0], steps=[1.0]).with_columns(digest=pl.lit("a"))
    found = verdicts("paper", recall=pl.concat(rows), solver=lesion)
    assert (found["N7.recurrent"], found["N7.attention"]) == verdicts_of


def text(losses, late=0.0, size=0.001):
    """Losses of decoders in 20 parts of a text of unequal difficulty and in eighths of a window; `late` is added to those of mesa layers in its second half."""
    parts = np.linspace(-1, 1, 20)[:, None]
    rows = []
    for name, loss in losses.items():
        values = loss + parts + late * (name == "mesa") * (np.arange(8) >= 4) + size * RANDOM.normal(size=(10, 20, 8))
        rows.append(long_table({**SEEDS, "part": range(1, 21), "eighth": range(1, 9)}, trial=f"language-{name}", digest="a", loss=values))
    return pl.concat(rows)


@pytest.mark.parametrize(("mesa", "verdict"), [(-0.05, "holds"), (0.05, "fails")])
def test_decoders_are_compared_with_each_other_and_with_other_seeds(mesa, verdict):
    """Mesa layers beside other recurrent ones; behind attention, they are 0.02 above attention's or 0.1."""
    found = verdicts(language=text({"mesa": 3.0 + mesa, "gla": 3.0, "delta-net": 3.0, "attention-mesa": 2.9 + mesa, "attention-gla": 2.9, "attention": 2.83}))
    assert {name: found[name] for name in ("C17.linear", "C17.attention", "N8.linear", "N8.delta-net")} == dict.fromkeys(
        ("C17.linear", "C17.attention", "N8.linear", "N8.delta-net"), verdict
    )


def test_decoders_are_not_judged_if_seeds_differ_as_much_as_layers_do():
    seeds = np.linspace(-0.2, 0.2, 10)[:, None, None]
    table = pl.concat(
        long_table({**SEEDS, "part": range(1, 21), "eighth": range(1, 9)}, trial=f"language-{name}", digest="a", loss=loss + seeds + np.zeros((10, 20, 8)))
        for name, loss in {"mesa": 2.98, "gla": 3.0}.items()
    )
    assert verdicts(language=table)["N8.linear"] == "not judged"


@pytest.mark.parametrize(("late", "found"), [(0.1, ("holds", "holds")), (0.0, ("holds", "fails"))])
def test_early_and_late_losses_are_those_of_their_eighths(late, found):
    table = text({"mesa": 2.95, "attention": 3.0}, late)
    assert tuple(verdicts(language=table)[f"N12.{name}"] for name in ("early", "late")) == found


def test_differences_of_decoders_are_paired_by_seed_and_part():
    table = text({"mesa": 2.9, "gla": 3.0}, size=0.0).with_columns(loss=pl.col("loss") + 0.1 * pl.col("seed") * (pl.col("trial") == "language-gla"))
    mesa, gla = table.partition_by("trial", maintain_order=True)
    apart = difference(mesa, gla, range(1, 9))
    np.testing.assert_allclose(apart.values, -0.1 - 0.1 * np.arange(10), atol=1e-6)
    np.testing.assert_allclose(apart.errors, 0, atol=1e-6)
    shifted = difference(gla, gla, range(1, 9), next_seed=True)
    np.testing.assert_allclose(shifted.values, [-0.1] * 9 + [0.9], atol=1e-6)
