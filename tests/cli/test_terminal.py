"""What the terminal says below the claims table."""

from io import StringIO

import pytest
from rich.console import Console

from mesocosm.cli.terminal import claims_table

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


def test_verdicts_of_earlier_records_are_told():
    """In a line of its own if one differs, otherwise in a count."""
    first = {"verdict": "fails", "date": "2026-11-22", "seeds": "0 to 4", "on": "these seeds"}
    assert "toy-study/C2.drop holds; earlier verdicts on these seeds: fails (2026-11-22)" in shown(earlier=[first])
    alike = shown(earlier=[first | {"verdict": "holds"}])
    assert "1 check has the verdict of every earlier record" in alike
    assert "earlier verdicts" not in alike
    assert "earlier" not in shown()


def test_a_remark_on_several_checks_is_told_once():
    out, rows = StringIO(), [{**ROW, "reason": "a remark"}, {**ROW, "id": "toy-study/C2.rate", "reason": "a remark"}]
    Console(file=out, width=200).print(claims_table(rows))
    assert "toy-study/C2.drop, toy-study/C2.rate: a remark" in out.getvalue()
