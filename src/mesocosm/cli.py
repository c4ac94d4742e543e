"""The front door: `mesocosm list`, `run`, `judge`, `status`, `report`, `audit`, `bench`, `data`, `doctor`.

Only what answers is imported: help and `list` never load JAX. A user's mistake is one line on standard error and exit code 2; a failed trial is exit code 1.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

from mesocosm.lab.catalogue import find, packages, suggestion
from mesocosm.lab.errors import TrialFailed, UserError
from mesocosm.lab.progress import printable
from mesocosm.lab.terminal import claims_table, comparison_table, rehearsal_table, studies_table, study_page, trials_table
from mesocosm.studies.interface import Preset, Study

EXAMPLES = """What emerges when networks learn: ten papers whose claims are re-run by one command.

Examples:
  mesocosm list                                  the studies, their presets and how long they take
  mesocosm list mesa                             one study: its claims and what each is judged by
  mesocosm run mesa                              train, judge, report (the quick preset)
  mesocosm run mesa --dry-run                    what that would do, without doing it
  mesocosm run mesa --preset cpu --seeds 5       another size, another number of replicates
  mesocosm run mesa --mixer mypackage.layers:MyMixer   your own layer beside the study's
  mesocosm run mesa --help                       every field of the study's config is an option
  mesocosm status runs/mesa-quick                what is done, failed, left
  mesocosm run --like results/mesa               an earlier run again, then the verdicts side by side
  mesocosm report runs/mesa-quick --open         the page again, in the browser
  mesocosm report runs/* --out site              one site over several runs, their verdicts compared
  mesocosm audit path/to/model                   rank and balance of a checkpoint's attention, beside random factors
  mesocosm bench --quick                         side by side with other libraries (from the source tree)
  mesocosm data                                  the data sets on this machine, and how to get the others
  mesocosm doctor                                what this machine has and lacks"""

RUN_EXAMPLES = """Train a study, judge its claims and write the report. Finished trials are never run again: the same command resumes.

Examples:
  mesocosm run mesa                              the quick preset
  mesocosm run mesa --preset smoke --seeds 3     the smallest size, seeds 0 to 2
  mesocosm run mesa --first-seed 1000            a pilot: seeds from 1000, kept apart from the record's
  mesocosm run --like results/mesa               the same again, ends with the verdicts side by side
  mesocosm run mesa --track tensorboard          training curves for TensorBoard too, in RUN/track
  mesocosm run STUDY --help                      lists the fields of that study's config as options"""

MOST_SEEDS = 100_000
"""More replicates than anybody trains; a slip of the keyboard must not fill the memory."""

Flag = FlagCreatePairsOff[bool]


# --- what can be asked ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListCommand:
    """The studies, or one study with its presets and claims."""

    study: Annotated[str, Positional, arg(metavar="[STUDY]")] = ""
    """A study's name."""


@dataclass(frozen=True)
class RunCommand:
    """Train a study, judge its claims and write the report."""

    study: Annotated[str, Positional, arg(metavar="STUDY")]
    """The study's name, as `mesocosm list` shows it."""
    preset: Annotated[str, arg(metavar="NAME")] = "quick"
    """The size to start from."""
    seeds: Annotated[int, arg(metavar="N")] = 0
    """Number of replicates; by default the preset's."""
    first_seed: Annotated[int, arg(metavar="K")] = 0
    """The first replicate's seed; pilots use 1000 and more."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The run directory, instead of one under `runs/`."""
    fresh: Flag = False
    """Forget an earlier run in this directory."""
    dry_run: Flag = False
    """Show the trials, their minutes, memory and what is finished already; train nothing."""
    fail_fast: Flag = False
    """Stop at the first trial that fails."""
    mixer: Annotated[str, arg(metavar="MODULE:CLASS")] = ""
    """Your own layer, trained beside the study's; short for --config.mixer, in studies that have such a field."""
    track: Annotated[UseAppendAction[tuple[Literal["tensorboard", "wandb", "mlflow"], ...]], arg(metavar="SINK")] = ()
    """Write training curves and verdicts to RUN/track too, for tensorboard, wandb or mlflow (say it again for another); nothing leaves the machine."""
    like: Annotated[Path | None, arg(metavar="RUN")] = None
    """Do an earlier run again in a folder of its own, with its study, preset, config and seeds; ends with the difference of the verdicts."""


ConfigType = TypeVar("ConfigType")


@dataclass(frozen=True)
class ConfiguredRun(RunCommand, Generic[ConfigType]):
    """`RunCommand` with the config of one study, which is known only once the study is."""

    config: ConfigType = None  # type: ignore[assignment]
    """The fields of the study's config, as in the preset where they are not given."""


@dataclass(frozen=True)
class JudgeCommand:
    """Judge a run again from its tables, without training."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A run directory."""


@dataclass(frozen=True)
class StatusCommand:
    """What of a run is done, failed, left."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A run directory."""


@dataclass(frozen=True)
class ReportCommand:
    """Write a run's page and figures again, or one site over several runs."""

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...")]
    """Run directories."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The site's folder; several runs need one."""
    open: Flag = False
    """Show the page in the browser."""


@dataclass(frozen=True)
class DoctorCommand:
    """Versions, devices, memory, extras, studies: one block to paste into an issue. Exit code 1 where something needed is broken."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """Where runs would be written."""


@dataclass(frozen=True)
class AuditCommand:
    """Rank and balance of a checkpoint's attention products, each number beside what random factors give. Exit code 2 where nothing could be audited."""

    models: Annotated[tuple[str, ...], Positional, arg(metavar="MODEL...")]
    """Checkpoints: a safetensors file, a directory (shards too), owner/name on the Hugging Face hub, or a PyTorch file where torch is installed."""
    compare: Flag = False
    """Show two checkpoints side by side."""
    sort: Annotated[str, arg(metavar="COLUMN")] = ""
    """Rows by this column, largest first; with a minus before it, smallest first (--sort=-ratio)."""
    top: Annotated[int, arg(metavar="N")] = 48
    """Rows at most; 0 for all."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Also write Parquet, CSV, JSON and a page with figures there."""
    map: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ROLE=NAME")] = ()
    """For layouts that are not known: query=layers.{layer}.wq.weight, and so on for key, value and output, or qkv and output."""
    inputs_first: Flag = False
    """With --map: matrices are stored as (inputs, outputs)."""
    heads: Annotated[int, arg(metavar="N")] = 0
    """Number of query heads, where no config.json says it."""
    kv_heads: Annotated[int, arg(metavar="N")] = 0
    """Number of key heads, where no config.json says it and it is another."""
    biases: Flag = False
    """Take biases in as weights of a constant input."""
    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """A config.json that lies elsewhere."""


@dataclass(frozen=True)
class BenchCommand:
    """Time mesocosm side by side with other libraries, at equal error; needs the source tree."""

    names: Annotated[tuple[str, ...], Positional, arg(metavar="[NAME ...]")] = ()
    """Benchmarks by name; by default all of them."""
    quick: Flag = False
    """Small sizes and few repeats, instead of the whole record."""
    threads: Annotated[int, arg(metavar="N")] = 0
    """Threads of every contender; by default all cores."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the records, instead of benchmarks/results (with --quick: runs/bench)."""


@dataclass(frozen=True)
class DataCommand:
    """The data sets that studies read: which are on this machine, and the line that gets each of the others."""


Command = (
    Annotated[ListCommand, subcommand("list", prefix_name=False)]
    | Annotated[RunCommand, subcommand("run", prefix_name=False)]
    | Annotated[JudgeCommand, subcommand("judge", prefix_name=False)]
    | Annotated[StatusCommand, subcommand("status", prefix_name=False)]
    | Annotated[ReportCommand, subcommand("report", prefix_name=False)]
    | Annotated[DoctorCommand, subcommand("doctor", prefix_name=False)]
    | Annotated[AuditCommand, subcommand("audit", prefix_name=False)]
    | Annotated[BenchCommand, subcommand("bench", prefix_name=False)]
    | Annotated[DataCommand, subcommand("data", prefix_name=False)]
)


# --- how it is answered ---------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer a command line (default: the process's own); returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal or a log that cannot show a sign gets a question mark
    try:
        check_words(words)
        if not words:
            words = ["--help"]
        command = read_run(words[1:]) if words[0] == "run" else read(Command, words, "mesocosm", EXAMPLES)
        return answer(command, shlex.join(["mesocosm", *words]))
    except UserError as mistake:
        print(f"mesocosm: {brief(str(mistake))}", file=sys.stderr)
        return 1 if isinstance(mistake, TrialFailed) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def check_words(words: Sequence[str]) -> None:
    """Refuse what no file of a run could hold.

    Raises:
        UserError: a word that is not text.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{word!r} is not valid UTF-8") from None


def brief(message: str, most: int = 600) -> str:
    """One line without control characters; the middle of a very long one is left out, since its end says what to do."""
    line = " ".join(printable(message).split())
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def answer(command: Any, line: str) -> int:
    """Do what a command asks; returns the exit code."""
    match command:
        case ListCommand():
            return list_studies(command.study)
        case ConfiguredRun():
            return run(command, line)
        case JudgeCommand():
            return judge(command.run)
        case StatusCommand():
            return status(command.run)
        case ReportCommand():
            return report(command.runs, command.out, command.open)
        case DoctorCommand():
            return doctor(command.out)
        case AuditCommand():
            return audit(command)
        case BenchCommand():
            return bench(command)
        case DataCommand():
            return data()
    raise AssertionError(f"no answer to {command}")


def list_studies(name: str) -> int:
    """Print all studies, or one."""
    if name:
        console().print(study_page(find(name)))
        return 0
    found: list[Study | str] = []
    for known in packages():
        try:
            found.append(find(known))
        except UserError as broken:
            found.append(str(broken))
    console().print(studies_table(found) if found else "No studies are installed.")
    return 0


def run(command: ConfiguredRun[Any], line: str) -> int:
    """Run a study to its claims table."""
    study = find(command.study)
    if not 1 <= command.seeds <= MOST_SEEDS or command.first_seed < 0:
        raise UserError(f"--seeds must be 1 or more (at most {MOST_SEEDS}) and --first-seed 0 or more; they are {command.seeds} and {command.first_seed}")
    seeds = tuple(range(command.first_seed, command.first_seed + command.seeds))
    out = console()
    earlier = None
    if command.like is not None:
        earlier, seeds, command = like_earlier(study, command, seeds, out)
    if command.dry_run:
        return rehearse(study, command, seeds)

    from mesocosm.lab.progress import screen
    from mesocosm.lab.runner import execute
    from mesocosm.lab.track import tracked

    try:
        with screen(out) as watching, tracked(command.track, watching) as observer:
            options: dict[str, Any] = {"config": command.config, "seeds": seeds, "out": command.out, "fresh": command.fresh, "fail_fast": command.fail_fast}
            done = execute(study, command.preset, **options, observer=observer, command=line)
    except KeyboardInterrupt:
        print(f"mesocosm: stopped; nothing finished is lost. To resume: {resuming(line)}", file=sys.stderr)
        return 130
    code = conclude(done, out)
    if earlier is not None:
        compare(earlier, done, out)
    return code


def like_earlier(study: Study, command: ConfiguredRun[Any], seeds: tuple[int, ...], out: Console) -> tuple[Any, tuple[int, ...], ConfiguredRun[Any]]:
    """The run of `--like`, its seeds where no others were asked for, and the command with a folder beside it; prints what is made otherwise.

    Raises:
        UserError: the run cannot be made again, or would be overwritten.
    """
    from mesocosm.lab.plan import Plan
    from mesocosm.lab.replication import earlier_run, folder_beside, made_otherwise

    earlier = earlier_run(Path(command.like or ""))
    if (command.seeds, command.first_seed) == (len(earlier.seeds), earlier.seeds[0]):
        seeds = earlier.seeds  # they need not follow each other
    folder = command.out or folder_beside(earlier, Plan.of(study, command.preset, command.config, seeds).path)
    if folder.resolve() == earlier.path.resolve():
        raise UserError(f"--out {folder} is the run to compare with; choose another directory")
    changes = made_otherwise(earlier, command.config, seeds)
    out.print(f"like {earlier.path}: {'otherwise only' if changes else 'the same config and seeds'}", markup=False)
    for change in changes:
        out.print(f"  {change}", markup=False)
    return earlier, seeds, replace(command, out=folder)


def compare(earlier: Any, done: Any, out: Console) -> None:
    """Print what was made elsewhere, and the verdicts of two runs side by side."""
    from mesocosm.lab.replication import made_elsewhere, pairs

    out.print(f"\nCompared with {earlier.path}", markup=False, soft_wrap=True)
    for change in made_elsewhere(earlier.record, done.record):
        out.print(f"  {change}", markup=False, soft_wrap=True)
    out.print(comparison_table(pairs(earlier.claims, done.claims)))


def rehearse(study: Study, command: ConfiguredRun[Any], seeds: tuple[int, ...]) -> int:
    """Print what `run` would do."""
    from mesocosm.lab.plan import Plan
    from mesocosm.lab.rehearsal import rehearse_plan

    plan = Plan.of(study, command.preset, command.config, seeds, command.out)
    plan.check_directory()
    out = console()
    with out.status("compiling each program once, to read its memory") if out.is_terminal else nullcontext():
        trials = rehearse_plan(plan)
    out.print(rehearsal_table(trials))
    left = sum(trial.minutes or 0.0 for trial in trials if trial.state != "cached")
    out.print(f"{len(seeds)} seeds; {f'about {left:.2g} minutes on two cores' if plan.minutes else 'minutes not measured for this config'}; {plan.path}")
    return 0


def judge(path: Path) -> int:
    """Judge again."""
    from mesocosm.lab.runner import judge_run

    return conclude(judge_run(path), console())


def status(path: Path) -> int:
    """Print the trials' states, and what to do about those that are not finished."""
    from mesocosm.lab.store import Run, files_of, in_use

    with files_of(path):
        found = Run(path)
        trials = found.trials
        busy = any(state["state"] == "running" for state in trials.values()) and in_use(path)
    if not busy:  # nobody runs it: it was stopped or killed
        trials = {name: state | {"state": "interrupted"} if state["state"] == "running" else state for name, state in trials.items()}
    out = console()
    out.print(trials_table(trials))
    tell_failures(path, trials, out)
    if busy:
        say(out, "A process is writing to this run now.")
    elif any(state["state"] != "finished" for state in trials.values()):
        say(out, f"To go on: {resuming(found.record['command'])}")
    return exit_code(trials)


def report(paths: Sequence[Path], out: Path | None, show: bool) -> int:
    """Write one run's page again, or a site."""
    from mesocosm.lab.runner import report_run
    from mesocosm.lab.site import write_site
    from mesocosm.lab.store import Run

    if not paths:
        raise UserError("which run? `mesocosm report RUN`, where RUN is a run directory such as runs/mesa-quick")
    if len(paths) > 1 and out is None:
        raise UserError(f"{len(paths)} runs make a site: say where, with --out DIR")
    page = report_run(paths[0]) if out is None else write_site([Run(path) for path in paths], out)
    print(page)
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0


def doctor(out: Path) -> int:
    """Print what there is, and what mends what is broken."""
    from mesocosm.lab.doctor import block, examine

    findings = examine(out)
    print(block(findings))
    return int(any(finding.mend for finding in findings))


def audit(command: AuditCommand) -> int:
    """Audit checkpoints."""
    from mesocosm.audit import Options
    from mesocosm.lab.audit_command import run_audit

    if min(command.heads, command.kv_heads, command.top) < 0:
        raise UserError("--heads, --kv-heads and --top must be 0 or more")
    options = Options(command.heads or None, command.kv_heads or None, command.map, command.inputs_first, command.biases, command.config)
    return run_audit(command.models, options, console(), comparing=command.compare, sort=command.sort, top=command.top, folder=command.out)


def bench(command: BenchCommand) -> int:
    """Run benchmarks."""
    from mesocosm.lab import benchmarks

    folder = benchmarks.find_folder()
    return benchmarks.run(folder, benchmarks.choose(folder, command.names), quick=command.quick, threads=command.threads, out=command.out)


def data() -> int:
    """Print the data sets."""
    from mesocosm.lab.data_table import data_table, how_to_get

    out = console()
    out.print(data_table())
    for line in how_to_get():
        say(out, line)
    return 0


def conclude(done: Any, out: Console) -> int:
    """Print the claims table and where the report lies."""
    out.print(claims_table(done.claims))
    trials = done.trials
    tell_failures(done.path, trials, out)
    say(out, f"Report: {done.path / 'index.html'}")
    return exit_code(trials)


def tell_failures(path: Path, trials: Mapping[str, Mapping[str, Any]], out: Console) -> None:
    """Where the tracebacks are; the same command tries again."""
    if failed := [name for name, state in trials.items() if state["state"] == "failed"]:
        file = path / "trials" / (failed[0] if len(failed) == 1 else "NAME") / "error.txt"
        say(out, f"Failed: {', '.join(failed)}; the traceback is in {file}; the same command tries again.")


def say(out: Console, line: str) -> None:
    """Print a line as it is, however long."""
    out.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def resuming(line: str) -> str:
    """The command line that takes a run up again: the one that began it, which must not forget it."""
    try:
        return shlex.join(word for word in shlex.split(line) if word != "--fresh")
    except ValueError:  # an odd quote: somebody has written into run.json
        return line


def exit_code(trials: Mapping[str, Mapping[str, Any]]) -> int:
    """1 where a trial failed; one that lacks its data is no failure."""
    return int(any(trial["state"] == "failed" for trial in trials.values()))


def console() -> Console:
    """Standard output; wide enough for a table where it is a file."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=max(out.width, 140))


# --- how it is read -------------------------------------------------------------------------------------------------


def read_run(words: Sequence[str]) -> ConfiguredRun[Any]:
    """Read the words behind `run`: first study and preset, which say what the config is, then everything by the type of that config.

    Raises:
        UserError: unknown study, preset or option, or a value that cannot be read.
        SystemExit: help was asked for and printed.
    """
    name, preset = first_words(words)
    if (like := value_of("--like", words)) is not None and not {"-h", "--help"} & set(words):
        return read_like(words, name, Path(like))
    if name is None:
        if not {"-h", "--help"} & set(words):
            raise UserError(f"which study? `mesocosm run STUDY`, where STUDY is one of {', '.join(packages()) or 'none: no studies are installed'}")
        return read(RunCommand, words, "mesocosm run", RUN_EXAMPLES)
    study = find(name)
    chosen = chosen_preset(study, preset)
    return read_configured(words, ConfiguredRun(name, preset, chosen.seeds, config=chosen.config))


def read_like(words: Sequence[str], name: str | None, path: Path) -> ConfiguredRun[Any]:
    """Read the words behind `run` where an earlier run gives study, preset, config and seeds.

    Raises:
        UserError: no run that can be made again, another study or preset than its own, or a value that cannot be read.
    """
    from mesocosm.lab.replication import earlier_run

    earlier = earlier_run(path)
    if name is not None and find(name).name != earlier.study.name:
        raise UserError(f"{path} is a run of the study {earlier.study.name}, not of {name}")
    if value_of("--preset", words) not in (None, earlier.preset):
        raise UserError(f"--like takes the preset {earlier.preset} from {path}; leave out --preset")
    given = {"seeds": len(earlier.seeds), "first_seed": earlier.seeds[0], "like": path, "config": earlier.config}
    return read_configured(words, ConfiguredRun(earlier.study.name, earlier.preset, **given))


def read_configured(words: Sequence[str], default: ConfiguredRun[Any]) -> ConfiguredRun[Any]:
    """Read everything by the type of the config.

    Raises:
        UserError: an unknown option, or a value that cannot be read.
        SystemExit: help was asked for and printed.
    """
    command = read(ConfiguredRun[type(default.config)], words, "mesocosm run", RUN_EXAMPLES, default)
    command = with_part(find(default.study), command)
    if endless := nonfinite_fields(command.config, "--config"):
        raise UserError(f"{endless[0]} must be finite")
    return command


def with_part(study: Study, command: ConfiguredRun[Any]) -> ConfiguredRun[Any]:
    """The command with its part in the config.

    Raises:
        UserError: the study has no slot for it.
    """
    if not command.mixer:
        return command
    if "mixer" not in study.slots:
        raise UserError(f"study {study.name} has no place for a mixer")
    return replace(command, config=replace(command.config, mixer=command.mixer))


def nonfinite_fields(value: Any, option: str) -> list[str]:
    """The options of a config's fields, nested ones too, that hold NaN or infinity: no run could be recorded with them."""
    if is_dataclass(value):
        return [found for part in fields(value) for found in nonfinite_fields(getattr(value, part.name), f"{option}.{part.name.replace('_', '-')}")]
    if isinstance(value, tuple | list):
        return [found for item in value for found in nonfinite_fields(item, option)]
    return [option] if isinstance(value, float) and not math.isfinite(value) else []


def first_words(words: Sequence[str]) -> tuple[str | None, str]:
    """The study, which is the first word that is neither an option nor an option's value, and the preset."""
    flags = {"--fresh", "--dry-run", "--fail-fast", "-h", "--help"}
    name, awaits_value = None, False
    for word in words:
        if awaits_value or word.startswith("-"):
            awaits_value = not awaits_value and word not in flags and "=" not in word
        elif name is None:
            name = word
    preset = value_of("--preset", words)
    return name, RunCommand.preset if preset is None else preset


def value_of(option: str, words: Sequence[str]) -> str | None:
    """What stands behind the last such option, or None."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=False):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def chosen_preset(study: Study, name: str) -> Preset:
    """The study's preset of this name.

    Raises:
        UserError: it has none.
    """
    if name not in study.presets:
        raise UserError(f"study {study.name} has no preset {name!r}{suggestion(name, study.presets)}")
    return study.presets[name]


def read(kind: Any, words: Sequence[str], program: str, description: str, default: Any = None) -> Any:
    """Read words by a type with tyro, whose box of an error becomes one line.

    Raises:
        UserError: an option or a value that cannot be read.
        SystemExit: help was asked for and printed.
    """
    box = io.StringIO()
    parse: Callable[..., Any] = tyro.cli
    given = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(box):
            return parse(kind, prog=program, description=description, args=list(words), **given)
    except SystemExit as end:
        if not end.code:
            raise
    raise UserError(one_line(box.getvalue()) or f"cannot read {shlex.join(words)!r}; see {program} --help")


def one_line(box: str) -> str:
    """What a box of tyro's says: its parts are set apart by rules, its frame and line breaks mean nothing."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        content = line.strip().strip("│").strip()
        if content.strip("─-") and not content.startswith(("╭", "╰")):
            parts[-1].append(content)
        else:
            parts.append([])
    texts = [" ".join(part).rstrip(".:") for part in parts if part]
    if "╭" not in box:  # without Unicode the title is a line of its own
        texts = texts[1:]
    said = texts[0] if texts else ""
    for theirs, ours in (("invalid literal for int() with base 10: ", "not a whole number: "), ("could not convert string to float: ", "not a number: ")):
        said = said.replace(theirs, ours)
    for text in texts[1:]:
        if text.startswith("Perhaps you meant"):
            said += f"; perhaps you meant {' or '.join(re.findall(r'--[A-Za-z][^ ]*', text)[:3])}"
        elif text.startswith("Available"):
            said += f"; {text[0].lower()}{text[1:]}"
        elif text.startswith("For full"):
            said += f"; see {re.sub(r'^.*?(run|see):? ', '', text)}"
    return said
