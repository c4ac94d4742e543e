"""What must be fixed before a run is seen to have been changed after it."""

from dataclasses import replace

from judged import check, give, noisy, verdict

from mesocosm.claims.fingerprints import fingerprints
from mesocosm.studies.interface import Claim, Control, Mean, Rate, above, below, between


def test_a_region_moved_after_the_start_is_visible_and_leaves_the_verdict():
    before, after = (check(noisy(1.0), noisy(0.0), above(low)) for low in (0.5, 0.6))
    stored = fingerprints([Claim("C1", "It emerges.", source="Fig. 1", checks=[before])])
    row = verdict(after, fingerprints=stored)
    assert (row.verdict, row.reason) == ("holds", "the check was changed after the run started")
    assert verdict(after, fingerprints={}).reason == "the check was declared after the run started"


def test_fingerprints_see_what_must_be_fixed_beforehand():
    original = check(noisy(1.0), noisy(0.0), above(0.5))
    claim = Claim("C1", "It emerges.", source="Fig. 1", checks=[original])
    changes = [
        replace(claim, statement="It vanishes."),
        *(
            replace(claim, checks=[replace(original, **change)])
            for change in (
                {"inside": below(0.5)},
                {"inside": between(0.5, 1.0)},
                {"kind": Mean("log loss")},
                {"kind": Rate("loss")},
                {"judged_at": {"cpu"}},
                {"control": Control("untrained", original.control.measure)},
                {"replicate": "initialisation"},
            )
        ),
    ]
    seen = [fingerprints([each])["C1.loss"] for each in [claim, *changes]]
    assert len(set(seen)) == len(seen)
    assert fingerprints([replace(claim, checks=[replace(original, measure=give(1), judged_at=frozenset({"cpu", "quick"}))])])["C1.loss"] == seen[0]
