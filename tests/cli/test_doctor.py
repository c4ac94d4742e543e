"""The doctor tells what is there, and what is broken together with what mends it."""

import subprocess
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

import jax
import pytest
from packaging.requirements import Requirement

import mesocosm.cli.doctor as doctor
from mesocosm.cli import main
from mesocosm.cli.doctor import Finding, block, dependencies, devices, environment, extras, folder, install_line, installation, studies


@pytest.mark.whole
def test_one_block_tells_everything_and_all_is_well(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    lines = dict(line.split(None, 1) for line in text.splitlines() if line)
    assert f"jax {jax.__version__}," in lines["packages"]
    assert "jaxlib" in lines["packages"]
    assert "(cpu) runs a compiled program" in lines["devices"]
    assert "OMP_NUM_THREADS=3" in lines["environment"]
    assert "XLA_FLAGS=" in lines["environment"]
    assert f"{tmp_path / 'runs'} can be written" in lines["output"]
    assert "toy-study (toy_study)" in text
    assert text.endswith("Everything required is installed and works.\n")
    assert "\x1b" not in text
    assert list(tmp_path.iterdir()) == []


def test_what_is_broken_is_listed_with_what_mends_it_and_is_exit_code_one(capsys, monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(doctor, "devices", lambda: Finding("devices", "JAX does not run: no plug", "plug it in"))
    assert main(["doctor", "--out", str(file / "runs")]) == 1
    text = capsys.readouterr().out
    assert "devices       BROKEN: JAX does not run: no plug" in text
    assert "- devices: plug it in\n- output: choose another directory with --out\n" in text


def test_a_device_that_was_asked_for_and_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    monkeypatch.setattr(doctor, "PROBE", "import os; raise RuntimeError('unknown backend ' + os.environ['JAX_PLATFORMS'])")
    found = devices()
    assert found.text == "JAX does not run: RuntimeError: unknown backend abacus"
    assert found.remedy == "unset JAX_PLATFORMS (it is 'abacus'), or install JAX for it"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import time; time.sleep(60)", "did not respond within 0.2 s"),
        ("import os; os.abort()", "ended with code -6"),
        ("raise ImportError('no jaxlib')", "JAX does not run: ImportError: no jaxlib"),
        ('print(\'[["gpu:0", "H1", 13.9]]\')', "gpu:0 (H1) computes WRONGLY"),
    ],
)
def test_a_jax_that_hangs_dies_or_errs_does_not_take_the_doctor_with_it(program, told, monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", program)
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.2 if "sleep" in program else 60)
    found = devices()
    assert told in found.text
    assert found.remedy


class Installed(metadata.Distribution):
    """mesocosm with other requirements."""

    @property
    def requires(self):
        small, big = 'jax; extra == "small"', 'nowhere-to-be-found>=1.2; extra == "big"'
        return ['jax>=999; python_version >= "3.0"', "polars", "nowhere-to-be-found>=1.2", small, big]

    @property
    def metadata(self):
        told = Message()
        for extra in ("small", "big"):
            told["Provides-Extra"] = extra
        return told

    def read_text(self, filename):
        return None

    def locate_file(self, path):
        return Path(path)


def test_packages_that_are_missing_or_too_old_are_broken_and_extras_only_told(monkeypatch):
    sound = metadata.distribution
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed() if name == "mesocosm" else sound(name))
    (found,) = dependencies()
    assert found.text.startswith(f"jax {jax.__version__}, polars ")
    assert "nowhere-to-be-found MISSING" in found.text
    assert found.remedy == 'pip install "jax>=999" "nowhere-to-be-found>=1.2"'
    assert extras() == [Finding("extra", 'big: not installed; pip install "nowhere-to-be-found>=1.2"'), Finding("extra", "small: installed")]


def test_mesocosm_that_is_not_installed_is_told(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    found = installation()
    assert found.text.startswith("not installed")
    assert found.remedy == f"install it from its checkout: pip install -e {Path(doctor.__file__).parents[3]}"
    assert extras() == []


def test_install_line_quotes_what_a_shell_would_read():
    assert install_line([Requirement("wandb>=0.21"), Requirement("alembic")]) == 'pip install "wandb>=0.21" "alembic"'


@pytest.mark.parametrize("module", ["__init__", "claims"])
def test_a_study_that_cannot_be_imported_is_named_with_the_reason(module, toy_copy):
    _, package = toy_copy
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_copy"]:
        del sys.modules[name]
    (package / f"{module}.py").write_text("raise ValueError('it broke\\nin two')\n")
    (found,) = [finding for finding in studies(deeply=True) if "toy-copy" in finding.text]
    assert found.text.startswith("toy-copy (toy_copy): ")
    assert found.text.endswith("ValueError: it broke")
    assert found.remedy == "fix or uninstall the package toy_copy"
    assert [finding.remedy for finding in studies(deeply=True) if "toy-study" in finding.text] == [None]


def test_a_full_disk_is_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 2**60)
    found = folder(tmp_path / "a" / "b")
    assert "can be written" in found.text
    assert found.remedy == "free some space, or choose another directory with --out"
    assert list(tmp_path.iterdir()) == []


def test_only_variables_that_concern_jax_and_threads_are_shown(monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    assert environment(["JAX_ENABLE_X64", "SECRET_TOKEN", "PATH"]) == "JAX_ENABLE_X64=1"
    assert "no variables" in environment(["PATH"])


def test_block_is_plain_lines():
    assert block([Finding("a", "b")]) == "a             b\n\nEverything required is installed and works."


def test_the_doctor_comes_without_jax():
    code = "import sys; sys.modules['jax'] = None; import mesocosm.cli.doctor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
