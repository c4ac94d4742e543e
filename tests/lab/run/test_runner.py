"""A study runs end to end: each trial once, again only when and because something changed, and no failure takes the others with it."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import toy_study.trials as toy
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UnknownFormat, UserError
from mesocosm.lab.events.event import Compiling, TrialFinished
from mesocosm.lab.run.context import TrialContext
from mesocosm.lab.run.runner import execute, judge_run, unfinished
from mesocosm.lab.store import atomic
from mesocosm.lab.store.run_directory import Run, in_use
from mesocosm.studies.interface import Study, Trial
from toy_study.config import PRESETS, Bowl, Config, Descent
from watching import Remembering

STUDY = find("toy-study")
SMALL = Config(steps=5)


def run(path: Path, preset: str = "smoke", **options) -> tuple[Run, Remembering]:
    watching = Remembering()
    return execute(STUDY, preset, out=path, observer=watching, **options), watching


def files(path: Path, pattern: str = "*.parquet") -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob(pattern))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """The quick preset, run once; nothing may write to it."""
    return execute(STUDY, "quick", out=tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def only(monkeypatch):
    """Give the toy study other trials."""
    return lambda *trials: monkeypatch.setattr(toy, "trials", lambda config: list(trials))


def arm(name: str, **options) -> Trial:
    return Trial(name, toy.roll, Descent(Bowl(), 5, 0.1), models={"ball": toy.build_ball}, **options)


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_run_ends_with_tables_models_verdicts_and_a_page(whole):
    assert {name: status["state"] for name, status in whole.trials.items()} == dict.fromkeys(("identity", "rolling", "frozen", "probe"), "finished")
    assert [(row["id"], row["verdict"]) for row in whole.claims] == [
        ("toy-study/C1.identity", "holds"),
        ("toy-study/C2.drop", "holds"),
        ("toy-study/C2.rate", "holds"),
        ("toy-study/C3", "not judged"),
    ]
    assert whole.table("identity").shape == (100, 5)
    assert whole.table("heights")["trial"].to_list() == ["rolling"] * 8 + ["frozen"] * 8
    history = whole.table("history", trial="rolling")
    assert history.filter(history["seed"] == 3)["step"].to_list() == list(range(1, 51))
    assert (whole.path / "index.html").exists()
    assert not list(whole.path.rglob("checkpoints"))
    status = whole.trials["rolling"]
    assert status["fits"]["descent"]["steps"] == 50
    assert status["compile_seconds"] <= status["seconds"]


def test_arms_are_paired_and_the_table_is_what_the_fit_computed(whole):
    rolling, frozen = (whole.table("heights", trial=trial) for trial in ("rolling", "frozen"))
    assert rolling["start"].equals(frozen["start"])
    np.testing.assert_allclose(frozen["end"], frozen["start"], rtol=1e-6)
    ends = [float(toy.height(whole.model("rolling", seed=seed))) for seed in range(8)]
    np.testing.assert_allclose(rolling["end"], ends, rtol=1e-6)
    np.testing.assert_allclose(whole.table("distance")["gap"], frozen["end"].to_numpy() - rolling["end"].to_numpy(), rtol=1e-5)


def test_a_finished_run_is_found_and_not_run(tmp_path):
    first, _ = run(tmp_path / "run")
    before = files(first.path) | {"claims": (first.path / "claims.json").read_bytes()}
    again, watching = run(tmp_path / "run")
    assert watching.events == [("cached", name) for name in ("identity", "rolling", "frozen", "probe")]
    assert files(again.path) | {"claims": (again.path / "claims.json").read_bytes()} == before


@pytest.mark.whole
def test_arms_that_differ_in_a_number_compile_once(tmp_path, monkeypatch):
    traced, seen, update = [], {}, toy.NoisyDescent.update
    monkeypatch.setattr(toy.NoisyDescent, "update", lambda self, state, key: traced.append(1) or update(self, state, key))

    class Counting(Remembering):
        def __call__(self, event):
            if isinstance(event, TrialFinished):
                seen[event.trial] = len(traced)

    execute(STUDY, "smoke", config=replace(SMALL, bowl=Bowl(dim=7)), out=tmp_path / "run", observer=Counting())
    assert seen["rolling"] >= 2  # the abstract trace that names the metrics, and the program
    assert seen["frozen"] - seen["rolling"] == 1  # the abstract trace alone


@pytest.mark.whole
def test_a_float64_trial_leaves_no_trace_in_float32_ones(tmp_path, only):
    only(arm("before"), arm("middle", precision="float64"), arm("after"))
    done, _ = run(tmp_path / "run")
    before, after = (files(done.path / "trials" / name) for name in ("before", "after"))
    assert before == after
    assert files(done.path / "models" / "before", "*")["ball.safetensors"][-32:] == files(done.path / "models" / "after", "*")["ball.safetensors"][-32:]
    assert done.model("before").position.dtype == jnp.float32
    assert done.model("middle").position.dtype == jnp.float64
    assert not np.array_equal(done.table("heights", "before")["end"], done.table("heights", "middle")["end"])


# --- again ----------------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_another_config_reruns_what_reads_it_and_says_why(tmp_path):
    run(tmp_path / "run", config=SMALL)
    _, watching = run(tmp_path / "run", config=replace(SMALL, learning_rate=0.2))
    assert watching.of("cached") == ["frozen"]
    notes = watching.of("note")
    assert notes[0] == "trial identity is run again: config (learning_rate: 0.1 -> 0.2)"
    assert notes[1] == "trial rolling is run again: config (learning_rate: 0.1 -> 0.2)"
    assert notes[2] == "trial probe is run again: config (learning_rate: 0.1 -> 0.2); parent rolling"
    assert len(notes) == 3


@pytest.mark.whole
def test_other_seeds_rerun_every_trial_that_has_them(tmp_path):
    run(tmp_path / "run")
    done, watching = run(tmp_path / "run", seeds=(0, 1, 2))
    assert watching.of("cached") == ["identity"]
    assert "trial rolling is run again: seeds ([0, 1] -> [0, 1, 2])" in watching.of("note")
    assert done.table("heights", "rolling")["seed"].to_list() == [0, 1, 2]


@pytest.mark.whole
def test_changed_code_reruns_what_reaches_it_with_the_definition_named(tmp_path, toy_copy):
    study, package = toy_copy
    execute(study, "smoke", out=tmp_path / "run")
    source = (package / "trials.py").read_text()
    (package / "trials.py").write_text(source.replace("0.5 * jnp.sum", "0.25 * jnp.sum"))
    watching = Remembering()
    execute(study, "smoke", out=tmp_path / "run", observer=watching)
    assert watching.of("note")[:2] == [f"trial {name} is run again: code of height" for name in ("rolling", "frozen")]
    assert watching.of("cached") == ["identity"]
    (package / "trials.py").write_text("# so they say\n" + (package / "trials.py").read_text() + "\nclass Cube: ...\n")
    (package / "claims.py").write_text((package / "claims.py").read_text() + "\nWORD = 1\n")
    watching = Remembering()
    execute(study, "smoke", out=tmp_path / "run", observer=watching)
    assert len(watching.of("cached")) == 4


@pytest.mark.whole
def test_fresh_forgets_everything(tmp_path):
    first, _ = run(tmp_path / "run")
    before = files(first.path)
    (tmp_path / "run" / "trials" / "old-arm").mkdir()
    again, watching = run(tmp_path / "run", fresh=True)
    assert watching.of("cached") == watching.of("note") == []
    assert files(again.path) == before
    assert not (tmp_path / "run" / "trials" / "old-arm").exists()


@pytest.mark.whole
@pytest.mark.parametrize("target", ["trials/rolling/tables/heights.parquet", "models/rolling/ball.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_noticed_and_mended(tmp_path, target, harm):
    done, _ = run(tmp_path / "run")
    before, victim = files(done.path), done.path / target
    content = victim.read_bytes()
    victim.unlink()
    if harm != "remove":
        victim.write_bytes(content[: len(content) // 2] if harm == "truncate" else content[:-1] + bytes([content[-1] ^ 1]))
    if target.startswith("trials"):
        with pytest.raises(UserError, match=f"trial rolling: {victim.name} is .*; run the study again"):
            judge_run(done.path)
    else:  # tables are judged without models, and a model is checked when it is asked for
        judge_run(done.path)
        with pytest.raises(
            KeyError if harm == "remove" else UserError, match="has not published 'ball'" if harm == "remove" else r"damaged \(wrong checksum\)"
        ):
            done.model("rolling")
    again, watching = run(tmp_path / "run")
    assert watching.of("note") == [f"trial rolling is run again: {victim.name} is {'missing' if harm == 'remove' else 'damaged (wrong checksum)'}"]
    assert watching.of("cached") == ["identity", "frozen", "probe"]
    assert files(again.path) == before


def test_judging_again_trains_nothing(tmp_path, monkeypatch):
    done, _ = run(tmp_path / "run")
    before = (done.path / "claims.json").read_bytes()
    for name in ("claims.json", "index.html"):
        (done.path / name).unlink()
    monkeypatch.setattr(TrialContext, "fit", None)
    judge_run(done.path)
    assert (done.path / "claims.json").read_bytes() == before
    assert (done.path / "index.html").exists()


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_a_failed_trial_skips_its_children_and_no_others(tmp_path):
    done, watching = run(tmp_path / "run", config=replace(SMALL, learning_rate=float("nan")))
    assert watching.of("failed") == ["rolling: NonFinite: trial rolling, descent: loss of seed 0 is nan at step 0"]
    assert watching.of("skipped") == ["probe: needs rolling"]
    assert watching.of("finished") == ["identity", "frozen"]
    assert "NonFinite" in (done.path / "trials" / "rolling" / "error.txt").read_text()
    assert np.isnan(done.config.learning_rate)
    left = {trial.trial: trial for trial in unfinished(done)}
    assert left["rolling"].tables == {"heights", "history"}  # as `frozen`, which runs the same function, wrote
    assert left["rolling"].reason.startswith("failed: NonFinite")
    assert (left["probe"].reason, left["probe"].tables) == ("skipped: needs rolling", frozenset())
    drop = next(row for row in done.claims if row["id"] == "toy-study/C2.drop")
    assert "trial rolling failed: NonFinite" in drop["reason"]
    _, watching = run(tmp_path / "run", config=replace(SMALL, learning_rate=float("nan")))
    assert watching.of("cached") == ["identity", "frozen"]
    mended, watching = run(tmp_path / "run", config=SMALL)
    assert watching.of("failed") == watching.of("skipped") == []
    assert all(status["state"] == "finished" for status in mended.trials.values())
    assert not (done.path / "trials" / "rolling" / "error.txt").exists()


def test_fail_fast_stops_at_the_first(tmp_path):
    with pytest.raises(UserError, match=r"trial rolling failed: NonFinite.*error\.txt"):
        run(tmp_path / "run", config=replace(SMALL, learning_rate=float("nan")), fail_fast=True)
    assert not (tmp_path / "run" / "trials" / "frozen").exists()
    assert not (tmp_path / "run" / "claims.json").exists()


MISTAKES = [
    (lambda config, context: None, "TypeError: the trial's function returned a NoneType"),
    (lambda config, context: {"heights": [1]}, "TypeError: the table 'heights' is a list"),
    (lambda config, context: {"history": toy.roll(config, context)["heights"]}, "cannot be called 'history'"),
    (lambda config, context: {}, "declares the model 'ball' but did not publish it"),
    (lambda config, context: {"../escape": toy.roll(config, context)["heights"]}, "'../escape' cannot name a table"),
    (lambda config, context: context.publish("marble", None), "declares models ['ball'], not 'marble'"),
    (lambda config, context: context.publish("ball", toy.Ball(jnp.zeros((2, 3)))), "position is float32[2, 3] and should be float32[2, 4]"),
    (lambda config, context: context.publish("ball", {"position": jnp.zeros((2, 4), jnp.bfloat16)}), "is bfloat16[2, 4] and should be float32[2, 4]"),
    (lambda config, context: context.model("elsewhere", "ball"), "must name it in `after`"),
    (lambda config, context: toy.roll(config, context) and toy.roll(config, context), "fits 'descent' twice"),
    (lambda config, context: Path("/nowhere/data.csv").read_text(), "FileNotFoundError"),
]


def test_a_mistake_in_a_trial_is_one_line_and_ends_that_trial(tmp_path, only):
    only(*(replace(arm(f"wrong-{i}"), run=body) for i, (body, _) in enumerate(MISTAKES)), arm("right"))
    done, watching = run(tmp_path / "run")
    for failure, (_, told) in zip(watching.of("failed"), MISTAKES, strict=True):
        assert told in failure
    assert watching.of("finished") == ["right"]
    assert not list(done.path.parent.rglob("escape*"))


@pytest.mark.whole
def test_a_float32_trial_does_not_read_float64_models(tmp_path, only):
    only(arm("rolling", precision="float64"), arm("frozen"), Trial("probe", toy.probe, SMALL, after=("rolling", "frozen")))
    _, watching = run(tmp_path / "run")
    assert "trial probe is float32 and reads a model of 'rolling', which is float64" in watching.of("failed")[0]


def test_a_full_disk_is_the_users_matter(tmp_path, monkeypatch):
    def full(path, arrays, metadata):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    class Filling(Remembering):
        def __call__(self, event):
            if isinstance(event, Compiling):
                monkeypatch.setattr(atomic, "write_tensors", full)

    with pytest.raises(UserError, match=r"cannot write .*No space left.*the same command resumes"):
        execute(STUDY, "smoke", out=tmp_path / "run", observer=Filling())


# --- directories ----------------------------------------------------------------------------------------------------


def test_a_run_of_another_format_is_refused_and_left_alone(tmp_path):
    done, _ = run(tmp_path / "run")
    record = json.loads((done.path / "run.json").read_text()) | {"format": 99}
    (done.path / "run.json").write_text(json.dumps(record))
    for attempt in (lambda: run(done.path), lambda: run(done.path, fresh=True), lambda: judge_run(done.path), lambda: Run(done.path)):
        with pytest.raises(UnknownFormat, match="written in run format 99; this version reads format 1"):
            attempt()
    assert (done.path / "trials" / "rolling" / "status.json").exists()


def test_another_studys_directory_is_refused_even_by_fresh(tmp_path, toy_copy):
    done, _ = run(tmp_path / "run")
    for fresh in (False, True):
        with pytest.raises(UserError, match="holds a run of the study toy-study; choose another directory"):
            execute(toy_copy[0], "smoke", out=done.path, fresh=fresh)
    assert (done.path / "trials" / "rolling" / "status.json").exists()


def test_a_directory_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is not empty and is not a run directory"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="cannot write to"):
        run(tmp_path / "thesis.tex" / "run")


def test_a_run_killed_at_birth_is_started_again(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.1234.part").write_text('{"format"')
    done, _ = run(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert done.claims


def test_a_directory_in_use_is_refused(tmp_path):
    code = f"""
import sys
from pathlib import Path
from mesocosm.lab.store.run_directory import locked
with locked(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="is being written by another process; wait for it, or choose another directory"):
            run(tmp_path)
        assert in_use(tmp_path)
        holder.communicate()
    assert not in_use(tmp_path)
    run(tmp_path)


# --- seeds ----------------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_a_trial_has_its_own_number_of_seeds(tmp_path, only):
    only(arm("many", seeds=5), arm("usual"), arm("one", seeds=1), Trial("probe", toy.probe, SMALL, after=("many", "usual")))
    done, _ = run(tmp_path / "run", seeds=(7, 3))
    seeds = {name: done.table("heights", name)["seed"].to_list() for name in ("many", "usual", "one")}
    assert seeds == {"many": [7, 3, 8, 9, 10], "usual": [7, 3], "one": [7]}
    many, usual = done.table("heights", "many"), done.table("heights", "usual")
    assert many["start"][:2].equals(usual["start"])
    assert done.table("distance")["gap"].to_list() == pytest.approx([0.0, 0.0], abs=1e-7)


def test_a_child_with_more_seeds_than_its_parent_is_refused(tmp_path, only):
    only(arm("parent", seeds=2), Trial("child", toy.probe, SMALL, after=("parent",), seeds=3))
    with pytest.raises(ValueError, match="trial 'child' has 3 seeds and comes after 'parent', which has only 2"):
        run(tmp_path / "run")
    only(arm("parent", seeds=2), Trial("child", toy.probe, SMALL, after=("parent",)))
    with pytest.raises(UserError, match="cannot be run like this: trial 'child' has 3 seeds and comes after 'parent'"):
        run(tmp_path / "run", seeds=(0, 1, 2))


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        ((arm("a"), arm("a")), "two trials are called 'a'"),
        ((arm("a", after=("b",)),), "'a' comes after 'b', which does not exist"),
        ((arm("a", after=("b",)), arm("b", after=("a",))), "depend on each other: a -> b -> a"),
    ],
)
def test_trials_that_cannot_be_ordered_are_refused(tmp_path, only, trials, told):
    only(*trials)
    with pytest.raises(ValueError, match=told):
        run(tmp_path / "run")


def test_a_child_given_before_its_parent_runs_after_it(tmp_path, only):
    only(Trial("probe", toy.probe, SMALL, after=("rolling", "frozen")), arm("frozen"), arm("rolling"))
    _, watching = run(tmp_path / "run")
    assert watching.of("finished") == ["rolling", "frozen", "probe"]


def test_wrong_requests_are_refused_in_the_users_words(tmp_path):
    for options, told in [
        ({"preset": "huge"}, "no preset 'huge'; it has smoke, quick, cpu"),
        ({"config": Bowl()}, "configured by Config, not by Bowl"),
        ({"seeds": ()}, "distinct seeds"),
        ({"seeds": (1, 1)}, "distinct seeds"),
        ({"seeds": (0, -1)}, "seeds must be between 0 and 2147483646, not -1"),
        ({"seeds": (999, 1000)}, "seeds below 1000 make records and others pilots, on other evaluation data; 999 to 1000 are both"),
    ]:
        with pytest.raises(UserError, match=told):
            run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.whole
def test_default_directories_keep_changed_configs_apart(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    paths = [execute(STUDY, "smoke", **options).path.name for options in ({}, {"config": replace(SMALL, steps=6)}, {"seeds": (1000, 1001)})]
    assert paths[0] == "toy-study-smoke"
    assert len(set(paths)) == 3
    assert isinstance(STUDY, Study)
    assert PRESETS["smoke"].config == SMALL
