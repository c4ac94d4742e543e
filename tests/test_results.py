"""The committed records: whole, small, and judged as their tables say."""

from contextlib import suppress
from pathlib import Path

import pytest

from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.measures import rows_read
from mesocosm.claims.replicates import NotJudged
from mesocosm.lab.report.figures import figures_of
from mesocosm.lab.store import atomic
from mesocosm.lab.store.history import is_record, read_history, seeds_met
from mesocosm.lab.store.run_directory import Run, TrialStore

RESULTS = Path(__file__).parents[1] / "results"
RECORDS = sorted(path.parent for path in RESULTS.glob("*/run.json"))
LARGEST_RECORD = 7_000_000


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_no_file_of_a_record_is_missing_or_damaged(record):
    run = Run(record)
    assert {status["state"] for status in run.trials.values()} == {"finished"}
    assert [TrialStore(record, trial).damage(models=False) for trial in run.trials] == [None] * len(run.trials)
    for trial, status in run.trials.items():  # large models are not committed
        models = {name: record / "models" / trial / f"{name}.safetensors" for name in status["models"]}
        assert all(atomic.checksum(path) == status["models"][name] for name, path in models.items() if path.exists())
    assert sum(file.stat().st_size for file in record.rglob("*") if file.is_file()) <= LARGEST_RECORD


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
@pytest.mark.whole
def test_a_figure_is_drawn_from_a_records_tables_unless_they_are_missing(record):
    run = Run(record)
    for figure in figures_of(run):
        with suppress(NotJudged):
            assert figure.draw(run.view()).to_dict()


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
@pytest.mark.whole
def test_judging_a_records_tables_again_gives_its_verdicts(record):
    run = Run(record)
    rows = judge(run.study.name, run.study.claims, run.view(), Circumstances(command="", fingerprints=run.record["claims"]["checks"]), strict=True)
    assert {row.id: row.verdict for row in rows} == {row["id"]: row["verdict"] for row in run.claims}
    for row, stored in zip(rows, run.claims, strict=True):
        control = (row.control.estimate, row.control.low, row.control.high) if row.control else None
        counted = row.kind == "rate" and row.verdict == "fails"  # neither meets the region, and both may count nothing
        assert row.verdict == "not judged" or counted or control != (row.estimate, row.low, row.high), f"{row.id} is its own control"
        assert row.verdict == "holds" or row.note or row.reason, f"{row.id} does not hold: say why in its note"
        for value in ("estimate", "low", "high"):
            found = getattr(row, value)
            assert found == stored[value] or found == pytest.approx(stored[value], rel=1e-9)


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_records_tables_have_the_columns_that_its_study_declares(record):
    run = Run(record)
    judged = [check for claim in run.study.claims for check in claim.checks if run.record["preset"] in check.judged_at]
    tables = {rows.table.name: rows.table for check in judged for rows in rows_read(check)}
    assert not {name: lacking for name, declared in tables.items() if (lacking := declared.lacking(run.tables[name].columns))}


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_records_history_ends_with_it(record):
    run, entries = Run(record), read_history(record)
    assert (entries[-1]["date"], entries[-1]["seeds"]) == (run.record["started"], seeds_met(run))
    assert entries[-1]["verdicts"] == {row["id"].partition("/")[2]: row["verdict"] for row in run.claims if row["kind"]}
    assert all(is_record(entry["preset"], [], entry["seeds"]) for entry in entries)


def test_the_verdicts_that_changed_between_records_on_the_same_seeds_are_known():
    mesa, cocoa = (read_history(RESULTS / study) for study in ("mesa", "cocoa"))
    assert [entry["verdicts"]["C5.six"] for entry in mesa][:2] == ["fails", "holds"]
    assert [entry["verdicts"]["C6.preconditioning"] for entry in mesa][:2] == ["holds", "fails"]
    assert mesa[0]["seeds"] == mesa[1]["seeds"]
    assert [(entry["verdicts"]["C11.rises"], "judged" in entry) for entry in cocoa][:2] == [("not judged", False), ("holds", True)]
    assert cocoa[0]["date"] == cocoa[1]["date"]


def test_there_are_records():
    assert {"cocoa", "ensembles", "gated-rnn", "mesa", "weight-decay"} <= {path.name for path in RECORDS}
