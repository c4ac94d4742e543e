"""Finds the code that a trial depends on: the definitions that its function reaches, each with a hash.

Starting from the trial's function, the types in its config, its model builders and mesocosm's computing functions, every name is followed to its definition
(`references`, `definitions`). Files are read, not imported. Moving a definition, or adding an unreferenced one, does not change an identity.

This is sufficient because code that runs is named somewhere. A method runs on an instance whose class was named where the instance was built or annotated or
the class was subclassed, and a class counts whole. A module passed as a value counts whole. A statement with side effects (a call, a loop) counts in every
imported module. A definition that registers itself counts with its registry. Three things are missed: parts that `importlib` loads by a computed name (a
trial lists them in `user_parts`), registries filled under another name, and side effects of functions from other packages.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mesocosm.lab.store.definitions import REGISTERING, Definition
from mesocosm.lab.store.references import Import, Reference
from mesocosm.lab.store.sources import Sources, Target
from mesocosm.studies.interface import Trial

BENCH = (
    "mesocosm.learning.fit:fit",
    "mesocosm.learning.program:for_each_seed",
    "mesocosm.learning.streams:stream_keys",
    "mesocosm.learning.streams:evaluation_key",
    "mesocosm.analysis.tables:long_table",
)
"""Code behind every trial's numbers that trials reach only through the context."""

LONGEST_LIST = 8


class Code(NamedTuple):
    """A trial's code.

    Attributes:
        name: the name of the trial's function and a hash of everything that it reaches.
        definitions: definition -> hash.
    """

    name: str
    definitions: Mapping[str, str]


def trial_code(trial: Trial) -> Code:
    """The code that a trial's function, its model builders and the types in its config reach.

    Raises:
        ValueError: one of the functions is not defined in a module or closes over values.
    """
    functions = (trial.run, *trial.models.values())
    found = code_hashes(*map(_place, functions), *map(_place, _types(trial.config)), *trial.user_parts)
    return Code(f"{trial.run.__qualname__} {digest(json.dumps(found))}", found)


def code_hashes(*roots: str) -> dict[str, str]:
    """Definition -> hash, for everything that these roots (`module:name`, or `module` for a whole module) and `BENCH` reach in their packages and in
    mesocosm. Other packages count through their versions.

    Raises:
        ValueError: a root has no source.
    """
    sources = Sources(_packages(roots))
    return dict(_code_hashes(roots, sources.state()))


@functools.lru_cache(maxsize=1024)
def _code_hashes(roots: tuple[str, ...], state: Hashable) -> Mapping[str, str]:
    """The hashes while the files are in this state: every trial and measurement of a run asks several times."""
    return hashes(reached(*roots))


def _packages(roots: Iterable[str]) -> frozenset[str]:
    return frozenset({"mesocosm", *(re.split(r"[.:]", root)[0] for root in roots)})


def reached(*roots: str) -> Reached:
    """See `code_hashes`."""
    found = Reached(Sources(_packages(roots)))
    for root in (*roots, *BENCH):
        found.start(root)
    found.follow()
    return found


def changed_code(before: Any, now: Code, known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The names of definitions that differ from the code of a finished trial. `known`: name of a trial's code -> definitions."""
    if before == now.name:
        return []
    if isinstance(before, Mapping):
        return ["something in their modules (the record lists no definitions)"]
    then = known.get(before)
    if then is None:
        return ["unknown definitions (not recorded)"]
    names = sorted(name for name in then.keys() | now.definitions.keys() if then.get(name) != now.definitions.get(name))
    return names or [f"the trial's function (was {before.partition(' ')[0]})"]


def listed(names: Sequence[str]) -> str:
    """Names in one line, shortened if there are many."""
    rest = len(names) - LONGEST_LIST
    return ", ".join(names) if rest <= 1 else f"{', '.join(names[:LONGEST_LIST])} and {rest} more"


# --- roots ------------------------------------------------------------------------------------------------------------


def _place(function: Any) -> str:
    """`module:name` of a function or class; only the module if it is not at top level."""
    if isinstance(function, functools.partial) or not hasattr(function, "__qualname__"):
        raise ValueError(f"{function!r} is not a function of a module; put its arguments into the config")
    if "<" not in function.__qualname__:
        return f"{function.__module__}:{function.__qualname__.partition('.')[0]}"
    if getattr(function, "__closure__", None):
        raise ValueError(f"{function.__module__}.{function.__qualname__} closes over values; put them into the config")
    return function.__module__


def _types(config: Any) -> list[type]:
    """The dataclasses in a config."""
    if isinstance(config, Mapping):
        return [kind for value in config.values() for kind in _types(value)]
    if isinstance(config, list | tuple):
        return [kind for value in config for kind in _types(value)]
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return []
    return [type(config), *(kind for field in dataclasses.fields(config) for kind in _types(getattr(config, field.name)))]


# --- reachable code ---------------------------------------------------------------------------------------------------


class Reached:
    """The definitions found so far and the modules imported with them.

    Attributes:
        sources: the source files.
        definitions: in the order in which they were found.
        modules: the imported modules.
    """

    def __init__(self, sources: Sources):
        self.sources = sources
        self.definitions: dict[Definition, None] = {}
        self.modules: set[str] = set()
        self._whole: set[str] = set()
        self._registered: defaultdict[Definition, list[Definition]] = defaultdict(list)
        self._waiting: list[Definition] = []

    def start(self, root: str) -> None:
        """Add a root: `module:name`, or `module`.

        Raises:
            ValueError: it has no source.
        """
        module, _, name = root.partition(":")
        targets = self.sources.attribute(module, name) if name else (self.sources.module(module),)
        if not any(target.definition or target.module for target in targets):
            raise ValueError(f"{root} has no source file, so changes to it cannot be detected")
        self.execute(module)
        self.take(targets)

    def take(self, targets: Iterable[Target]) -> None:
        """Add the targets of a reference."""
        for target in targets:
            if target.definition is not None:
                self.add(target.definition)
            if target.module is not None and target.module not in self._whole:
                self._whole.add(target.module)
                self._take_whole(target.module)

    def _take_whole(self, module: str) -> None:
        """Add everything that a module defines or re-exports, except a study's presets: a trial's config is part of its identity by value."""
        self.execute(module)
        read = self.sources.read(module)
        assert read is not None
        for definition in read.definitions:
            if definition.key != "PRESETS":
                self.add(definition)
        for bound in read.bindings.values():
            for one in bound:
                if isinstance(one, Import):
                    self.take(self.sources.wanted(one))

    def add(self, definition: Definition) -> None:
        """Add a definition, to be followed."""
        if definition not in self.definitions:
            self.definitions[definition] = None
            self._waiting.append(definition)
            self.execute(definition.module)

    def execute(self, module: str) -> None:
        """Add definitions with side effects at import, and record which definitions register themselves where."""
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in self.modules or (read := self.sources.read(name)) is None:
                continue
            self.modules.add(name)
            parent = name.rpartition(".")[0]
            waiting += [parent, *_modules(read.imports)]
            for definition in read.definitions:
                if definition.acts:
                    self.add(definition)
                for place in self._registries(definition):
                    self._registered[place].append(definition)
                    if place in self.definitions:
                        self.add(definition)

    def _registries(self, definition: Definition) -> Iterable[Definition]:
        """Where a definition may register itself: objects that it changes, whose methods decorate it, or that functions change when given it."""
        for target in self._resolved(definition, definition.changes):
            if target.definition is None:
                self.add(definition)  # it changes a module, or another package
            else:
                yield target.definition
        for target in self._resolved(definition, definition.decorators):
            if target.definition is not None:
                yield from [target.definition] if target.attributes or target.definition.is_data else self._changed_by(target.definition)
        for target in self._resolved(definition, definition.calls):
            if target.definition is not None:
                itself = target.definition.is_data or (target.attributes and target.attributes[-1] in REGISTERING)
                yield from [target.definition] if itself else self._changed_by(target.definition)
        for target in self._resolved(definition, definition.bases):
            if target.definition is not None and self._hooks(target.definition):
                yield from (target.definition, *self._changed_by(target.definition))

    def _resolved(self, definition: Definition, references: Iterable[Reference]) -> Iterable[Target]:
        return (target for reference in references for target in self.sources.targets(definition.module, reference))

    def _hooks(self, definition: Definition, seen: frozenset[Definition] = frozenset()) -> bool:
        """Whether subclassing a class runs a hook."""
        if definition in seen:
            return False
        bases = (target.definition for target in self._resolved(definition, definition.bases))
        return definition.hooks or any(self._hooks(base, seen | {definition}) for base in bases if base is not None)

    def _changed_by(self, function: Definition) -> Iterable[Definition]:
        """The definitions that a function, and everything that it reaches by name, changes when called."""
        found = {function: None}
        waiting = [function]
        while waiting:
            one = waiting.pop()
            yield from (target.definition for target in self._resolved(one, one.changes_later) if target.definition is not None)
            for target in _targets(self.sources, one):
                if target.definition is not None and target.definition not in found:
                    found[target.definition] = None
                    waiting.append(target.definition)

    def follow(self) -> None:
        """Follow references until nothing new is found."""
        while self._waiting:
            definition = self._waiting.pop()
            for module in _modules(definition.imports):
                self.execute(module)
            self.take(_targets(self.sources, definition))
            for registered in self._registered[definition]:
                self.add(registered)


def _modules(imports: Iterable[Import]) -> Iterable[str]:
    """The modules that imports may load; names that are not modules are skipped later."""
    for wanted in imports:
        yield wanted.module
        if wanted.name is not None:
            yield f"{wanted.module}.{wanted.name}"


def _targets(sources: Sources, definition: Definition) -> Iterable[Target]:
    for part in definition.text:
        if isinstance(part, Reference):
            yield from sources.targets(definition.module, part)


# --- hashes -----------------------------------------------------------------------------------------------------------


class _Meant(NamedTuple):
    """A reference in a definition's text, by the name under which the target was defined."""

    name: str
    definition: Definition


def hashes(found: Reached) -> dict[str, str]:
    """Definition -> hash of its text, in which a reference is the name of its target. If two definitions share a name, references to
    them also carry a label, so that they stay distinct."""
    count = Counter(name for definition in found.definitions for name in definition.names)
    texts = {definition: _text(found.sources, definition) for definition in found.definitions}
    labels = _labels(texts) if any(number > 1 for number in count.values()) else {}
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for definition, text in texts.items():
        pinned = (part if isinstance(part, str) else f"{part.name}#{labels[part.definition]}" if count[part.name] > 1 else part.name for part in text)
        by_key[definition.key].append(digest("".join(pinned))[:8])
    return {key: " ".join(sorted(values)) for key, values in sorted(by_key.items())}


def _text(sources: Sources, definition: Definition) -> list[str | _Meant]:
    """The text with references resolved. Names of other packages are written in full, so that the style of an import does not matter."""
    parts: list[str | _Meant] = []
    for part in definition.text:
        if isinstance(part, str):
            parts.append(part)
            continue
        for target in sources.targets(definition.module, part):
            if target.definition is not None:
                parts += ["<definition ", _Meant(target.name, target.definition), f" {'.'.join(target.attributes)}>"]
            else:
                parts.append(f"<{'module' if target.module else 'name'} {target.name}>")
    return parts


def _labels(texts: Mapping[Definition, Sequence[str | _Meant]]) -> dict[Definition, str]:
    """A label for each definition: a hash of its text and the labels of its references, iterated until no more definitions are distinguished."""
    plain = {definition: digest("".join(part if isinstance(part, str) else part.name for part in text)) for definition, text in texts.items()}
    meant = {definition: [part.definition for part in text if isinstance(part, _Meant)] for definition, text in texts.items()}
    labels, told_apart = plain, 0
    while told_apart < (now := len(set(labels.values()))):
        told_apart = now
        labels = {definition: digest(plain[definition] + "".join(labels[one] for one in meant[definition])) for definition in texts}
    return labels


def digest(text: str) -> str:
    """A short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
