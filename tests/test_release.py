"""What is released works without the repository: wheel and sdist are complete, and a fresh environment runs a study from the wheel."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from mesocosm.lab.catalogue import find

ROOT = Path(__file__).parents[1]
PIP = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]


def built(folder: Path, out: Path, *targets: str) -> list[Path]:
    """What hatchling builds of a source tree, without an environment of its own."""
    words = [word for target in targets for word in ("-t", target)]
    done = subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", out, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    return sorted(out.iterdir())


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> tuple[Path, Path]:
    """(wheel, sdist); the wheel is built from the unpacked sdist, as package indexes do."""
    folder = tmp_path_factory.mktemp("release")
    (sdist,) = built(ROOT, folder / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    (wheel,) = built(source, folder / "wheel", "wheel")
    return wheel, sdist


def tracked(*folders: str) -> set[str]:
    """The files of the repository."""
    found = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in found.stdout.split("\n") if name and (ROOT / name).exists()}


@pytest.mark.whole
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(release):
    names = {name for name in zipfile.ZipFile(release[0]).namelist() if ".dist-info/" not in name}
    assert names == {name.removeprefix("src/") for name in tracked("src/mesocosm")}
    assert "mesocosm/py.typed" in names


@pytest.mark.whole
def test_the_sdist_can_be_built_tested_and_read(release):
    with tarfile.open(release[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked("src", "tests", "docs", "benchmarks", "examples") <= names
    assert {"pyproject.toml", "constraints.txt", "Makefile", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "PKG-INFO"} <= names
    assert not [name for name in names if name.startswith(("runs/", "site/", ".venv", ".ci"))]
    assert release[1].stat().st_size < 8_000_000


@pytest.fixture(scope="module")
def fresh(release, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """(programs, environment variables) of a new virtual environment with the wheel, which sees the other packages of this one, but not the repository."""
    home = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    programs = home / "venv" / "bin"
    python = programs / "python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *PIP, release[0]], check=True)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{sysconfig.get_paths()['platlib']}\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return programs, environment | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}


@pytest.mark.whole
def test_a_fresh_environment_lists_makes_and_runs_studies_outside_the_repository(fresh, tmp_path):
    programs, environment = fresh

    def run(*words: str) -> str:
        done = subprocess.run([programs / words[0], *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = run("python", "-c", "import mesocosm, importlib.metadata as m; print(mesocosm.__file__); print(m.version('mesocosm'))").split()
    assert Path(where[0]).is_relative_to(programs.parent)
    assert where[1] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    listed = run("mesocosm", "list")
    assert all(f" {name} " in listed for name in ("mesa", "hyla", "weight-decay"))
    assert "C1" in run("mesocosm", "list", "mesa")

    run("mesocosm", "new-study", "two-heads")
    made = tmp_path / "two-heads"
    subprocess.run([sys.executable, "-m", "pip", "--python", programs / "python", "install", *PIP, "--no-build-isolation", made], check=True)
    assert " two-heads " in run("mesocosm", "list")
    assert "Report:" in run("mesocosm", "run", "two-heads", "--preset", "smoke")
    page = (tmp_path / "runs" / "two-heads-smoke" / "index.html").read_text()
    assert "vegaEmbed" in page
    assert str(ROOT) not in page
    assert "site/index.html" in run("mesocosm", "report", "runs/two-heads-smoke", "runs/two-heads-smoke", "--out", "site")
    assert (tmp_path / "site" / "gallery.html").read_text().count("<img") == 2


@pytest.mark.slow
def test_versions_of_the_documentation_stand_side_by_side(tmp_path):
    """`make publish` twice, in a copy of the repository."""
    if importlib.util.find_spec("mike") is None:
        pytest.skip('mike is not installed: pip install "mesocosm[publish]"')

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path / "copy", capture_output=True, text=True, check=True).stdout

    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "copy"], check=True)
    for option in ("user.name=a", "user.email=a@example.org"):
        git("config", *option.split("="))
    (tmp_path / "ready-publish").touch()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for version in ("0.1", "0.2"):
        words = ["make", "publish", f"VERSION={version}", f"VENV={tmp_path}", "--old-file", f"{tmp_path}/ready-publish"]
        done = subprocess.run(words, cwd=tmp_path / "copy", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    files = set(git("ls-tree", "-r", "--name-only", "gh-pages").split())
    assert {"index.html", "versions.json", "0.1/index.html", "0.2/index.html", "0.2/api/nn.html", "0.2/search/search_index.json"} <= files
    assert [entry["version"] for entry in json.loads(git("show", "gh-pages:versions.json"))] == ["0.2", "0.1"]
    assert "recursive_least_squares" in git("show", "gh-pages:0.2/api/nn.html")


def test_the_citation_and_the_changelog_agree_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    entries = dict(re.findall(r"^([a-z-]+): *(\S.*)$", citation, re.MULTILINE))
    assert {"cff-version", "message", "title", "version", "license"} <= set(entries)
    assert (entries["title"], entries["version"], entries["license"]) == (project["name"], project["version"], project["license"])
    changes = re.findall(r"^## (?:\[)?(Unreleased|\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes[0] in ("Unreleased", project["version"])
    released = [version for version in changes if version != "Unreleased"]
    assert released == sorted(released, key=lambda version: tuple(map(int, version.split("."))), reverse=True)
    assert not released or released[0] == project["version"], "the newest release of the changelog is the package's version"


def test_the_papers_of_every_record_are_cited():
    citation = (ROOT / "CITATION.cff").read_text()
    for record in sorted((ROOT / "results").glob("*/run.json")):
        study = find(record.parent.name)
        papers = re.findall(r"\d{4}\.\d{5}", study.paper)
        assert papers, f"{study.name} does not name its paper's number on arXiv"
        assert [paper for paper in papers if f"https://arxiv.org/abs/{paper}\n" not in citation] == []
