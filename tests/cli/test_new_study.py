"""A new study is complete: it runs, and in a checkout every test that studies must pass passes without another file."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mesocosm.cli.entry import main
from mesocosm.cli.new_study import MODULES, new_study, template

ROOT = Path(__file__).parents[2]


def test_the_template_is_the_study_of_the_contributing_page():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    shown = dict(re.findall(r'```python title="one_head/([^"]+)"\n(.*?)```', page, re.DOTALL))
    assert shown == {f"{name}.py": template(f"{name}.py") for name in MODULES}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Two Heads"], "'Two Heads' cannot name a study; use lower-case letters, digits and dashes"),
        (["class"], "'class' cannot name a study"),
        (["mesa"], "there is a study 'mesa' already, in mesocosm.studies.mesa"),
        (["taken"], "taken/src/taken/config.py exists; choose another name or folder"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(words, told, tmp_path, capsys):
    (tmp_path / "taken/src/taken").mkdir(parents=True)
    (tmp_path / "taken/src/taken/config.py").write_text("mine")
    assert main(["new-study", *words, "--folder", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def run(words, folder, paths):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "NO_COLOR": "1"}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.whole
def test_a_package_of_ones_own_runs_and_its_test_passes(tmp_path):
    assert main(["new-study", "two-heads", "--folder", str(tmp_path)]) == 0
    folder = tmp_path / "two-heads"
    (points,) = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"].values()
    assert points == {"two-heads": "two_heads"}
    installed = tmp_path / "two_heads-0.dist-info"  # what pip install -e would leave
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: two-heads\nVersion: 0\n")
    (installed / "entry_points.txt").write_text("[mesocosm.studies]\ntwo-heads = two_heads\n")
    done = run(["mesocosm", "run", "two-heads"], tmp_path, [tmp_path, folder / "src"])
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout
    done = run(["pytest", "-q", "tests"], folder, [tmp_path, folder / "src"])
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_in_a_checkout_no_other_file_is_needed(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "site", "build", "dist"))
    made = new_study("two-heads", checkout)
    tests = ["tests/studies/test_two_heads.py", "tests/studies/test_every_study.py", "tests/test_docs.py", "tests/test_results.py", "tests/test_floors.py"]
    done = run(
        ["pytest", "-q", "-m", "not slow", "-k", "two_heads or two-heads or README or readme or floors", *tests],
        checkout,
        [checkout / "src", checkout / "tests"],
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 8
    if importlib.util.find_spec("ruff"):
        done = run(["ruff", "check", *map(str, made)], checkout, [])
        assert done.returncode == 0, done.stdout
