"""`run all`: every study has its turn, what goes wrong with one leaves the others alone, and the same command resumes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesocosm.cli import main, tour
from mesocosm.cli.parse import parse_command

TESTS = Path(__file__).parents[1]
TOY = TESTS / "toy_study"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def only(monkeypatch, *names: str) -> None:
    """The tour finds these studies alone."""
    monkeypatch.setattr(tour, "packages", lambda: dict.fromkeys(names, ""))


def test_the_options_are_passed_on_to_every_study():
    words = "run all --preset cpu --seeds 3 --first-seed 1000 --fresh --fail-fast --stalled-after 0 --track wandb --track mlflow --out here"
    asked = parse_command(words.split())
    assert asked.words == tuple(
        "--preset cpu --seeds 3 --first-seed 1000 --fresh --fail-fast --stalled-after 0.0 --track wandb --track mlflow".split()  # noqa: SIM905
    )
    assert parse_command(["run", "toy-study", *asked.words]).command.seeds == 3
    assert tour.folder_name("mesa", asked.command) == "mesa-cpu-seeds-3-from-1000"
    assert parse_command(["run", "--preset=smoke", "all"]).words == ("--preset", "smoke")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mixer", "mesa"], "--mixer belongs to one study, not to all"),
        (["--like", "results/mesa"], "--like belongs to one study, not to all"),
        (["--preset", "huge"], "no study has a preset 'huge'"),
        (["--config.dim", "3"], "--config.dim"),
    ],
)
def test_what_cannot_be_asked_of_all_studies_is_refused_before_any_runs(words, told, capfd):
    assert main(["run", "all", *words]) == 2
    said = capfd.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not list(Path().iterdir())


def test_the_help_of_run_names_all(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["run", "all", "--help"])
    assert "mesocosm run all --preset smoke" in capsys.readouterr().out


@pytest.fixture
def second_study(tmp_path, monkeypatch) -> Path:
    """The folder of a copy of the toy study, installed for this process and those that it starts; one of its trials fails."""
    site = tmp_path / "site-packages"
    package = site / "second_study"
    shutil.copytree(TOY, package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in package.glob("*.py"):
        file.write_text(file.read_text().replace("toy_study", "second_study"))
    (site / "second_study-0.dist-info").mkdir()
    (site / "second_study-0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: second-study\nVersion: 0\n")
    (site / "second_study-0.dist-info" / "entry_points.txt").write_text("[mesocosm.studies]\nsecond-study = second_study\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]))
    yield package
    for module in [module for module in sys.modules if module.partition(".")[0] == "second_study"]:
        del sys.modules[module]


@pytest.mark.whole
def test_what_goes_wrong_with_a_study_leaves_the_others_alone_and_the_same_command_resumes(second_study, monkeypatch, capfd):
    only(monkeypatch, "second-study", "no-such-study", "toy-study")
    trials = second_study / "trials.py"
    working = trials.read_text()
    trials.write_text(working.replace("def check_identity(", 'def check_identity(config, context):\n    raise RuntimeError("out of luck")\n\n\ndef unused('))
    assert main(["run", "all", "--preset", "smoke", "--out", "tour"]) == 1
    said = capfd.readouterr().out
    assert "identity FAILED: RuntimeError: out of luck" in said
    outcomes = {line.split()[0]: line for line in said.splitlines() if line.split()[:1] and line.split()[0] in ("second-study", "no-such-study", "toy-study")}
    assert "failed" in outcomes["second-study"]
    assert "mesocosm status tour/second-study-smoke" in outcomes["second-study"]
    assert "refused" in outcomes["no-such-study"]
    assert "done" in outcomes["toy-study"]
    assert "One site of 2 runs: tour/all-smoke/index.html" in said
    site = Path("tour/all-smoke/index.html").read_text()
    assert "second-study-smoke.html" in site
    assert "toy-study-smoke.html" in site

    only(monkeypatch, "second-study", "toy-study")
    trials.write_text(working)
    assert main(["run", "all", "--preset", "smoke", "--out", "tour"]) == 0
    said = capfd.readouterr().out
    assert said.count("finished earlier") == 7  # all trials but the one that failed
    assert "identity finished in" in said


@pytest.mark.whole
def test_a_tour_that_is_asked_to_stop_says_how_to_resume(tmp_path):
    code = "from mesocosm.cli import main, tour; tour.packages = lambda: {'toy-study': '', 'no-such-study': ''}; raise SystemExit(main())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, "run", "all", "--preset", "smoke", "--fresh"], env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "study 1 of 2" not in process.stdout.readline():
            pass
        time.sleep(0.3)  # it starts the study's process
        process.send_signal(signal.SIGTERM)
        told = process.stderr.read()
        assert process.wait() == 130
    assert "To resume: " in told
    assert "--fresh" not in told.partition("To resume: ")[2]


@pytest.mark.whole
def test_a_study_without_the_preset_is_skipped(second_study, monkeypatch, capfd):
    only(monkeypatch, "second-study", "toy-study")
    config = second_study / "config.py"
    config.write_text(config.read_text().replace('"smoke"', '"tiny"'))
    assert main(["run", "all", "--preset", "smoke", "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert "has no preset 'smoke'" in said
    assert "toy-study  study 2 of 2" in said
    assert not list(Path().glob("runs/*"))
