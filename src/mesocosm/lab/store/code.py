"""The code that a trial depends on: the syntax trees, without comments and docstrings, of the modules its function imports.

Nothing is imported to find out: modules are looked up as files. A package whose `__init__` only hands names on is looked through, so that a new layer in
`mesocosm.nn` does not make every trial stale that uses another layer.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

BENCH = ("mesocosm.learning.fit", "mesocosm.learning.program", "mesocosm.analysis.tables")
"""What computes every trial's numbers although its function only meets it through the context."""

_EXCLUDED_PARTS = {"claims", "figures"}  # a study's reading of its tables trains nothing
_EXCLUDED_MODULES = ("mesocosm.lab", "mesocosm.cli", "mesocosm.claims", "mesocosm.studies.interface")


class Wanted(NamedTuple):
    """What an import asks for: a whole module, or one name of it ("": only that the package is there)."""

    module: str
    name: str | None = None


def code_hashes(*modules: str) -> dict[str, str]:
    """Module -> hash, for these modules, the bench's own computing modules, and all that they import from their packages and from mesocosm, directly or
    not, at the top of a module or inside a function; not under `if TYPE_CHECKING`.

    `lab`, `cli`, the studies' interface, claims and figures are left out: they change no table. Other packages count through their versions.
    """
    roots = {"mesocosm", *(module.partition(".")[0] for module in modules)}
    found: dict[str, str] = {}
    seen: set[Wanted] = set()
    waiting = [*map(Wanted, modules), *map(Wanted, BENCH)]
    while waiting:
        wanted = waiting.pop()
        if wanted in seen or wanted.module.partition(".")[0] not in roots or _excluded(wanted.module):
            continue
        seen.add(wanted)
        if wanted.name and _source(f"{wanted.module}.{wanted.name}") is not None:
            waiting.append(Wanted(f"{wanted.module}.{wanted.name}"))
            continue
        module = _parsed(wanted.module)
        if module is None or wanted.module == "mesocosm":
            continue
        waiting += [Wanted(package, "") for package in _ancestors(wanted.module)]
        if wanted.name is not None and module.hands_on is not None:
            waiting += [module.hands_on[wanted.name]] if wanted.name in module.hands_on else []
            continue
        found[wanted.module] = module.hash
        waiting += module.imports
    return dict(sorted(found.items()))


def _excluded(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _EXCLUDED_MODULES) or module.rpartition(".")[2] in _EXCLUDED_PARTS


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


# --- one module -----------------------------------------------------------------------------------------------------


class _Parsed(NamedTuple):
    """A module's source.

    Attributes:
        hash: of its syntax tree without docstrings.
        imports: what its import statements ask for.
        hands_on: name -> where it comes from, for a package's `__init__` that holds nothing but imports, `__all__` and plain strings; else None.
    """

    hash: str
    imports: list[Wanted]
    hands_on: dict[str, Wanted] | None


def _parsed(name: str) -> _Parsed | None:
    source = _source(name)
    return None if source is None else _parse(name, source, source.stat().st_mtime_ns)


@cache
def _parse(name: str, source: Path, modified: int) -> _Parsed:
    tree = ast.parse(source.read_bytes())
    is_package = source.name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    imports = [(wanted, alias) for node in _running(tree) for wanted, alias in _asked(node, package)]
    simple = is_package and all(_only_hands_on(statement) for statement in tree.body)
    hands_on = {alias: wanted for wanted, alias in imports if alias} if simple and all(alias for _, alias in imports) else None
    return _Parsed(_tree_hash(tree), [wanted for wanted, _ in imports], hands_on)


def _tree_hash(tree: ast.Module) -> str:
    """Docstrings change nothing; neither does the table of a study's presets, since the config that a trial reads is part of its identity by value."""
    tree.body = [statement for statement in tree.body if not _names_presets(statement)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _names_presets(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["PRESETS"]


def _running(tree: ast.AST) -> list[ast.AST]:
    """All nodes that can be executed, that is without the bodies of `if TYPE_CHECKING`."""
    nodes: list[ast.AST] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return nodes


def _asked(node: ast.AST, package: str) -> list[tuple[Wanted, str]]:
    """What an import statement asks for, and under which name; no name for a whole module and for `*`."""
    if isinstance(node, ast.Import):
        return [(Wanted(alias.name), "") for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
    return [(Wanted(base), "") if alias.name == "*" else (Wanted(base, alias.name), alias.asname or alias.name) for alias in node.names]


def _only_hands_on(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        try:
            ast.literal_eval(statement.value)
        except ValueError:
            return False
        return all(isinstance(target, ast.Name) and target.id == "__all__" for target in statement.targets)
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _source(name: str) -> Path | None:
    """The file of a module, found without importing its packages."""
    root, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(root)
    except ValueError:  # __main__
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None
