"""What can be asked at the command line: a dataclass a command, whose fields are its words and options, and the examples that help shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

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
  mesocosm run mesa --track tensorboard          training curves for TensorBoard too (or wandb, mlflow)
  mesocosm run --like results/mesa               an earlier run again, then the verdicts side by side
  mesocosm judge runs/mesa-quick                 the verdicts again, from the tables
  mesocosm report runs/mesa-quick --open         the page again, in the browser
  mesocosm report runs/* --out site              one site over several runs, their verdicts compared
  mesocosm audit path/to/model                   rank and balance of a checkpoint's attention, beside random factors
  mesocosm bench --quick                         side by side with other libraries (from the source tree)
  mesocosm data                                  the data sets on this machine, and how to get the others
  mesocosm new-study my-study                    the files of a study of your own, ready to run
  mesocosm doctor                                what this machine has and lacks"""

RUN_EXAMPLES = """Train a study, judge its claims and write the report.

The same command resumes: a finished trial is run again only where its config, its code, its data or a version has changed.

Examples:
  mesocosm run mesa                              the quick preset
  mesocosm run mesa --preset smoke --seeds 3     the smallest size, seeds 0 to 2
  mesocosm run mesa --first-seed 1000            a pilot: seeds from 1000, kept apart from the record's
  mesocosm run --like results/mesa               the same again, ends with the verdicts side by side
  mesocosm run mesa --track tensorboard          training curves for TensorBoard too, in RUN/track
  mesocosm run STUDY --help                      lists the fields of that study's config as options"""

Flag = FlagCreatePairsOff[bool]


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
    stalled: Annotated[float, arg(metavar="SECONDS", name="stalled-after")] = 120.0
    """Stop the run, which can then be resumed, when it made no progress and used no processor time for this long; 0 to wait for ever."""
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


@dataclass(frozen=True)
class NewStudyCommand:
    """Write a study that runs, for you to change: four short files with a test. In a checkout of mesocosm its page and its README row are written, too."""

    name: Annotated[str, Positional, arg(metavar="NAME")]
    """Lower-case words joined by dashes."""
    folder: Annotated[Path, arg(metavar="DIR")] = Path(".")
    """A checkout of mesocosm, or the folder in which the package NAME is made."""


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
    | Annotated[NewStudyCommand, subcommand("new-study", prefix_name=False)]
)
