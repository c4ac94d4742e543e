"""The benchmarks run, their rows have one form, and a wrong answer gets no ratio."""

import json
import math
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mesocosm.cli import benchmarks, main

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def bench(monkeypatch, tmp_path):
    """The benchmarks' folder is importable, as it is for the scripts in it; records go elsewhere."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, out: Path) -> dict:
    module = __import__(name)
    from stopwatch.driver import main

    assert main(module.NAME, module.TITLE, module.cases, ["--sizes", "tiny", "--out", str(out)]) == 0
    return json.loads((out / f"{name}.json").read_text())


def check_form(record: dict) -> None:
    from stopwatch.rows import Row, frame

    assert record["rows"]
    names = [field.name for field in fields(Row)]
    for row in record["rows"]:
        assert list(row) == names
        assert row["verdict"] in {"met", "missed", "measured", "skipped", "wrong"}
        assert (row["ours"] is None) == (row["verdict"] in {"skipped", "wrong"})
        assert row["note"] or row["verdict"] not in {"skipped", "wrong"}
    table = frame([Row(**row) for row in record["rows"]])
    assert table.columns == names
    assert table.schema["ratio"] == pl.Float64
    assert {"date", "versions", "device", "git", "threads"} <= set(record["machine"])
    assert record["machine"]["threads"]["XLA"] >= 1


@pytest.mark.parametrize("name", [pytest.param("mesa_layer", marks=pytest.mark.whole), pytest.param("gated_mesa_layer", marks=pytest.mark.slow)])
def test_the_layers_and_their_peers_agree(name, bench):
    record = run(name, bench)
    check_form(record)
    ours = [row for row in record["rows"] if row["verdict"] != "skipped"]
    assert {row["case"] for row in ours} >= {"forward", "forward + backward", "growth of memory, forward + backward"}
    for row in ours:
        assert row["verdict"] != "wrong", row["note"]
        assert row["error"] is None or row["error"] <= 1e-5
        assert row["case"].startswith("growth") or row["ratio"] > 0


@pytest.mark.slow
def test_the_recurrences_and_their_peers_agree(bench):
    record = run("recurrences", bench)
    check_form(record)
    found = {row["case"]: row for row in record["rows"] if row["peer"] == "NumPy loop" or row["peer"].startswith("torch")}
    assert {f"{layer}, {kind}" for layer in ("diagonal", "LSTM", "GRU") for kind in ("forward", "forward + backward")} <= set(found)
    for row in record["rows"]:
        assert row["verdict"] != "wrong", row["note"]
        assert row["error"] is None or row["error"] <= 1e-5


@pytest.mark.slow
def test_decoders_and_their_peers_agree(bench):
    record = run("sequence_models", bench)
    check_form(record)
    assert {row["peer"] for row in record["rows"]} == {"flax", "torch", "recomputation"}
    steps = [row for row in record["rows"] if row["case"] in ("training step", "decoding")]
    assert len(steps) == 3
    for row in steps:
        assert row["verdict"] != "wrong", row["note"]
        assert row["error"] is None or row["error"] <= 1e-5


@pytest.mark.slow
def test_the_context_transformer_and_its_peer_agree(bench):
    record = run("context_transformer", bench)
    check_form(record)
    step, memory = record["rows"]
    assert step["verdict"] != "wrong", step["note"]
    assert step["error"] is None or step["error"] <= 1e-5
    assert memory["ours"] > 0


@pytest.mark.slow
def test_hyla_and_its_transcription_agree(bench):
    record = run("hypernetwork_attention", bench)
    check_form(record)
    assert {"HYLA, forward", "HYLA, forward + backward", "HYLA, training step", "softmax, forward"} <= {row["case"] for row in record["rows"]}
    for row in record["rows"]:
        assert row["verdict"] != "wrong", row["note"]
        assert row["error"] is None or row["error"] <= 1e-5


@pytest.mark.slow
def test_outer_gradients_by_chunks_and_unrolled_ones_agree(bench):
    record = run("meta_learning", bench)
    check_form(record)
    assert {row["case"] for row in record["rows"]} == {f"{method}, {what}" for method in ("linear", "maml") for what in ("gradient", "memory")}
    for row in record["rows"]:
        assert row["verdict"] != "wrong", row["note"]
        assert row["error"] is None or row["error"] <= 1e-5


@pytest.mark.slow
def test_demonstrations_and_those_of_a_loop_agree(bench):
    record = run("demonstrations", bench)
    check_form(record)
    assert [row["case"] for row in record["rows"]] == ["preferences", "goals"]
    for row in record["rows"]:
        assert row["verdict"] != "wrong", row["note"]
        assert row["error"] <= 1e-5


@pytest.mark.slow
def test_tangent_kernels_and_the_jacobian_by_hand_agree(bench):
    record = run("tangent_kernel", bench)
    check_form(record)
    timed = [row for row in record["rows"] if row["case"] == "kernel" and row["verdict"] != "skipped"]
    assert {row["size"] for row in timed} == {"MLP, N = 3, C = 2", "CNN, N = 3, C = 2"}
    assert max(row["error"] for row in timed) <= 1e-5
    assert [row["case"] for row in record["rows"] if row["quantity"] == "MiB"] == ["memory"] * 2
    assert record["rows"][-1]["case"] == "ensemble"


@pytest.mark.slow
def test_linear_algebra_and_both_schedules_agree_with_jax(bench):
    record = run("linear_algebra", bench)
    check_form(record)
    assert {row["verdict"] for row in record["rows"]} == {"measured"}
    assert {row["peer"] for row in record["rows"]} == {"jax.numpy, one call for the batch", "XLA's own schedule"}


@pytest.mark.whole
def test_fit_learns_what_the_loop_by_hand_learns(bench):
    record = run("training_loop", bench)
    check_form(record)
    assert [row["case"] for row in record["rows"]] == ["train", "start and end of a fit", "compile"]
    assert record["rows"][0]["error"] <= 1e-5


@pytest.mark.slow
def test_the_audit_agrees_with_the_whole_product_and_the_monitor_runs(bench):
    record = run("attention_audit", bench)
    check_form(record)
    cases = [row["case"] for row in record["rows"]]
    assert cases == ["spectrum of one head", "whole row", "peak memory of the process, one head", "training with the monitor"]
    assert all(row["ratio"] > 0 for row in record["rows"])
    assert "largest relative difference" in record["rows"][0]["note"]


@pytest.mark.slow
def test_environments_and_exact_models_agree_with_their_peers(bench):
    record = run("policy_gradients", bench)
    check_form(record)
    assert {"episodes", "iterations, REINFORCE", "iterations, COCOA-reward", "tabular form", "expected future visits"} <= {
        row["case"] for row in record["rows"]
    }
    assert all(row["verdict"] != "wrong" for row in record["rows"])
    assert all(row["error"] <= 1e-5 for row in record["rows"] if row["case"].startswith(("contributions", "expected")))


@pytest.mark.slow
def test_all_seeds_in_one_program_learn_what_loops_learn(bench):
    record = run("randomized_training", bench)
    check_form(record)
    assert [row["case"] for row in record["rows"]] == ["training", "test", "generations"]
    assert all(row["error"] <= 1e-5 for row in record["rows"] if row["verdict"] != "skipped")


@pytest.mark.slow
def test_a_pool_in_one_program_learns_what_a_loop_over_inner_episodes_learns(bench):
    record = run("agent_pools", bench)
    check_form(record)
    assert [row["case"] for row in record["rows"]] == ["meta-episode and step", "meta-episode and step"]
    assert record["rows"][0]["error"] <= 1e-5


@pytest.mark.slow
def test_learned_credit_and_its_loops_by_hand_agree(bench):
    record = run("learned_credit", bench)
    check_form(record)
    assert [row["case"] for row in record["rows"]] == ["COCOA-reward", "COCOA-reward", "REINFORCE"]
    for row in record["rows"]:
        assert row["verdict"] != "wrong", row["note"]
        assert row["verdict"] == "skipped" or row["error"] <= 1e-5


@pytest.mark.slow
def test_identities_hold_in_float32_and_a_kernel_that_needs_a_gpu_says_so(bench):
    record = run("accelerator", bench)
    check_form(record)
    step = next(row for row in record["rows"] if row["case"].startswith("weight-decay/C2.step"))
    assert step["verdict"] == "met"
    assert step["quantity"] == "error"
    assert 0 < step["ours"] < 1e-5
    assert step["theirs"] > 100 * step["ours"]  # the mutant
    trained = [row for row in record["rows"] if row["case"].startswith("weight-decay/C1.")]
    assert {row["verdict"] for row in trained} == {"skipped"}
    assert all("trial minima: it trains" in row["note"] for row in trained)
    kernels = [row for row in record["rows"] if row["peer"] == "fla kernel"]
    assert [row["case"] for row in kernels] == ["gated mesa layer, forward", "gated mesa layer, forward + backward"]
    assert all(row["verdict"] in ("skipped", "measured") for row in kernels)


def test_what_would_begin_too_late_is_skipped(bench):
    import accelerator

    long_ago = time.monotonic() - accelerator.MOST_SECONDS - 1
    (row,) = accelerator.kernel(4, 8, "forward", long_ago)
    assert (row.verdict, row.note) == ("skipped", "not begun after 540 s")
    rows = accelerator.identities("weight-decay", "smoke", long_ago)
    assert {row.verdict for row in rows} == {"skipped"}
    assert "trial step is not begun after 540 s" in rows[0].note


def test_an_answer_may_be_as_wrong_as_its_comparison_allows(bench):
    from stopwatch.rows import Comparison

    right, calls = np.ones(2), []
    sides = [contender(name, right * (1 + error), calls) for name, error in (("ours", 0.0), ("theirs", 1e-2))]
    assert Comparison("b", "c", "s", 0.0).timed(*sides, lambda _: [right]).verdict == "wrong"
    assert Comparison("b", "c", "s", 0.0, largest_error=3e-2).timed(*sides, lambda _: [right]).verdict == "measured"


def test_the_front_door_is_timed(bench, monkeypatch):
    import start_up

    called = []
    monkeypatch.setattr(start_up, "process", lambda code, *words: called.append(words))
    check_form(run("start_up", bench))
    assert {("--help",), ("list",), ()} == set(called)


def test_the_report_is_timed_on_a_copy(bench, monkeypatch):
    import report_build

    called = []
    monkeypatch.setattr(report_build, "process", lambda code, *words: called.append(Path(words[1])))
    monkeypatch.setattr(report_build, "write_report", lambda found: called.append(found.path))
    check_form(run("report_build", bench))
    assert len(called) == 3
    assert {path.name for path in called} == {"mesa"}
    assert not any(path.is_relative_to(FOLDER.parent) for path in called)


# --- what may not go wrong unseen


def contender(name: str, answer: np.ndarray, calls: list[str]):
    from stopwatch.timing import Contender

    def work() -> np.ndarray:
        calls.append(name)
        return answer

    return Contender(name, work, lambda result: [result])


@pytest.mark.parametrize(("answer", "told"), [(1.001, "1.0e-03"), (math.nan, "inf"), (1 + 1e-6, None)])
def test_a_wrong_answer_gets_no_ratio(answer, told):
    from stopwatch.rows import Comparison, Target

    right, calls = np.ones((2, 3)), []
    comparison = Comparison("b", "c", "s", 0.0, Target("ratio", "≥", 3))
    for wrong_side in (0, 1):
        sides = [right.copy(), right.copy()]
        sides[wrong_side][1, 2] = answer
        calls.clear()
        row = comparison.timed(contender("ours", sides[0], calls), contender("theirs", sides[1], calls), lambda _: [right])
        if told is None:
            assert row.verdict in {"met", "missed"}
            assert row.ratio is not None
        else:
            assert (row.verdict, row.ratio, row.ours, row.theirs) == ("wrong", None, None, None)
            assert f"{('ours', 'theirs')[wrong_side]}: error {told}" in row.note
            assert calls == ["ours", "theirs"]  # checked, never timed


def test_an_answer_of_another_shape_is_wrong():
    from stopwatch.timing import largest_error

    assert largest_error([np.ones(2)], [np.ones((2, 1))]) == math.inf
    assert largest_error([], [np.ones(2)]) == math.inf


def test_a_slower_peer_is_seen_as_slower_and_a_share_is_scaled():
    from stopwatch.timing import Contender, interleave

    work = np.random.default_rng(0).standard_normal((60, 60))
    once = Contender("once", lambda: work @ work)
    tenth = Contender("tenth", lambda: work @ work, share=0.1)
    took = interleave(once, tenth, seconds=0.2)
    assert 3 < took.ratio < 30
    assert took.low <= took.ratio <= took.high


def test_the_interval_is_that_of_order_statistics():
    from stopwatch.timing import median_interval

    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval(list(map(float, range(1, 21)))) == (6.0, 15.0)  # of 20, the 6th and the 15th: the sign test's table


@pytest.mark.parametrize(("numbers", "met"), [((1.0, 3.1, 3.5), True), ((1.0, 2.9, 3.5), False)])
def test_an_aim_is_met_by_the_worse_end(numbers, met):
    from stopwatch.rows import Target

    assert Target("ratio", "≥", 3).met(*numbers) is met


def test_the_reference_is_an_optimum():
    """At every token the reference's map minimises the regularised regression: moving along any output is no better, and gradients match differences."""
    from peers.problem import Problem, _dense

    problem = Problem.draw(3, 6, gated=True)
    head = [np.asarray(x, np.float64) for x in problem.first_heads(1)]
    head = [x[0] for x in head]
    _, *gradients = _dense(*head)
    for place, gradient in enumerate(gradients):
        moved = [x.copy() for x in head]
        for sign in (1, -1):
            moved[place] = head[place].copy()
            moved[place][2, 1] += sign * 1e-5
            value = np.sum(_dense(*moved)[0] * head[3])
            gradient[2, 1] -= sign * value / 2e-5
        assert abs(gradient[2, 1]) < 1e-7


# --- the command


def test_where_there_is_no_checkout_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(benchmarks.mesocosm, "__file__", "/nowhere/lib/mesocosm/__init__.py")
    assert main(["bench"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "source repository" in told


@pytest.mark.parametrize(
    ("words", "told"), [("msa_layer", "did you mean 'mesa_layer'?"), ("--threads 9999", "--threads must be"), ("--threads x", "--threads")]
)
def test_a_mistake_is_one_line(words, told, capsys):
    assert main(["bench", *words.split()]) == 2
    assert told in capsys.readouterr().err


def test_the_command_runs_each_script_with_its_threads(monkeypatch, bench):
    called = []

    def record(words, *, env, check):
        called.append((words[1:], env["OMP_NUM_THREADS"]))
        return subprocess.CompletedProcess(words, 1 if "mesa_layer.py" in words[1] else 0)

    monkeypatch.setattr(subprocess, "run", record)
    assert main(["bench", "start-up", "mesa_layer", "--quick", "--threads", "1", "--out", "here"]) == 1
    assert called == [([str(FOLDER / f"{name}.py"), "--sizes", "small", "--out", "here"], "1") for name in ("start_up", "mesa_layer")]


@pytest.mark.whole
def test_a_script_runs_alone(bench):
    """Its help needs nothing but mesocosm."""
    done = subprocess.run([sys.executable, str(FOLDER / "mesa_layer.py"), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--sizes" in done.stdout
