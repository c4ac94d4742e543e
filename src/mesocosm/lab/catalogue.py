"""Finds studies: those in `mesocosm/studies`, and those of other packages through the entry point group `mesocosm.studies`. Comparisons of parts, in
`mesocosm/comparisons`, are found by name, but they are of no paper and belong to no list of studies.

Finding a study imports only its package's `__init__`, which defines `STUDY`. This module does not import JAX.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from importlib import metadata
from types import ModuleType

import mesocosm.comparisons
import mesocosm.studies
from mesocosm.lab.errors import UserError, error_line
from mesocosm.studies.interface import Study

GROUP = "mesocosm.studies"


def packages() -> dict[str, str]:
    """Study name -> package, ours first, then by name. Imports no study. Our studies take precedence over entry points of the same name."""
    ours = _packages_in(mesocosm.studies)
    theirs = {point.value.rpartition(".")[2].replace("_", "-"): point.value for point in metadata.entry_points(group=GROUP)}
    return dict(sorted(ours.items())) | dict(sorted((name, package) for name, package in theirs.items() if name not in ours))


def comparisons() -> dict[str, str]:
    """Name of a comparison of parts -> package. A comparison is run and read as a study is."""
    return _packages_in(mesocosm.comparisons)


def _packages_in(folder: ModuleType) -> dict[str, str]:
    return {module.name.replace("_", "-"): f"{folder.__name__}.{module.name}" for module in pkgutil.iter_modules(folder.__path__) if module.ispkg}


def find(name: str) -> Study:
    """The study or comparison of this name; underscores may stand for dashes. A comparison takes precedence.

    Raises:
        UserError: there is no such study, or its package cannot be imported or does not define `STUDY`.
    """
    known = packages()
    wanted = name.replace("_", "-").lower()
    package = (known | comparisons()).get(name.replace("_", "-"))
    if package is None:
        raise UserError(f"there is no study {name!r}{suggestion(wanted, known)}")
    try:
        study = getattr(importlib.import_module(package), "STUDY", None)
    except Exception as error:
        raise UserError(f"study {name!r} cannot be imported from {package}: {error_line(error)}") from error
    if not isinstance(study, Study):
        raise UserError(f"study {name!r}: the package {package} does not define STUDY")
    return study


def suggestion(word: str, known: Iterable[str]) -> str:
    """Continues "there is no ..." with the nearest known word, and with all known words if they are few."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    listed = f" ({', '.join(words)})" if 0 < len(words) <= 12 else ""
    return f"; did you mean {near[0]!r}?{listed}" if near else f"; available: {', '.join(words)}" if listed else ""
