"""Parses command lines. `run` is parsed twice: the study selects the config type, whose fields become options, and the preset sets their defaults."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import tyro

from mesocosm.cli.commands import (
    COMPARE_EXAMPLES,
    EXAMPLES,
    RUN_EXAMPLES,
    SEARCH_EXAMPLES,
    Command,
    ConfiguredCompare,
    ConfiguredRun,
    ConfiguredSearch,
    RunCommand,
    SearchCommand,
)
from mesocosm.cli.tour import ALL, Tour, tour_of
from mesocosm.lab.catalogue import comparisons, find, packages, suggestion
from mesocosm.lab.errors import UserError
from mesocosm.studies.interface import Preset, Study

if TYPE_CHECKING:
    from mesocosm.lab.store.run_directory import Run

FLAGS = {"-h", "--help", *(f"--{option.name.replace('_', '-')}" for kind in (RunCommand, SearchCommand) for option in fields(kind) if option.default is False)}
"""The options of `run` and `search` that take no value."""


def parse_command(words: Sequence[str]) -> Any:
    """Parse a whole command line; an empty one prints help.

    Raises:
        UserError: an unknown command or option, or an invalid value.
        SystemExit: after printing help.
    """
    if words and words[0] == "run":
        return parse_run(words[1:])
    if words and words[0] == "search":
        return parse_search(words[1:])
    if words and words[0] == "compare":
        return parse_compare(words[1:])
    try:
        return parse(Command, words or ["--help"], "mesocosm", EXAMPLES)
    except UserError as mistake:
        named = words[0] in {kind.__metadata__[0].name for kind in get_args(Command)}
        raise UserError(str(mistake).replace("see mesocosm --help", f"see mesocosm {words[0]} --help") if named else str(mistake)) from None


class StudyRun(NamedTuple):
    """A parsed `run`, with what was looked up on the way.

    Attributes:
        study: the study to run.
        command: the options.
        earlier: the run to repeat (`--like`).
    """

    study: Study
    command: ConfiguredRun[Any]
    earlier: Run | None = None


def parse_run(words: Sequence[str]) -> StudyRun | Tour:
    """Parse the arguments of `run`: first the study and preset, which determine the config, then all options with that config type.
    The study `all` has no config.

    Raises:
        UserError: an unknown study, preset or option, or an invalid value.
        SystemExit: after printing help.
    """
    name, preset = first_words(words)
    if name == ALL:
        return tour_of(parse(RunCommand, words, "mesocosm run", RUN_EXAMPLES))
    if (like := value_of("--like", words)) is not None and not {"-h", "--help"} & set(words):
        return parse_like(words, name, Path(like))
    if name is None:
        if not {"-h", "--help"} & set(words):
            raise UserError(f"name a study: `mesocosm run STUDY`, where STUDY is one of {', '.join(packages()) or 'none: no studies are installed'}")
        return parse(RunCommand, words, "mesocosm run", RUN_EXAMPLES)
    study = find_study(name)
    chosen = chosen_preset(study, preset)
    return StudyRun(study, parse_configured(words, study, ConfiguredRun(name, preset, chosen.seeds, config=chosen.config)))


def parse_like(words: Sequence[str], name: str | None, path: Path) -> StudyRun:
    """Parse the arguments of `run --like`, with the study, preset, config and seeds of an earlier run.

    Raises:
        UserError: the run cannot be repeated, its study or preset differs from the given one, or a value is invalid.
    """
    from mesocosm.lab.run.replication import earlier_run

    earlier = earlier_run(path)
    if name is not None and find(name).name != earlier.study.name:
        raise UserError(f"{path} is a run of study {earlier.study.name}, not of {name}")
    if value_of("--preset", words) not in (None, earlier.preset):
        raise UserError(f"--like uses the preset {earlier.preset} of {path}; omit --preset")
    given = {"seeds": len(earlier.seeds), "first_seed": earlier.seeds[0], "like": path, "config": earlier.config}
    default = ConfiguredRun(earlier.study.name, earlier.preset, **given)
    return StudyRun(earlier.study, parse_configured(words, earlier.study, default), earlier)


def parse_configured(words: Sequence[str], study: Study, default: ConfiguredRun[Any]) -> ConfiguredRun[Any]:
    """Parse all options with the config type of `default`.

    Raises:
        UserError: an unknown option or an invalid value.
        SystemExit: after printing help.
    """
    command = parse(ConfiguredRun[type(default.config)], words, "mesocosm run", RUN_EXAMPLES, default)
    for slot, kind in PARTS.items():
        command = with_part(study, command, slot, kind)
    if endless := nonfinite_fields(command.config, "--config"):
        raise UserError(f"{endless[0]} must be finite")
    return command


class StudySearch(NamedTuple):
    """A parsed `search`.

    Attributes:
        study: the study to search.
        command: the options.
    """

    study: Study
    command: ConfiguredSearch[Any]


def parse_search(words: Sequence[str]) -> StudySearch:
    """Parse the arguments of `search`, as those of `run`.

    Raises:
        UserError: an unknown study, preset or option, or an invalid value.
        SystemExit: after printing help.
    """
    name, preset = first_words(words)
    if name is None:
        if not {"-h", "--help"} & set(words):
            raise UserError(f"name a study: `mesocosm search STUDY`, where STUDY is one of {', '.join(packages()) or 'none: no studies are installed'}")
        return parse(SearchCommand, words, "mesocosm search", SEARCH_EXAMPLES)
    study = find_study(name)
    chosen = chosen_preset(study, preset)
    default = ConfiguredSearch(name, preset=preset, seeds=chosen.seeds, config=chosen.config)
    command = parse(ConfiguredSearch[type(chosen.config)], words, "mesocosm search", SEARCH_EXAMPLES, default)
    if endless := nonfinite_fields(command.config, "--config"):
        raise UserError(f"{endless[0]} must be finite")
    return StudySearch(study, command)


class Comparison(NamedTuple):
    """A parsed `compare`.

    Attributes:
        study: the comparison, which is run as a study is.
        command: the options, with layers and tasks in the config.
    """

    study: Study
    command: ConfiguredCompare[Any]


def parse_compare(words: Sequence[str]) -> Comparison:
    """Parse the arguments of `compare`: the preset determines the defaults of the config, and layers and tasks that are named replace its own.

    Raises:
        UserError: an unknown preset or option, or an invalid value.
        SystemExit: after printing help.
    """
    study, preset = find("layers"), value_of("--preset", words)
    chosen = chosen_preset(study, ConfiguredCompare.preset if preset is None else preset)
    default = ConfiguredCompare(seeds=chosen.seeds, config=chosen.config)
    command = parse(ConfiguredCompare[type(chosen.config)], words, "mesocosm compare", COMPARE_EXAMPLES, default)
    if endless := nonfinite_fields(command.config, "--config"):
        raise UserError(f"{endless[0]} must be finite")
    layers = tuple(re.sub(r"^\s*softmax\b(?!\s*[.:])", "attention", layer) for layer in command.layers or command.config.layers)
    return Comparison(study, replace(command, config=replace(command.config, layers=layers, tasks=command.task or command.config.tasks)))


def find_study(name: str) -> Study:
    """A study to run or search.

    Raises:
        UserError: there is no such study, or it is a comparison, which has a command of its own.
    """
    study = find(name)
    if study.package in comparisons().values():
        raise UserError(f"{study.name} is a comparison, not a study: `mesocosm compare`")
    return study


PARTS = {
    "mixer": "a layer, from `mesocosm layers` or your own as package.module:Name",
    "model": "your model as package.module:Name",
    "estimator": "your estimator as package.module:Name",
}
"""Option that copies a user's part into the slot of its name -> what to write."""


def with_part(study: Study, command: ConfiguredRun[Any], slot: str, kind: str) -> ConfiguredRun[Any]:
    """Copy `--mixer`, `--model` or `--estimator` into the config.

    Raises:
        UserError: the study has no such slot, or the part has no name or a dot where the colon belongs.
    """
    part = getattr(command, slot)
    if part is None:
        return command
    if slot not in study.slots:
        raise UserError(f"study {study.name} does not accept a --{slot}")
    if not part.strip():
        raise UserError(f"--{slot} is empty: name {kind}")
    name, bracket, options = part.partition("(")
    if "." in name and ":" not in name:
        module, _, last = name.strip().rpartition(".")
        raise UserError(f"--{slot} {part}: a colon separates module and name; did you mean {module}:{last}{bracket}{options}?")
    return replace(command, config=replace(command.config, **{slot: part}))


def nonfinite_fields(value: Any, option: str) -> list[str]:
    """List the options, including nested ones, whose values are NaN or infinite; a run cannot record them."""
    if is_dataclass(value):
        return [found for part in fields(value) for found in nonfinite_fields(getattr(value, part.name), f"{option}.{part.name.replace('_', '-')}")]
    if isinstance(value, tuple | list):
        return [found for item in value for found in nonfinite_fields(item, option)]
    return [option] if isinstance(value, float) and not math.isfinite(value) else []


def first_words(words: Sequence[str]) -> tuple[str | None, str]:
    """Return the study (the first word that is neither an option nor its value) and the preset."""
    name, awaits_value = None, False
    for word in words:
        if awaits_value or word.startswith("-"):
            awaits_value = not awaits_value and word not in FLAGS and "=" not in word
        elif name is None:
            name = word
    preset = value_of("--preset", words)
    return name, RunCommand.preset if preset is None else preset


def value_of(option: str, words: Sequence[str]) -> str | None:
    """Return the value of the last such option, or None."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=False):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def chosen_preset(study: Study, name: str) -> Preset:
    """Look up a preset.

    Raises:
        UserError: the study has no such preset.
    """
    if name not in study.presets:
        raise UserError(f"study {study.name} has no preset {name!r}{suggestion(name, study.presets)}")
    return study.presets[name]


def parse(kind: Any, words: Sequence[str], program: str, description: str, default: Any = None) -> Any:
    """Parse words into a type with tyro, with errors shortened to one line.

    Raises:
        UserError: an unknown option or an invalid value.
        SystemExit: after printing help.
    """
    box = io.StringIO()
    parse_words: Callable[..., Any] = tyro.cli
    given = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(box):
            return parse_words(kind, prog=program, description=description, args=list(words), **given)
    except SystemExit as end:
        if not end.code:
            raise
    raise UserError(one_line(box.getvalue()) or f"cannot parse {shlex.join(words)!r}; see {program} --help")


def one_line(box: str) -> str:
    """Shorten tyro's boxed error message to one line; rules separate its parts."""
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
