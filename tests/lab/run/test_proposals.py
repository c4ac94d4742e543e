"""What a search tries: all of a grid; with a sampler, the same again after the same outcomes."""

import math
import sys

import pytest

from mesocosm.lab.errors import UserError
from mesocosm.lab.run.proposals import Dimension, dimension, proposals, with_values
from toy_study.config import Config

RATE = Dimension("learning_rate", low=1e-4, high=1.0, log=True)
WIDTH = Dimension("width", low=1, high=9)
KIND = Dimension("kind", ("a", "b"))


def asked(method, dimensions, arms, outcome) -> list[dict]:
    """What is asked if `outcome` is told of every configuration."""
    source, found = proposals(method, dimensions, arms), []
    for _ in range(source.arms):
        found.append(source.ask())
        source.tell(outcome(found[-1]))
    return found


def test_a_grid_is_every_combination():
    values = asked("grid", [Dimension("a", (1, 2)), Dimension("b", ("x", "y"))], 0, lambda values: None)
    assert [tuple(each.values()) for each in values] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_sampler_repeats_itself_and_stays_inside(method):
    def outcome(values):
        return abs(math.log(values["learning_rate"]))

    first = asked(method, [RATE, WIDTH, KIND], 16, outcome)
    assert first == asked(method, [RATE, WIDTH, KIND], 16, outcome)
    assert all(1e-4 <= values["learning_rate"] <= 1 and values["width"] in range(1, 10) and values["kind"] in "ab" for values in first)
    assert {type(values["width"]) for values in first} == {int}
    assert sum(values["learning_rate"] < 1e-2 for values in first) > 3  # a tenth of them on a linear scale would be below 0.1


def test_only_tpe_looks_at_outcomes_and_nears_the_best():
    def near(values):
        return abs(math.log10(values["learning_rate"]) + 3)

    def far(values):
        return -near(values)

    assert asked("random", [RATE], 20, near) == asked("random", [RATE], 20, far)
    late = asked("tpe", [RATE], 40, near)[20:]
    assert sorted(map(near, late))[10] < 0.5 < sorted(map(near, asked("tpe", [RATE], 40, far)[20:]))[10]


def test_tpe_avoids_where_trainings_fail():
    """Half of a range fails, and the best rates are next to it; if failures were ignored, 16 or more of the last 20 would fail."""

    def outcome(values):
        return None if values["learning_rate"] > 1e-2 else 1 - values["learning_rate"]

    late = asked("tpe", [RATE], 40, outcome)[20:]
    assert sum(values["learning_rate"] > 1e-2 for values in late) <= 12


def test_without_optuna_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r'--method tpe needs Optuna, which is not installed: pip install "optuna>=5.0"'):
        proposals("tpe", [RATE], 3)
    assert proposals("grid", [KIND], 0).arms == 2


@pytest.mark.parametrize(
    ("method", "dimensions", "arms", "told"),
    [
        ("grid", [], 0, "name what to search over"),
        ("grid", [KIND, KIND], 0, "names kind twice"),
        ("grid", [KIND, RATE], 0, "range for learning_rate"),
        ("grid", [KIND], 3, "has 2 configurations"),
        ("random", [KIND], 0, "--arms N"),
    ],
)
def test_what_cannot_be_searched_is_refused(method, dimensions, arms, told):
    with pytest.raises(UserError, match=told):
        proposals(method, dimensions, arms)


def test_a_dimension_is_read_in_the_type_of_its_field():
    assert dimension("config.learning-rate=1e-3,1", Config()) == Dimension("learning_rate", (0.001, 1.0))
    assert dimension("bowl.dim=2,4", Config()) == Dimension("bowl.dim", (2, 4))
    assert dimension("label=a(x,y=1:2),b:c", Config()) == Dimension("label", ("a(x,y=1:2)", "b:c"))
    assert dimension("steps=5:50", Config()) == Dimension("steps", low=5, high=50)
    assert dimension("config.learning_rate=1e-4:1:log", Config()) == RATE
    assert with_values(Config(), {"bowl.dim": 2}).bowl.dim == 2
    assert with_values(Config(), {}) == Config()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("learning_rate", "write FIELD=VALUE"),
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("bowl=1", "no field 'bowl'"),
        ("steps=1.5", "'1.5' does not fit steps"),
        ("learning_rate=nan", "must be finite"),
        ("learning_rate=1,1.0", "given twice"),
        ("steps=5:1", "low end"),
        ("learning_rate=0:1:log", "above 0"),
        ("steps=1:2:linear", "LOW:HIGH:log"),
    ],
)
def test_a_misspelt_dimension_is_refused(text, told):
    with pytest.raises(UserError, match=told):
        dimension(text, Config())
