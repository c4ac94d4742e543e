"""Which definitions a trial's function calls when it runs. As a script: those of a study's dry run that the search does not reach, by trial."""

import ast
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
    """Trial -> the definitions in files below a folder of which a function was called while the trial's function ran."""
    found, trials = {}, Study.trials

    def traced(trial):
        @functools.wraps(trial.run)
        def run(config, context):
            codes = set()
            jax.clear_caches()  # what has been traced is not called again

            def note(frame, event, argument):
                if event == "call" and frame.f_code.co_filename.startswith(str(inside)):
                    codes.add(frame.f_code)

            threading.setprofile(note)
            sys.setprofile(note)
            try:
                return trial.run(config, context)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
                found[trial.name] = trial, codes

        return replace(trial, run=run)

    with mock.patch.object(Study, "trials", lambda study, config: list(map(traced, trials(study, config)))):
        do()
    return {name: (trial, set(places(codes, inside))) for name, (trial, codes) in found.items()}


def places(codes, inside):
    elsewhere = (*sources.EXCLUDED, dry_run_fit.__module__, model_file.__name__)  # writing a model's arrays computes nothing
    for one in codes:
        file = Path(one.co_filename).relative_to(inside.parent).with_suffix("")
        module = ".".join(file.parts).removesuffix(".__init__")
        if not any(module == seam or module.startswith(f"{seam}.") for seam in elsewhere):
            yield from ((module, frozenset(names)) for first, last, names in statements(one.co_filename) if first <= one.co_firstlineno <= last)


def unreached(name, ran):
    """What a trial called and neither it nor its parents reach: its parents' builders build their models anew, and their identities are part of its own."""
    trial, calls = ran[name]
    family = [trial, *(ran[parent][0] for parent in trial.after)]
    found = [code.reached(*roots(member)) for member in family]
    have = {(definition.module, name) for one in found for definition in one.definitions for name in definition.names}
    return {(module, *names) for module, names in calls if not any((module, name) in have for name in names)}


if __name__ == "__main__":
    ran = called(lambda: dry_run(find(sys.argv[1]), "smoke", compile=False, strict=True), SOURCE / "mesocosm")
    print(json.dumps({name: (len(calls), sorted(map(list, unreached(name, ran)))) for name, (_, calls) in ran.items()}))
