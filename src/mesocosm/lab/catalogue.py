"""Which studies there are: ours by walking `mesocosm/studies`, other packages' by the entry point group `mesocosm.studies`.

Finding a study imports its package's `__init__` alone, which holds `STUDY`; nothing here imports JAX.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from importlib import metadata

import mesocosm.studies
from mesocosm.lab.errors import UserError, error_line
from mesocosm.studies.interface import Study

GROUP = "mesocosm.studies"


def packages() -> dict[str, str]:
    """Study name -> package, ours first, each part by name; nothing is imported. An entry point cannot take the name of one of ours."""
    folder = mesocosm.studies
    ours = {module.name.replace("_", "-"): f"{folder.__name__}.{module.name}" for module in pkgutil.iter_modules(folder.__path__) if module.ispkg}
    theirs = {point.value.rpartition(".")[2].replace("_", "-"): point.value for point in metadata.entry_points(group=GROUP)}
    return dict(sorted(ours.items())) | dict(sorted((name, package) for name, package in theirs.items() if name not in ours))


def find(name: str) -> Study:
    """The study of this name; underscores may stand for dashes.

    Raises:
        UserError: there is no such study, or its package cannot be imported or holds no `STUDY`.
    """
    known = packages()
    package = known.get(name.replace("_", "-"))
    if package is None:
        raise UserError(f"there is no study {name!r}{suggestion(name, known)}")
    try:
        study = getattr(importlib.import_module(package), "STUDY", None)
    except Exception as error:
        raise UserError(f"study {name!r} cannot be imported from {package}: {error_line(error)}") from error
    if not isinstance(study, Study):
        raise UserError(f"study {name!r}: the package {package} holds no STUDY")
    return study


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to put behind `there is no ...`: the nearest known word, and all of them where they are few."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    listed = f" ({', '.join(words)})" if 0 < len(words) <= 12 else ""
    return f"; did you mean {near[0]!r}?{listed}" if near else f"; known are {', '.join(words)}" if listed else ""
