"""Options of constructors that had another name before all constructors used the same words."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def renamed(**names: str) -> Callable[[F], F]:
    """Also accept options under earlier names, with a DeprecationWarning: `renamed(hidden="state_dim")`."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def accepting(*arguments: Any, **options: Any) -> Any:
            for old, new in names.items():
                if old in options:
                    if new in options:
                        raise TypeError(f"{old!r} is the earlier name of {new!r}; give one of them")
                    warnings.warn(f"{old!r} is now called {new!r}", DeprecationWarning, stacklevel=2)
                    options[new] = options.pop(old)
            return function(*arguments, **options)

        return accepting  # type: ignore[return-value]

    return decorate
