"""Reads and finds the layer that a user names: `mesa`, `gated-mesa(heads=2)`, `package.module:Name` or `package.module:Name(option=literal)`.

The registry of our layers is imported by its name, so that a trial's code does not reach all of them: a trial lists the one that it trains (`code_of`).
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

FORMS = "write a name from `mesocosm layers` or package.module:Name, and options as in Name(heads=2)"


class PartName(NamedTuple):
    """A layer as the user names it.

    Attributes:
        path: a name in the registry, or `package.module:Name`.
        options: the options of its constructor.
    """

    path: str
    options: Mapping[str, Any]


def read_name(text: str) -> PartName:
    """Read a layer's name and its options, which must be literals.

    Raises:
        ValueError: the text is not a name, or an option is not a literal.
    """
    parts = re.fullmatch(r"\s*([^\s():]+(?::[^\s():]+)?)\s*(\(.*\))?\s*", text, re.DOTALL)
    if parts is None:
        raise ValueError(f"{text!r} is not a layer: {FORMS}")
    path, arguments = parts.groups()
    return PartName(path, {} if arguments is None else _read_options(text, arguments))


def _read_options(text: str, arguments: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="error"):  # such as an invalid escape
            call = ast.parse(f"_{arguments}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise ValueError(f"{text!r} is not a layer: {FORMS}")
    if call.args:
        raise ValueError(f"{text}: the option {ast.unparse(call.args[0])} has no name; write options as in Name(heads=2)")
    options: dict[str, Any] = {}
    for option in call.keywords:
        if option.arg is None or option.arg in options:
            raise ValueError(f"{text}: write each option once, as in Name(heads=2)")
        try:
            options[option.arg] = ast.literal_eval(option.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise ValueError(
                f"{text}: {option.arg}={ast.unparse(option.value)} is not a literal (a number, a quoted string, True, False, None, or a tuple, list or dict "
                "of these); for other values, write a function (dim, *, key) that builds the layer and name it as package.module:function"
            ) from None
    return options


def registered(name: str) -> Any:
    """The entry of a layer in the registry (`mesocosm.nn.LAYERS`).

    Raises:
        ValueError: the registry has no such name.
    """
    layers = importlib.import_module("mesocosm.nn.layers").LAYERS
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=2)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"there is no layer {name!r}; {meant}`mesocosm layers` lists them, and your own is package.module:Name")
    return layers[name]


def constructor(path: str) -> Callable[..., Any]:
    """The function that builds the layer: for a class, its `create` if there is one, otherwise the class itself; or the named function.

    Raises:
        ValueError: it cannot be found or called.
    """
    module, colon, name = path.partition(":")
    if not colon:
        return registered(path).create
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"{path}: the module {module} cannot be imported ({type(error).__name__}: {error})") from error
    for attribute in name.split("."):
        if not hasattr(found, attribute):
            place = f"module {module}" if inspect.ismodule(found) else f"{'class' if isinstance(found, type) else 'object'} {found.__name__}"
            raise ValueError(f"{path}: the {place} has no {attribute}")
        found = getattr(found, attribute)
    create = getattr(found, "create", None) if isinstance(found, type) else None
    if callable(create):
        return create
    if not callable(found):
        raise ValueError(f"{path} is neither a class nor a function")
    return found


def options_of(build: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """The options of a constructor (dim, *, key, ...) by name; None if it accepts any option or has no signature."""
    try:
        parameters = list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    named = [one for one in parameters[1:] if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return {one.name: one for one in named if one.name != "key"}


def find_constructor(text: str) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """The constructor that the user names, and the options to call it with.

    Raises:
        ValueError: the name cannot be read or found, or the constructor does not take an option.
    """
    path, options = read_name(text)
    build = constructor(path)
    taken = options_of(build)
    for option in options:
        if taken is not None and option not in taken:
            known = f"its options are {', '.join(taken)}" if taken else "it has no options"
            raise ValueError(f"{text}: {path} has no option {option!r}; {known}")
    return build, options


def code_of(text: str) -> tuple[str, ...]:
    """The code of the named layer, for a trial's `user_parts`: the class or function of ours, or the whole module of a user's. Imports no user's module."""
    try:
        path = read_name(text).path
    except ValueError:
        return ()  # a run that is only read; `check_mixer` rejects it before training
    module, _, name = path.partition(":")
    if name:
        return (f"{module}:{name.partition('.')[0]}" if module.partition(".")[0] == "mesocosm" else module,)
    layer = importlib.import_module("mesocosm.nn.layers").LAYERS.get(path)
    if layer is None:
        return ()
    owner = getattr(layer.create, "__self__", layer.create)
    return (f"{owner.__module__}:{owner.__qualname__}",)
