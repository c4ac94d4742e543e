"""What counts as a trial's code: what its function imports, looked through packages that only hand names on, and no comment."""

import ast
import sys

import pytest

from mesocosm.lab.store.code import BENCH, _tree_hash, code_hashes

FILES = {
    "__init__.py": '"""A package."""\nfrom many.a import used\nfrom many.b import other\n__all__ = ["other", "used"]\n',
    "a.py": "def used():\n    return 1\n",
    "b.py": "def other():\n    return 2\n",
    "lazy.py": "VALUE = 3\n",
    "types_only.py": "class Kind: ...\n",
    "claims.py": "CLAIMS = []\n",
    "figures.py": "FIGURES = []\n",
    "inner/__init__.py": "from .deep import thing as renamed\n",
    "inner/deep.py": "from ..far import distant\nthing = distant\n",
    "inner/loud.py": "x = 1\n",
    "far.py": "distant = 4\n",
    "whole/__init__.py": "from many.whole.one import first\n",
    "whole/one.py": "first = 1\n",
    "active/__init__.py": "from many.b import other\nTABLE = {name: name for name in 'ab'}\n",
    "active/part.py": "part = 1\n",
    "trials.py": "",
}


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A package on the path that nobody imports; `many(code)` gives the modules that a trial with this code depends on."""
    for name, text in FILES.items():
        (tmp_path / "many" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "many" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def hashes(code: str | None = None, **changed: str) -> dict[str, str]:
        for name, text in changed.items():
            (tmp_path / "many" / f"{name.replace('__', '/')}.py").write_text(text)
        if code is not None:
            (tmp_path / "many" / "trials.py").write_text(code)
        found = code_hashes("many.trials")
        assert not [name for name in sys.modules if name.partition(".")[0] == "many"]
        return found

    return hashes


def ours(hashes: dict[str, str]) -> set[str]:
    return {name.removeprefix("many.") for name in hashes if name.startswith("many.")} - {"trials"}


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("", set()),
        ("import many.a", {"a"}),
        ("from many import a", {"a"}),
        ("from many import used", {"a"}),
        ("from many import used as u, other", {"a", "b"}),
        ("from . import a", {"a"}),
        ("from .a import used", {"a"}),
        ("from .inner import renamed", {"inner.deep", "far"}),
        ("from many.inner.loud import x", {"inner.loud"}),
        ("from many.inner import loud", {"inner.loud"}),
        ("import many.whole", {"whole", "whole.one"}),
        ("from many.whole import *", {"whole", "whole.one"}),
        ("from many import whole", {"whole", "whole.one"}),
        ("from many.active.part import part", {"active", "active.part", "b"}),
        ("def run(config, context):\n    from many.lazy import VALUE\n    return VALUE", {"lazy"}),
        ("if True:\n    import many.lazy", {"lazy"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from many.types_only import Kind\nelse:\n    import many.lazy", {"lazy"}),
        ("from many import claims, figures\nfrom many.claims import CLAIMS", set()),
        ("import numpy.linalg\nfrom many.missing import nothing\nfrom elsewhere import x", set()),
    ],
)
def test_the_walk_follows_every_kind_of_import(many, code, modules):
    assert ours(many(code)) == modules


def test_a_trial_depends_on_what_the_bench_computes_with_but_not_on_the_bench(many):
    found = set(many(""))
    assert set(BENCH) <= found
    assert "mesocosm.learning.static_tree" in found  # through `fit`
    assert not [name for name in found if name.startswith(("mesocosm.lab", "mesocosm.cli", "mesocosm.studies", "mesocosm.nn"))]


def test_studies_of_ours_do_not_depend_on_the_interface(many):
    assert "mesocosm.studies.interface" not in many("from mesocosm.studies.interface import Trial\nfrom mesocosm.lab.store import Run")
    assert "mesocosm.tasks.task" in many("from mesocosm.tasks.task import Task")


def test_comments_docstrings_and_layout_are_no_code(many):
    before = many("def run(config):\n    return config\nclass A:\n    x = 1")
    same = '"""Why."""\n\n# how\ndef run(config):\n    """What."""\n    return   config  # so\n\n\nclass A:\n    """An A."""\n    x = 1\n'
    assert many(same) == before
    assert many("def run(config):\n    return config\nclass A:\n    x = 2") != before
    assert many('def run(config):\n    return "config"\nclass A:\n    x = 1') != before


def test_a_change_is_seen_where_it_is_imported_and_nowhere_else(many):
    before = many("from many import used")
    assert many(b="def other():\n    return 5\n") == before
    after = many(a="def used():\n    return 5\n")
    assert {name for name in after if after[name] != before[name]} == {"many.a"}


def test_a_presets_table_is_no_part_of_the_code():
    """Measured minutes are written into the presets after a record; the config itself is part of the identity by value."""
    with_minutes, without, other = ("SIZE = 1\nPRESETS = {'cpu': 3}\n", "SIZE = 1\nPRESETS = {}\n", "SIZE = 2\nPRESETS = {}\n")
    hashes = [_tree_hash(ast.parse(text)) for text in (with_minutes, without, other)]
    assert hashes[0] == hashes[1] != hashes[2]
