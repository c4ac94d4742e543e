"""What a run consists of, before any of it runs: trials in order, who each is, what an earlier run has left, and the directory."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mesocosm.lab import atomic
from mesocosm.lab.errors import UserError
from mesocosm.lab.identity import changed_fields, difference, digest, identity
from mesocosm.lab.judge import fingerprints
from mesocosm.lab.provenance import provenance
from mesocosm.lab.store import FORMAT, TrialStore, read_record
from mesocosm.studies.interface import Study, Trial


class Plan:
    """What a run consists of: the trials in an order that respects `after`, their identities, and the directory.

    Attributes:
        study, preset, config, seeds, path: as given or by default.
        trials: in topological order.
        identities: trial -> identity parts.
    """

    def __init__(self, study: Study, preset: str, config: Any, seeds: tuple[int, ...], path: Path, changes: list[str]):
        self.study, self.preset, self.config, self.seeds, self.path, self.changes = study, preset, config, seeds, path, changes
        self.trials = topological(study.trials(config))
        self.identities: dict[str, dict[str, Any]] = {}
        for trial in self.trials:
            parents = {name: digest(self.identities[name]) for name in trial.after}
            self.identities[trial.name] = identity(study, trial, self.seeds_of(trial), parents)

    @classmethod
    def of(cls, study: Study, preset: str, config: Any = None, seeds: tuple[int, ...] | None = None, out: Path | None = None) -> Plan:
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
        changes = changed_fields(msgspec.to_builtins(chosen.config), msgspec.to_builtins(config))
        if seeds != tuple(range(chosen.seeds)):
            changes.append(f"seeds: 0..{chosen.seeds - 1} -> {', '.join(map(str, seeds))}")
        name = f"{study.name}-{preset}" + (f"-{digest({'changes': changes})[:6]}" if changes else "")
        return cls(study, preset, config, seeds, (out or Path("runs") / name).resolve(), changes)

    def seeds_of(self, trial: Trial) -> tuple[int, ...]:
        """The run's seeds, or as many as the trial wants from the run's first seed on."""
        return self.seeds if trial.seeds is None else tuple(range(self.seeds[0], self.seeds[0] + trial.seeds))

    def check_directory(self) -> None:
        """Refuse a directory that holds another study's run, or something else."""
        if (self.path / "run.json").exists():
            record = read_record(self.path)
            if record["study"] != self.study.name:
                raise UserError(f"{self.path} holds a run of the study {record['study']}; choose another directory with --out")
        elif any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and holds no run; choose another directory with --out")

    def forget(self) -> None:
        """Remove an earlier run's files, and nothing that is not a run's."""
        if not (self.path / "run.json").exists():
            return
        read_record(self.path)
        for name in ("trials", "models", "figures"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("run.json", "claims.json", "index.html"):
            (self.path / name).unlink(missing_ok=True)

    def states(self) -> dict[str, tuple[str, str]]:
        """Trial -> (state, why): "cached", "stale", "resumable", "failed" or "new"."""
        found = {}
        for trial in self.trials:
            store, wanted = TrialStore(self.path, trial.name), self.identities[trial.name]
            status = store.status
            if "identity" not in status:
                found[trial.name] = ("new", "")
            elif status["identity"] != wanted:
                found[trial.name] = ("stale", difference(status["identity"], wanted))
            elif status["state"] == "finished":
                damage = store.damage()
                found[trial.name] = ("stale", damage) if damage else ("cached", "")
            elif status["state"] == "running":
                found[trial.name] = ("resumable", "interrupted")
            else:
                found[trial.name] = ("failed", status.get("error", ""))
        return found

    def write_record(self, command: str, *, keep_fingerprints: bool) -> None:
        """run.json at the start. The claims' fingerprints stay those under which the first still valid trial was run."""
        earlier = atomic.read_json(self.path / "run.json") if (self.path / "run.json").exists() else {}
        kept = keep_fingerprints and "claims" in earlier
        record = {
            "format": FORMAT,
            "study": self.study.name,
            "preset": self.preset,
            "config": msgspec.to_builtins(self.config),
            "changes": self.changes,
            "seeds": list(self.seeds),
            "command": command or f"mesocosm run {self.study.name} --preset {self.preset}",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": earlier.get("wall_seconds", 0.0) if kept else 0.0,
            "claims": earlier["claims"] if kept else {"checks": fingerprints(self.study.claims)},
        }
        atomic.write_json(self.path / "run.json", record | provenance())


def topological(trials: list[Trial]) -> list[Trial]:
    """The trials, parents first, otherwise in the given order.

    Raises:
        ValueError: two trials of one name, an unknown parent, or a circle.
    """
    by_name = {trial.name: trial for trial in trials}
    if len(by_name) != len(trials):
        names = [trial.name for trial in trials]
        raise ValueError(f"two trials are called {next(name for name in names if names.count(name) > 1)!r}")
    ordered: dict[str, Trial] = {}

    def visit(trial: Trial, path: tuple[str, ...]) -> None:
        if trial.name in path:
            raise ValueError(f"trials wait for each other: {' -> '.join([*path, trial.name])}")
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
