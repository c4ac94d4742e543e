"""`mesocosm search` from the command line."""

import sys

import polars as pl
import pytest

from mesocosm.cli import main
from mesocosm.cli.parse import parse_search

WORDS = ["search", "toy-study", "--preset", "smoke", "--by", "heights.end", "--on", "rolling"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_search_prints_the_best_first_and_writes_one_table(capsys, tmp_path):
    assert main([*WORDS, "--over", "config.learning_rate=0.01,0.2", "--config.label", "mine"]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("0.01", "0.2")] == ["0.2", "0.01"]
    (table,) = tmp_path.glob("runs/search-toy-study-smoke-*/search.csv")
    assert f"Table: {table}" in shown
    assert pl.read_csv(table).select("label", "learning_rate", "seed").rows() == [("mine", rate, seed) for rate in (0.01, 0.2) for seed in (1000, 1001)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["search"], "name a study"),
        ([*WORDS, "--over", "learning_rate=0.1", "--first-seed", "0"], "pilot seeds"),
        ([*WORDS, "--over", "learning_rate=0.1", "--on", "frozen"], "names 2 trials"),
        (["search", "toy-study", "--over", "learning_rate=0.1"], "--by TABLE.COLUMN"),
        ([*WORDS, "--over", "learning_rate=0.1", "--maximise"], "--maximize"),
        ([*WORDS, "--seeds", "0"], "--seeds must be 1 or more"),
        (WORDS, "name what to search over"),
    ],
)
def test_a_mistake_is_one_line(words, told, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1


def test_a_sampler_without_optuna_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([*WORDS, "--over", "learning_rate=0.1:1", "--method", "random", "--arms", "2"]) == 2
    shown = capsys.readouterr().err
    assert 'pip install "optuna>=5.0"' in shown
    assert shown.count("\n") == 1


def test_the_preset_sets_what_is_not_given():
    study, command = parse_search(["toy-study", "--maximize", "--preset", "smoke", "--over", "a=1", "--over", "b=2", "--by", "x.y"])
    assert (study.name, command.seeds, command.config.steps, command.over, command.maximize) == ("toy-study", 2, 5, ("a=1", "b=2"), True)
