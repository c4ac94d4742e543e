"""Reads the definitions in a source file without importing it.

A definition is a top-level function, class or assignment together with the other top-level statements that bind or change the same name (`f.defvjp(...)`,
`TABLE["x"] = ...`). A top-level `if` or `try` statement is one definition.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from mesocosm.lab.store.references import Import, Reader, Reference, bound_names, imported

REGISTERING = {"add", "append", "defjvp", "defjvps", "defvjp", "extend", "insert", "register", "setdefault", "update"}
"""Methods that change only the object they are called on."""

_FunctionOrClass = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Branches = ast.If | ast.Try | ast.TryStar | ast.Match


@dataclass(frozen=True, eq=False)
class Definition:
    """Top-level statements that belong together.

    Attributes:
        module: their module.
        key: the first name that they bind; the start of their source for loops and statements that bind none.
        names: all names that they bind.
        text: their syntax trees (`references.Reader`).
        imports: imports in their functions.
        acts: whether they may have arbitrary side effects, so that they count whenever their module is imported.
        changes: objects that they change, but do not bind, at import.
        decorators: decorators and class keywords, which may register the definition.
        calls: functions that assignments call, which may have side effects.
        bases: base classes.
        hooks: whether a class defines `__init_subclass__`.
        changes_later: objects that their functions change when called.
        is_data: whether they are more than functions and classes, as assignments are.
    """

    module: str
    key: str
    names: tuple[str, ...]
    text: tuple[str | Reference, ...]
    imports: tuple[Import, ...] = ()
    acts: bool = False
    changes: tuple[Reference, ...] = ()
    decorators: tuple[Reference, ...] = ()
    calls: tuple[Reference, ...] = ()
    bases: tuple[Reference, ...] = ()
    hooks: bool = False
    changes_later: tuple[Reference, ...] = ()
    is_data: bool = False


class Module(NamedTuple):
    """A source file.

    Attributes:
        definitions: in the order of their first statements.
        bindings: name -> the definitions and imports that bind it.
        stars: modules imported with `*`.
        imports: imports that run when the module is imported.
    """

    definitions: tuple[Definition, ...]
    bindings: dict[str, list[Definition | Import]]
    stars: tuple[str, ...]
    imports: tuple[Import, ...]


def binary_module(name: str, content: bytes) -> Module:
    """A compiled module: one definition, the whole file, for all of its names."""
    return Module((Definition(name, name.rpartition(".")[2], (), (hashlib.sha256(content).hexdigest(),), acts=True),), {}, (), ())


def read_module(name: str, source: bytes, *, is_package: bool) -> Module:
    """Read the source of the module `name`.

    Raises:
        SyntaxError: the source is not Python.
    """
    package = name if is_package else name.rpartition(".")[0]
    groups: list[_Group] = []
    by_name: dict[str, _Group] = {}
    bindings: dict[str, list[Definition | Import]] = {}
    imports: list[Import] = []
    stars: list[str] = []
    for statement, runs in _statements(ast.parse(source).body):
        bound = bound_names([statement], package)
        for alias, wanted in bound.items():
            bindings.setdefault(alias, []).extend(wanted or ())
        if isinstance(statement, ast.Import | ast.ImportFrom):
            asked = list(imported(statement, package))
            imports += [wanted for _, wanted in asked if runs]
            stars += [wanted.module for alias, wanted in asked if alias == "*"]
        elif not _does_nothing(statement):
            group = _Group([statement], [alias for alias in bound if alias != "_"])
            touched = [by_name[alias] for alias in (*group.names, *_changed(statement)) if alias in by_name]
            for other in dict.fromkeys(touched):
                groups.remove(other)
                group = other.joined(group)
            groups.append(group)
            by_name |= dict.fromkeys(group.names, group)
    definitions = []
    for group in sorted(groups, key=lambda group: group.statements[0].lineno):
        reader = Reader(package)
        definitions.append(group.read(name, reader, package))
        imports += reader.imports_now
    for definition in definitions:
        for alias in definition.names:
            bindings.setdefault(alias, []).append(definition)
    return Module(tuple(definitions), bindings, tuple(stars), tuple(imports))


@dataclass(eq=False)
class _Group:
    """Statements that bind or change a common name, in order."""

    statements: list[ast.stmt]
    names: list[str]

    def joined(self, later: _Group) -> _Group:
        statements = sorted(self.statements + later.statements, key=lambda statement: (statement.lineno, statement.col_offset))
        return _Group(statements, list(dict.fromkeys(self.names + later.names)))

    def read(self, module: str, reader: Reader, package: str) -> Definition:
        decorators, calls, bases, classes = Reader(package), Reader(package), Reader(package), []
        for statement in self.statements:
            reader.read(statement)
            if isinstance(statement, _FunctionOrClass):
                decorators.read(statement.decorator_list)
            if isinstance(statement, ast.ClassDef):
                classes.append(statement)
                decorators.read(statement.keywords)
                bases.read(statement.bases)
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                calls.read([part.func for part in ast.walk(statement) if isinstance(part, ast.Call)])
        changed = dict.fromkeys(name for statement in self.statements for name in _changed(statement) if name not in self.names)
        return Definition(
            module=module,
            key=self._key(),
            names=tuple(self.names),
            text=reader.text,
            imports=tuple(reader.imports_later),
            acts=any(_acts(statement) for statement in self.statements) or not (self.names or changed),
            changes=tuple(Reference(name) for name in changed),
            decorators=decorators.references,
            calls=calls.references,
            bases=bases.references,
            hooks=any(isinstance(part, ast.FunctionDef) and part.name == "__init_subclass__" for kind in classes for part in kind.body),
            changes_later=tuple(dict.fromkeys(chain.from_iterable(map(_changed_later, self.statements)))),
            is_data=not all(isinstance(statement, _FunctionOrClass) for statement in self.statements),
        )

    def _key(self) -> str:
        named = self.names and not isinstance(self.statements[0], ast.For | ast.While | ast.With)
        return self.names[0] if named else ast.unparse(self.statements[0]).splitlines()[0][:60]


# --- statements at the top of a module --------------------------------------------------------------------------------


def _statements(body: Iterable[ast.stmt], runs: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Statements, and whether they run at import. Unpacks `if TYPE_CHECKING` and skips the body of `if __name__ == "__main__"`."""
    for statement in body:
        test = ast.unparse(statement.test) if isinstance(statement, ast.If) else ""
        if isinstance(statement, ast.If) and test in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _statements(statement.body, runs=False)
            yield from _statements(statement.orelse, runs)
        elif isinstance(statement, ast.If) and test == "__name__ == '__main__'":
            yield from _statements(statement.orelse, runs)
        else:
            yield statement, runs


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass | ast.Assert | ast.Raise) or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))


def _changed_later(statement: ast.stmt) -> Iterator[Reference]:
    """The objects that functions change by name when called, and classes that change themselves as `cls`; may include local names."""
    functions = (node for node in ast.walk(statement) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
    for node in chain.from_iterable(map(ast.walk, functions)):
        match node:
            case ast.Call(func=ast.Attribute(value=changed, attr=method)) if method in REGISTERING:
                pass
            case ast.Attribute(value=changed, ctx=ast.Store() | ast.Del()) | ast.Subscript(value=changed, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Global(names=names):
                yield from (Reference(name, quoted=True) for name in names)
                continue
            case _:
                continue
        attributes: list[str] = []
        while isinstance(changed, ast.Attribute | ast.Subscript):
            attributes = [changed.attr, *attributes] if isinstance(changed, ast.Attribute) else []
            changed = changed.value
        if isinstance(changed, ast.Name):
            name = statement.name if changed.id == "cls" and isinstance(statement, ast.ClassDef) else changed.id
            yield Reference(name, tuple(attributes), quoted=True)


def _inner(statement: _Branches) -> list[ast.stmt]:
    """The statements of all branches."""
    parts = chain.from_iterable(value for _, value in ast.iter_fields(statement) if isinstance(value, list))
    return list(chain.from_iterable([part] if isinstance(part, ast.stmt) else part.body for part in parts))


def _changed(statement: ast.stmt) -> list[str]:
    """Names of the objects that a statement changes but does not bind."""
    if isinstance(statement, _Branches):
        return [name for inner in _inner(statement) for name in _changed(inner)]
    return [root for target in _targets(statement) if (root := _root(target)) is not None]


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement may change something that it neither binds nor names, as a bare call or a loop does."""
    if _does_nothing(statement):
        return False
    if isinstance(statement, _Branches):
        return any(_acts(inner) for inner in _inner(statement))
    if isinstance(statement, ast.Expr):
        return not _changed(statement)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete):
        return any(_root(target) is None for target in _targets(statement))
    return not isinstance(statement, ast.Import | ast.ImportFrom | _FunctionOrClass) and type(statement).__name__ != "TypeAlias"


def _targets(statement: ast.stmt) -> list[ast.expr]:
    """Expressions whose objects a statement changes: `x` in `x.append(1)`, `x.a = 1` and `del x[0]`."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=changed, attr=method))) if method in REGISTERING:
            return [changed]
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            waiting = targets
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            waiting = [target]
        case _:
            return []
    found = []
    while waiting:
        target, *waiting = waiting
        if isinstance(target, ast.Tuple | ast.List):
            waiting = [*target.elts, *waiting]
        elif isinstance(target, ast.Starred):
            waiting = [target.value, *waiting]
        elif not isinstance(target, ast.Name):
            found.append(target)
    return found


def _root(expression: ast.expr) -> str | None:
    while isinstance(expression, ast.Attribute | ast.Subscript):
        expression = expression.value
    return expression.id if isinstance(expression, ast.Name) else None
