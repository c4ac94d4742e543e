"""The house has floors: an import never goes up, studies do not know each other, the lab knows no study, and nothing is kept in a drawer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mesocosm

ROOT = Path(__file__).parents[1]
PACKAGE = Path(mesocosm.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
STUDIES = sorted(folder.name for folder in (PACKAGE / "studies").iterdir() if (folder / "__init__.py").exists())
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def module(source: Path) -> str:
    """mesocosm.nn.mixers.mesa"""
    parts = source.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: Path) -> set[str]:
    """Every module that a file names in an import statement, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno} imports relatively"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def studies_in(names: set[str]) -> set[str]:
    """The studies among modules."""
    return {study for study in STUDIES for name in names if f"{name}.".startswith(f"mesocosm.studies.{study}.")}


def test_the_contracts_of_import_linter_hold():
    """In a process of its own: the linter takes hold of the standard streams."""
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True, no_logo=True))"
    said = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_floor_is_in_the_contract():
    """A package that the contract does not name would be free to import anything."""
    contract = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    floors = {module(source) for source in SOURCES if source.parent == PACKAGE or (source.parent.parent == PACKAGE and source.name == "__init__.py")}
    assert {floor for floor in floors - {"mesocosm"} if f'"{floor}' not in contract and f" {floor}" not in contract} <= {"mesocosm.__main__"}


@pytest.mark.parametrize("study", STUDIES or [pytest.param("", id="none yet")])
def test_a_study_imports_no_other_study(study):
    for source in (PACKAGE / "studies" / study).rglob("*.py") if study else []:
        assert studies_in(imports(source)) <= {study}, source


def test_only_studies_know_a_particular_study():
    for source in SOURCES:
        if not studies_in({module(source)}):
            assert not studies_in(imports(source)), source


def test_nothing_is_kept_in_a_drawer():
    assert not [module(source) for source in SOURCES if source.stem in DRAWERS or DRAWERS & set(source.relative_to(PACKAGE).parts)]


def test_every_public_module_says_what_lives_there():
    public = [source for source in SOURCES if not source.stem.startswith("_") or source.stem == "__init__"]
    assert [module(source) for source in public if not (ast.get_docstring(ast.parse(source.read_bytes())) or "").strip()] == []
