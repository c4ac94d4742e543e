"""Every study of the house at its smoke preset: every line runs, every check is read, every figure is drawn; larger presets lower."""

import ast
import builtins
import importlib
from functools import partial
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from smoke_runs import LEFT_OUT

from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.claims.pilots import has_pilots, pilots
from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.report.figures import draw, figures_of
from mesocosm.studies.interface import Check

# Checks of a study that cannot be read at this size: what they compare is not trained there, or a bootstrap needs more seeds.
UNREAD: dict[str, set[str]] = {
    "coala": {
        *("C8.distance", "C10.peer", "C15.pulled"),
        *("C14.four-coala", "C14.four-ahead-of-batch-unaware", "C14.four-ahead-of-alone"),
    },
    "cocoa": {
        *(
            *("C6.learned", "C6.classifier"),
            "C10.more-groups",
            "C10.states",
            "C12.q-critic",
            "C12.hca-plus",
            "C12.hca-plus-at-last",
            "C12.hca-return-at-last",
            "C22.counterfactual-return",
        ),
        *(f"C13.cocoa-{ours}-{other}" for ours in ("reward", "feature") for other in ("q-critic", "advantage", "trajcv", "reinforce")),
        *("C13.hca-plus", "C13.q-critic-hca-plus", "C13.advantage-hca-plus", "C13.trajcv-hca-plus"),
        *(f"C14.cocoa-{ours}-{other}" for ours in ("reward", "feature") for other in ("advantage", "trajcv", "reinforce", "hca-return")),
        *("C14.cocoa-feature-q-critic", "C14.cocoa-feature-hca-plus", "C14.hca-plus-reinforce"),
        *("C14.advantage-hca-plus", "C14.trajcv-hca-plus", "C14.hca-return-hca-plus"),
        *(f"C14.far-cocoa-{ours}-{other}" for ours in ("reward", "feature") for other in ("q-critic", "advantage", "trajcv", "reinforce", "hca-return")),
        *(f"C15.far-{name}" for name in ("variance-advantage", "variance-trajcv", "variance-reinforce", "variance-hca-return", "bias-q-critic")),
        *("C15.far-bias", "C15.far-feature-bias", "C16.cocoa-reward-level", "C19.reward-bias", "C26.far-q-critic"),
        *("C15.variance-advantage", "C15.variance-trajcv", "C15.variance-reinforce", "C15.variance-hca-return", "C15.feature-bias"),
        *("C16.cocoa-reward", "C16.cocoa-feature", "C16.q-critic", "C16.advantage", "C16.trajcv", "C16.between-q-critic", "C16.between-advantage"),
        *(f"C17.{each}-learned" for each in ("cocoa-reward", "cocoa-feature", "q-critic", "advantage", "trajcv", "hca-return", "reinforce")),
        *(
            "C18.q-critic",
            "C18.advantage",
            "C18.trajcv",
            "C18.hca-plus",
            "C18.reinforce",
            "C19.sooner",
            "C19.sooner-q-critic",
            "C19.sooner-advantage",
            "C19.bias",
        ),
        *("C20.feature", "C20.q-critic", "C20.advantage", "C21.alike", "C22.hca-return-learned", "C22.counterfactual-return-learned"),
        *("C24.early", "C24.late", "C24.late-trajcv", "C25.advantage", "C25.trajcv", "C25.hca-return", "C26.variance"),
    },
    "gated-rnn": {"C7.lstm", "C7.gru", "C7.lru", "C7.lru-mlp", "C7.hawk"},
    "hyla": {
        "C3.gap",
        *(
            f"C2.{name}"
            for name in ("hyla-unnormalised", "hyla-softmax", "hyla-linear", "hyla-linear-unnormalised", "hyla-deep", "linear-rms", "linear-rms-relu")
        ),
        *("C1.linear", "C2.keys", "C3.hyla", "C3.fraction", "C3.fewer", "C3.more", "C3.fraction-hyla", "C3.least", "C3.length", "C3.longer"),
        *("C3.length-hyla", "C4.train", "C5.hyla", "C5.hyla-linear", "C5.linear-rms", "C12.features"),
        *("C5.hyla-unnormalised", "C6.hyla", "C7.hyla", "C7.matrices-hyla", "C7.width-hyla", "C7.width-softmax"),
        *(
            "C8.heads",
            "C13.nonlinearity",
            "C13.normalisation",
            "C13.two-steps",
            "C13.raven-nonlinearity",
            "C13.raven-normalisation",
            "C14.linear",
            "C14.softmax",
        ),
    },
    "incontext-composition": {"H1.better", "H2.gap"},
    "mesa": {
        *("C5.four", "C5.six", "C5.late-four", "C6.preconditioning-four", "C14.loss", "C14.depth", "C14.mesa", "C14.mesa-all", "C14.target"),
        *("C10.partial", "C10.nonlinear", "C11.partial", "C11.nonlinear", "N6.noisy", "N7.recurrent", "N7.attention"),
        *("C17.linear", "C17.attention", "N8.linear", "N8.delta-net", "N12.early", "N12.late"),
    },
    "modular": {
        *("C2.two-modules", "C2.three-modules", "C6.discrete", "C6.continuous", "C5.connected", "C5.disconnected"),
        *(f"{claim}.{name}" for claim, name in product(("C7", "C13", "C16", "C17"), ("anil", "maml", "nonlinear-anil", "nonlinear-maml"))),
        *(f"C16.{method}-episodes" for method in ("anil", "maml", "nonlinear-anil", "nonlinear-maml")),
        *(f"C7.{name}-{method}" for name, method in product(("non-compositional", "nonlinear-non-compositional"), ("anil", "maml"))),
        *("C7.anil-underfits", "C7.maml-underfits", "C8.gap", "C8.k1-anil", "C8.nonlinear-gap", "C8.nonlinear-k1-anil", "C9.disconnected"),
        *("C9.non-compositional", "C9.nonlinear-decoded", "C9.nonlinear-non-compositional", "C10.narrow", "C12.few", "C13.held-out-preference"),
        *("C14.disconnected", "C15.longer", "C18.size", "C19.wider", "C21.single", "C21.nonlinear-single"),
    },
    "weight-decay": {"C3.linear"},
}
# The same, and figures that are not drawn, for want of the trials that `make whole` leaves out (`smoke_runs.LEFT_OUT`).
LEFT_UNREAD: dict[str, set[str]] = {
    "mesa": {
        *("C12.learns", "C12.ascent", "C12.least-squares", "C12.separator", "C12.prefix", "C13.jump", "C13.again"),
        *("C7.binding", "C7.hybrid", "C7.attention", "C7.gradient", "C8.first", "C8.last", "C8.dimension"),
        *("C10.observed", "C11.mean", "C11.late", "C11.algorithm", "N4.fewer", "N4.equal", "N6.recall", "N10.trained", "N10.longer"),
    },
    "weight-decay": {f"{claim}.{name}" for claim in ("C5", "C16") for name in ("learned", "query-rank", "query-ordered", "value-rank", "value-ordered")},
}
UNDRAWN: dict[str, set[str]] = {
    "coala": {"cleaning", "strip"},
    "mesa": {"binding", "raw-loss-by-position", "replaced-layers", "few-shots", "solver", "parity", "decoders"},
    "weight-decay": {"perplexity"},
}
EVERY = pytest.mark.parametrize("study", sorted(name for name, package in packages().items() if package.startswith("mesocosm.")))


@EVERY
def test_a_study_has_the_page_to_which_its_rows_refer(study):
    assert (Path(__file__).parents[2] / (find(study).page or "")).is_file()


@EVERY
def test_what_was_searched_is_read_from_the_table_of_pilots(study):
    """No number is typed: `searched=3` in a module of the study would be one."""
    package = find(study).package
    folder = Path(importlib.import_module(package).__file__ or "").parent
    sources = {source: source.read_text() for source in sorted(folder.rglob("*.py"))}
    names = set[str]().union(*map(literals, sources.values()))
    for source, text in sources.items():
        module = ".".join([package, *source.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
        assert typed(text, names, vars(importlib.import_module(module)) if "searched" in text else {}) == [], source
    numbers = {check.searched for claim in find(study).claims for check in claim.checks} - {0}
    assert bool(numbers) == has_pilots(package)
    assert not numbers or max(numbers) <= pilots(package).count()


def test_a_number_that_is_typed_is_found():
    text = """
TABLE = pilots("here").counts("arm")
FIVE, LIST = 5, (1, 2)
MINE: int = 7
checked = partial(Check, searched=2 + 3)
counted = partial(Check, searched=TABLE["a"] + TABLE.get("b", 0))
one = checked(searched=FIVE)
two = [made(searched=len(LIST)), counted("name", searched=MINE), counted(searched=TABLE["a"] + 1)]
three = Evaluation(searched=4), partial(Evaluation, searched=4), alone(searched=4)
"""
    scope = {
        "Check": Check,
        "partial": partial,
        "checked": partial(Check),
        "counted": partial(Check),
        "Evaluation": Circumstances,
        "alone": partial(Circumstances),
    }
    assert literals(text) == {"FIVE", "LIST", "MINE"}
    assert typed(text, literals(text), scope) == ["2 + 3", "FIVE", "len(LIST)", "MINE"]


def typed(text: str, names: set[str], scope: dict[str, object]) -> list[str]:
    """The values of `searched` in a module, outside calls of other classes than Check, in which nothing but numbers and names of literals occurs."""
    found = []
    for call in [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]:
        called = call.args[0] if ast.unparse(call.func) == "partial" and call.args else call.func
        target = scope.get(ast.unparse(called))
        target = target.func if isinstance(target, partial) else target
        if isinstance(target, type) and target is not Check:
            continue
        for value in [word.value for word in call.keywords if word.arg == "searched"]:
            read = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)} - set(dir(builtins)) - names
            found += [] if read else [ast.unparse(value)]
    return found


def literals(text: str) -> set[str]:
    """The names to which a module gives a number or another literal."""
    found = set()
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) and node.value else []
        if targets and not any(isinstance(part, ast.Name) for part in ast.walk(node.value)):
            found |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found


@EVERY
def test_a_pilot_of_ours_used_a_pilot_seed(study):
    if has_pilots(find(study).package):
        table = pilots(find(study).package).table
        ours = [~pl.col(name).is_in(["specification", "prototype"]) for name in ("made_by", "origin") if name in table.columns]
        seeds = table.filter(*ours)["seed"].drop_nulls().cast(pl.String)
        assert (seeds.str.extract(r"^(\d+)").cast(pl.Int64) >= 1000).all()


@EVERY
def test_the_schedule_computes_nothing(study):
    """`trials.py` names trials; what they do stands in other modules of the study."""
    source = Path(importlib.import_module(f"{find(study).package}.trials").__file__ or "")
    nodes = list(ast.walk(ast.parse(source.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not {"jax", "jax.numpy", "numpy", "equinox", "polars"} & imported
    assert {"trials"} <= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@EVERY
def test_every_trial_finishes_and_every_check_can_be_read(smoke_of, study):
    assert unread_by(smoke_of(study)) == UNREAD.get(study, set()) | LEFT_UNREAD.get(study, set())


@pytest.mark.slow
@pytest.mark.parametrize("study", LEFT_OUT)
def test_with_what_make_whole_leaves_out_every_check_can_be_read_and_every_figure_is_drawn(smoke_of, study):
    run = smoke_of(study, complete=True)
    assert unread_by(run) == UNREAD.get(study, set())
    assert not [figure.name for figure in draw(run) if figure.reason is not None]


def unread_by(run):
    """The checks that cannot be read from a finished run of the smallest size, which judges none."""
    assert {status["state"] for status in run.trials.values()} == {"finished"}
    study, claims = run.study.name, run.study.claims
    rows = judge(study, claims, run.view(), Circumstances(command="", fingerprints=fingerprints(claims)), strict=True)
    assert {row.verdict for row in rows} == {"not judged"}
    return {row.id.removeprefix(f"{study}/") for row in rows if row.kind and row.estimate is None and "above the common" not in (row.reason or "")}


@EVERY
def test_every_figure_is_drawn(smoke_of, study):
    run = smoke_of(study)
    drawn = draw(run)
    assert len(drawn) == len(figures_of(run))
    assert {figure.name for figure in drawn if figure.reason is not None} == UNDRAWN.get(study, set())


@EVERY
def test_a_claim_names_a_control_that_is_another_measurement(study):
    for claim in find(study).claims:
        for check in claim.checks:
            assert check.control.measure is not check.measure, check.name


@pytest.mark.parametrize("preset", ["quick", "cpu", "paper"])
@pytest.mark.slow
@EVERY
def test_every_trial_of_a_preset_lowers(lowered, study, preset):
    presets = find(study).presets
    if preset not in presets:
        pytest.skip(f"{study} has no preset {preset}")
    assert lowered(study, preset) == [trial.name for trial in find(study).trials(presets[preset].config)]
