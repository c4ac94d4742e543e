"""What the terminal says below the claims table."""

from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from rich.console import Console

from mesocosm.cli.handlers import losses
from mesocosm.cli.terminal import claims_table, losses_table

ROW = {
    "id": "toy-study/C2.drop",
    "claim": "C2",
    "statement": "Balls roll.",
    "kind": "mean",
    "verdict": "holds",
    "reason": None,
    "page": "docs/studies/toy.md#c2",
}


def shown(**changes) -> str:
    out = StringIO()
    Console(file=out, width=200).print(claims_table([{**ROW, **changes}]))
    return out.getvalue()


@pytest.mark.parametrize("verdict", ["fails", "inconclusive"])
def test_a_check_that_does_not_hold_says_why_in_a_sentence(verdict):
    assert f"toy-study/C2.drop {verdict}: Uphill. See docs/studies/toy.md#c2." in shown(verdict=verdict, note="Uphill.")
    without = shown(verdict=verdict, note=None)
    assert f"toy-study/C2.drop {verdict}: This is a finding of this run: nobody has written yet what stands behind it. See docs/studies/toy.md#c2." in without


def test_a_study_without_a_page_and_a_row_of_an_older_record_are_shown_too():
    assert "See" not in shown(verdict="fails", note="Uphill.", page=None)
    older = {key: value for key, value in ROW.items() if key not in ("page", "note")} | {"verdict": "fails"}
    out = StringIO()
    Console(file=out, width=200).print(claims_table([older]))
    assert "This is a finding of this run" in out.getvalue()


def test_what_holds_or_is_not_judged_has_no_such_line():
    assert "finding of this run" not in shown()
    text = shown(verdict="not judged", reason="needs a cluster")
    assert "not judged, needs a cluster: C2.drop" in text
    assert "finding of this run" not in text


def test_what_is_known_of_a_check_that_is_not_judged_is_told_with_its_reason():
    text = shown(verdict="not judged", reason="control does not discriminate", note="Uphill.")
    assert "toy-study/C2.drop not judged: Uphill. See docs/studies/toy.md#c2." in text
    assert "not judged, control does not discriminate: C2.drop" in text


def test_verdicts_of_earlier_records_are_told():
    """In a line of its own if one differs, otherwise in a count."""
    first = {"verdict": "fails", "date": "2026-11-22", "seeds": "0 to 4", "on": "these seeds"}
    assert "toy-study/C2.drop holds; earlier verdicts on these seeds: fails (2026-11-22)" in shown(earlier=[first])
    alike = shown(earlier=[first | {"verdict": "holds"}])
    assert "1 check has the verdict of every earlier record" in alike
    assert "earlier verdicts" not in alike
    assert "earlier" not in shown()


def test_what_is_measured_stands_behind_a_colon():
    assert "  drop: log10 of the height" in shown(metric="log10 of the height")


def test_without_a_verdict_there_is_no_table():
    assert "estimate" in shown()
    assert "estimate" not in shown(verdict="not judged", reason="needs a cluster")


def test_what_concerns_the_whole_run_is_told_once_and_claims_without_checks_in_a_line():
    out = StringIO()
    checks = [{**ROW, "id": f"toy-study/C2.x{i}", "verdict": "not judged", "reason": f"user part: mixer = gru; table {i} is missing"} for i in range(20)]
    claims = [{**ROW, "id": f"toy-study/C{i}", "claim": f"C{i}", "kind": None, "verdict": "not judged", "reason": f"needs {i}"} for i in (3, 4)]
    Console(file=out, width=200).print(claims_table(checks + claims))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "not judged, user part: mixer = gru: C2.x0, C2.x1, C2.x2 and 17 more",
        "without a check, `mesocosm list toy-study` says why: C3, C4",
    ]


def test_the_losses_of_the_users_part_stand_beside_the_others():
    table = pl.DataFrame(
        {"trial": ["linear", "linear", "user", "user"], "seed": [0, 1, 0, 1], "loss": [0.5, 0.7, 0.1, 0.3], "ridge_loss": [0.0] * 4, "size": 3}
    )
    out = StringIO()
    Console(file=out, width=200).print(losses_table(table, {"user"}))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "trial loss: mean [range] ridge loss: mean [range] seeds" in lines
    assert "linear 0.6 [0.5, 0.7] 0 [0, 0] 2" in lines
    assert "user (yours) 0.2 [0.1, 0.3] 0 [0, 0] 2" in lines


def test_losses_are_found_in_tables_with_one_a_seed_that_the_users_trials_wrote():
    seeds = {"seed": [0, 1, 0, 1], "loss": [1.0, 2.0, 3.0, 4.0]}
    both = {"trial": ["linear", "linear", "user", "user"], **seeds}
    tables = {
        "history": pl.DataFrame(both),
        "loss": pl.DataFrame(both),
        "curve": pl.DataFrame({**both, "seed": [0, 0, 0, 0]}),
        "others": pl.DataFrame({"trial": ["linear"] * 2 + ["mesa"] * 2, **seeds}),
        "weights": pl.DataFrame({"trial": ["user"], "seed": [0]}),
    }
    run = cast(Any, SimpleNamespace(tables=tables))
    assert [table.equals(tables["loss"]) for table in losses(run, {"user"})] == [True]
    assert losses(run, set()) == []


def test_a_remark_on_several_checks_is_told_once():
    out, rows = StringIO(), [{**ROW, "reason": "a remark"}, {**ROW, "id": "toy-study/C2.rate", "reason": "a remark"}]
    Console(file=out, width=200).print(claims_table(rows))
    assert "toy-study/C2.drop, toy-study/C2.rate: a remark" in out.getvalue()
