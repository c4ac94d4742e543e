"""Finds what source code refers to: serialises its syntax tree as text, in which each name that is not local is a `Reference`.

The text omits docstrings, comments, layout and import statements; imported names are resolved where they are used. A name that may or may not be local
counts as the module's, so that the result can include too much but never too little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Bound = dict[str, list["Import"] | None]


class Import(NamedTuple):
    """The target of an import: a module, or one name in it."""

    module: str
    name: str | None = None


class Reference(NamedTuple):
    """A name that is not local, with the attributes accessed on it: `jax` with `tree` and `map`.

    Attributes:
        name: as written.
        attributes: in order.
        imports: what the name stands for if the function itself imports it; otherwise the name is the module's.
        quoted: whether it is in a quoted annotation, where it may be an array's shape instead of a name.
    """

    name: str
    attributes: tuple[str, ...] = ()
    imports: tuple[Import, ...] = ()
    quoted: bool = False


def bound_names(statements: Iterable[ast.AST], package: str) -> Bound:
    """Names that statements bind in their own scope, each with the imports that bind it; None if the scope declares them `global`."""
    names: Bound = {}
    elsewhere: list[str] = []
    waiting = list(statements)[::-1]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.setdefault(name, [])
                continue
            case ast.Lambda():
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                for part in ast.walk(node):
                    if isinstance(part, ast.NamedExpr):
                        names.setdefault(part.target.id, [])
                continue
            case ast.Import() | ast.ImportFrom():
                for alias, wanted in imported(node, package):
                    if alias not in ("", "*"):
                        names[alias] = [*(names.get(alias) or []), wanted]
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.setdefault(name, [])
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                names.setdefault(name, [])
            case ast.Global(names=declared):
                names |= dict.fromkeys(declared)
            case ast.Nonlocal(names=declared):
                elsewhere += declared
        waiting += list(ast.iter_child_nodes(node))[::-1]
    return {name: found for name, found in names.items() if name not in elsewhere}


def imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    """The names that an import statement binds and their targets; the name is empty for a module that is only loaded."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            yield "", Import(alias.name)
            yield (alias.asname, Import(alias.name)) if alias.asname else (root, Import(root))
        return
    parts = package.split(".")
    base = ".".join([*(parts[: len(parts) - node.level + 1] if node.level else []), *([node.module] if node.module else [])])
    for alias in node.names:
        yield ("*", Import(base)) if alias.name == "*" else (alias.asname or alias.name, Import(base, alias.name))


class Reader:
    """Serialises syntax trees and tracks which names are local.

    Attributes:
        imports_now: imports that run when the module is imported.
        imports_later: imports that run when a function is called.
    """

    def __init__(self, package: str):
        self._package = package
        self._parts: list[str | Reference] = []
        self._scopes: list[Bound] = []
        self._in_quotes = False
        self.imports_now: list[Import] = []
        self.imports_later: list[Import] = []

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references found, in order."""
        return tuple(part for part in self._parts if isinstance(part, Reference))

    @property
    def text(self) -> tuple[str | Reference, ...]:
        """The serialised text, with neighbouring strings joined."""
        found: list[str | Reference] = []
        strings: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                strings.append(part)
            else:
                found += ["".join(strings), part]
                strings = []
        return (*found, "".join(strings))

    def read(self, value: Any) -> None:
        """Read a node, a list of nodes, or another field value."""
        match value:
            case list():
                self._parts.append("[")
                for part in value:
                    self.read(part)
                self._parts.append("]")
            case ast.Import() | ast.ImportFrom():
                (self.imports_later if self._scopes else self.imports_now).extend(wanted for _, wanted in imported(value, self._package))
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring, or nothing
            case ast.Name():
                self._name(value, ())
            case ast.Attribute():
                self._attribute(value)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(value)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(value)
            case ast.ClassDef():
                self._class(value)
            case ast.AST():
                self._fields(value)
            case _:
                self._parts.append(f"{value!r} ")

    def _fields(self, node: ast.AST, leave_out: tuple[str, ...] = ()) -> None:
        """Skips empty fields, so that Python versions with additional fields give the same text."""
        self._parts.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            empty = value == [] or (value is None and not isinstance(node, ast.Constant))
            if empty or name in ("ctx", "kind", "type_comment", *leave_out):
                continue
            self._parts.append(f"{name}=")
            self.read(value)
            if name in ("annotation", "returns") and isinstance(value, ast.expr):
                self._quoted(value)
        self._parts.append(")")

    def _quoted(self, annotation: ast.expr) -> None:
        """Reads references in quoted annotations."""
        for part in ast.walk(annotation):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    expression = ast.parse(part.value.strip(), mode="eval").body
                except (SyntaxError, ValueError):
                    continue
                self._in_quotes = True
                self.read(expression)
                self._in_quotes = False

    def _name(self, node: ast.Name, attributes: tuple[str, ...]) -> None:
        scope = next((scope for scope in reversed(self._scopes) if node.id in scope), None)
        found = None if scope is None else scope[node.id]
        if found:
            self._parts.append(Reference(node.id, attributes, tuple(found), self._in_quotes))
        elif found is None and (scope is not None or isinstance(node.ctx, ast.Load) or attributes):
            self._parts.append(Reference(node.id, attributes, (), self._in_quotes))
        else:
            self._parts.append(f"{'.'.join((node.id, *attributes))} ")

    def _attribute(self, node: ast.Attribute) -> None:
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._name(inner, tuple(attributes))
        else:
            self.read(inner)
            self._parts.append(f".{'.'.join(attributes)} ")

    def _function(self, node: Function) -> None:
        """Decorators, defaults and annotations belong to the enclosing scope; the body has its own scope."""
        with self._type_parameters(node):
            self._fields(node, leave_out=("body",))
            body = node.body if isinstance(node.body, list) else [node.body]
            takes = node.args
            arguments = [*takes.posonlyargs, *takes.args, *takes.kwonlyargs, *filter(None, (takes.vararg, takes.kwarg))]
            self._scopes.append(bound_names(body, self._package) | {argument.arg: [] for argument in arguments})
            self.read(body)
            self._scopes.pop()

    def _class(self, node: ast.ClassDef) -> None:
        """A class's statements see its names and its methods do not, so they count as the module's. Imports in its body count even if unused."""
        for statement in node.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._parts += [Reference(alias, (), (wanted,)) for alias, wanted in imported(statement, self._package)]
        with self._type_parameters(node):
            self._fields(node)

    @contextmanager
    def _type_parameters(self, node: ast.AST) -> Iterator[None]:
        """`T` in `def f[T](...)`, from Python 3.12 on."""
        scope: Bound = {parameter.name: [] for parameter in getattr(node, "type_params", ())}
        self._scopes += [scope] if scope else []
        yield
        if scope:
            self._scopes.pop()

    def _comprehension(self, node: Comprehension) -> None:
        """The first iterable belongs to the enclosing scope."""
        self._parts.append("(")
        self.read(node.generators[0].iter)
        targets = [part for generator in node.generators for part in ast.walk(generator.target)]
        self._scopes.append({part.id: [] for part in targets if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)})
        for number, generator in enumerate(node.generators):
            self._fields(generator, leave_out=("iter",) if number == 0 else ())
        self._fields(node, leave_out=("generators",))
        self._scopes.pop()
        self._parts.append(")")
