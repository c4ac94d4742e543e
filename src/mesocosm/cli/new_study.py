"""The handler of `mesocosm new-study`, which creates a study that runs. In a checkout of mesocosm, it also adds a test, a page and a README row."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path

from mesocosm.lab.catalogue import comparisons, packages
from mesocosm.lab.errors import UserError

MODULES = ("__init__", "config", "trials", "train", "tables", "claims", "figures")
PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "one-head"
version = "0.1.0"
dependencies = ["mesocosm"]

[project.entry-points."mesocosm.studies"]
one-head = "one_head"
"""


def new_study(name: str, folder: Path) -> list[Path]:
    """Write the files and return their paths.

    Args:
        name: lower-case words joined by dashes.
        folder: a checkout of mesocosm, or the folder in which to create a package.

    Raises:
        UserError: the name is invalid or taken, or a file already exists.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise UserError(f"{name!r} cannot name a study; use lower-case letters, digits and dashes, as in one-head")
    if name in (taken := packages() | comparisons()):
        raise UserError(f"there is a study {name!r} already, in {taken[name]}")
    house = (folder / "src" / "mesocosm" / "studies").is_dir()
    files = in_the_house(folder, module, name) if house else on_its_own(folder / name, module)
    made = {path: rewritten(text, name, f"mesocosm.studies.{module}" if house else module) for path, text in files.items()}
    if there := [path for path in made if path.exists()]:
        raise UserError(f"{there[0]} exists; choose another name or folder")
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if house:
        add_row(folder / "README.md", name)
    return list(made)


def in_the_house(folder: Path, module: str, name: str) -> dict[Path, str]:
    """The study, its test and its page in a checkout."""
    package = folder / "src" / "mesocosm" / "studies" / module
    return {
        **{package / f"{part}.py": template(f"{part}.py") for part in MODULES},
        folder / "tests" / "studies" / f"test_{module}.py": template("test.py"),
        folder / "docs" / "studies" / f"{name}.md": template("page.md"),
    }


def on_its_own(folder: Path, module: str) -> dict[Path, str]:
    """A package with an entry point, so that mesocosm finds the study once it is installed."""
    package = folder / "src" / module
    return {
        **{package / f"{part}.py": template(f"{part}.py") for part in MODULES},
        folder / "tests" / f"test_{module}.py": template("test.py"),
        folder / "pyproject.toml": PYPROJECT,
    }


def template(file: str) -> str:
    """Read a template file; a test checks that the templates equal the study in CONTRIBUTING.md."""
    return resources.files("mesocosm.cli").joinpath("study_template", f"{file}.txt").read_text(encoding="utf-8")


def rewritten(text: str, name: str, package: str) -> str:
    """Rename the study in a template."""
    title = name.replace("-", " ").capitalize()
    text = re.sub(r"^(from|import) one_head\b", rf"\1 {package}", text, flags=re.MULTILINE)
    text = re.sub(r"(^from mesocosm[^\n(]*\n)+", lambda block: "".join(sorted(block[0].splitlines(keepends=True))), text, flags=re.MULTILINE)
    return text.replace("one_head", name.replace("-", "_")).replace("one-head", name).replace("One head,", f"{title},").replace('"One head"', f'"{title}"')


def add_row(readme: Path, name: str) -> None:
    """Add the study after the last one in the README's table, or link its page if it is already listed there."""
    lines = readme.read_text(encoding="utf-8").splitlines(keepends=True)
    row = f"| [`{name}`](docs/studies/{name}.md) | the paper (year) | what emerges | on the bench, no record yet |\n"
    rows = [number for number, line in enumerate(lines) if re.match(r"\| (\[)?`[a-z0-9-]+`", line) and line.count("|") == 5]
    announced = [number for number in rows if lines[number].startswith(f"| `{name}` |")]
    if announced:
        _, _, paper, emerges, *_ = lines[announced[0]].split("|")
        lines[announced[0]] = f"| [`{name}`](docs/studies/{name}.md) |{paper}|{emerges}| on the bench, no record yet |\n"
    elif rows:
        lines.insert(rows[-1] + 1, row)
    readme.write_text("".join(lines), encoding="utf-8")
