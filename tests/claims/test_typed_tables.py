"""What a claim reads is named by objects: a misspelt table, column, axis or trial is an error before anything is trained."""

import importlib
import sys

import numpy as np
import polars as pl
import pytest

from mesocosm.claims.measures import Measure, derived, instances, replicates, within
from mesocosm.claims.replicates import NotJudged, Replicates
from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value
from mesocosm.claims.view import View
from mesocosm.lab.catalogue import find
from mesocosm.lab.run.plan import Plan
from mesocosm.studies.interface import Study

SHALLOW, DEEP = Trials("shallow"), Trials(lambda config: f"deep-{config}")


class TestLoss(Table):
    __test__ = False

    position: Axis
    loss: Value
    error: Value


FRAME = pl.DataFrame(
    {"trial": ["shallow"] * 4 + ["deep-8"] * 4, "seed": [0, 0, 1, 1] * 2, "position": [1, 2] * 4, "loss": np.arange(1.0, 9.0), "error": [0.1] * 8}
)
VIEW = View(8, "quick", {"test_loss": FRAME})


# --- tables ---


def test_a_table_is_named_like_its_class_and_its_columns_are_strings_that_know_it():
    assert TestLoss.name == "test_loss"
    assert TestLoss.columns() == {"position": "position", "loss": "loss", "error": "error"}
    assert (TestLoss.loss.table, TestLoss.position.table) == (TestLoss, TestLoss)
    np.testing.assert_array_equal(FRAME.sort(TestLoss.loss).select(pl.col(TestLoss.loss) * 2)[TestLoss.loss], np.arange(2.0, 18.0, 2.0))


def test_an_estimate_brings_its_standard_errors():
    class Estimated(Table):
        loss: Estimate

    assert (Estimated.loss.error, Estimated.loss.error.table) == ("loss_error", Estimated)
    assert Estimated.lacking(["loss"]) == ["loss_error"]
    frame = pl.DataFrame({"seed": [0, 1], "loss": [1.0, 2.0], "loss_error": [0.1, 0.2]})
    np.testing.assert_array_equal(replicates(Estimated.loss)(View(8, "quick", {"estimated": frame})).errors, [0.1, 0.2])


def test_a_table_that_extends_another_has_columns_of_its_own():
    class Extended(TestLoss):
        further: Value

    assert Extended.columns().keys() == {*TestLoss.columns(), "further"}
    assert Extended.loss.table is Extended
    assert TestLoss.loss.table is TestLoss
    assert instances(Extended.loss).reads[0].table is Extended


@pytest.mark.parametrize(("column", "kind"), [("rows", Axis), ("name", Value), ("columns", Value), ("loss", float)])
def test_what_is_no_column_is_refused(column, kind):
    with pytest.raises(TypeError, match=f"Wrong.{column} is not a column"):
        type("Wrong", (Table,), {"__annotations__": {column: kind}})


def test_a_written_table_has_every_declared_column_and_may_have_others():
    assert TestLoss.lacking(["trial", "seed", "position", "loss", "error", "extra"]) == []
    assert TestLoss.lacking(["position", "los"]) == ["error", "loss"]


# --- rows and measures ---


def test_rows_are_chosen_by_trial_and_by_axes_that_may_follow_from_the_config():
    assert TestLoss.rows().read(VIEW).equals(FRAME)
    assert TestLoss.rows(DEEP, position=lambda config: config - 6).read(VIEW)["loss"].to_list() == [6.0, 8.0]
    assert TestLoss.rows(position=[2, 1]).read(VIEW)["loss"].sort().to_list() == FRAME["loss"].to_list()
    both = Trials(lambda config: ("shallow", f"deep-{config}"))
    assert both.names(8) == ("shallow", "deep-8")
    assert TestLoss.rows(both, position=1).read(VIEW)["trial"].to_list() == ["shallow", "shallow", "deep-8", "deep-8"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (TestLoss.rows(Trials("wide")), "no row with trial = 'wide'"),
        (TestLoss.rows(SHALLOW, position=3), "no row with position = 3"),
        (TestLoss.rows(position=(1, 3)), "no row with position = 3"),
    ],
)
def test_rows_that_are_not_there_are_not_judged(rows, reason):
    with pytest.raises(NotJudged, match=reason):
        rows.read(VIEW)


def test_measures_are_replicates_and_say_what_they_read():
    at_one = {"position": 1}
    shallow, deep = (replicates(TestLoss.loss, error=TestLoss.error, trial=trial, **at_one) for trial in (SHALLOW, DEEP))
    plain = [Replicates.of(FRAME.filter(pl.col("trial") == name, pl.col("position") == 1), "loss", error="error") for name in ("shallow", "deep-8")]
    for combined, expected in (
        (deep.minus(shallow), plain[1].minus(plain[0])),
        (deep.over(shallow), plain[1].over(plain[0])),
        (deep.log_ratio(shallow), plain[1].log_ratio(plain[0])),
        (deep.map(np.log10), plain[1].map(np.log10)),
    ):
        np.testing.assert_array_equal(combined(VIEW).values, expected.values)
        np.testing.assert_array_equal(combined(VIEW).errors, expected.errors)
    assert [rows.trial for rows in deep.over(shallow).map(np.log).reads] == [DEEP, SHALLOW]
    slope = within(TestLoss.rows(DEEP), lambda rows: float(rows[TestLoss.loss][1] - rows[TestLoss.loss][0]))
    assert slope(VIEW).values.tolist() == [1.0, 1.0]
    assert instances(TestLoss.loss, trial=SHALLOW, exhaustive=True)(VIEW).values.tolist() == [1.0, 2.0, 3.0, 4.0]
    two = derived(lambda a, b: Replicates.of(a, "loss").minus(Replicates.of(b, "loss")), *(TestLoss.rows(trial, **at_one) for trial in (DEEP, SHALLOW)))
    assert two(VIEW).values.tolist() == [4.0, 4.0]


def test_every_operation_that_pairs_replicates_pairs_measures():
    """And hands on whether the evaluation data must be the same."""
    frames = {"test_loss": FRAME.with_columns(digest=pl.col("trial"))}
    for name in ("minus", "over", "log_ratio"):
        measure, other = (replicates(TestLoss.loss, trial=trial, position=1) for trial in (SHALLOW, DEEP))
        with pytest.raises(NotJudged, match="different data"):
            getattr(measure, name)(other)(View(8, "quick", frames))
        assert len(getattr(measure, name)(other, same_data=False)(View(8, "quick", frames)).values) == 2


def test_columns_of_two_tables_are_no_measure():
    class Elsewhere(Table):
        error: Value

    with pytest.raises(TypeError, match=r"test_loss\.loss and elsewhere\.error belong to different tables"):
        replicates(TestLoss.loss, error=Elsewhere.error)


# --- a study with a misspelling ---

CLAIMS = """
from mesocosm.claims.measures import replicates
from mesocosm.studies.interface import Check, Claim, Control, Mean, above
from {package}.tables import FROZEN, ROLLING, Heights

height = replicates(Heights.end, error=Heights.start, trial=ROLLING, place=1)
check = Check("end", Mean("height"), above(0.0), height, Control("no step", replicates(Heights.end, trial=FROZEN)), judged_at={{"quick"}})
CLAIMS = [Claim("C1", "Balls roll.", source="", checks=[check])]
"""
TABLES = """
from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value

ROLLING, FROZEN = Trials("rolling"), Trials("frozen")

class Heights(Table):
    place: Axis
    start: Value
    end: Value
"""
TRIALS = """
from mesocosm.studies.interface import Trial

def run(config, context):
    return {"heights": context.rows(place=1, start=[0.0, 0.0], end=[1.0, 1.0])}

def trials(config):
    return [Trial("rolling", run, config), Trial("frozen", run, config)]
"""
CONFIG = """
from dataclasses import dataclass
from mesocosm.studies.interface import Preset

@dataclass(frozen=True)
class Config:
    steps: int = 1

PRESETS = {"quick": Preset(Config(), seeds=2)}
"""


@pytest.fixture
def study(tmp_path, monkeypatch, request):
    """Writes a study, in which a word of one of its modules is another, and gives it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(module="claims", word="", other=""):
        package = f"misspelt_{request.node.name.partition('[')[2].strip(']').replace('-', '_') or 'nothing'}"
        (tmp_path / package).mkdir()
        for name, text in {"__init__": "", "claims": CLAIMS.format(package=package), "tables": TABLES, "trials": TRIALS, "config": CONFIG}.items():
            assert name != module or word in text
            (tmp_path / package / f"{name}.py").write_text(text.replace(word, other, 1) if name == module and word else text)
        return Study(package, title="", paper="")

    yield made
    for name in [name for name in sys.modules if name.startswith("misspelt_")]:
        del sys.modules[name]


def test_without_a_misspelling_the_study_is_planned(study, tmp_path):
    plan = Plan.of(study(), "quick", out=tmp_path / "run")
    assert [trial.name for trial in plan.trials] == ["rolling", "frozen"]


@pytest.mark.parametrize(
    ("word", "other", "error", "message"),
    [
        pytest.param("Heights\n", "Hights\n", ImportError, "cannot import name 'Hights'", id="table"),
        pytest.param("Heights.end", "Heights.ned", AttributeError, "has no attribute 'ned'", id="column"),
        pytest.param("error=Heights.start", "error=Heights.strat", AttributeError, "has no attribute 'strat'", id="error"),
        pytest.param("place=1", "palce=1", TypeError, "the table 'heights' has no axis 'palce'; it has place", id="axis"),
        pytest.param("trial=ROLLING", "trial=ROLING", NameError, "'ROLING' is not defined", id="trial"),
        pytest.param("trial=ROLLING", 'trial="rolling"', TypeError, "Trials", id="string"),
    ],
)
def test_a_misspelling_in_a_claims_module_is_an_error_when_the_study_is_loaded(study, word, other, error, message):
    with pytest.raises(error, match=message):
        _ = study("claims", word, other).claims


def test_a_trial_that_does_not_exist_is_an_error_before_anything_runs(study, tmp_path):
    with pytest.raises(ValueError, match=r"check C1.end reads trial 'roling', which preset quick has not; did you mean 'rolling'\?"):
        Plan.of(study("tables", '"rolling"', '"roling"'), "quick", out=tmp_path / "run")


def test_what_a_user_has_changed_is_no_misspelling(study, tmp_path):
    """Another config may lack trials; its rows are not judged anyway."""
    wrong = study("tables", '"rolling"', '"roling"')
    changed = type(wrong.presets["quick"].config)(steps=2)
    assert Plan.of(wrong, "quick", changed, out=tmp_path / "run").changes


@pytest.mark.parametrize("name", ["cocoa", "ensembles", "gated-rnn", "mesa", "weight-decay"])
def test_our_studies_read_declared_tables_of_trials_that_there_are(name):
    found = find(name)
    assert all(isinstance(side, Measure) for claim in found.claims for check in claim.checks for side in (check.measure, check.control.measure))
    for preset, settings in found.presets.items():
        found.check_claims(preset, [trial.name for trial in found.trials(settings.config)])
    module = importlib.import_module(f"{found.package}.tables")
    declared = {value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__}
    drawn = vars(importlib.import_module(f"{found.package}.figures")).values()
    read = {base for table in found.tables.values() for base in table.__mro__}
    assert read | {value for value in drawn if isinstance(value, type)} >= declared
