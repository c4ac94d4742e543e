"""What counts as a trial's code: the definitions that its function reaches, wherever they stand, and no comment."""

import functools
import sys
from dataclasses import dataclass, field

import pytest

import toy_study.trials as toy
from mesocosm.lab.store.code import Code, changed_code, code_hashes, listed, reached, trial_code
from mesocosm.studies.interface import Trial
from toy_study.config import Bowl, Config

FILES = {
    "__init__.py": '"""A package."""\nfrom many.a import used\nfrom many.b import other as another\n__all__ = ["another", "used"]\n',
    "a.py": "import math\ndef used():\n    return math.pi\ndef unused():\n    return used()\n",
    "b.py": "def other():\n    return helper()\ndef helper():\n    return CONSTANT\nCONSTANT, REST = 2, 3\n",
    "lazy.py": "VALUE = 3\nMORE = 4\n",
    "inner/__init__.py": "from .deep import thing as renamed\nfrom . import far\n",
    "inner/deep.py": "from ..distant import distant as away\ndef thing(x=away):\n    return x\n",
    "inner/far.py": "def f():\n    return g()\ndef g():\n    return f()\ndef h():\n    pass\n",
    "distant.py": "distant = 4\n",
    "stars.py": "from many.b import *\nfrom many.a import *\n",
    "kinds.py": "class Base:\n    def act(self):\n        return 1\nclass Kind(Base):\n    rate: 'Rate' = None\nclass Rate:\n    pass\n",
    "settings.py": "import many.noise\nSIZE = 3\n",
    "noise.py": "import jax\njax.config.update('jax_enable_x64', True)\n",
    "attributes.py": "def __getattr__(name):\n    return 3\n",
}


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A package on the path that nobody imports; `many(code)` gives the hashes of what `run` in a module with this code reaches, but for the bench's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {f"many/{name}": text for name, text in FILES.items()}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def hashes(code: str, *roots: str, **changed: str) -> dict[str, str]:
        for name, text in (changed | {"trials": code}).items():
            path = tmp_path / "many" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        sys.path_importer_cache.clear()  # two files written within one tick of the clock
        found = code_hashes("many.trials:run", *roots)
        assert not [name for name in sys.modules if name.partition(".")[0] == "many"]
        return {name: value for name, value in found.items() if name not in bench()}

    return hashes


@functools.cache
def bench():
    return code_hashes().keys()


def run(body: str, head: str = "") -> str:
    return f"{head}\ndef run(config, context):\n    return {body}\n"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (run("None"), set()),
        (run("None", "import many.a\nfrom many import used"), set()),  # imported, not used
        (run("many.a.used()", "import many.a"), {"used"}),
        (run("a.used()", "import many.a as a"), {"used"}),
        (run("a.used", "from many import a"), {"used"}),
        (run("a.used", "from . import a"), {"used"}),
        (run("u()", "from .a import used as u"), {"used"}),
        (run("u() + many.another()", "import many\nfrom many import used as u"), {"used", "other", "helper", "CONSTANT"}),
        (run("renamed", "from .inner import renamed"), {"thing", "distant"}),
        (run("inner.far.h()", "from many import inner"), {"h"}),
        (run("inner.far.f()", "import many.inner as inner"), {"f", "g"}),
        (run("used() + other()", "from many.stars import *"), {"used", "other", "helper", "CONSTANT"}),
        (run("stars.REST", "from many import stars"), {"CONSTANT"}),  # one statement binds both
        (run("VALUE", "if True:\n    from many.lazy import VALUE\nelse:\n    VALUE = 1"), {"VALUE"}),
        (run("VALUE", "try:\n    from many.lazy import VALUE\nexcept ImportError:\n    from many.distant import distant as VALUE"), {"VALUE", "distant"}),
        (run("VALUE", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import many.noise\nelse:\n    from many.lazy import VALUE"), {"VALUE"}),
        ("def run(config, context):\n    from many.lazy import VALUE\n    return VALUE", {"VALUE"}),
        ("def run(config, context):\n    import many.lazy as late\n    return lambda: late.MORE", {"MORE"}),
        ("from many.kinds import Kind\ndef run(config: Kind, context): pass", {"Kind", "Base", "Rate"}),
        ("from many.kinds import Base\ndef run(config: 'Base | None', context): pass", {"Base"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from many.kinds import Base\ndef run(config: 'Base', context): pass", {"Base"}),
        ("from many.b import CONSTANT\ndef run(config, CONSTANT): return [CONSTANT for x in CONSTANT]", set()),  # a local name
        ("from many.a import used\ndef run(config, context):\n    return [used for used in used()]", {"used"}),  # the iterable is not
        ("from many.a import used\ndef run(config, context):\n    def inner():\n        used = 1\n    return used", {"used"}),
        ("from many.a import used\ndef run(config, context):\n    used = lambda: 1\n    def inner():\n        global used\n        return used", {"used"}),
        ("def run(config, context): return LAYERS[config]\nimport many.a\nLAYERS = {'a': many.a.used}", {"LAYERS", "used"}),
        (run("getattr(far, config)", "from many.inner import far"), {"f", "g", "h"}),  # the whole module
        (run("use(a)", "import many.a as a\nfrom jax import use"), {"used", "unused"}),
        (run("attributes.anything", "from many import attributes"), {"__getattr__"}),
        (run("globals()[config]", "from many.lazy import VALUE"), {"VALUE"}),
        (run("SIZE", "from many.settings import SIZE"), {"SIZE", "jax.config.update('jax_enable_x64', True)"}),  # through an import that acts
        (run("None", "import many.settings"), {"jax.config.update('jax_enable_x64', True)"}),
        (run("None", "for i in range(3):\n    VALUES = i"), {"for i in range(3):"}),  # a loop acts
        (run("linalg.norm(x)", "import numpy.linalg\nfrom many.missing import nothing\nfrom elsewhere import x"), set()),
    ],
)
def test_every_way_to_name_something_is_followed(many, code, names):
    assert many(code).keys() - {"run"} == names


def test_a_trial_depends_on_what_the_bench_computes_with_but_not_on_the_bench():
    modules = {definition.module for definition in reached().definitions}
    assert {"mesocosm.learning.fit", "mesocosm.learning.program", "mesocosm.learning.static_tree", "mesocosm.analysis.tables"} <= modules
    assert not [name for name in modules if name.startswith(("mesocosm.lab", "mesocosm.cli", "mesocosm.studies", "mesocosm.nn"))]
    assert {"fit", "Loop", "run_chunk", "for_each_seed", "stream_keys", "long_table"} <= code_hashes().keys()
    assert not {"Context", "Trial", "View"} & code_hashes("toy_study.trials").keys()


# --- what changes it --------------------------------------------------------------------------------------------------

TRIALS = """
import jax
import many.loss as l
from many.parts import Layer, decorated, solve
from many.registry import LAST, TABLE, Plugin, convert, notes, plain

def run(config, context, size=3):
    from many.lazy import VALUE
    return l.loss(Layer(), size) + solve(config) + TABLE[config] + convert(decorated(VALUE)) + Plugin.kinds[0] + LAST + notes.f + plain(1)
"""
PARTS = {
    "loss": "import many.sums\ndef loss(model, size):\n    return many.sums.total(model) / size\ndef untouched():\n    return 7\n",
    "sums": "from functools import partial\ndef total(model):\n    return add(model.act(), CONSTANT)\ndef add(x, y=1):\n    return x + y\nCONSTANT = 5\n",
    "parts": """
import jax
from many.base import Base
from many.wrappers import twice

class Layer(Base):
    '''A layer.'''
    width: int = 3
    '''How wide.'''

@twice
def decorated(x):
    return x

@jax.custom_vjp
def solve(x):
    return x
def _forward(x):
    return x, None
def _backward(_, g):
    return (g,)
solve.defvjp(_forward, _backward)

def unrelated(x):
    return solve(x)
""",
    "base": "class Base:\n    def act(self):\n        return self.width\n",
    "wrappers": "def twice(f):\n    return lambda x: f(f(x))\n",
    "registry": """
from functools import singledispatch
TABLE = {}
TABLE["first"] = 1
def register(name):
    def note(f):
        TABLE[name] = f
        return f
    return note
@singledispatch
def convert(x):
    return x
@convert.register
def _(x: int):
    return x + 1
class Plugin:
    kinds = []
    def __init_subclass__(cls):
        cls.kinds.append(cls)
LAST = None
def last(f):
    global LAST
    LAST = f
class Notes:
    def __call__(self, f):
        self.f = f
notes = Notes()
def plain(f):
    return f
""",
    "extra": """
from many.registry import Plugin, convert, last, notes, plain, register
class Special(Plugin):
    size = 1
@last
def latest():
    return 4
@notes
def noted():
    return 5
@plain
def unregistered():
    return 6
@register('second')
def second():
    return 2
third = register('third')(lambda: 3)
@convert.register
def _(x: str):
    return 'x'
""",
    "__init__": "import many.extra\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "names"),
    [
        ("sums", "return x + y", "return x - y", {"add"}),  # three calls away
        ("sums", "CONSTANT = 5", "CONSTANT = 6", {"CONSTANT"}),
        ("sums", "CONSTANT = 5", "CONSTANT: float = 5.0", {"CONSTANT"}),
        ("sums", "y=1", "y=2", {"add"}),
        ("loss", "/ size", "* size", {"loss"}),
        ("trials", "size=3", "size=4", {"run"}),
        ("base", "self.width", "-self.width", {"Base"}),
        ("parts", "width: int = 3", "width: int = 4", {"Layer"}),
        ("wrappers", "f(f(x))", "f(f(f(x)))", {"twice"}),
        ("parts", "@twice\n", "", {"decorated", "twice"}),
        ("parts", "return (g,)", "return (-g,)", {"_backward"}),
        ("parts", "defvjp(_forward, _backward)", "defvjp(_forward, lambda _, g: (2 * g,))", {"solve", "_backward"}),
        ("parts", "@jax.custom_vjp", "@jax.custom_jvp", {"solve"}),
        ("lazy", "VALUE = 3", "VALUE = 4", {"VALUE"}),  # imported in a function
        ("registry", '"first"] = 1', '"first"] = 2', {"TABLE"}),
        ("registry", "x + 1", "x + 2", {"@convert.register"}),
        ("extra", "'x'", "'y'", {"@convert.register"}),  # registered from another module
        ("extra", "return 2", "return 3", {"second"}),  # registered by a function of ours
        ("extra", "lambda: 3", "lambda: 4", {"third"}),
        ("extra", "size = 1", "size = 2", {"Special"}),
        ("extra", "return 4", "return 5", {"latest"}),
        ("extra", "return 5", "return 6", {"noted"}),
        ("base", "class Base", "import jax\njax.config.update('jax_enable_x64', True)\nclass Base", {"jax.config.update('jax_enable_x64', True)"}),
        ("base", "class Base", "import many.extra\nmany.extra.second.x = 3\nclass Base", {"many.extra.second.x = 3"}),
        ("sums", "CONSTANT = 5", "CONSTANT = 5\nCONSTANT += 1", {"CONSTANT"}),
        ("sums", "CONSTANT = 5", "if add(1) == 2:\n    CONSTANT = 5\nelse:\n    CONSTANT = 6", {"CONSTANT"}),
    ],
)
def test_a_change_to_anything_reached_is_seen_and_named(many, file, old, new, names):
    before = many(TRIALS, **PARTS)
    changed = PARTS | {"lazy": FILES["lazy.py"], "trials": TRIALS}
    assert changed[file].count(old) == 1
    changed[file] = changed[file].replace(old, new)
    after = many(changed.pop("trials"), **changed)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == names


@pytest.mark.parametrize(
    "changed",
    [
        {"loss": f'"""Why."""\n# how\n{PARTS["loss"].replace("size):", "size):  # so")}'},
        {"loss": PARTS["loss"].replace("size):\n", 'size):\n    """What."""\n').replace("model) / size", "model)/(size)")},
        {"loss": PARTS["loss"].replace("return 7", "return 8") + "def more():\n    return loss\nclass Another: ...\nEXTRA = loss\n"},
        {"parts": PARTS["parts"].replace("'''How wide.'''", "'''How broad.'''").replace("'''A layer.'''", "")},
        {"parts": PARTS["parts"].replace("def unrelated(x):", "def unrelated(y):")},
        {"extra": PARTS["extra"].replace("return 6", "return 7") + "@plain\ndef another():\n    return 8\n"},
        {"loss": PARTS["loss"].replace("import many.sums", "from many.sums import total as t").replace("many.sums.total", "t")},  # another style of import
        {"loss": PARTS["loss"].replace("import many.sums\n", "").replace("return many", "import many.sums\n    return many")},
        {"parts": PARTS["parts"].replace("import jax\n", "from jax import custom_vjp\n").replace("jax.custom_vjp", "custom_vjp")},
        {"lazy": 'VALUE = 3\nif __name__ == "__main__":\n    print(VALUE)\n'},
        # moved, and handed on from where it was; moved, and imported from where it is
        {"sums": "from many.deeper.rest import CONSTANT, add, total\n", "deeper/rest": PARTS["sums"], "deeper/__init__": ""},
        {"loss": PARTS["loss"].replace("many.sums", "many.deeper.rest"), "deeper/rest": PARTS["sums"], "deeper/__init__": "", "sums": ""},
        {
            "sums": "from many.more import *\nfrom many.deeper import CONSTANT\n" + PARTS["sums"].replace("CONSTANT = 5\n", ""),
            "more": "",
            "deeper": "CONSTANT = 5\n",
        },
        {"base": "from many.parts2 import Base", "parts2": PARTS["base"]},
    ],
)
def test_moves_additions_comments_and_the_style_of_imports_change_nothing(many, changed):
    assert many(TRIALS, **(PARTS | changed)) == many(TRIALS, **PARTS)


def test_two_definitions_of_one_name_are_not_taken_for_each_other(many):
    texts = {"a": "def scale(x):\n    return 2 * x\n", "b": "def scale(x):\n    return 3 * x\n"}
    code = "from many import a, b\ndef run(config, context):\n    return first(config) - second(config)\n"
    code += "def first(x):\n    return a.scale(x)\ndef second(x):\n    return b.scale(x)\n"
    before = many(code, **texts)
    assert len(before["scale"].split()) == 2
    swapped = many(code.replace("a.scale", "_.scale").replace("b.scale", "a.scale").replace("_.scale", "b.scale"), **texts)
    assert {name for name in before if before[name] != swapped[name]} == {"first", "second"}
    assert many(code.replace("many import a, b", "many import b as a, a as b"), a=texts["b"], b=texts["a"]) == many(code, **texts)


def test_two_of_one_name_are_told_apart_by_what_they_refer_to_however_deep(many):
    """Both `scale` and both `factor` read the same; only `ROOT` differs, two steps below."""
    text = "from many.{} import ROOT\ndef scale(x):\n    return factor(x)\ndef factor(x):\n    return x and scale(ROOT)\n"
    texts = {"a": text.format("c"), "b": text.format("d"), "c": "ROOT = 1\n", "d": "ROOT = 2\n"}
    code = run("a.scale(config) - 2 * b.scale(config)", "from many import a, b")
    before = many(code, **texts)
    after = many(code.replace("a, b", "b as a, a as b"), **texts)
    assert before["run"] != after["run"]
    assert {name: value for name, value in before.items() if name != "run"} == {name: value for name, value in after.items() if name != "run"}


def test_a_module_of_somebodys_part_counts_whole(many, tmp_path):
    (tmp_path / "theirs.py").write_text("from many.a import used\nclass Mixer: ...\ndef other():\n    return used()\n")
    before = many(run("None"), "theirs")
    assert before.keys() == {"run", "Mixer", "other", "used"}
    (tmp_path / "theirs.py").write_text("class Mixer:\n    size = 1\n")
    assert many(run("None"), "theirs").keys() == {"run", "Mixer"}
    assert many(run("None"), "theirs")["Mixer"] != before["Mixer"]


def test_a_presets_table_is_no_part_of_the_code(many):
    """Measured minutes are written into the presets after a record; the config itself is part of the identity by value."""
    code = run("vars(config)", "from many import settings as config2").replace("vars(config)", "vars(config2)")
    found = [many(code, settings=text) for text in ("SIZE = 1\nPRESETS = {'cpu': 3}\n", "SIZE = 1\nPRESETS = {}\n", "SIZE = 2\nPRESETS = {}\n")]
    assert found[0] == found[1] != found[2]


# --- a trial ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclass(frozen=True)
class Outer:
    several: tuple[object, ...] = (Inner(),)
    named: dict[str, object] = field(default_factory=lambda: {"a": Bowl()})


def test_the_types_in_a_config_and_the_builders_of_models_count():
    assert {"Outer", "Inner", "Bowl"} <= trial_code(Trial("a", toy.check_identity, Outer())).definitions.keys()
    with_model = trial_code(Trial("a", toy.check_identity, Config(), models={"ball": toy.build_ball})).definitions
    assert {"build_ball", "Ball"} <= with_model.keys()
    assert not {"build_ball", "Ball"} & trial_code(Trial("a", toy.check_identity, Config())).definitions.keys()


def test_a_trial_reaches_what_it_uses_of_its_module():
    names = {trial.name: trial_code(trial).definitions.keys() - bench() for trial in toy.trials(Config())}
    assert names["identity"] == {"check_identity", "Config", "Bowl"}
    assert names["rolling"] == {"roll", "height", "NoisyDescent", "State", "Ball", "build_ball", "Descent", "Bowl", "Learner"} - bench()
    assert names["probe"] == {"probe", "height", "Ball", "Config", "Bowl"}


def test_a_function_that_holds_values_is_refused_and_one_inside_another_counts_with_its_module():
    factor = 3
    with pytest.raises(ValueError, match="put its arguments into the config"):
        trial_code(Trial("a", functools.partial(toy.roll, None), Config()))
    with pytest.raises(ValueError, match="closes over values"):
        trial_code(Trial("a", lambda config, context: factor, Config()))
    assert {"FILES", "Inner"} <= trial_code(Trial("a", lambda config, context: None, Config())).definitions.keys()


def test_what_differs_is_named_in_a_short_line():
    known = {"roll 1": {"Ball": "1", "height": "2"}, "roll 2": {"Ball": "1", "height": "3", "State": "4"}, "slide 2": {"Ball": "1", "height": "2"}}
    assert changed_code("roll 1", Code("roll 1", known["roll 1"]), known) == []
    assert changed_code("roll 1", Code("roll 2", known["roll 2"]), known) == ["State", "height"]
    assert changed_code("roll 1", Code("slide 2", known["slide 2"]), known) == ["the trial's function (was roll)"]
    assert changed_code("roll 0", Code("roll 1", known["roll 1"]), known) == ["unknown definitions (not recorded)"]
    assert changed_code({"mesocosm.nn.mixers.mesa": "0"}, Code("roll 1", known["roll 1"]), known) == [
        "something in their modules (the record lists no definitions)"
    ]
    assert listed(list("abc")) == "a, b, c"
    assert listed([*map(str, range(20))]) == "0, 1, 2, 3, 4, 5, 6, 7 and 12 more"
