"""The code of the real studies' trials: whatever runs is reached, whatever is reached matters, what is elsewhere does not, and moves change nothing."""

import ast
import importlib.machinery
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import calls
import pytest
from calls import SOURCE, called, roots, unreached

from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.run import context
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import code, parameters, sources
from mesocosm.lab.store.definitions import read_module

STUDIES = sorted(name for name, package in packages().items() if package.startswith("mesocosm."))
EVERY = pytest.mark.parametrize("study", STUDIES)
# What is asked of the search for code, not of a study, is asked of two studies in `make whole` and of all in `make slow`.
ALWAYS = {"incontext-composition", "cocoa"}
SAMPLE = pytest.mark.parametrize("study", [pytest.param(study, marks=pytest.mark.whole if study in ALWAYS else pytest.mark.slow) for study in STUDIES])
MUTANTS = 10


def starts(study):
    """Name of a function -> where the search for one of its trials starts, at the largest preset that is run here."""
    return {trial.run.__name__: roots(trial) for trial in find(study).trials(find(study).presets["cpu"].config)}


def file_of(module):
    path = SOURCE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


# --- whatever runs is reached -----------------------------------------------------------------------------------------


@pytest.mark.whole
def test_whatever_a_trial_calls_is_reached(tmp_path):
    """The toy study, run."""
    study = find("toy-study")
    ours = called(lambda: execute(study, "smoke", out=tmp_path / "run"), SOURCE / "mesocosm")
    theirs = called(lambda: execute(study, "smoke", out=tmp_path / "again"), Path(sys.modules["toy_study"].__file__).parent)
    assert ours.keys() == theirs.keys() == {"identity", "rolling", "frozen", "probe"}
    assert ("mesocosm.learning.fit", frozenset({"Loop"})) in ours["rolling"][1]
    assert ("toy_study.trials", frozenset({"NoisyDescent"})) in theirs["rolling"][1]
    assert ("toy_study.trials", frozenset({"build_ball"})) in theirs["probe"][1]
    for name in ours:
        assert not unreached(name, ours) | unreached(name, theirs), name


@SAMPLE
def test_whatever_a_studys_trials_call_is_reached(study):
    """A dry run, in a process of its own, calls everything but the compiled programs, which it traces."""
    told = subprocess.run([sys.executable, calls.__file__, study], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert all(number > 5 for number, _ in found.values())
    assert {trial: missed for trial, (_, missed) in found.items() if missed} == {}


def test_the_bench_computes_with_nothing_but_what_counts_for_every_trial():
    """What the context and the loading of models import from below the lab."""
    known = code.code_hashes().keys() | {"published_model"}
    known |= {"check_arrays", "filled", "named_arrays", "on_host", "read_arrays"}  # write and read models, as a checkpoint does, and compute nothing
    for module in (context, parameters):
        tree = ast.parse(Path(module.__file__).read_bytes())
        imports = [
            node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and re.match(r"mesocosm\.(nn|tasks|envs|learning|analysis)", node.module)
        ]
        assert {alias.name for node in imports for alias in node.names} <= known


# --- whatever is reached matters, and nothing else --------------------------------------------------------------------


def mutated(statement, draw):
    """Change one thing in a statement in place; False where there is nothing to change."""
    nodes = [node for node in ast.walk(statement) if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    docstrings = {id(node.value) for node in ast.walk(statement) if isinstance(node, ast.Expr)}
    draw.shuffle(nodes)
    for node in nodes:
        match node:
            case ast.Constant(value=bool(value)):
                node.value = not value
            case ast.Constant(value=int(value) | float(value)):
                node.value = value + 1
            case ast.Constant(value=str(value)) if id(node) not in docstrings:
                node.value = f"{value}_"
            case ast.BinOp():
                node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            case ast.Call(args=[_, *_]):
                node.args = [*node.args, node.args[-1]]
            case ast.FunctionDef(body=[*_, ast.Return()]):
                node.body = [*node.body[:-1], ast.Pass()]
            case ast.ClassDef():
                node.bases = [] if node.bases else [ast.Name("object", ast.Load())]
            case ast.keyword(arg=str(arg)):
                node.arg = f"{arg}_"
            case _:
                continue
        return True
    return False


@SAMPLE
def test_every_mutant_of_something_reached_is_noticed_and_no_other(monkeypatch, request, study):
    request.addfinalizer(code._code_hashes.cache_clear)
    draw, read, made, begin = random.Random(study), sources._read, 0, starts(study)
    before = {name: code.code_hashes(*where) for name, where in begin.items()}
    found = {name: {(one.module, one.key) for one in code.reached(*where).definitions} for name, where in begin.items()}
    reached = sorted(set().union(*found.values()))
    modules = sorted({module for module, _ in reached})
    everything = [(module, one.key) for module in modules for one in sources._read(module, file_of(module), 0, 0).definitions]
    others = sorted(set(everything) - set(reached))
    assert len(reached) > MUTANTS
    assert len(others) > MUTANTS // 2
    for module, key in [*draw.sample(reached, MUTANTS), *draw.sample(others, MUTANTS // 2)]:
        file = file_of(module)
        tree = ast.parse(file.read_bytes())
        candidates = [node for node in tree.body if key in (getattr(node, "name", None), *(part.id for part in _targets(node)))]
        if not candidates or not mutated(candidates[0], draw):
            continue
        mutant = read_module(module, ast.unparse(ast.fix_missing_locations(tree)).encode(), is_package=file.name == "__init__.py")
        monkeypatch.setattr(sources, "_read", lambda name, *rest, mutant=mutant, module=module: mutant if name == module else read(name, *rest))
        code._code_hashes.cache_clear()  # the files themselves stay as they are
        made += 1
        sides = ([name for name in found if ((module, key) in found[name]) is here] for here in (True, False))
        for name in (draw.choice(side) for side in sides if side):
            after = code.code_hashes(*begin[name])
            changed = {one for one in before[name].keys() | after.keys() if before[name].get(one) != after.get(one)}
            assert (key in changed) if (module, key) in found[name] else not changed, (name, module, key)
    assert made > MUTANTS


def _targets(statement):
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


@pytest.mark.whole
@EVERY
def test_a_trial_reaches_no_other_study_and_nothing_of_the_seam(study):
    own = find(study).package
    for where in starts(study).values():
        found = code.reached(*where)
        modules = {definition.module for definition in found.definitions}
        assert not [name for name in modules if name.startswith(("mesocosm.lab", "mesocosm.cli", "mesocosm.studies.interface"))]
        packages = {".".join(name.split(".")[:3]) for name in modules if name.startswith("mesocosm.studies.") and name.count(".") > 2}
        assert packages <= {own}
        assert not {name for name in modules if name.rpartition(".")[2] in ("claims", "figures")}
        assert not {"PRESETS", "CLAIMS", "FIGURES", "STUDY", "trials"} & {definition.key for definition in found.definitions}


@pytest.mark.whole
def test_what_one_study_is_about_is_none_of_anothers_code():
    gated = {definition.module for where in starts("gated-rnn").values() for definition in code.reached(*where).definitions}
    cocoa = {definition.module for where in starts("cocoa").values() for definition in code.reached(*where).definitions}
    credit = {"mesocosm.learning.contributions", "mesocosm.learning.policy_gradient", "mesocosm.envs.key_to_door"}
    assert credit <= cocoa
    assert not credit & gated
    assert "mesocosm.nn.recurrences.gated_linear_rnn" in gated - cocoa


# --- moves ------------------------------------------------------------------------------------------------------------

MOVES = {
    "mesocosm.learning.program": "mesocosm.learning.compiled.programs",
    "mesocosm.learning.fit": "mesocosm.learning.loop",
    "mesocosm.nn.mixers.mesa": "mesocosm.nn.solvers.mesa",
    "mesocosm.nn.mixers.attention": "mesocosm.nn.blocks.heads.attention",
    "mesocosm.numerics.linear_algebra": "mesocosm.numerics.one_matrix",
    "mesocosm.tasks.task": "mesocosm.tasks.base",
    "mesocosm.claims.replicates": "mesocosm.evidence.replicates",
}


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """A copy of mesocosm in which modules stand elsewhere; the search looks there."""
    shutil.copytree(SOURCE / "mesocosm", tmp_path / "mesocosm", ignore=shutil.ignore_patterns("__pycache__"))
    for old, new in MOVES.items():
        target = tmp_path / f"{new.replace('.', '/')}.py"
        target.parent.mkdir(exist_ok=True)
        (target.parent / "__init__.py").touch()
        (tmp_path / f"{old.replace('.', '/')}.py").rename(target)
    pattern = re.compile("|".join(rf"{re.escape(old)}\b" for old in MOVES))
    for file in tmp_path.rglob("*.py"):
        file.write_text(pattern.sub(lambda match: MOVES[match[0]], file.read_text()))
    spec = sources.Sources._spec
    monkeypatch.setattr(
        sources.Sources,
        "_spec",
        lambda self, name: importlib.machinery.PathFinder.find_spec(name, [str(tmp_path)]) if name == "mesocosm" else spec(self, name),
    )
    monkeypatch.setattr(code, "BENCH", tuple(pattern.sub(lambda match: MOVES[match[0]], root) for root in code.BENCH))


@SAMPLE
def test_moving_modules_changes_no_trials_code(study, request):
    before = {name: code.code_hashes(*where) for name, where in starts(study).items()}
    where = starts(study)
    request.getfixturevalue("moved")
    assert "mesocosm.learning.loop" in {definition.module for definition in code.reached(*where.popitem()[1]).definitions}
    assert {name: code.code_hashes(*where) for name, where in starts(study).items()} == before
