"""From checks to claims, and how many came out how."""

import pytest

from mesocosm.claims.summary import checks_by_verdict, claim_evidence, claim_verdict, judged_share, tally, tally_by_evidence, tally_text

ROW = {"claim": "C1", "verdict": "holds"}


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "fails", "inconclusive"], "fails"),
        (["holds", "inconclusive", "not judged"], "inconclusive"),
        (["holds", "not judged"], "not judged"),
    ],
)
def test_a_claim_is_as_its_checks(checks, verdict):
    assert claim_verdict([{**ROW, "verdict": check} for check in checks]) == verdict


def test_claims_and_checks_are_counted_by_verdict_best_first():
    rows = [{"claim": claim, "verdict": verdict} for claim, verdict in [("C1", "fails"), ("C2", "holds"), ("C1", "holds"), ("C3", "holds")]]
    assert list(tally(rows).items()) == [("holds", 2), ("fails", 1)]
    assert list(checks_by_verdict(rows).items()) == [("holds", 3), ("fails", 1)]


def test_a_share_is_told_where_some_checks_were_judged_and_not_all():
    judged, unjudged = ROW, {**ROW, "verdict": "not judged"}
    assert judged_share([judged, unjudged]) == "1 of 2 checks judged"
    assert judged_share([judged]) is judged_share([unjudged]) is None


def row(claim, verdict, kind="mean", evidence=None):
    return {"claim": claim, "verdict": verdict, "kind": kind, **({"evidence": evidence} if evidence else {})}


def test_kinds_of_evidence_are_counted_apart():
    """A claim with a finding is counted among the findings, whatever else supports it."""
    rows = [
        row("C1", "holds", "exact"),
        row("C2", "holds", "exact"),
        row("C2", "fails"),
        row("C3", "holds", evidence="finding"),
        row("C4", "holds", "exact", "implementation"),
        row("C4", "holds", "every"),
        row("C5", "not judged"),
        row("C6", "not judged", None),
        row("C7", "holds"),
    ]
    assert tally_by_evidence(rows) == {"finding": {"holds": 2, "fails": 1, "not judged": 1}, "implementation": {"holds": 1}, "identity": {"holds": 1}}
    assert tally_text(rows) == "findings: 2 hold, 1 fails; implementation: 1 holds; identities: 1 holds; 2 not judged"
    assert claim_evidence([row("C6", "not judged", None)]) is None
