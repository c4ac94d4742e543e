"""Whether runs agree on a check."""

import pytest

from mesocosm.claims.agreement import differences

ROW = {"threshold": 1.0, "direction": "<", "low": 0.0, "high": 0.5}


@pytest.mark.parametrize(
    ("verdicts", "kinds"),
    [
        (["holds", "holds"], []),
        (["holds", "fails"], ["judged differently"]),
        (["holds", "inconclusive", None], ["judged differently"]),
        (["holds", "not judged"], ["judged in some runs only"]),
        (["holds", None], ["judged in some runs only"]),
        ([None, "not judged"], []),
    ],
)
def test_runs_differ_where_their_verdicts_do(verdicts, kinds):
    assert differences([verdict and {**ROW, "verdict": verdict} for verdict in verdicts]) == kinds
