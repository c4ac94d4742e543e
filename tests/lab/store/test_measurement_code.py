"""The code of a check's measurement and control: it changes with everything that they compute, and with nothing else."""

import importlib
import subprocess
import sys
from functools import partial

import numpy as np
import polars as pl
import pytest

from mesocosm.claims.measures import replicates
from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.store.measurement_code import measurement_codes
from mesocosm.studies.interface import Check, Claim, Control, Mean, above
from toy_study.tables import Heights

FILES = {
    "__init__.py": "",
    "tables.py": "from mesocosm.claims.tables import Axis, Table, Value\nclass Balls(Table):\n    place: Axis\n    height: Value\n    speed: Value\n",
    "helpers.py": "def smallest(values):\n    return min(values)\n",
    "measures.py": (
        "from measured.helpers import smallest\n"
        "LIMIT = 0.5\n"
        "def worst(values):\n    '''Of all.'''\n    return max(smallest(values), LIMIT)\n"
        "def times(factor):\n    def measure(view):\n        return worst(view) * factor\n    return measure\n"
        "def position(config):\n    return config.first\n"
        "def unrelated():\n    return 1\n"
    ),
    "claims.py": (
        "from functools import partial\n"
        "from mesocosm.claims.measures import derived, replicates\n"
        "from mesocosm.studies.interface import Check, Claim, Control, Mean, above\n"
        "from measured.measures import position, times, worst\n"
        "from measured.tables import Balls\n"
        "SHARE = 0.25\n"
        "def check(name, measure, control):\n"
        "    return Check(name, Mean('loss'), above(0.0), measure, Control('none', control), judged_at={'cpu'})\n"
        "CLAIMS = [Claim('C1', 'They fall.', source='Fig. 1', checks=[\n"
        "    check('closure', times(3), times(4)),\n"
        "    check('lambda', derived(lambda balls: SHARE * balls + 2.0, Balls.rows(place=position)), worst),\n"
        "    check('column', replicates(Balls.height).minus(replicates(Balls.height)), partial(worst, 7)),\n"
        "])]\n"
    ),
}


@pytest.fixture
def codes(tmp_path, monkeypatch):
    """The code of the checks of a package, after replacing some of its text."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "measured").mkdir()

    def found(*changes: tuple[str, str, str]) -> dict[str, str]:
        files = dict(FILES)
        for name, old, new in changes:
            assert old in files.get(name, "")
            files[name] = files.get(name, "").replace(old, new, 1)
        for name, text in files.items():
            (tmp_path / "measured" / name).write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "measured"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return measurement_codes("measured", importlib.import_module("measured.claims").CLAIMS)

    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "measured"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("helpers.py", "min(values)", "max(values)", {"closure", "lambda", "column"}),  # in a control too
        ("measures.py", "LIMIT = 0.5", "LIMIT = 0.6", {"closure", "lambda", "column"}),
        ("measures.py", "config.first", "config.last", {"lambda"}),
        ("measures.py", "* factor", "/ factor", {"closure"}),
        ("claims.py", "times(3)", "times(2)", {"closure"}),
        ("claims.py", "times(4)", "times(5)", {"closure"}),
        ("claims.py", "2.0", "2.5", {"lambda"}),
        ("claims.py", "SHARE = 0.25", "SHARE = 0.5", {"lambda"}),
        ("claims.py", "place=position", "place=3", {"lambda"}),
        ("claims.py", "position)), worst)", "position)), times(1))", {"lambda"}),
        ("claims.py", "replicates(Balls.height)", "replicates(Balls.speed)", {"column"}),
        ("claims.py", "partial(worst, 7)", "partial(worst, 8)", {"column"}),
        ("measures.py", "return 1", "return 2", set()),
        ("measures.py", "'''Of all.'''", "'''Of all those.'''", set()),
        ("claims.py", "SHARE = 0.25", "# A quarter.\n\nSHARE = 0.25", set()),
        ("claims.py", "above(0.0)", "above(1.0)", set()),  # in the other half of the fingerprint
    ],
)
def test_the_code_of_a_check_changes_with_what_it_computes(codes, file, old, new, changed):
    before, after = codes(), codes((file, old, new))
    assert {name.partition(".")[2] for name in before if before[name] != after[name]} == changed


def test_moving_a_function_to_another_file_changes_nothing(codes):
    helper = FILES["helpers.py"]
    moved = codes(("helpers.py", helper, "OTHER = 1\n"), ("moved.py", "", helper), ("measures.py", "measured.helpers", "measured.moved"))
    assert moved == codes()


def one(measure) -> str:
    claim = Claim("C1", "It emerges.", source="Fig. 1", checks=[Check("x", Mean("x"), above(0.0), measure, Control("none", len), judged_at={"cpu"})])
    return measurement_codes("toy_study", [claim])["C1.x"]


def closing_over(value):
    return lambda view: value


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (1, 1.0),
        ("a", b"a"),
        ((1, 2), (2, 1)),
        ({"a": 1}, {"a": 2}),
        (np.arange(3), np.arange(3.0)),
        (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})),
        (pl.col("a"), pl.col("a").sum()),
        (np.mean, np.median),
        (partial(max, 1), partial(max, 2)),
        (Heights, int),
        (Heights.rows(), Heights.rows),
        (replicates(Heights.end), replicates(Heights.start)),
    ],
)
def test_values_that_a_measurement_closes_over_are_told_apart(value, other):
    assert one(closing_over(value)) == one(closing_over(value)) != one(closing_over(other))


def test_a_value_may_contain_itself():
    loop: list = [1]
    loop.append(loop)
    assert one(closing_over(loop))


@pytest.mark.whole
def test_the_code_is_the_same_in_another_process():
    asks = "from mesocosm.lab.catalogue import find; from mesocosm.lab.store.measurement_code import current_fingerprints; "
    command = [sys.executable, "-c", asks + "print([current_fingerprints(find(name)) for name in ('mesa', 'weight-decay')])"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second != ""


@pytest.mark.whole
def test_every_check_of_every_study_has_its_code():
    for study in map(find, packages()):
        assert measurement_codes(study.package, study.claims).keys() == {f"{claim.id}.{check.name}" for claim in study.claims for check in claim.checks}
