"""The history of a study's records, `history.json`: the seeds that each record used, and every verdict that it gave.

A record is a finished run at the preset `cpu` or `paper` with that preset's config, on seeds below 1000, which may be put into `results/STUDY`. The file
there is the study's register: a run that starts in a folder with `results/STUDY/history.json` enters its verdicts when it ends, and a run that would use the
same seeds again is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mesocosm.claims.earlier import EarlierVerdict, Ground
from mesocosm.claims.judge import CheckRow
from mesocosm.lab.errors import UserError
from mesocosm.lab.formatting import seeds_text
from mesocosm.lab.store import atomic
from mesocosm.lab.store.code import digest
from mesocosm.lab.store.formats import defect
from mesocosm.lab.store.run_directory import Run, run_file_errors
from mesocosm.learning.streams import FIRST_PILOT_SEED

NAME = "history.json"
RESULTS = "results"
RECORD_PRESETS = ("cpu", "paper")


class Entry(TypedDict):
    """One judgement of one record.

    Attributes:
        date: when the run started; entries of the same date are judgements of the same tables.
        judged: when its tables were judged again, with other verdicts.
        git: revision of the code.
        preset: cpu or paper.
        seeds: all that its trials met.
        fingerprint: hash of the fingerprints of all checks.
        verdicts: check -> verdict.
        pilot: whether it was made to choose something.
    """

    date: str
    judged: NotRequired[str]
    git: str | None
    preset: str
    seeds: list[int]
    fingerprint: str
    verdicts: dict[str, str]
    pilot: NotRequired[bool]


# --- the file ---------------------------------------------------------------------------------------------------------


def read_history(folder: Path) -> list[Entry]:
    """The entries of the history in a folder, oldest first; none if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / NAME
    try:
        entries = atomic.read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); restore it, since it lists the records of the study") from None
    if (wrong := defect(entries, list[Entry])) is not None:
        raise UserError(f"{file} is damaged ({wrong}); restore it, since it lists the records of the study")
    return sorted(entries, key=_moment)


def write_history(folder: Path, entries: Iterable[Entry]) -> None:
    """Replace the history in a folder: one line per entry, without repetitions."""
    lines = dict.fromkeys(json.dumps(entry, allow_nan=False) for entry in sorted(entries, key=_moment))
    atomic.write_bytes(folder / NAME, ("[\n" + ",\n".join(lines) + "\n]\n").encode())


def register(study: str, path: Path) -> Path | None:
    """The folder of the study's register: the run directory itself if it is `results/STUDY`, otherwise `results/STUDY` here if it has a history."""
    path = path.absolute()
    if (path.name, path.parent.name) == (study, RESULTS):
        return path
    folder = Path(RESULTS).absolute() / study
    return folder if (folder / NAME).exists() else None


def known_entries(study: str, path: Path) -> list[Entry]:
    """The entries of a run directory and of the study's register."""
    folders = dict.fromkeys((path.absolute(), register(study, path) or path.absolute()))
    unique = {json.dumps(entry, sort_keys=True): entry for folder in folders for entry in read_history(folder)}
    return sorted(unique.values(), key=_moment)


def _moment(entry: Entry) -> tuple[str, str]:
    return entry["date"], entry.get("judged", "")


# --- a record is run once ---------------------------------------------------------------------------------------------


def is_record(preset: str, changes: Collection[str], seeds: Sequence[int]) -> bool:
    """Whether a run may become a record: a large preset as it stands, on seeds below those of pilots."""
    return preset in RECORD_PRESETS and not changes and max(seeds) < FIRST_PILOT_SEED


def is_entered(path: Path, started: str) -> bool:
    """Whether a run directory's own history has a run that started then."""
    return any(entry["date"] == started for entry in read_history(path))


def reject_used_seeds(study: str, path: Path, seeds: Collection[int]) -> None:
    """Reject a new record on seeds that an earlier one has used; nothing is rejected without a register.

    Raises:
        UserError: an earlier record or pilot has used one of them.
    """
    if register(study, path) is None:
        return
    met = [entry for entry in known_entries(study, path) if set(entry["seeds"]) & set(seeds)]
    if met:
        what, last = ("pilot" if met[-1].get("pilot") else "record"), met[-1]
        raise UserError(
            f"the {what} of {last['date'][:10]} has met seeds {seeds_text(last['seeds'])} of the study {study}: choose unused ones (--first-seed), "
            "repeat that run (--like), or make a second record on them (--again), whose rows show the first"
        )


# --- verdicts ---------------------------------------------------------------------------------------------------------


def earlier_records(run: Run) -> Counter[str]:
    """Check -> number of records before this one that gave a verdict on it, on whatever seeds; nothing if the run is no record.

    A record may have been run because an earlier one gave another verdict than hoped for, so each is a further chance to hold by mistake.
    """
    if not is_record(run.preset, run.record["changes"], run.seeds):
        return Counter()
    verdicts = {(entry["date"], name) for entry in known_entries(run.study.name, run.path) if not entry.get("pilot") for name in entry["verdicts"]}
    return Counter(name for date, name in verdicts if date < run.record["started"])


def with_earlier(rows: Sequence[CheckRow], entries: Sequence[Entry], started: str, seeds: Collection[int]) -> list[CheckRow]:
    """The rows of a run with the verdicts of earlier records; of a record that was judged again, and of its own earlier judgements, only those that differ."""
    found = []
    for row in rows:
        name, earlier, told = row.id.partition("/")[2], list[EarlierVerdict](), set[tuple[str, str]]()
        for entry in entries:
            verdict: Any = entry["verdicts"].get(name)
            own = entry["date"] == started
            if verdict is None or entry["date"] > started or (own and verdict == row.verdict) or (entry["date"], verdict) in told:
                continue
            told.add((entry["date"], verdict))
            ground: Ground = "these tables" if own else "these seeds" if set(seeds) & set(entry["seeds"]) else "other seeds"
            earlier.append(EarlierVerdict(verdict, entry.get("judged", entry["date"])[:10], seeds_text(entry["seeds"]), ground))
        found.append(replace(row, earlier=earlier))
    return found


def enter(run: Run, rows: Sequence[CheckRow], fingerprints: Mapping[str, str], *, registered: bool) -> Path | None:
    """Enter the verdicts of a finished run into its own history, and into the study's register if it is a record there.

    Args:
        run: the run.
        rows: its rows.
        fingerprints: of the checks as they are now.
        registered: whether the run makes a record; a run that repeats one does not.

    Returns:
        The folder of the register, if it was changed.
    """
    if not is_record(run.preset, run.record["changes"], run.seeds) or not {status["state"] for status in run.trials.values()} <= {"finished", "skipped"}:
        return None
    started, entries = run.record["started"], known_entries(run.study.name, run.path)
    verdicts: dict[str, str] = {row.id.partition("/")[2]: row.verdict for row in rows if row.kind}
    own = [entry for entry in entries if entry["date"] == started]
    if not own or own[-1]["verdicts"] != verdicts:
        fingerprint = digest(json.dumps(fingerprints, sort_keys=True))
        entry = Entry(date=started, git=run.record.get("git"), preset=run.preset, seeds=seeds_met(run), fingerprint=fingerprint, verdicts=verdicts)
        if own:
            entry["judged"] = datetime.now(UTC).isoformat(timespec="seconds")
        own.append(entry)
        entries.append(entry)
    write_history(run.path, entries)
    folder = register(run.study.name, run.path)
    if folder is None or folder == run.path.absolute():
        return folder
    registry = read_history(folder)
    if not registered and not any(entry["date"] == started for entry in registry):
        return None
    with run_file_errors(folder):
        write_history(folder, [*registry, *own])
    return folder


def seeds_met(run: Run) -> list[int]:
    """Every seed that a trial of the run has met; a trial may have more than the run."""
    return sorted({*run.seeds, *(seed for status in run.trials.values() for seed in status.get("identity", {}).get("seeds", ()))})
