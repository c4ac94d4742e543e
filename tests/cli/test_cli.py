"""The front door: it answers at once, teaches, takes every field of a config, and meets a mistake with one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mesocosm.lab.run.runner as runner
from mesocosm import __main__
from mesocosm.cli import main
from mesocosm.cli.handlers import fitting
from mesocosm.cli.parse import one_line, parse_run
from mesocosm.lab.errors import UserError
from mesocosm.lab.run.dry_run import FitDryRun, TrialDryRun
from toy_study.config import Config

HEAVY = ("jax", "equinox", "optax", "altair", "scipy", "vl_convert", "orbax")
TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "run"
    assert main(["run", "toy-study", "--preset", "smoke", "--out", str(path)]) == 0
    return path


def test_ctrl_c_while_python_imports_ends_quietly(monkeypatch):
    class Slow(ModuleType):
        def __getattr__(self, name: str):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "mesocosm.cli", Slow("mesocosm.cli"))
    assert __main__.main() == 130


def mistake(capsys, *words: str) -> str:
    """The one line that a mistake gets."""
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("mesocosm: ")
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err
    return told.err


# --- at once --------------------------------------------------------------------------------------------------------


LIGHT = ["--help", "list", "list toy-study", "run --help", "run toy-study --help", "judge --help", "compare --help"]


def test_help_and_list_load_nothing_heavy():
    """One after the other in one process, which stops at the first that loads something."""
    code = f"""
import contextlib, io, sys
from mesocosm.cli import main
for line in {LIGHT!r}:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            code = main(line.split())
    except SystemExit as end:
        code = end.code
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    if loaded or code or not shown.getvalue():
        sys.exit(f"{{line}}: loaded {{loaded}}, exit code {{code}}, {{len(shown.getvalue())}} characters shown")
"""
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


# --- help and list --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["run", "--help"]])
def test_help_teaches_by_example(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert "mesocosm run mesa --preset smoke" in capsys.readouterr().out or words != ["run", "--help"]


def test_help_of_a_study_lists_the_fields_of_its_config(capsys):
    with pytest.raises(SystemExit):
        main(["run", "toy-study", "--help"])
    text = capsys.readouterr().out
    assert "--config.bowl.noise FLOAT" in text
    assert "Standard deviation of the gradient's noise. (default: 0.01)" in text


def test_list_shows_studies_and_one_study(capsys):
    assert main(["list"]) == 0
    assert "quick (0.06)" in capsys.readouterr().out
    assert main(["list", "toy-study"]) == 0
    text = capsys.readouterr().out
    assert "Balls roll downhill.  Fig. 2" in text
    assert "finding: log10 of final over initial height < −1; control: no step; judged at quick, cpu" in text
    assert "not judged: needs a ball that answers questions" in text


def test_layers_shows_every_layer_with_its_options_and_what_it_is_for(capsys):
    assert main(["layers"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    from mesocosm.nn import LAYERS

    assert all(f" {name} " in text for name in LAYERS)
    assert "mesa heads, key_dim, value_dim, std, strength=1.0, Solves the least-squares regression of values on keys" in text
    assert "mixer=Attention.create" in text


def test_layers_explains_one_layer(capsys):
    assert main(["layers", "mesa"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "mesocosm.nn.MesaAttention The mesa layer, $y_t = " in text
    assert "MesaAttention.create(dim, *, heads=None, key_dim=None, value_dim=None, std=None, strength=1.0, learn_strength=True, unit_keys=False, key)" in text
    assert "learn_strength: whether lambda is learned." in text


# --- reading the options of `run` -----------------------------------------------------------------------------------


def test_every_field_of_the_config_is_a_typed_option():
    command = parse_run(
        [
            "toy-study",
            "--preset",
            "cpu",
            "--config.bowl.dim",
            "7",
            "--config.learning-rate",
            "0.5",
            "--config.label=x",
            "--seeds",
            "3",
            "--first-seed",
            "1000",
            "--fresh",
        ]
    ).command
    assert command.config == Config(bowl=type(Config().bowl)(dim=7), steps=200, learning_rate=0.5, label="x")
    assert (command.seeds, command.first_seed, command.fresh, command.fail_fast, command.preset) == (3, 1000, True, False, "cpu")


@pytest.mark.parametrize(
    "words", ["toy-study --preset smoke", "--preset smoke toy-study", "--preset=smoke toy-study", "--fresh --preset smoke toy-study --dry-run"]
)
def test_study_and_preset_are_found_in_any_order(words):
    command = parse_run(words.split()).command
    assert (command.study, command.preset, command.config.steps, command.seeds) == ("toy-study", "smoke", 5, 2)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("lst", "available subcommands: list, run, search, compare, judge, status, report, doctor"),
        ("layers msea", "there is no layer 'msea'; did you mean mesa? `mesocosm layers` lists them"),
        ("run mesa --preset smoke --mixer mesa(head=2)", "mesa has no option 'head'; its options are heads, key_dim,"),
        ("run gated-rnn --preset smoke --mixer msea", "there is no layer 'msea'"),
        ("run mesa --mixer=", "--mixer is empty: name a layer"),
        ("run mesa --mixer mesocosm.nn.MesaAttention(heads=2)", "did you mean mesocosm.nn:MesaAttention(heads=2)?"),
        ("run toy-study --mixer=", "study toy-study does not accept a --mixer"),
        ("run toy-study --model a:B", "study toy-study does not accept a --model"),
        ("run randomized --model=", "--model is empty: name your model as package.module:Name"),
        ("run randomized --preset smoke --model mesa", "mesa is not a model: name yours as package.module:Name"),
        ("run coala --estimator=", "--estimator is empty: name your estimator as package.module:Name"),
        ("run coala --preset smoke --estimator coala", "coala is not an estimator: name yours as package.module:function"),
        ("run coala --estimator numpy:sum", "this preset trains no agents with memory"),
        ("run toy-study --compile", "--compile belongs to --dry-run"),
        ("list Incontext_Composition", "did you mean 'incontext-composition'?"),
        ("run coalla", "did you mean 'coala'?"),
        ("run MESA", "did you mean 'mesa'?"),
        ("list nothing-here", "there is no study 'nothing-here'"),
        ("run", "name a study:"),
        ("run toy-stdy", "did you mean 'toy-study'?"),
        ("run toy-study --preset qick", "did you mean 'quick'? (smoke, quick, cpu)"),
        ("run toy-study --config.bowl.dime 3", "perhaps you meant --config.bowl.dim"),
        ("run toy-study --config.bowl.dim 1e3", "--config.bowl.dim: not a whole number: '1e3'"),
        ("run toy-study --config.learning-rate fast", "--config.learning-rate: not a number: 'fast'"),
        ("run toy-study --config.steps", "--config.steps"),
        ("run toy-study --config.bowl.noise nan", "--config.bowl.noise must be finite"),
        ("run toy-study --seeds 0", "--seeds must be 1 or more"),
        ("run toy-study --seeds -- -1", "see mesocosm run --help"),
        ("run toy-study --preset", "--preset"),
        ("run toy-study --seeds 9999999999", "at most 100000"),
        ("run toy-study --first-seed 9999999999", "seeds must be between 0 and 2147483646, not 9999999999"),
        ("run toy-study --config.label \udcff", "'\\udcff' is not valid UTF-8"),
        ("run toy-study --out /dev/null", "/dev/null is a file, not a directory"),
        ("run toy-study --dry-run --out /dev/null", "/dev/null is a file, not a directory"),
        ("run toy-study again", "again"),
        ("run toy-study --track paper", "Expected one of ('tensorboard', 'wandb', 'mlflow')"),
        ("judge", "RUN"),
        ("judge nowhere", "nowhere is not a run directory"),
        ("status nowhere", "nowhere is not a run directory"),
        ("report", "name a run:"),
        ("report nowhere", "nowhere is not a run directory"),
        ("report here there", "2 runs make a site: name its folder with --out DIR"),
    ],
)
def test_a_mistake_is_one_line(words, told, capsys):
    assert told in mistake(capsys, *words.split())


def test_a_very_long_mistake_is_still_a_line_that_says_what_is_known(capsys):
    told = mistake(capsys, "list", "toy\n\x1b[2J" * 2000)
    assert len(told) < 700
    assert told.isascii()
    assert "\x1b" not in told
    assert "toy-study" in told[-200:]


def test_a_box_becomes_a_line():
    box = "\x1b[31m╭─ Value error ──╮\x1b[0m\n│ Error parsing  │\n│ --a: bad value │\n│ ────────────── │\n│ Argument help: │\n╰────────────────╯\n"
    plain = " Value error \n --------------- \n  Error parsing \n  --a: bad value \n ------------- \n  Argument help:\n"
    assert one_line(box) == one_line(plain) == "Error parsing --a: bad value"


def test_a_log_that_knows_only_ascii_is_no_failure():
    code = "import sys; from mesocosm.cli import main; sys.exit(main(['list', 'toy-study']))"
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "C2  Balls roll downhill." in done.stdout


# --- running --------------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_run_ends_with_claims_and_report(run, capsys):
    assert main(["run", "toy-study", "--preset", "smoke", "--out", str(run)]) == 0
    text = capsys.readouterr().out
    assert "rolling finished earlier" in text
    assert "preset smoke is too small" in " ".join(text.split())
    assert text.rstrip().splitlines()[-1] == f"3 not judged. Report: {run / 'index.html'}"
    assert "verdict" not in text  # no table without a row
    assert "\x1b" not in text
    assert json.loads((run / "run.json").read_text())["seeds"] == [0, 1]


@pytest.mark.whole
def test_judge_status_and_report_read_a_run(run, capsys):
    before = (run / "claims.json").read_bytes()
    (run / "claims.json").unlink()
    assert main(["judge", str(run)]) == 0
    assert (run / "claims.json").read_bytes() == before
    assert main(["status", str(run)]) == 0
    assert capsys.readouterr().out.count("finished") == 4
    (run / "index.html").unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "index.html")
    assert (run / "index.html").exists()


def test_report_joins_runs_into_a_site(run, tmp_path, capsys):
    site = tmp_path / "site"
    assert main(["report", str(run), str(run), "--out", str(site)]) == 0
    assert capsys.readouterr().out.strip() == str(site / "index.html")
    assert len(list(site.glob("*.html"))) == 5


def test_dry_run_trains_nothing_and_calls_no_trial(run, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("mesocosm.lab.run.dry_run.DryRunContext", None)
        assert main(["run", "toy-study", "--dry-run"]) == 0
        text = capsys.readouterr().out
        assert text.count("new") == 4
        assert "8 seeds; about 0.06 minutes, one trial at a time; " in text
        assert "memory" not in text
        assert main(["run", "toy-study", "--dry-run", "--seeds", "4"]) == 0
        assert "4 seeds; about 0.035 minutes, one trial at a time, scaled from 8 seeds; " in capsys.readouterr().out
    assert not Path("runs").exists()
    assert main(["run", "toy-study", "--dry-run", "--compile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [f"compiling the programs of {trial}" for trial in ("identity", "rolling", "frozen", "probe")]
    assert sum("KiB" in line or "MiB" in line for line in lines) == 3  # rolling, frozen and probe
    assert "Every program fits on a GPU of 80 GB; the largest is that of rolling" in lines
    assert main(["run", "toy-study", "--preset", "smoke", "--out", str(run), "--dry-run"]) == 0
    assert capsys.readouterr().out.count("cached") == 4


def test_a_dry_run_names_what_does_not_fit_on_one_gpu():
    sizes = {"small": 79 * 10**9, "large": 81 * 10**9, "unknown": None}
    trials = [TrialDryRun(name, "new", "", None, (FitDryRun("fit", 1, size),)) for name, size in sizes.items()]
    assert fitting(trials).startswith("More than a GPU of 80 GB has, for all seeds at once: large (81 GB). Fewer seeds")
    assert fitting(trials[2:]) == "No trial trains"


def test_failed_trial_is_exit_code_one(capsys, tmp_path):
    assert main(["run", "toy-study", "--preset", "smoke", "--out", str(tmp_path / "run"), "--config.learning-rate", "1e38"]) == 1
    text = capsys.readouterr().out
    assert "rolling FAILED" in text
    assert "probe skipped: needs rolling" in text
    assert "frozen finished" in text
    assert main(["status", str(tmp_path / "run")]) == 1


def test_interrupted_run_says_how_to_resume(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "execute", interrupted)
    assert main(["run", "toy-study", "--fresh", "--config.label", "two words"]) == 130
    assert capsys.readouterr().err.endswith("To resume: mesocosm run toy-study --config.label 'two words'\n")


def test_error_of_the_runner_is_one_line(monkeypatch, capsys):
    def refused(*_, **__):
        raise UserError("the directory is in use")

    monkeypatch.setattr(runner, "execute", refused)
    assert mistake(capsys, "run", "toy-study") == "mesocosm: the directory is in use\n"
