"""The code that a trial depends on: the syntax trees, without comments and docstrings, of the modules its function imports."""

import ast
import hashlib
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_EXCLUDED_PARTS = {"claims", "figures"}  # a study's reading of its tables trains nothing
_EXCLUDED_PACKAGES = ("mesocosm.lab", "mesocosm.cli")


def code_hashes(function: Callable[..., Any]) -> dict[str, str]:
    """Module -> hash, for the module that defines `function` and all it imports from its own package and from mesocosm, directly or not.

    `lab`, `cli`, claims and figures are left out: they change no table. Other packages count through their versions.
    """
    module = function.__module__
    roots = {"mesocosm", module.partition(".")[0]}
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name == "mesocosm" or name.startswith(_EXCLUDED_PACKAGES) or name.rpartition(".")[2] in _EXCLUDED_PARTS:
            continue
        source = _source(name)
        if source is None:
            continue
        tree = ast.parse(source.read_bytes())
        found[name] = _tree_hash(tree)
        package = name if source.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [imported for imported in _imports(tree, package) if imported.partition(".")[0] in roots]
    return dict(sorted(found.items()))


def module_hash(name: str) -> str:
    """The hash of one module's syntax tree."""
    source = _source(name)
    if source is None:
        raise ValueError(f"module {name} has no source file")
    return _tree_hash(ast.parse(source.read_bytes()))


@cache
def _source(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _tree_hash(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _imports(tree: ast.Module, package: str) -> list[str]:
    """Every module name an import statement may load, at any depth of the code; names that are no modules are dropped by the caller."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [ancestor for name in names for ancestor in _ancestors(name)]


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
