"""The code that a trial depends on: the definitions that its function reaches, each with a hash, wherever they stand.

From the trial's function, the type of its config, the builders of its models and the bench's own computing functions, every name is followed to what it
refers to (`references`, `definitions`); files are read, nothing is imported. Moving a definition, or adding one that nobody refers to, changes no identity.

Why this is enough: whatever runs was named. A method runs on an instance, whose class was named by whoever built, annotated or subclassed it, and a class
counts whole; a module that is handed on as a value counts whole; a statement that acts when its module is imported (a call, a loop) counts in every module
that is imported; what a definition registers itself into, it is reached with. What cannot be seen: a part that `importlib` loads by a computed name (a trial
says so in `user_parts`), a registry that is filled under another name than its own, and what a function of another package changes besides returning a value.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mesocosm.lab.store.definitions import REGISTERING, Definition
from mesocosm.lab.store.references import Import, Reference
from mesocosm.lab.store.sources import Sources, Target
from mesocosm.studies.interface import Trial

BENCH = (
    "mesocosm.learning.fit:fit",
    "mesocosm.learning.program:for_each_seed",
    "mesocosm.learning.streams:stream_keys",
    "mesocosm.learning.streams:EVALUATION_SEED",
    "mesocosm.analysis.tables:long_table",
)
"""What computes every trial's numbers although its function only meets it through the context."""

LONGEST_LIST = 8


class Code(NamedTuple):
    """A trial's code.

    Attributes:
        name: of the trial's function, and a hash of all that it reaches.
        definitions: each of these and its hash.
    """

    name: str
    definitions: Mapping[str, str]


def trial_code(trial: Trial) -> Code:
    """All that a trial's function, the builders of its models, and the types in its config reach.

    Raises:
        ValueError: one of the functions holds values that the config does not.
    """
    functions = (trial.run, *trial.models.values())
    found = code_hashes(*map(_place, functions), *map(_place, _types(trial.config)), *trial.user_parts)
    return Code(f"{trial.run.__qualname__} {_digest(json.dumps(found))}", found)


def code_hashes(*roots: str) -> dict[str, str]:
    """Definition -> hash, for all that these roots (`module:name`, or `module` for all of it) and the bench's own functions reach in their packages and in
    mesocosm. Other packages count through their versions.

    Raises:
        ValueError: a root is not there.
    """
    return _hashes(reached(*roots))


def reached(*roots: str) -> Reached:
    """See `code_hashes`."""
    found = Reached(Sources(frozenset({"mesocosm", *(re.split(r"[.:]", root)[0] for root in roots)})))
    for root in (*roots, *BENCH):
        module, _, name = root.partition(":")
        targets = found.sources.attribute(module, name) if name else (found.sources.module(module),)
        if not any(target.definition or target.module for target in targets):
            raise ValueError(f"{root} is in no source file, so that nobody can say when it has changed")
        found.execute(module)
        found.take(targets)
    found.follow()
    return found


def changed_code(before: Any, now: Code, known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What differs from the code of a finished trial, by the names of definitions. `known`: name of a trial's code -> definitions."""
    if before == now.name:
        return []
    if isinstance(before, Mapping):
        return ["everything (it was identified by whole modules)"]
    then = known.get(before)
    if then is None:
        return ["something (what it was is not recorded)"]
    names = sorted(name for name in then.keys() | now.definitions.keys() if then.get(name) != now.definitions.get(name))
    return names or [f"the trial: {before.partition(' ')[0]} was its function"]


def listed(names: Sequence[str]) -> str:
    """Names in a line that stays short."""
    rest = len(names) - LONGEST_LIST
    return ", ".join(names) if rest <= 1 else f"{', '.join(names[:LONGEST_LIST])} and {rest} more"


# --- where to start ---------------------------------------------------------------------------------------------------


def _place(function: Any) -> str:
    """`module:name` of a function or class; the module alone of a function that does not stand at its top."""
    if isinstance(function, functools.partial) or not hasattr(function, "__qualname__"):
        raise ValueError(f"{function!r} is no function of a module; put what it is called with into the config")
    if "<" not in function.__qualname__:
        return f"{function.__module__}:{function.__qualname__.partition('.')[0]}"
    if getattr(function, "__closure__", None):
        raise ValueError(f"{function.__module__}.{function.__qualname__} keeps values of the function around it; put them into the config")
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


# --- what is reached --------------------------------------------------------------------------------------------------


class Reached:
    """Definitions found so far, and the modules that are imported with them.

    Attributes:
        sources: where to look.
        definitions: in the order in which they were found.
        modules: what is imported.
    """

    def __init__(self, sources: Sources):
        self.sources = sources
        self.definitions: dict[Definition, None] = {}
        self.modules: set[str] = set()
        self._whole: set[str] = set()
        self._registered: defaultdict[Definition, list[Definition]] = defaultdict(list)
        self._waiting: list[Definition] = []

    def take(self, targets: Iterable[Target]) -> None:
        """Count what a reference came to."""
        for target in targets:
            if target.definition is not None:
                self._add(target.definition)
            if target.module is not None and target.module not in self._whole:
                self._whole.add(target.module)
                self._take_whole(target.module)

    def _take_whole(self, module: str) -> None:
        """All that a module defines and hands on, but for a study's presets: the config that a trial reads is part of its identity by value."""
        self.execute(module)
        read = self.sources.read(module)
        assert read is not None
        for definition in read.definitions:
            if definition.key != "PRESETS":
                self._add(definition)
        for bound in read.bindings.values():
            for one in bound:
                if isinstance(one, Import):
                    self.take(self.sources.wanted(one))

    def _add(self, definition: Definition) -> None:
        if definition not in self.definitions:
            self.definitions[definition] = None
            self._waiting.append(definition)
            self.execute(definition.module)

    def execute(self, module: str) -> None:
        """Count what acts when a module is imported, and note what registers itself where."""
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
                    self._add(definition)
                for place in self._registries(definition):
                    self._registered[place].append(definition)
                    if place in self.definitions:
                        self._add(definition)

    def _registries(self, definition: Definition) -> Iterable[Definition]:
        """Where a definition registers itself, or may: in what it changes; where a method decorates it; in what a function changes that it is given to."""
        for target in self._resolved(definition, definition.changes):
            if target.definition is None:
                self._add(definition)  # it changes a module, or another package
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
        """Whether subclassing a class does something."""
        if definition in seen:
            return False
        bases = (target.definition for target in self._resolved(definition, definition.bases))
        return definition.hooks or any(self._hooks(base, seen | {definition}) for base in bases if base is not None)

    def _changed_by(self, function: Definition) -> Iterable[Definition]:
        """What a function, and all that it reaches by name, changes when it is called."""
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
        """Until nothing new is found."""
        while self._waiting:
            definition = self._waiting.pop()
            for module in _modules(definition.imports):
                self.execute(module)
            self.take(_targets(self.sources, definition))
            for registered in self._registered[definition]:
                self._add(registered)


def _modules(imports: Iterable[Import]) -> Iterable[str]:
    """What imports load; a name that is no module is not found and passed over."""
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
    """A definition in another's text, by the name under which it was defined."""

    name: str
    definition: Definition


def _hashes(found: Reached) -> dict[str, str]:
    """Definition -> hash of its text, in which a reference is the name of what it refers to, under which that stands here too. Where two definitions have the
    same name, a reference carries besides the label of the one that is meant, so that they cannot be taken for each other."""
    count = Counter(name for definition in found.definitions for name in definition.names)
    texts = {definition: _text(found.sources, definition) for definition in found.definitions}
    labels = _labels(texts) if any(number > 1 for number in count.values()) else {}
    hashes: defaultdict[str, list[str]] = defaultdict(list)
    for definition, text in texts.items():
        pinned = (part if isinstance(part, str) else f"{part.name}#{labels[part.definition]}" if count[part.name] > 1 else part.name for part in text)
        hashes[definition.key].append(_digest("".join(pinned))[:8])
    return {key: " ".join(sorted(values)) for key, values in sorted(hashes.items())}


def _text(sources: Sources, definition: Definition) -> list[str | _Meant]:
    """The text with references resolved. Names of other packages are written out, so that the style of an import changes nothing."""
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
    """A label for each definition, of its text and the labels of all it refers to, to the depth at which no more definitions are told apart."""
    plain = {definition: _digest("".join(part if isinstance(part, str) else part.name for part in text)) for definition, text in texts.items()}
    meant = {definition: [part.definition for part in text if isinstance(part, _Meant)] for definition, text in texts.items()}
    labels, told_apart = plain, 0
    while told_apart < (now := len(set(labels.values()))):
        told_apart = now
        labels = {definition: _digest(plain[definition] + "".join(labels[one] for one in meant[definition])) for definition in texts}
    return labels


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
