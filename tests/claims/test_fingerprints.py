"""What must be fixed before a run is seen to have been changed after it."""

from dataclasses import asdict, replace

from judged import check, give, noisy, verdict

from mesocosm.claims.earlier import EarlierVerdict, earlier_text, verdict_changed
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
        replace(claim, source="Fig. 2"),
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


def test_code_changed_after_the_start_is_visible_and_leaves_the_verdict():
    """As `cocoa/C11.rises` did, which went from not judged to holds on old tables."""
    measured = check(noisy(1.0), noisy(0.0), above(0.5))
    stored = fingerprints([Claim("C1", "It emerges.", source="Fig. 1", checks=[measured])], {"C1.loss": "aa"})
    reasons = {code: verdict(measured, fingerprints=stored, code={"C1.loss": code}).reason for code in ("aa", "bb")}
    assert reasons == {"aa": None, "bb": "its measurement's code was changed after the run started"}
    both = verdict(replace(measured, inside=above(0.6)), fingerprints=stored, code={"C1.loss": "bb"})
    assert (both.verdict, both.reason) == ("holds", "the check was changed after the run started; its measurement's code was changed after the run started")


def test_older_records_hold_neither_source_nor_code():
    measured = check(noisy(1.0), noisy(0.0), above(0.5))
    older = {"C1.loss": "5227924b632b8d20"}
    assert verdict(measured, fingerprints=older).reason is None
    assert verdict(measured, fingerprints=older, code={"C1.loss": "aa"}).reason == "the record does not hold the code of its measurements"
    assert verdict(replace(measured, inside=above(0.6)), fingerprints=older).reason == "the check was changed after the run started"


def test_a_row_tells_its_earlier_verdicts():
    row = asdict(verdict(check(noisy(1.0), noisy(0.0), above(0.5))))
    assert (earlier_text(row), verdict_changed(row)) == (None, False)
    alike, changed = ([asdict(EarlierVerdict(found, "2026-11-22", "0 to 4", ground)) for found, ground in pairs] for pairs in (ALIKE, CHANGED))
    assert not verdict_changed(row | {"earlier": alike})
    assert verdict_changed(row | {"earlier": changed})
    assert earlier_text(row | {"earlier": changed}) == (
        "earlier verdicts on these tables: not judged (2026-11-22); on these seeds: holds (2026-11-22), fails (2026-11-22); "
        "on other seeds: holds (2026-11-22, seeds 0 to 4)"
    )
    assert earlier_text({key: value for key, value in row.items() if key != "earlier"}) is None


ALIKE = [("holds", "these seeds"), ("holds", "other seeds")]
CHANGED = [("holds", "these seeds"), ("holds", "other seeds"), ("not judged", "these tables"), ("fails", "these seeds")]
