"""The commands: one dataclass per command, whose fields are its arguments and options, and the examples shown by `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

EXAMPLES = """Re-run the claims of ten papers on what emerges when networks learn.

Examples:
  mesocosm list                                  list the studies, their presets and running times
  mesocosm list mesa                             show the claims of one study and their checks
  mesocosm run mesa                              train, judge and report (the quick preset)
  mesocosm run mesa --dry-run                    show what this would do (with --compile, its memory too)
  mesocosm run mesa --preset cpu --seeds 5       choose a preset and the number of replicates
  mesocosm run mesa --mixer 'gated-mesa(heads=2)'   also train another layer, from `mesocosm layers`
  mesocosm run mesa --mixer mypackage.layers:MyMixer   also train your own layer
  mesocosm run mesa --help                       list the options of a study, one per config field
  mesocosm status runs/mesa-quick                show which trials are finished, failed or left
  mesocosm run mesa --track tensorboard          also log training curves to TensorBoard (or wandb, mlflow)
  mesocosm run --like results/mesa               repeat an earlier run and compare the verdicts
  mesocosm search mesa --over config.linear.learning_rate=1e-3,3e-3 --by loss.versus_step --on linear-1   compare settings on pilot seeds
  mesocosm compare softmax mesa hyla mypackage.layers:MyMixer   train each layer on every sequence task, at equal parameters
  mesocosm run all                               run every study, and build one site of all runs
  mesocosm judge runs/mesa-quick                 judge again from the tables
  mesocosm report runs/mesa-quick --open         rebuild the report and open it in the browser
  mesocosm report runs/* --out site              build one site of several runs: verdicts compared, a gallery of figures
  mesocosm audit path/to/model                   measure rank and balance of a checkpoint's attention
  mesocosm bench --quick                         compare the speed with other libraries (from the source tree)
  mesocosm layers                                list the layers for --mixer, their options and what each is for
  mesocosm data                                  list the data sets on this machine and how to get the others
  mesocosm new-study my-study                    create your own study, ready to run and edit
  mesocosm doctor                                check the installation and this machine"""

RUN_EXAMPLES = """Train a study, judge its claims and write the report.

Repeat the command to resume. A finished trial runs again only if its config, its code, its data or a version has changed.

Examples:
  mesocosm run mesa                              run the quick preset
  mesocosm run mesa --preset smoke --seeds 3     run the smallest size with seeds 0 to 2
  mesocosm run mesa --first-seed 1000            run a pilot, with seeds that the record does not use
  mesocosm run --like results/mesa               repeat an earlier run and compare the verdicts
  mesocosm run mesa --track tensorboard          also log training curves to TensorBoard, in RUN/track
  mesocosm run all --preset smoke                run every study in turn, then build one site of all runs
  mesocosm run mesa --ray auto                   compute the trials on a Ray cluster, several at a time
  mesocosm run STUDY --help                      list the fields of that study's config as options"""

SEARCH_EXAMPLES = """Compare settings of a study on pilot seeds, and save all that was tried as one table.

Every configuration is trained on the same seeds, for equally many steps. Repeat the command to resume.

Examples:
  mesocosm search mesa --over config.linear.learning_rate=1e-3,3e-3 --by loss.versus_step --on linear-1
                                                 a grid; compare by the column versus_step of the table loss, of the trial linear-1
  mesocosm search mesa --over config.linear.learning_rate=1e-4:1e-1:log --by loss.versus_step --on linear-1 --method tpe --arms 20
                                                 a range, on a logarithmic scale, by Optuna's TPE (or random)
  mesocosm search STUDY --help                   list the fields of that study's config as options"""

COMPARE_EXAMPLES = """Train layers on every sequence task, at equal parameters, steps and search over learning rates; one table, one page.

The learning rate of each layer on each task is chosen on pilot seeds; other seeds are judged. Repeat the command to resume.

Examples:
  mesocosm compare softmax mesa hawk             three layers on the tasks of the quick preset (softmax is attention)
  mesocosm compare softmax mypackage.layers:MyMixer --task recall --task text   your own layer, on two tasks
  mesocosm compare 'mesa(heads=1)' 'mesa(heads=4)' --seeds 10 --config.training.steps 1000   options of layers, more seeds and steps
  mesocosm compare --preset cpu                  all our layers on all tasks"""

Flag = FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class ListCommand:
    """List the studies, or the presets and claims of one study."""

    study: Annotated[str, Positional, arg(metavar="[STUDY]")] = ""
    """The name of a study."""


@dataclass(frozen=True)
class Where:
    """Where the trials are computed: here, or on a Ray cluster, several at a time."""

    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Compute the trials on a Ray cluster: auto for this machine's, or a new one on this machine if there is none; local for a new one; or HOST:PORT."""
    ray_cores: Annotated[int, arg(metavar="N")] = 2
    """With --ray: cores of each trial."""
    ray_memory: Annotated[float, arg(metavar="GIB")] = 0.0
    """With --ray: GiB of memory to reserve for each trial. By default, its programs are compiled beforehand to find what it needs."""


@dataclass(frozen=True)
class RunCommand:
    """Train a study, judge its claims and write the report."""

    study: Annotated[str, Positional, arg(metavar="STUDY")]
    """The name of the study, as shown by `mesocosm list`; `all` for every study."""
    preset: Annotated[str, arg(metavar="NAME")] = "quick"
    """The preset, which sets the size of the run."""
    seeds: Annotated[int, arg(metavar="N")] = 0
    """Number of replicates; the preset sets the default."""
    first_seed: Annotated[int, arg(metavar="K")] = 0
    """Seed of the first replicate; pilots use 1000 and above."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The run directory, by default one under `runs/`; with `all`, the folder of the runs and the site, by default `runs/`."""
    fresh: Flag = False
    """Discard an earlier run in this directory."""
    again: Flag = False
    """Make a record (presets cpu and paper) even on seeds that an earlier record of the study has met; its rows show the earlier verdicts."""
    dry_run: Flag = False
    """Show the trials, their minutes, and which are finished; train nothing."""
    compile: Flag = False
    """With --dry-run: also go through the code of each trial and compile its programs, which finds errors and measures memory (up to minutes)."""
    fail_fast: Flag = False
    """Stop at the first trial that fails."""
    stalled: Annotated[float, arg(metavar="SECONDS", name="stalled-after")] = 120.0
    """Stop the run if it makes no progress and uses no processor time for this long; it can be resumed. 0 disables the check."""
    mixer: Annotated[str | None, arg(metavar="LAYER")] = None
    """Train another layer beside the study's: a name from `mesocosm layers`, or your own as package.module:Name, with options as in 'mesa(heads=2)'; short
    for --config.mixer, in studies with this field."""
    model: Annotated[str | None, arg(metavar="MODEL")] = None
    """Train your own seeded model, package.module:Name, beside the study's; short for --config.model, in studies with this field."""
    estimator: Annotated[str | None, arg(metavar="ESTIMATOR")] = None
    """Train with your own estimator, package.module:Name, beside the study's; short for --config.estimator, in studies with this field."""
    track: Annotated[UseAppendAction[tuple[Literal["tensorboard", "wandb", "mlflow"], ...]], arg(metavar="SINK")] = ()
    """Also log training curves and verdicts to RUN/track, for tensorboard, wandb or mlflow (repeat the option for several); nothing leaves the machine."""
    where: Annotated[Where, arg(name="")] = Where()
    store: Annotated[str | None, arg(metavar="URL")] = None
    """With --ray: keep the run under a URL that fsspec knows (s3://BUCKET/RUN), for machines that do not share the run directory, which becomes its copy."""
    like: Annotated[Path | None, arg(metavar="RUN")] = None
    """Repeat an earlier run in a new directory, with its study, preset, config and seeds, and compare the verdicts."""


ConfigType = TypeVar("ConfigType")


@dataclass(frozen=True)
class ConfiguredRun(RunCommand, Generic[ConfigType]):
    """`RunCommand` with the config type of the chosen study."""

    config: ConfigType = None  # type: ignore[assignment]
    """Fields of the study's config; the preset sets the defaults."""


@dataclass(frozen=True)
class SearchCommand:
    """Compare settings of a study on pilot seeds, and save all that was tried as one table."""

    study: Annotated[str, Positional, arg(metavar="STUDY")]
    """The name of the study, as shown by `mesocosm list`."""
    over: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FIELD=VALUES")] = ()
    """A field of the config and its values, config.learning_rate=1e-3,3e-3, or a range, LOW:HIGH or LOW:HIGH:log (repeat the option for several fields)."""
    by: Annotated[str, arg(metavar="TABLE.COLUMN")] = ""
    """The number that compares configurations: the mean over seeds of a column of a table that trials write."""
    on: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TRIAL")] = ()
    """The trial whose number it is; only it and the trials that it needs are run. COLUMN=VALUE chooses among several rows of a seed (repeat the option)."""
    method: Literal["grid", "random", "tpe"] = "grid"
    """All combinations, or Optuna's random or TPE sampler."""
    arms: Annotated[int, arg(metavar="N")] = 0
    """Number of configurations that a sampler proposes."""
    maximize: Flag = False
    """The larger the number, the better."""
    preset: Annotated[str, arg(metavar="NAME")] = "quick"
    """The preset, which sets the size of each run."""
    seeds: Annotated[int, arg(metavar="N")] = 0
    """Number of replicates of each configuration; the preset sets the default."""
    first_seed: Annotated[int, arg(metavar="K")] = 1000
    """Seed of the first replicate; 1000 or above, for records use those below."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The directory of the search; by default a directory under `runs/`."""
    where: Annotated[Where, arg(name="")] = Where()
    stalled: Annotated[float, arg(metavar="SECONDS", name="stalled-after")] = 120.0
    """Stop if a run makes no progress and uses no processor time for this long; the search can be resumed. 0 disables the check."""


@dataclass(frozen=True)
class ConfiguredSearch(SearchCommand, Generic[ConfigType]):
    """`SearchCommand` with the config type of the chosen study."""

    config: ConfigType = None  # type: ignore[assignment]
    """Fields of the study's config that all configurations share; the preset sets the defaults."""


@dataclass(frozen=True)
class CompareCommand:
    """Train layers on every sequence task, at equal parameters, steps and search over learning rates."""

    layers: Annotated[tuple[str, ...], Positional, arg(metavar="[LAYER ...]")] = ()
    """Names from `mesocosm layers`, or your own as package.module:Name, with options as in 'mesa(heads=2)'; `softmax` is attention. The others are
    compared with the first one. By default, those of the preset."""
    task: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TASK")] = ()
    """A sequence task (repeat the option for several); the preset sets the default."""
    preset: Annotated[str, arg(metavar="NAME")] = "quick"
    """The preset, which sets the size: smoke, quick or cpu."""
    seeds: Annotated[int, arg(metavar="N")] = 0
    """Number of replicates that are judged; the preset sets the default."""
    first_seed: Annotated[int, arg(metavar="K")] = 0
    """Seed of the first replicate, below 1000; pilots use 1000 and above."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The folder of the comparison, by default one under `runs/`."""
    fresh: Flag = False
    """Discard an earlier comparison in this folder."""
    dry_run: Flag = False
    """Show how the parameters of each layer are spent; train nothing."""
    where: Annotated[Where, arg(name="")] = Where()
    stalled: Annotated[float, arg(metavar="SECONDS", name="stalled-after")] = 120.0
    """Stop if it makes no progress and uses no processor time for this long; it can be resumed. 0 disables the check."""


@dataclass(frozen=True)
class ConfiguredCompare(CompareCommand, Generic[ConfigType]):
    """`CompareCommand` with the comparison's config."""

    config: ConfigType = None  # type: ignore[assignment]
    """Fields of the comparison's config; the preset sets the defaults."""


@dataclass(frozen=True)
class JudgeCommand:
    """Judge a run again from its tables, without training."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A run directory."""


@dataclass(frozen=True)
class StatusCommand:
    """Show which trials of a run are finished, failed or left."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A run directory."""


@dataclass(frozen=True)
class ReportCommand:
    """Rebuild the page and figures of a run, or build one site from several runs."""

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...")]
    """Run directories."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The folder of the site; required for several runs."""
    open: Flag = False
    """Open the page in the browser."""


@dataclass(frozen=True)
class DoctorCommand:
    """Print versions, devices, memory, extras and studies as one block to paste into an issue. Exit code 1 if something required is broken."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """The directory for runs."""


@dataclass(frozen=True)
class AuditCommand:
    """Measure rank and balance of a checkpoint's attention products and compare with random factors. Exit code 2 if nothing could be audited."""

    models: Annotated[tuple[str, ...], Positional, arg(metavar="MODEL...")]
    """Checkpoints: a safetensors file, a directory (also sharded), owner/name on the Hugging Face hub, or a PyTorch file if torch is installed."""
    compare: Flag = False
    """Compare two checkpoints."""
    sort: Annotated[str, arg(metavar="COLUMN")] = ""
    """Sort the rows by this column, largest first; a leading minus sorts smallest first (--sort=-ratio)."""
    top: Annotated[int, arg(metavar="N")] = 48
    """Maximum number of rows; 0 shows all."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Also write Parquet, CSV, JSON and a page with figures to this folder."""
    map: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ROLE=NAME")] = ()
    """For unknown layouts: query=layers.{layer}.wq.weight, and so on for key, value and output, or qkv and output."""
    inputs_first: Flag = False
    """With --map: matrices are stored as (inputs, outputs)."""
    heads: Annotated[int, arg(metavar="N")] = 0
    """Number of query heads, for parts of the model for which config.json does not give it."""
    kv_heads: Annotated[int, arg(metavar="N")] = 0
    """Number of key heads, if it differs and config.json does not give it."""
    draws: Annotated[int, arg(metavar="N")] = 32
    """Number of random factors and rotations for the nulls; fewer are faster, and their spread is less certain."""
    mlp: Flag = False
    """Also measure the product of the two matrices of each MLP; slow for wide models."""
    biases: Flag = False
    """Include biases, as weights of a constant input."""
    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """Path of the config.json, if it is not next to the weights."""


@dataclass(frozen=True)
class BenchCommand:
    """Compare the speed of mesocosm with other libraries, at equal error; needs the source tree."""

    names: Annotated[tuple[str, ...], Positional, arg(metavar="[NAME ...]")] = ()
    """Names of benchmarks; by default all."""
    quick: Flag = False
    """Use small sizes and few repeats, instead of the whole record."""
    threads: Annotated[int, arg(metavar="N")] = 0
    """Number of threads for every contender; by default all cores."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the records; by default benchmarks/results (with --quick: runs/bench)."""


@dataclass(frozen=True)
class LayersCommand:
    """List the layers that `run --mixer` takes by name, with their options and what each is for, or describe one."""

    name: Annotated[str, Positional, arg(metavar="[NAME]")] = ""
    """The name of a layer."""


@dataclass(frozen=True)
class DataCommand:
    """List the data sets that studies read, which are on this machine, and how to get the others."""


@dataclass(frozen=True)
class NewStudyCommand:
    """Create a study that runs, for you to edit: a few short files and a test. In a checkout of mesocosm, also adds its page and README row."""

    name: Annotated[str, Positional, arg(metavar="NAME")]
    """The name of the study: lower-case words joined by dashes."""
    folder: Annotated[Path, arg(metavar="DIR")] = Path(".")
    """A checkout of mesocosm, or the folder in which to create the package."""


Command = (
    Annotated[ListCommand, subcommand("list", prefix_name=False)]
    | Annotated[RunCommand, subcommand("run", prefix_name=False)]
    | Annotated[SearchCommand, subcommand("search", prefix_name=False)]
    | Annotated[CompareCommand, subcommand("compare", prefix_name=False)]
    | Annotated[JudgeCommand, subcommand("judge", prefix_name=False)]
    | Annotated[StatusCommand, subcommand("status", prefix_name=False)]
    | Annotated[ReportCommand, subcommand("report", prefix_name=False)]
    | Annotated[DoctorCommand, subcommand("doctor", prefix_name=False)]
    | Annotated[AuditCommand, subcommand("audit", prefix_name=False)]
    | Annotated[BenchCommand, subcommand("bench", prefix_name=False)]
    | Annotated[LayersCommand, subcommand("layers", prefix_name=False)]
    | Annotated[DataCommand, subcommand("data", prefix_name=False)]
    | Annotated[NewStudyCommand, subcommand("new-study", prefix_name=False)]
)
