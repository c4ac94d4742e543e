"""Which definitions a trial's function calls when it runs. As a script: those of a study's dry run that the search does not reach, by trial."""

import ast
import cProfile
import functools
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from unittest import mock

import jax

import mesocosm
from mesocosm.lab.catalogue import find
from mesocosm.lab.run.dry_run import dry_run, dry_run_fit
from mesocosm.lab.store import code, sources
from mesocosm.nn import model_file
from mesocosm.numerics.programs import Program
from mesocosm.studies.interface import Study

SOURCE = Path(mesocosm.__file__).parents[1]


def roots(trial):
    return (*map(code._place, (trial.run, *trial.models.values())), *map(code._place, code._types(trial.config)))


@functools.cache
def statements(file):
    """First and last line, and names, of each statement at the top of a file."""
    found = []
    for statement in ast.parse(Path(file).read_bytes()).body:
        first = min([statement.lineno, *(decorator.lineno for decorator in getattr(statement, "decorator_list", ()))])
        names = {statement.name} if hasattr(statement, "name") else {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        found.append((first, statement.end_lineno, names))
    return found


def called(do, inside):
    """Trial -> the definitions in files below a folder of which a function was called while the trial's function ran, or while those before it did that
    start where it starts: what these have traced is not called again."""
    found, trials, last, codes = {}, Study.trials, None, set()

    def traced(trial, family):
        @functools.wraps(trial.run)
        def run(config, context):
            nonlocal last, codes
            if family != last:
                jax.clear_caches()
                last, codes = family, set()
            record = cProfile.Profile(subcalls=False, builtins=False)
            threading.setprofile(lambda frame, event, argument: codes.add(frame.f_code))
            record.enable()
            try:
                return trial.run(config, context)
            finally:
                record.disable()
                threading.setprofile(None)
                codes.update(entry.code for entry in record.getstats() if not isinstance(entry.code, str))
                found[trial.name] = trial, codes

        return replace(trial, run=run)

    def wrapped(study, config):
        listed = {trial.name: trial for trial in trials(study, config)}
        return [traced(trial, [roots(listed[name]) for name in (trial.name, *trial.after)]) for trial in listed.values()]

    with mock.patch.object(Study, "trials", wrapped):
        do()
    return {name: (trial, set(places(codes, inside))) for name, (trial, codes) in found.items()}


def places(codes, inside):
    elsewhere = (*sources.EXCLUDED, dry_run_fit.__module__, model_file.__name__)  # writing a model's arrays computes nothing
    for one in codes:
        if not one.co_filename.startswith(str(inside)):
            continue
        file = Path(one.co_filename).relative_to(inside.parent).with_suffix("")
        module = ".".join(file.parts).removesuffix(".__init__")
        if not any(module == seam or module.startswith(f"{seam}.") for seam in elsewhere):
            yield from ((module, frozenset(names)) for first, last, names in statements(one.co_filename) if first <= one.co_firstlineno <= last)


@functools.cache
def reached(where):
    return {(definition.module, name) for definition in code.reached(*where).definitions for name in definition.names}


def unreached(name, ran):
    """What a trial called and neither it nor its parents reach: its parents' builders build their models anew, and their identities are part of its own."""
    trial, calls = ran[name]
    family = [trial, *(ran[parent][0] for parent in trial.after)]
    have = frozenset().union(*(reached(roots(member)) for member in family))
    return {(module, *names) for module, names in calls if not any((module, name) in have for name in names)}


if __name__ == "__main__":
    # Lowering calls nothing of ours, and the smoke run lowers the same programs.
    with mock.patch.object(Program, "lower", lambda program, *arguments, **options: program._outermost.trace(*arguments, **options)):
        ran = called(lambda: dry_run(find(sys.argv[1]), "smoke", compile=False, strict=True), SOURCE / "mesocosm")
    print(json.dumps({name: (len(calls), sorted(map(list, unreached(name, ran)))) for name, (_, calls) in ran.items()}))
