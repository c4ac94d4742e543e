"""Every verdict is reached, every refusal has its reason, and nothing is lost on the way to `claims.json`."""

import json
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import check, instances, noisy, rate, sample, verdict
from scipy import stats

from mesocosm.claims.circumstances import Circumstances, Unfinished
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import CheckRow, from_json, judge, to_json
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.summary import claim_verdict, group_by_claim
from mesocosm.studies.interface import Bootstrap, Claim, Control, Every, Exact, Mean, Rate, Reference, View, above, below, between

KEYS = [
    *("id", "claim", "statement", "source", "kind", "metric", "unit", "estimate", "low", "high", "n", "replicates", "threshold", "direction", "control"),
    *("reference", "origin", "searched", "evidence", "tables", "line", "command", "verdict", "reason", "note", "page", "records", "holm", "checks", "earlier"),
]


# --- verdicts ---


@pytest.mark.parametrize(
    ("mean", "inside", "control", "expected"),
    [
        (1.0, above(0.5), 0.0, "holds"),
        (1.0, above(1.5), 0.0, "fails"),
        (1.0, above(0.95), 0.0, "inconclusive"),
        (1.0, below(1.5), 2.0, "holds"),
        (1.0, below(0.5), 2.0, "fails"),
        (1.0, below(1.05), 2.0, "inconclusive"),
        (1.0, between(0.5, 1.5), 0.0, "holds"),
        (1.0, between(1.5, 2.0), 0.0, "fails"),
        (1.0, between(0.0, 0.5), 2.0, "fails"),
        (1.0, between(0.95, 1.5), 2.0, "inconclusive"),
        (1.0, between(0.5, 1.05), 2.0, "inconclusive"),
        (1.0, between(0.95, 1.05), 2.0, "inconclusive"),
    ],
)
def test_a_mean_holds_inside_fails_outside_and_is_inconclusive_between(mean, inside, control, expected):
    row = verdict(check(noisy(mean), noisy(control), inside))
    half = stats.t.ppf(0.975, 4) * 0.1 / np.sqrt(5)
    assert (row.verdict, row.reason) == (expected, None)
    np.testing.assert_allclose((row.estimate, row.low, row.high), (mean, mean - half, mean + half))


@pytest.mark.parametrize(("successes", "expected"), [(10, "holds"), (0, "fails"), (6, "inconclusive")])
def test_a_rate_holds_fails_and_is_inconclusive(successes, expected):
    row = verdict(check(rate(successes, 10), rate(1, 10), above(0.5), Rate("solved")))
    assert row.verdict == expected
    np.testing.assert_allclose((row.low, row.high), stats.binomtest(successes, 10).proportion_ci())


@pytest.mark.parametrize("statistic", ["median", "interquartile mean"])
def test_a_bootstrap_holds_fails_and_is_refused_below_twenty(statistic):
    kind = Bootstrap("score", statistic=statistic)
    assert verdict(check(noisy(1.0, 24), noisy(0.0, 24), above(0.5), kind)).verdict == "holds"
    assert verdict(check(noisy(0.2, 24), noisy(0.0, 24), above(0.5), kind)).verdict == "fails"
    row = verdict(check(noisy(1.0, 19), noisy(0.0, 24), above(0.5), kind))
    assert (row.verdict, row.reason) == ("not judged", "a bootstrap interval needs 20 or more replicates, and there are 19")


@pytest.mark.parametrize(("largest", "expected"), [(0.5e-6, "holds"), (1e-6, "fails"), (2e-6, "fails")])
def test_an_identity_holds_iff_its_largest_error_is_within_the_tolerance(largest, expected):
    row = verdict(check(instances(largest), instances(1e-3), below(1e-6), Exact("error")))
    assert (row.verdict, row.estimate, row.n) == (expected, largest, 100)
    assert (row.low, row.high, row.replicates, row.holm) == (None, None, None, None)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_error_that_is_not_finite_fails_an_identity(broken):
    errors = np.zeros(100)
    errors[3] = broken
    row = verdict(check(Instances(errors), instances(1e-3), below(1e-6), Exact("error")))
    assert (row.verdict, row.estimate, row.reason) == ("fails", None, "a value is not finite")


@pytest.mark.parametrize(
    ("values", "inside", "estimate", "expected"),
    [
        ([3.0, 0.5, 2.0], above(0.0), 0.5, "holds"),
        ([3.0, 0.5, -2.0, -1.0], above(0.0), -2.0, "fails"),
        ([3.0, 0.0], above(0.0), 0.0, "fails"),
        ([-3.0, -0.5], below(0.0), -0.5, "holds"),
        ([-3.0, 0.5, 4.0], below(0.0), 4.0, "fails"),
        ([0.2, 0.9, 0.5], between(0.0, 1.0), 0.9, "holds"),
        ([0.2, 0.9, -0.3, 1.2], between(0.0, 1.0), -0.3, "fails"),
        ([1.0, np.inf], above(0.0), 1.0, "holds"),
        ([1.0, -np.inf], above(0.0), None, "fails"),
        ([1.0, np.nan, -1.0], above(0.0), None, "fails"),
    ],
)
def test_an_inequality_holds_iff_every_instance_does(values, inside, estimate, expected):
    outside = Instances(np.array([{"<": 9.0, ">": -9.0, "in": 9.0}[inside.direction]]))
    row = verdict(check(Instances(np.array(values), exhaustive=True), outside, inside, Every("advantage")))
    assert (row.verdict, row.estimate, row.n, row.kind) == (expected, estimate, len(values), "every")
    assert (row.low, row.high, row.replicates, row.holm, row.checks) == (None, None, None, None, 1)
    assert row.reason == ("a value is not finite" if estimate is None else None)


def test_a_control_of_an_inequality_need_only_break_it_somewhere():
    holds = Instances(np.ones(100))
    assert verdict(check(holds, Instances(np.array([1.0, 2.0, -0.1])), above(0.0), Every("advantage"))).verdict == "holds"
    row = verdict(check(holds, Instances(np.array([1.0, 0.1])), above(0.0), Every("advantage")))
    assert (row.verdict, row.reason) == ("not judged", "control does not discriminate: 'without the mechanism' gives 0.1, not outside > 0")
    row = verdict(check(holds, Instances(np.array([np.nan])), above(0.0), Every("advantage")))
    assert (row.verdict, row.control.estimate) == ("not judged", None)


def test_an_inequality_needs_a_hundred_random_instances_and_an_identity_no_negative_error():
    row = verdict(check(Instances(np.ones(99)), instances(0.0), above(0.0), Every("advantage")))
    assert (row.verdict, row.reason) == ("not judged", "this needs 100 random instances or all of a finite set, and there are 99")
    signed = check(Instances(np.array([1e-9, -1.0]), exhaustive=True), instances(1.0), below(1e-6), Exact("error"))
    with pytest.raises(ValueError, match="absolute value; the smallest is -1"):
        verdict(signed)


def test_a_saturated_mean_has_the_width_of_its_evaluation_error():
    row = verdict(check(sample(np.ones(5), errors=0.01), noisy(0.0), above(0.95)))
    assert row.verdict == "holds"
    assert row.high - row.low == pytest.approx(2 * stats.norm.ppf(0.975) * 0.01)  # one evaluation in common
    own = Replicates(np.ones(5), tuple(range(5)), tuple("abcde"), np.full(5, 0.01))
    row = verdict(check(own, noisy(0.0), above(0.95)))
    assert row.high - row.low == pytest.approx(2 * stats.t.ppf(0.975, 4) * 0.01 / np.sqrt(5))


# --- refusals ---


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            check(noisy(1.0), noisy(0.49), above(0.5)),
            "the control's interval is too wide: 'without the mechanism' gives 0.49 [0.366, 0.614], not wholly outside > 0.5",
        ),
        (check(rate(5, 5), rate(4, 5), above(0.5), Rate("solved")), "control does not discriminate: "),
        (check(rate(5, 5), rate(1, 5), above(0.5), Rate("solved")), "the control's interval is too wide: "),
        (check(instances(0.0), instances(0.99e-4), below(1e-6), Exact("error")), "gives 9.9e-05, not 100 times the tolerance"),
        (check(instances(0.0), instances(np.nan), below(1e-6), Exact("error")), "gives a value that is not finite, not 100 times the tolerance"),
        (check(noisy(1.0), noisy(0.0), above(0.5), judged_at={"cpu", "paper"}), "preset quick is too small: judged at cpu, paper"),
        (check(sample(np.ones(5)), noisy(0.0), above(0.5)), "all 5 values are equal and without evaluation error"),
        (check(noisy(1.0), NotJudged("no such arm"), above(0.5)), "control 'without the mechanism': no such arm"),
    ],
)
def test_what_cannot_be_judged_keeps_its_estimate(given, reason):
    row = verdict(given)
    assert row.verdict == "not judged"
    assert reason in row.reason
    assert row.estimate is not None
    assert (row.checks, row.holm) == (0, None)


def test_a_mutant_at_a_hundred_tolerances_discriminates():
    assert verdict(check(instances(0.0), instances(1e-4, n=3), below(1e-6), Exact("error"))).verdict == "holds"


def test_a_control_without_spread_discriminates():
    """An arm without the mechanism may be exactly zero; the floor is there so that a claim does not hold for want of noise."""
    assert verdict(check(noisy(1.0), sample(np.zeros(5)), above(0.5))).verdict == "holds"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (check(sample([1.0]), noisy(0.0), above(0.5)), "a t interval needs two or more replicates, and there is 1"),
        (check(NotJudged("data not installed"), noisy(0.0), above(0.5)), "data not installed"),
        (
            check(instances(0.0, n=99), instances(1.0), below(1e-6), Exact("error")),
            "this needs 100 random instances or all of a finite set, and there are 99",
        ),
        (check(instances(0.0, n=0, exhaustive=True), instances(1.0), below(1e-6), Exact("error")), "there are 0"),
        (check(sample([1e308, -1e308]), noisy(0.0), above(0.5)), "too large"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_cannot_be_measured_has_no_estimate(given, reason):
    row = verdict(given)
    assert (row.verdict, row.estimate, row.low, row.n) == ("not judged", None, None, None)
    assert reason in row.reason


def test_all_of_a_finite_set_may_be_few():
    assert verdict(check(instances(0.0, n=6, exhaustive=True), instances(1.0), below(1e-6), Exact("error"))).verdict == "holds"


def test_one_seed_with_a_thousand_episodes_is_refused():
    episodes = pl.DataFrame({"seed": [0] * 1000, "return": np.random.default_rng(0).normal(1, 0.1, size=1000)})
    measured = replace(check(None, noisy(0.0), above(0.5)), measure=lambda view: Replicates.of(view.table("episodes"), "return"))
    row = verdict(measured, tables={"episodes": episodes})
    assert row.verdict == "not judged"
    assert "replicate 0 has 1000 rows" in row.reason


def test_user_parts_and_changed_configs_are_shown_but_not_judged():
    row = verdict(check(noisy(1.0), noisy(0.0), above(0.5)), changed=("task.dim = 8 (10 in the preset)",), user_parts=("mixer = mine:Mixer",))
    assert (row.verdict, row.reason) == ("not judged", "user part: mixer = mine:Mixer; config changed: task.dim = 8 (10 in the preset)")
    assert row.low < row.estimate < row.high


def test_a_failed_trial_is_named_where_its_table_is_missing():
    def read(view):
        return Replicates.of(view.table("student"), "loss")

    reads = replace(check(None, None, above(0.5)), measure=read, control=Control("untrained", read))
    row = verdict(reads, unfinished=(Unfinished("student-8", "failed: loss is not finite at step 30"),))
    assert row.verdict == "not judged"
    assert row.reason == "no finished trial wrote the table 'student'; trial student-8 failed: loss is not finite at step 30"
    alike = [Unfinished(name, "skipped: no images") for name in ("student-8", "student-16")]
    assert verdict(reads, unfinished=(alike[0], Unfinished("other", "not run"), alike[1])).reason == (
        "no finished trial wrote the table 'student'; trial other not run; trials student-8, student-16 skipped: no images"
    )


def test_a_failed_trial_stops_the_verdict_where_its_rows_are_missing():
    table = pl.DataFrame({"trial": ["student-4"] * 5, "seed": range(5), "loss": noisy(1.0).values})
    reads = replace(check(None, noisy(0.0), above(0.5)), measure=lambda view: Replicates.of(view.table("student"), "loss"))
    failed = Unfinished("student-8", "failed: killed", frozenset({"student", "probe"}))
    row = verdict(reads, tables={"student": table}, unfinished=(failed,))
    assert (row.verdict, row.reason, row.n) == ("not judged", "table student lacks trial student-8, which failed: killed", 5)
    elsewhere = Unfinished("other", "skipped: student-8 failed", frozenset({"other"}))
    assert verdict(reads, tables={"student": table}, unfinished=(elsewhere,)).verdict == "holds"


def test_a_bug_in_a_measurement_loses_one_row_and_no_test():
    broken = check(TypeError("no such thing"), noisy(0.0), above(0.5))
    row = verdict(broken, strict=False)
    assert (row.verdict, row.reason) == ("not judged", "measurement raised TypeError: no such thing")
    with pytest.raises(TypeError, match="no such thing") as raised:
        verdict(broken, strict=True)
    assert raised.value.__notes__ == ["raised while check C1.loss was judged"]
    for kind, value in ((Exact("error"), noisy(1.0)), (Mean("loss"), instances(0.0)), (Rate("solved"), noisy(1.0))):
        with pytest.raises((TypeError, ValueError), match=r"not Replicates|not Instances|0 or 1"):
            verdict(check(value, value, below(1e-6), kind))


# --- the study's table ---


def study(p_sides, earlier=()) -> list[CheckRow]:
    """A study with one mean of eight replicates a claim, whose distance from the region's end is given in standard errors, and its earlier records."""
    claims = [Claim(f"C{i}", "So.", source="Fig. 1", checks=[check(noisy(t * 0.1 / np.sqrt(8), 8), noisy(-9, 8), above(0.0))]) for i, t in enumerate(p_sides)]
    claims.append(Claim("C9", "And so.", source="Sec. 5", unjudged="needs a cluster"))
    return judge(
        "toy", claims, View(None, "quick", {}), Circumstances("mesocosm run toy", fingerprints=fingerprints(claims), earlier_records=dict(earlier)), strict=True
    )


@given(st.lists(st.floats(-1, 7), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_holm_marks_what_survives_within_the_study(distances):
    """Against step-down rejection on SciPy's one-sided t test, doubled."""
    rows = study(distances)
    p = [min(1.0, 2 * stats.t.sf(distance, 7)) for distance in distances]
    left = sorted(range(len(p)), key=lambda i: p[i])
    survivors = set()
    while left and p[left[0]] * len(left) < 0.05:
        survivors.add(left.pop(0))
    assert [row.holm for row in rows[:-1]] == [i in survivors for i in range(len(p))]
    assert all(row.verdict == "holds" for row in rows if row.holm)
    assert {row.checks for row in rows} == {len(distances)}


def test_a_p_value_counts_once_for_each_record_before_holm():
    t = float(stats.t.isf(0.05 / 2 / 4, 7))  # p = 0.05 / 4 exactly: at the edge for one check in four records, and for two in two
    ((below_edge, _), (above_edge, _)) = (study([t + step], {"C0.loss": 3}) for step in (-1e-3, 1e-3))
    assert (below_edge.holm, above_edge.holm, above_edge.records, below_edge.verdict) == (False, True, 4, "holds")
    for few, many in (({}, True), ({"C0.loss": 1}, True), ({"C0.loss": 1, "C1.loss": 3}, True), ({"C0.loss": 3, "C1.loss": 3}, False)):
        assert study([t + 1e-3, t + 1e-3], few)[1].holm is many, few


def test_a_claim_holds_iff_all_its_checks_do():
    holds, fails = check(noisy(1.0), noisy(0.0), above(0.5), name="a"), check(noisy(0.2), noisy(0.0), above(0.5), name="b")
    open_, refused = check(noisy(0.5), noisy(0.0), above(0.5), name="c"), check(NotJudged("no"), noisy(0.0), above(0.5), name="d")
    cases = [((holds,), "holds"), ((holds, fails, open_, refused), "fails"), ((holds, open_, refused), "inconclusive"), ((holds, refused), "not judged")]
    claims = [Claim(f"C{i}", "So.", source="Fig. 1", checks=checks) for i, (checks, _) in enumerate(cases)]
    claims.append(Claim("C9", "And so.", source="Sec. 5", unjudged="needs a cluster"))
    rows = judge("toy", claims, View(None, "quick", {}), Circumstances("mesocosm run toy"), strict=True)
    found = [claim_verdict(group) for group in group_by_claim([asdict(row) for row in rows]).values()]
    assert found == [*(expected for _, expected in cases), "not judged"]


def test_an_unjudged_claim_has_one_row():
    row = study([])[0]
    assert (row.id, row.verdict, row.reason, row.tables, row.checks) == ("toy/C9", "not judged", "needs a cluster", [], 0)


def test_two_claims_of_one_name_are_refused():
    claim = Claim("C1", "So.", source="Fig. 1", checks=[check(noisy(1.0), noisy(0.0), above(0.5))])
    with pytest.raises(ValueError, match=r"share the id toy/C1\.loss"):
        judge("toy", [claim, claim], View(None, "quick", {}), Circumstances("mesocosm run toy"))


def test_a_row_names_the_tables_it_read_and_no_others():
    tables = {name: pl.DataFrame({"seed": range(5), "loss": noisy(mean).values}) for name, mean in (("b", 1.0), ("a", 0.0), ("c", 0.0))}
    reads = replace(
        check(None, None, above(0.5)),
        measure=lambda view: Replicates.of(view.table("b"), "loss"),
        control=Control("a", lambda view: Replicates.of(view.table("a"), "loss")),
    )
    other = check(noisy(1.0), noisy(0.0), above(0.5), name="other")
    claims = [Claim("C1", "So.", source="Fig. 1", checks=[reads, other])]
    rows = judge("toy", claims, View(None, "quick", tables), Circumstances("mesocosm run toy"), strict=True)
    assert [row.tables for row in rows] == [["a", "b"], []]


def test_json_has_the_documented_keys_and_comes_back_the_same():
    checks = [
        check(noisy(1.0), noisy(0.0), above(0.5), Mean("loss", "nats"), reference=Reference(2.0, "paper"), searched=3),
        check(rate(9, 10), rate(1, 10), between(0.4, 1.5), Rate("solved"), name="rate"),
        check(sample([1.0, 2.0], ids=((0, "ring"), np.int64(3))), noisy(0.0), above(0.5), name="ids"),
        check(Instances(np.full(100, np.nan)), instances(np.nan), below(1e-6), Exact("error"), name="exact"),
        check(NotJudged("no"), NotJudged("no"), above(0.5), name="refused"),
    ]
    claims = [Claim("C1", "Es entsteht – α.", source="Fig. 1", checks=checks), Claim("C9", "And so.", source="Sec. 5", unjudged="needs a cluster")]
    rows = judge("toy", claims, View(None, "quick", {}), Circumstances("mesocosm run toy --seeds 5"), strict=True)
    text = to_json(rows)
    assert from_json(text) == rows
    for entry in json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")):
        assert list(entry) == KEYS
    first = json.loads(text)[0]
    assert first | {"replicates": None, "estimate": None, "low": None, "high": None, "control": None} == {
        **dict.fromkeys(KEYS),
        "id": "toy/C1.loss",
        "claim": "C1",
        "statement": "Es entsteht – α.",
        "source": "Fig. 1",
        "kind": "mean",
        "metric": "loss",
        "unit": "nats",
        "n": 5,
        "threshold": 0.5,
        "direction": ">",
        "reference": 2.0,
        "origin": "paper",
        "searched": 3,
        "evidence": "finding",
        "tables": [],
        "line": checks[0].line,
        "command": "mesocosm run toy --seeds 5",
        "verdict": "holds",
        "reason": "the check was declared after the run started",
        "records": 1,
        "holm": True,
        "checks": 2,
        "earlier": [],
    }
    assert [value["id"] for value in first["replicates"]] == [0, 1, 2, 3, 4]
    assert set(first["control"]) == {"name", "estimate", "low", "high"}
    assert json.loads(text)[1]["threshold"] == [0.4, 1.5]
    assert [value["id"] for value in json.loads(text)[2]["replicates"]] == ["(0, 'ring')", 3]
    assert asdict(rows[3])["estimate"] is None
