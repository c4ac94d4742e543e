"""Hashes the code behind a check: everything that its measurement and its control reach.

A measurement is a function, a partial, or a `Measure` around closures. The walk visits its parts recursively. A function or class becomes a hash of all
definitions that it reaches (`code.Reached`), so moving it, or editing what it does not reach, changes nothing. The values that a closure holds are visited
too. Functions of packages other than mesocosm and the study's own package count by name.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
import types
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mesocosm.claims.claim import Claim
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.tables import Column
from mesocosm.lab.store.code import Reached, digest, hashes
from mesocosm.lab.store.definitions import Definition
from mesocosm.lab.store.references import Reader
from mesocosm.lab.store.sources import Sources
from mesocosm.studies.interface import Study


def current_fingerprints(study: Study) -> dict[str, str]:
    """Check -> fingerprint of the check and of its code as they are now."""
    return fingerprints(study.claims, measurement_codes(study.package, study.claims))


def measurement_codes(package: str, claims: Sequence[Claim]) -> dict[str, str]:
    """Check ("C2.loss") -> hash of the code of its measurement and control.

    Args:
        package: the study's package.
        claims: its claims.
    """
    packages = frozenset({"mesocosm", package.partition(".")[0]})
    walk = _Walk(_files(packages, Sources(packages).state()))
    return {
        f"{claim.id}.{check.name}": digest(json.dumps([walk.text(check.measure), walk.text(check.control.measure)]))
        for claim in claims
        for check in claim.checks
    }


class _Files(NamedTuple):
    """What was found in files so far, since checks share most of their code.

    Attributes:
        sources: the files.
        roots: a name in them -> the hash of what it reaches.
        lambdas: module -> line -> its lambdas.
    """

    sources: Sources
    roots: dict[str, str]
    lambdas: dict[str, Mapping[int, Sequence[ast.Lambda]]]


@functools.lru_cache(maxsize=16)
def _files(packages: frozenset[str], state: Hashable) -> _Files:
    """Shared as long as the files are in one state."""
    return _Files(Sources(packages), {}, {})


class _Walk:
    """Describes objects as text in which functions and classes are hashes of what they reach."""

    def __init__(self, files: _Files):
        self._sources, self._roots, self._lambdas = files
        self._known: dict[int, tuple[Any, str]] = {}
        """Id -> the object, kept so that its id is not reused, and its text."""

    def text(self, value: Any) -> str:
        """The text of an object."""
        if id(value) not in self._known:
            self._known[id(value)] = value, "<itself>"
            self._known[id(value)] = value, f"{type(value).__name__}({digest(json.dumps(self._parts(value)))})"
        return self._known[id(value)][1]

    def _parts(self, value: Any) -> Any:
        """What an object is made of, as JSON."""
        match value:
            case None | bool() | int() | float() | complex() | bytes():
                return repr(value)
            case Column():
                return [value.table.name, str(value)]
            case str():
                return str(value)
            case list() | tuple():
                return [self.text(part) for part in value]
            case set() | frozenset():
                return sorted(map(self.text, value))
            case Mapping():
                return sorted([self.text(key), self.text(part)] for key, part in value.items())
            case np.ndarray():
                return [str(value.dtype), value.shape, digest(repr(value.tolist()))]
            case pl.DataFrame():
                return repr(value.to_dict(as_series=False))
            case pl.Expr():
                return str(value)
            case type():
                return self._root(value.__module__, value.__qualname__)
            case functools.partial():
                return list(map(self.text, (value.func, value.args, value.keywords)))
            case types.MethodType():
                return list(map(self.text, (value.__self__, value.__func__)))
            case types.ModuleType():
                return value.__name__
            case _ if hasattr(value, "__qualname__"):
                return self._function(value)
        return [self._root(type(value).__module__, type(value).__qualname__), *self._state(value)]

    def _state(self, value: Any) -> list[Any]:
        """The attributes of an instance; its repr without memory addresses if it has none."""
        if dataclasses.is_dataclass(value):
            return [[field.name, self.text(getattr(value, field.name))] for field in dataclasses.fields(value)]
        held = getattr(value, "__dict__", None)
        return [re.sub(r" at 0x[0-9a-f]+", "", repr(value))] if held is None else [[name, self.text(part)] for name, part in sorted(held.items())]

    def _function(self, function: Any) -> list[Any]:
        """A function: what it reaches, the values in its closure and in those of our decorators, and, for a local function, its defaults."""
        parts, wrappers = [], [function]
        while hasattr(wrappers[-1], "__wrapped__"):
            wrappers.append(wrappers[-1].__wrapped__)
        for each in wrappers:
            if each is wrappers[-1] or self._sources.counts(str(getattr(each, "__globals__", {}).get("__name__"))):
                parts += [self.text(value) for value in _closed_over(each)]
        inner = wrappers[-1]
        if "<" in inner.__qualname__:
            parts += [self.text(getattr(inner, "__defaults__", None)), self.text(getattr(inner, "__kwdefaults__", None))]
        module, outermost = str(inner.__module__), inner.__qualname__.partition(".")[0]
        return [self._lambda(inner) if outermost.startswith("<") else self._root(module, outermost, inner), *parts]

    def _root(self, module: str, name: str, function: Any = None) -> str:
        """A top-level name of a module, with the hash of everything that it reaches if the module is ours."""
        name = name.partition(".")[0]
        if not self._sources.counts(module):
            return f"{module}.{name}"
        if (root := f"{module}:{name}") not in self._roots:
            found = Reached(self._sources)
            try:
                found.start(root)
            except ValueError:  # it was not read from a file
                return f"{name} {_compiled(getattr(function, '__code__', None))}"
            self._roots[root] = self._hash(found)
        return f"{name} {self._roots[root]}"

    def _lambda(self, function: Any) -> str:
        """A module-level lambda: the hash of all lambdas that begin on its line, and of everything that they reach."""
        module, line = str(function.__module__), function.__code__.co_firstlineno
        file = self._sources.file(module) if self._sources.counts(module) else None
        if file is None or file.suffix != ".py":
            return _compiled(function.__code__)
        root = f"{module}:{line}"
        if root not in self._roots:
            if module not in self._lambdas:
                self._lambdas[module] = _lambdas(ast.parse(file.read_bytes()))
            reader = Reader(module if file.name == "__init__.py" else module.rpartition(".")[0])
            reader.read(list(self._lambdas[module].get(line, ())))
            found = Reached(self._sources)
            found.execute(module)
            found.add(Definition(module, "<lambda>", (), reader.text, tuple(reader.imports_later)))
            self._roots[root] = self._hash(found)
        return self._roots[root]

    def _hash(self, found: Reached) -> str:
        found.follow()
        return digest(json.dumps(hashes(found)))


def _lambdas(tree: ast.Module) -> Mapping[int, Sequence[ast.Lambda]]:
    """Line -> the lambdas that begin on it."""
    found: dict[int, list[ast.Lambda]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
    return found


def _closed_over(function: Any) -> Iterable[Any]:
    """The names and values of the variables that a function closes over; a variable without a value gives its name alone."""
    cells = zip(function.__code__.co_freevars, getattr(function, "__closure__", None) or (), strict=False) if hasattr(function, "__code__") else ()
    for name, cell in cells:
        try:
            yield [name, cell.cell_contents]
        except ValueError:
            yield [name]


def _compiled(code: Any) -> str:
    """The hash of a function's bytecode, for functions without a source file."""
    if not isinstance(code, types.CodeType):
        return ""
    constants = [_compiled(constant) if isinstance(constant, types.CodeType) else repr(constant) for constant in code.co_consts]
    return digest(json.dumps([code.co_code.hex(), code.co_names, constants]))
