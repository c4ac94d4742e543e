"""The plan of a run: its trials in order, their identities, their states after earlier runs, and the run directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mesocosm.claims.measures import trials_read
from mesocosm.lab.errors import UserError, error_line
from mesocosm.lab.store import atomic, history
from mesocosm.lab.store.code import trial_code
from mesocosm.lab.store.configuration import changed_fields, plain
from mesocosm.lab.store.formats import FORMAT
from mesocosm.lab.store.identity import difference, digest, identity
from mesocosm.lab.store.measurement_code import current_fingerprints
from mesocosm.lab.store.provenance import provenance
from mesocosm.lab.store.requirements import installed, missing
from mesocosm.lab.store.run_directory import TrialStore, read_code, read_record, run_file_errors, write_code
from mesocosm.learning.streams import EVALUATION_SEED, FIRST_PILOT_SEED, are_pilots
from mesocosm.studies.interface import Preset, Study, Trial


class Elsewhere(NamedTuple):
    """What another machine computes with: its `identity.machine()`, and its `provenance()`."""

    machine: Mapping[str, Any]
    provenance: Mapping[str, Any]


class Plan:
    """The trials in an order that respects `after`, their identities, and the run directory.

    Attributes:
        study, preset, config, seeds, path: as given or by default.
        trials: in topological order.
        identities: trial -> identity parts.
        codes: name of a trial's code in its identity -> definition -> hash.
        changes: fields in which the config differs from the preset's, one text each.
        minutes: the preset's budget per trial, times the number of seeds over the preset's; empty if the config differs from the preset's.
        elsewhere: the machine that computes the trials, if it is not this one: its part of identities, and of `run.json`.

    Raises:
        ValueError: the trials cannot be ordered, a child has seeds that its parent lacks, a trial has seeds of a record and of a pilot, or a claim reads
            a trial that does not exist.
    """

    def __init__(self, study: Study, preset: str, config: Any, seeds: tuple[int, ...], path: Path, changes: list[str], elsewhere: Elsewhere | None = None):
        self.elsewhere = elsewhere
        self.study, self.preset, self.config, self.seeds, self.path, self.changes = study, preset, config, seeds, path, changes
        self.trials = topological(study.trials(config))
        self.minutes = {} if changes else self._minutes(study.presets[preset])
        self._check_seeds()
        if not changes:
            study.check_claims(preset, [trial.name for trial in self.trials])
        self.identities: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, Mapping[str, str]] = {}
        for trial in self.trials:
            self.identities[trial.name] = self._identity(trial)

    @classmethod
    def of(
        cls,
        study: Study,
        preset: str,
        config: Any = None,
        seeds: tuple[int, ...] | None = None,
        out: Path | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> Plan:
        """Fill in the defaults.

        Raises:
            UserError: no such preset, a config of another type, or no seeds.
        """
        if preset not in study.presets:
            raise UserError(f"study {study.name} has no preset {preset!r}; it has {', '.join(study.presets)}")
        chosen = study.presets[preset]
        config = chosen.config if config is None else config
        if type(config) is not type(chosen.config):
            raise UserError(f"study {study.name} is configured by {type(chosen.config).__name__}, not by {type(config).__name__}")
        seeds = tuple(range(chosen.seeds)) if seeds is None else seeds
        if not seeds or len(set(seeds)) != len(seeds):
            raise UserError(f"a run needs one or more distinct seeds, not {list(seeds)}")
        if odd := [seed for seed in seeds if not 0 <= seed < EVALUATION_SEED]:
            raise UserError(f"seeds must be between 0 and {EVALUATION_SEED - 1}, not {odd[0]}")
        if len({seed < FIRST_PILOT_SEED for seed in seeds}) > 1:
            raise UserError(f"seeds below {FIRST_PILOT_SEED} make records and others pilots, on other evaluation data; {min(seeds)} to {max(seeds)} are both")
        changes = changed_fields(plain(chosen.config), plain(config))
        usual = seeds == tuple(range(chosen.seeds))
        name = f"{study.name}-{preset}" + ("" if usual and not changes else f"-{digest({'changes': changes, 'seeds': list(seeds)})[:6]}")
        path = Path(os.path.abspath(out or Path("runs") / name))
        try:
            study.check(config)
            return cls(study, preset, config, seeds, path, changes, elsewhere)
        except Exception as error:
            if usual and not changes:
                raise
            why = str(error) if isinstance(error, ValueError) else error_line(error)
            if isinstance(error.__cause__, ModuleNotFoundError):
                why += "; Python looks for modules in this folder if you set PYTHONPATH=."
            raise UserError(f"study {study.name} cannot be run like this: {why}") from error

    def seeds_of(self, trial: Trial) -> tuple[int, ...]:
        """The trial's seeds: the run's, cut to the first ones or continued after the largest if the trial has its own number of replicates."""
        wanted = len(self.seeds) if trial.seeds is None else trial.seeds
        following = range(max(self.seeds) + 1, max(self.seeds) + 1 + wanted - len(self.seeds))
        return (*self.seeds, *following)[:wanted]

    def _identity(self, trial: Trial) -> dict[str, Any]:
        """The trial's current identity. If its data or packages are no longer installed, earlier results stay valid, and so do the trials that depend on it."""
        code = trial_code(trial)
        self.codes[code.name] = code.definitions
        parents = {name: digest(self.identities[name]) for name in trial.after}
        found = identity(self.study, trial, self.seeds_of(trial), parents, code, self.elsewhere and self.elsewhere.machine)
        if missing(trial):
            with run_file_errors(self.path):
                earlier = TrialStore(self.path, trial.name).status.get("identity", {})
            found |= {part: earlier.get(part, found[part]) for part in installed(trial)}
        return found

    def _minutes(self, preset: Preset) -> dict[str, float]:
        """The budget of the trials whose minutes were measured; one with its own number of seeds takes as long as ever."""
        share = len(self.seeds) / preset.seeds
        return {trial.name: preset.minutes[trial.name] * (share if trial.seeds is None else 1) for trial in self.trials if trial.name in preset.minutes}

    def _check_seeds(self) -> None:
        by_name = {trial.name: trial for trial in self.trials}
        for trial in self.trials:
            are_pilots(self.seeds_of(trial))
            for parent in trial.after:
                mine, theirs = self.seeds_of(trial), self.seeds_of(by_name[parent])
                if not set(mine) <= set(theirs):
                    raise ValueError(f"trial {trial.name!r} has {len(mine)} seeds and comes after {parent!r}, which has only {len(theirs)}")

    def check_directory(self) -> None:
        """Reject a directory with another study's run or other files; accepts a missing one, or one whose run was killed at its start."""
        with run_file_errors(self.path):
            self._check_directory()

    def _check_directory(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, not a directory; choose another place with --out")
        if (self.path / "run.json").exists():
            record = read_record(self.path)
            if record["study"] != self.study.name:
                raise UserError(f"{self.path} holds a run of the study {record['study']}; choose another directory with --out")
        elif self.path.is_dir() and any(entry.name not in (".lock", history.NAME) and not entry.name.startswith(".run.json") for entry in self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and is not a run directory; choose another directory with --out")

    def forget(self) -> None:
        """Remove an earlier run's files and nothing else; the history stays. run.json goes last because it identifies the directory as a run."""
        for name in ("trials", "models", "track"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.forget_verdicts()
        for name in ("code.json", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def forget_verdicts(self) -> None:
        """Remove an earlier run's verdicts, which the new tables may contradict."""
        shutil.rmtree(self.path / "figures", ignore_errors=True)
        for name in ("claims.json", "index.html"):
            (self.path / name).unlink(missing_ok=True)

    def states(self) -> dict[str, tuple[str, str]]:
        """Trial -> (state, why): "cached", "stale", "resumable", "failed", "skipped" or "new".

        A kept record may lack its large models, which a trial needs only if one that reads them is to be run.
        """
        with run_file_errors(self.path):
            kept, found = self._is_entered(), dict[str, tuple[str, str]]()
            for trial in reversed(self.trials):
                children = [child for child in self.trials if trial.name in child.after]
                read = any(found[child.name][0] != "cached" and missing(child) is None for child in children)
                found[trial.name] = self._state(trial, models=read or not kept)
            return {trial.name: found[trial.name] for trial in self.trials}

    def _state(self, trial: Trial, *, models: bool) -> tuple[str, str]:
        store, wanted = TrialStore(self.path, trial.name), self.identities[trial.name]
        status = store.status
        if "identity" not in status:
            return "new", ""
        if status["state"] == "skipped":  # it wrote nothing that could be out of date
            return "skipped", status.get("error", "")
        if status["identity"] != wanted:
            return "stale", difference(status["identity"], wanted, read_code(self.path) | self.codes)
        if status["state"] == "finished":
            damage = store.damage(models=models)
            return ("stale", damage) if damage else ("cached", "")
        return ("resumable", "interrupted") if status["state"] == "running" else (status["state"], status.get("error", ""))

    def check_record(self, *, fresh: bool, again: bool) -> None:
        """Check that a record meets only unused seeds, unless told `again`, and that a pilot is not made where the record is.

        Raises:
            UserError: an earlier record has met its seeds, or a pilot's directory is `results/STUDY`.
        """
        if are_pilots(self.seeds) and history.register(self.study.name, self.path) == self.path:
            raise UserError(f"{self.path} holds records, and seeds from {FIRST_PILOT_SEED} upward make pilots; choose another directory with --out")
        if again or not history.is_record(self.preset, self.changes, self.seeds) or (not fresh and self.continues()):
            return
        history.reject_used_seeds(self.study.name, self.path, {seed for trial in self.trials for seed in self.seeds_of(trial)})

    def continues(self) -> bool:
        """Whether the directory holds a record that was finished and of which nothing is run a second time."""
        return self._is_entered() and all(state != "stale" for state, _ in self.states().values())

    def _is_entered(self) -> bool:
        return (self.path / "run.json").exists() and history.is_entered(self.path, read_record(self.path)["started"])

    def write_record(self, command: str, states: Mapping[str, tuple[str, str]]) -> None:
        """Write run.json and code.json at the start. The claims' fingerprints stay those of the run that produced the first trial that is still valid.
        A finished record of which nothing is run a second time keeps the time of its start, by which its history knows it."""
        earlier = atomic.read_json(self.path / "run.json") if (self.path / "run.json").exists() else {}
        kept = any(state == "cached" for state, _ in states.values()) and "claims" in earlier
        now_fixed = current_fingerprints(self.study)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {
            "format": FORMAT,
            "study": self.study.name,
            "preset": self.preset,
            "config": plain(self.config),
            "changes": self.changes,
            "seeds": list(self.seeds),
            "command": command or f"mesocosm run {self.study.name} --preset {self.preset}",
            "started": earlier["started"] if kept and self.continues() else now,
            "wall_seconds": float(earlier.get("wall_seconds", 0.0)) if kept else 0.0,
            "claims": {"checks": {name: now_fixed[name] for name in self._measured_first(states)} | earlier["claims"]["checks"] if kept else now_fixed},
        }
        atomic.write_json(self.path / "run.json", record | dict(self.elsewhere.provenance if self.elsewhere else provenance()))
        write_code(self.path, self.codes)

    def _measured_first(self, states: Mapping[str, tuple[str, str]]) -> set[str]:
        """The checks that read a trial which has never run here: nobody can know what they will measure, so they are fixed in time even if the run grows."""
        new = {trial for trial, (state, _) in states.items() if state == "new"}
        return {f"{claim.id}.{check.name}" for claim in self.study.claims for check in claim.checks if trials_read(check, self.config) & new}


def topological(trials: list[Trial]) -> list[Trial]:
    """The trials, parents first, otherwise in the given order.

    Raises:
        ValueError: two trials share a name, a parent is unknown, or the dependencies form a cycle.
    """
    by_name = {trial.name: trial for trial in trials}
    if len(by_name) != len(trials):
        names = [trial.name for trial in trials]
        raise ValueError(f"two trials are called {next(name for name in names if names.count(name) > 1)!r}")
    ordered: dict[str, Trial] = {}

    def visit(trial: Trial, path: tuple[str, ...]) -> None:
        if trial.name in path:
            raise ValueError(f"trials depend on each other: {' -> '.join([*path, trial.name])}")
        for parent in trial.after:
            if parent not in by_name:
                raise ValueError(f"trial {trial.name!r} comes after {parent!r}, which does not exist")
            if parent not in ordered:
                visit(by_name[parent], (*path, trial.name))
        ordered[trial.name] = trial

    for trial in trials:
        if trial.name not in ordered:
            visit(trial, ())
    return list(ordered.values())
