"""A search is whole, resumable and fair: every arm in one table, each trained once, on pilot seeds, with one budget."""

import shutil
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from mesocosm.claims.pilots import Pilots
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.event import Progress, TrialStarted
from mesocosm.lab.run import search as searches
from mesocosm.lab.run.proposals import Dimension
from mesocosm.lab.run.runner import execute
from mesocosm.lab.run.search import Arm, Search, column_names, read, rows, search
from mesocosm.lab.store.run_directory import Run
from toy_study.config import PRESETS

STUDY = find("toy-study")
CONFIG = PRESETS["smoke"].config
RATES = (Dimension("learning_rate", (0.01, 0.2, 1e30)),)
RANGE = (Dimension("learning_rate", low=1e-3, high=1.0, log=True),)


def asked(**changes: Any) -> Search:
    options = {"over": RATES, "by": ("heights", "end"), "trial": "rolling"} | changes
    return Search(STUDY, "smoke", options.pop("config", CONFIG), options.pop("seeds", (1000, 1001)), **options)


class Watching:
    """Remembers what was trained, and stops the search at the progress of an arm."""

    def __init__(self, stop_at: int | None = None):
        self.stop_at, self.arm = stop_at, 0
        self.trained: list[tuple[int, str]] = []
        self.told: list[str] = []

    def begin(self, arm, arms, words):
        self.arm = arm

    def __call__(self, event):
        if isinstance(event, TrialStarted):
            self.trained.append((self.arm, event.trial))
        if isinstance(event, Progress) and self.arm == self.stop_at:
            raise KeyboardInterrupt

    def end(self, words):
        self.told.append(words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A run of all trials; nothing may write to it."""
    return execute(STUDY, "smoke", seeds=(1000, 1001), out=tmp_path_factory.mktemp("whole") / "run", judged=False)


def failed(run: Run) -> Run:
    """The run as if its training had not stayed finite."""

    class Failed(Run):
        @property
        def trials(self):
            return super().trials | {"rolling": {"state": "failed", "error": "NonFinite"}}

    return Failed(run.path, run.study)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A grid whose last arm diverges."""
    watching = Watching()
    path, arms = search(asked(), tmp_path_factory.mktemp("search") / "grid", watching)
    return path, arms, watching


def test_the_table_holds_every_arm_and_seed(grid):
    path, arms, _ = grid
    table = pl.read_csv(path)
    assert table.columns == ["trial", "made_by", "preset", "learning_rate", "seed", "end", "outcome"]
    assert table.select("learning_rate", "seed").rows() == [(rate, seed) for rate in (0.01, 0.2, 1e30) for seed in (1000, 1001)]
    assert Pilots(table).count(trial="rolling") == 3
    for number, arm in enumerate(arms[:2], start=1):
        ends = Run(path.parent / "arms" / f"{number:03}", asked().part).table("heights", trial="rolling")
        assert dict(ends.select("seed", "end").iter_rows()) == pytest.approx(dict(arm.numbers))
        assert table.filter(learning_rate=arm.values["learning_rate"])["end"].to_list() == pytest.approx(ends["end"].to_list())


def test_a_training_that_fails_is_a_result(grid):
    path, arms, watching = grid
    failed = pl.read_csv(path).filter(learning_rate=1e30)
    assert failed["end"].null_count() == 2
    assert all("NonFinite" in reason for reason in failed["outcome"])
    assert arms[-1].mean is None
    assert "NonFinite" in watching.told[-1]


def test_only_the_trial_that_is_measured_is_trained(grid):
    assert grid[2].trained == [(1, "rolling"), (2, "rolling"), (3, "rolling")]
    assert [trial.name for trial in asked(trial="probe").part.trials(CONFIG)] == ["rolling", "frozen", "probe"]
    assert [trial.name for trial in asked(trial=None).part.trials(CONFIG)] == ["identity", "rolling", "frozen", "probe"]


def test_a_grid_may_be_read_again_by_another_number(grid, tmp_path):
    shutil.copytree(grid[0].parent, tmp_path / "copy")
    watching = Watching()
    _, arms = search(asked(by=("heights", "start")), tmp_path / "copy", watching)
    assert watching.trained == [(3, "rolling")]  # what failed is tried again
    assert arms[0].numbers == arms[1].numbers  # all start at the same places
    with pytest.raises(UserError, match="holds another search, whose seeds differ"):
        search(asked(seeds=(1000,)), tmp_path / "copy", watching)


@pytest.mark.whole
def test_a_search_resumes_where_it_was_stopped(tmp_path):
    question = asked(over=RANGE, method="tpe", arms=3, seeds=(1000,))
    whole, _ = search(question, tmp_path / "whole", Watching())
    with pytest.raises(KeyboardInterrupt):
        search(question, tmp_path / "stopped", Watching(stop_at=2))
    assert Pilots(pl.read_csv(tmp_path / "stopped" / "search.csv")).count() == 1
    resumed = Watching()
    path, arms = search(question, tmp_path / "stopped", resumed)
    assert resumed.trained == [(2, "rolling"), (3, "rolling")]
    assert path.read_bytes() == whole.read_bytes()
    assert len({arm.values["learning_rate"] for arm in arms}) == 3


@pytest.mark.parametrize("maximize", [False, True])
def test_what_proposes_is_told_smaller_scores_for_better_arms(maximize, tmp_path, monkeypatch, whole):
    """And nothing of a configuration that was proposed twice is trained twice."""
    told: list[float | None] = []

    class Proposed:
        arms = 3

        def ask(self):
            return {"learning_rate": (0.01, 0.2, 0.01)[len(told)]}

        def tell(self, score):
            told.append(score)

    monkeypatch.setattr(searches, "proposals", lambda *asked: Proposed())
    ran: list[float] = []

    def run(*asked, config, **options):
        ran.append(config.learning_rate)
        return whole if config.learning_rate == 0.01 else failed(whole)

    monkeypatch.setattr(searches, "execute", run)
    _, arms = search(asked(maximize=maximize), tmp_path / "run", Watching())
    mean = whole.table("heights", trial="rolling")["end"].mean()
    assert told == [-mean if maximize else mean, None, -mean if maximize else mean]
    assert len(arms) == 2
    assert ran == [0.01, 0.2]


def test_records_seeds_are_refused():
    with pytest.raises(UserError, match="pilot seeds, 1000 and above"):
        asked(seeds=(999, 1000))


def test_arms_with_another_budget_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"equal budget: steps=6 trains rolling/descent for 6 steps, and steps=5 for 5"):
        search(asked(over=(Dimension("steps", (5, 6)),)), tmp_path / "run", Watching())


def test_a_folder_that_is_not_a_search_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not a search"):
        search(asked(), tmp_path, Watching())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"by": ("height", "end")}, "did you mean 'heights'"),
        ({"by": ("heights", "ends")}, "it has start, end"),
        ({"trial": None}, "several trials; name one with --on: rolling, frozen"),
        ({"where": (("split", "iid"),)}, "no column 'split'"),
        ({"where": (("seed", "7"),)}, "has seed 1000, 1001"),
        ({"trial": "identity", "by": ("identity", "error")}, "100 rows for each seed; choose one with --on COLUMN=VALUE, of instance"),
    ],
)
def test_a_number_that_cannot_be_read_is_a_mistake(changes, told, whole):
    with pytest.raises(UserError, match=told):
        read(asked(**changes), {}, whole)


def test_rows_of_a_seed_can_be_chosen(whole):
    arm = read(asked(trial="identity", by=("identity", "mutant"), where=(("instance", "3"),)), {}, whole)
    assert arm.numbers == {1000: whole.table("identity").filter(instance=3)["mutant"][0]}
    assert read(asked(trial=None, by=("distance", "gap")), {}, whole).trial == "probe"


def test_an_unknown_trial_is_a_mistake():
    with pytest.raises(UserError, match="did you mean 'rolling'"):
        asked(trial="roling")


def test_settings_shared_by_all_arms_are_in_the_table():
    question = asked(config=replace(CONFIG, label="mine"))
    arms = [Arm({"learning_rate": rate}, "rolling", {1000: 1.0, 1001: 2.0}, None, {}) for rate in (0.1, 0.2)]
    table = rows(question, arms)
    assert table.columns == ["trial", "made_by", "preset", "label", "learning_rate", "seed", "end", "outcome"]
    assert table.select("label", "learning_rate", "seed", "end").rows()[2:] == [("mine", 0.2, 1000, 1.0), ("mine", 0.2, 1001, 2.0)]


def test_columns_have_short_names_where_they_can():
    assert column_names(["a.rate", "b.rate", "c.width", "seed"], {"seed"}) == {
        "a.rate": "config.a.rate",
        "b.rate": "config.b.rate",
        "c.width": "width",
        "seed": "config.seed",
    }
