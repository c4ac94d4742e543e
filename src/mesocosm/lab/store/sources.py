"""Looks up source files by module name and resolves names in them to a definition, a whole module, or a name of another package.

Resolution follows all kinds of imports, re-exports by packages, and `from module import *`. What cannot be resolved (an attribute that nothing binds,
`globals()`) resolves to the whole module.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import os
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mesocosm.lab.store.definitions import Definition, Module, binary_module, read_module
from mesocosm.lab.store.references import Import, Reference

EXCLUDED = ("mesocosm.lab", "mesocosm.cli", "mesocosm.studies.interface")
"""Excluded from a trial's code: the interface of studies and the code behind it, which do not change any table."""

DYNAMIC = {"__import__", "eval", "exec", "globals"}
"""Code that uses one of these may use any name of the module."""


class Target(NamedTuple):
    """The target of a reference: a definition with accessed attributes, a whole module, or a name of another package."""

    name: str
    attributes: tuple[str, ...] = ()
    definition: Definition | None = None
    module: str | None = None


class Sources:
    """The source files of some packages, looked up by name."""

    def __init__(self, packages: frozenset[str]):
        self._packages = packages
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}
        self._read: dict[str, Module | None] = {}
        self._resolved: dict[tuple[str, Reference], tuple[Target, ...]] = {}

    def read(self, name: str) -> Module | None:
        """Read a module of these packages; None if it does not count, has no file, or does not exist."""
        if name not in self._read:
            file = self.file(name) if self.counts(name) else None
            self._read[name] = None if file is None else _read(name, file, file.stat().st_mtime_ns, file.stat().st_size)
        return self._read[name]

    def state(self) -> Hashable:
        """When every file of the packages was last changed, and its size: as long as it is the same, so is everything that was read."""
        specs = [spec for package in sorted(self._packages) if (spec := self._spec(package)) is not None]
        folders = [place for spec in specs for place in spec.submodule_search_locations or ()]
        files = [spec.origin for spec in specs if spec.origin is not None and not spec.submodule_search_locations]
        return (*map(_stamp, filter(os.path.isfile, files)), *(stamp for folder in folders for stamp in _stamps(folder)))

    def counts(self, name: str) -> bool:
        """Whether a module is part of a trial's code."""
        return name.partition(".")[0] in self._packages and not any(name == excluded or name.startswith(f"{excluded}.") for excluded in EXCLUDED)

    def module(self, name: str) -> Target:
        """The target of a reference to a module itself."""
        return Target(name.rpartition(".")[2] if name.partition(".")[0] in self._packages else name, module=name if self.read(name) else None)

    def targets(self, module: str, reference: Reference) -> tuple[Target, ...]:
        """The targets of a reference in a module; several if its name is bound several times."""
        if (module, reference) not in self._resolved:
            self._resolved[module, reference] = tuple(self._targets(module, reference))
        return self._resolved[module, reference]

    def _targets(self, module: str, reference: Reference) -> Iterable[Target]:
        if reference.imports:
            found = [target for wanted in reference.imports for target in self.wanted(wanted)]
        elif (known := self._known(module, reference.name)) is not None:
            found = known
        elif reference.quoted:
            return ()
        elif reference.name in DYNAMIC or not (hasattr(builtins, reference.name) or reference.name.startswith("__")):
            return (self.module(module),)
        else:
            found = [Target(reference.name)]
        for attribute in reference.attributes:
            found = [target for one in found for target in self._step(one, attribute)]
        return dict.fromkeys(found)

    def _step(self, target: Target, attribute: str) -> Sequence[Target]:
        if target.definition is not None:
            return [target._replace(attributes=(*target.attributes, attribute))]
        return self.attribute(target.module, attribute) if target.module is not None else [Target(f"{target.name}.{attribute}")]

    def wanted(self, wanted: Import) -> Sequence[Target]:
        """The targets of an import."""
        return [self.module(wanted.module)] if wanted.name is None else self.attribute(wanted.module, wanted.name)

    def attribute(self, module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Sequence[Target]:
        """The targets of a module's attribute; the whole module if it cannot be resolved."""
        if not self.counts(module):
            return [Target(name if module.partition(".")[0] in self._packages else f"{module}.{name}")]
        known = self._known(module, name, seen)
        if known is not None:
            return known
        if self.read(f"{module}.{name}") is not None:
            return [self.module(f"{module}.{name}")]
        return [Target(name)] if name.startswith("__") or self.read(module) is None else [self.module(module)]

    def _known(self, module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> list[Target] | None:
        """The targets that a module's name is bound to, through imports and re-exports; None if nothing binds it."""
        read = self.read(module)
        if read is None or (module, name) in seen:
            return None
        seen |= {(module, name)}
        if name in read.bindings:
            found: list[Target] = []
            for bound in read.bindings[name]:
                if isinstance(bound, Definition):
                    found.append(Target(name, definition=bound))
                else:
                    found += [self.module(bound.module)] if bound.name is None else self.attribute(bound.module, bound.name, seen)
            return found
        for star in read.stars:
            if (found_there := self._known(star, name, seen)) is not None:
                return found_there
        outside = [Target(f"{star}.{name}") for star in read.stars if star.partition(".")[0] not in self._packages]
        return outside if outside and not hasattr(builtins, name) else None

    def file(self, name: str) -> Path | None:
        """The file of a module; None if it has none."""
        spec = self._spec(name)
        return Path(spec.origin) if spec is not None and spec.origin is not None and Path(spec.origin).is_file() else None

    def _spec(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module, found without importing its packages."""
        if name not in self._specs:
            package, _, part = name.rpartition(".")
            if package:
                parent = self._spec(package)
                places = list(parent.submodule_search_locations or []) if parent is not None else []
                self._specs[name] = importlib.machinery.PathFinder.find_spec(part, places) if places else None
            else:
                try:
                    self._specs[name] = importlib.util.find_spec(name)
                except ValueError:  # __main__
                    self._specs[name] = None
        return self._specs[name]


@cache
def _read(name: str, file: Path, modified: int, size: int) -> Module:
    content = file.read_bytes()
    return read_module(name, content, is_package=file.name == "__init__.py") if file.suffix == ".py" else binary_module(name, content)


def _stamps(folder: str) -> Iterable[tuple[str, int, int]]:
    """Those of all files in a folder, but not of bytecode, which follows its source."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (_stamp(os.path.join(place, name)) for name in sorted(files))


def _stamp(file: str) -> tuple[str, int, int]:
    status = os.stat(file)
    return file, status.st_mtime_ns, status.st_size
