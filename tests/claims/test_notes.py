"""A row says why its check does not hold, where that is discussed, and on which line the check is written."""

import json
import sys
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from mesocosm.claims.circumstances import Circumstances, Unfinished
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.forms import against_mutant, noted, unjudged
from mesocosm.claims.judge import CheckRow, from_json, judge
from mesocosm.claims.replicates import NotJudged, Replicates
from mesocosm.studies.interface import Check, Claim, Control, Mean, View, above


def around(mean: float):
    """A measurement whose five values have this mean and a standard deviation of 0.1."""
    values = mean + 0.1 * np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    return lambda view: Replicates(values, tuple(range(5)), ("",) * 5, np.zeros(5))


def nothing(view: View) -> None: ...


def missing(view: View) -> Replicates:
    raise NotJudged("no heights")


def rolls(mean: float, note: str | None = "Nobody rolls.", without: float = -1.0) -> Check:
    return Check("roll", Mean("height"), above(0.5), around(mean), Control("no hill", around(without)), judged_at={"quick"}, note=note)


def judged(check: float | Check, preset: str = "quick", **circumstances: Any) -> CheckRow:
    claims = [Claim("C1", "Balls roll.", source="", checks=[check if isinstance(check, Check) else rolls(check)])]
    return judge("toy", claims, View(None, preset, {}), Circumstances("", fingerprints=fingerprints(claims), **circumstances), strict=True)[0]


def test_a_check_knows_the_line_on_which_it_is_written():
    """Through partial functions, `dataclasses.replace` and the forms of `mesocosm.claims`; below its own folder where it is not part of a package."""
    frame = sys._getframe()
    made = partial(Check, "loss", Mean("loss"), above(0.5), nothing, judged_at={"quick"})(control=Control("none", nothing))
    assert made.line == f"test_notes.py:{frame.f_lineno - 1}"
    assert replace(made, name="other").line == f"test_notes.py:{frame.f_lineno}"
    assert against_mutant("C1", "a sign flipped").line == f"test_notes.py:{frame.f_lineno}"
    assert made == replace(made)


def test_notes_of_a_table_reach_their_checks_which_keep_their_lines():
    first, second = rolls(0.0), replace(rolls(0.0, "Its own."), name="other")
    claims = [Claim("C1", "", "", [first, second]), unjudged("C2", "", "", "too large")]
    one, two = noted(claims, {"C1.roll": "From the table."})[0].checks
    assert (one.note, two.note) == ("From the table.", "Its own.")
    assert (one.line, two.line) == (first.line, second.line)
    assert fingerprints(noted(claims, {"C1.roll": "From the table."})) == fingerprints(claims)
    with pytest.raises(ValueError, match=r"C3\.roll"):
        noted(claims, {"C3.roll": "Of no check."})


def test_a_row_says_why_it_does_not_hold_and_where_that_is_discussed():
    """A check that holds needs no note; and a note may be written after the record."""
    for mean, found, note in ((1.0, "holds", None), (0.0, "fails", "Nobody rolls."), (0.5, "inconclusive", "Nobody rolls.")):
        row = judged(mean, page="docs/studies/toy.md")
        assert (row.verdict, row.note, row.page) == (found, note, None if found == "holds" else "docs/studies/toy.md#c1")
    before, after = (fingerprints([Claim("C1", "", "", [rolls(0.0, note)])]) for note in (None, "Written later."))
    assert before == after


def test_a_row_that_is_not_judged_has_its_note_if_it_was_measured():
    """A note speaks of a record's numbers: they are there if the control reaches the region, but not of a smaller preset, a user's part, or without trials."""
    page = "docs/studies/toy.md"
    for without in (0.5, 1.0):
        row = judged(rolls(1.0, without=without), page=page)
        assert (row.verdict, row.note, row.page) == ("not judged", "Nobody rolls.", f"{page}#c1")
    unmeasured = judged(replace(rolls(1.0), measure=missing))
    others = [judged(1.0, preset="smoke"), judged(1.0, user_parts=("mixer = gru",)), judged(1.0, changed=("steps",)), unmeasured]
    lacking = judged(rolls(1.0, without=1.0), unfinished=[Unfinished("hill", "failed", frozenset())])
    for row in (*others, lacking):
        assert (row.verdict, row.note) == ("not judged", None)
        assert row.reason


def test_rows_of_older_records_have_no_note():
    row = judged(0.0)
    older = [{key: value for key, value in asdict(row).items() if key not in ("note", "page", "line")}]
    assert from_json(json.dumps(older)) == [replace(row, note=None, page=None, line=None)]
