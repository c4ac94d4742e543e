"""Where in the code a check is measured."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mesocosm.claims.claim import Claim


def measured_at(study: str, claims: Sequence[Claim]) -> dict[str, str]:
    """Id of a check of the study of this name -> file and line of the function that measures it, in the code as it is now."""
    places = {f"{study}/{claim.id}.{check.name}": line_of(check.measure) for claim in claims for check in claim.checks}
    return {check: place for check, place in places.items() if place is not None}


def line_of(function: Callable[..., Any]) -> str | None:
    """`package/module.py:line` of a function, seen through `functools.partial`; None for what has no line."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    package = sys.modules.get(getattr(function, "__module__", "").partition(".")[0])
    if code is None or package is None or package.__file__ is None:
        return None
    file, root = Path(code.co_filename), Path(package.__file__).parent.parent
    return f"{file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name}:{code.co_firstlineno}"
