"""How words become a command. The words behind `run` are read twice: study and preset say what the config is, whose fields are options too."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from mesocosm.cli.commands import EXAMPLES, RUN_EXAMPLES, Command, ConfiguredRun, RunCommand
from mesocosm.lab.catalogue import find, packages, suggestion
from mesocosm.lab.errors import UserError
from mesocosm.studies.interface import Preset, Study

FLAGS = {"-h", "--help", *(f"--{option.name.replace('_', '-')}" for option in fields(RunCommand) if option.default is False)}
"""The options of `run` behind which no value stands."""


def parse_command(words: Sequence[str]) -> Any:
    """Read a whole command line; no words ask for help.

    Raises:
        UserError: an unknown command or option, or a value that cannot be read.
        SystemExit: help was asked for and printed.
    """
    if words and words[0] == "run":
        return parse_run(words[1:])
    return parse(Command, words or ["--help"], "mesocosm", EXAMPLES)


def parse_run(words: Sequence[str]) -> ConfiguredRun[Any]:
    """Read the words behind `run`: first study and preset, which say what the config is, then everything by the type of that config.

    Raises:
        UserError: unknown study, preset or option, or a value that cannot be read.
        SystemExit: help was asked for and printed.
    """
    name, preset = first_words(words)
    if (like := value_of("--like", words)) is not None and not {"-h", "--help"} & set(words):
        return parse_like(words, name, Path(like))
    if name is None:
        if not {"-h", "--help"} & set(words):
            raise UserError(f"which study? `mesocosm run STUDY`, where STUDY is one of {', '.join(packages()) or 'none: no studies are installed'}")
        return parse(RunCommand, words, "mesocosm run", RUN_EXAMPLES)
    study = find(name)
    chosen = chosen_preset(study, preset)
    return parse_configured(words, ConfiguredRun(name, preset, chosen.seeds, config=chosen.config))


def parse_like(words: Sequence[str], name: str | None, path: Path) -> ConfiguredRun[Any]:
    """Read the words behind `run` where an earlier run gives study, preset, config and seeds.

    Raises:
        UserError: no run that can be made again, another study or preset than its own, or a value that cannot be read.
    """
    from mesocosm.lab.run.replication import earlier_run

    earlier = earlier_run(path)
    if name is not None and find(name).name != earlier.study.name:
        raise UserError(f"{path} is a run of the study {earlier.study.name}, not of {name}")
    if value_of("--preset", words) not in (None, earlier.preset):
        raise UserError(f"--like takes the preset {earlier.preset} from {path}; leave out --preset")
    given = {"seeds": len(earlier.seeds), "first_seed": earlier.seeds[0], "like": path, "config": earlier.config}
    return parse_configured(words, ConfiguredRun(earlier.study.name, earlier.preset, **given))


def parse_configured(words: Sequence[str], default: ConfiguredRun[Any]) -> ConfiguredRun[Any]:
    """Read everything by the type of the config.

    Raises:
        UserError: an unknown option, or a value that cannot be read.
        SystemExit: help was asked for and printed.
    """
    command = parse(ConfiguredRun[type(default.config)], words, "mesocosm run", RUN_EXAMPLES, default)
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
    name, awaits_value = None, False
    for word in words:
        if awaits_value or word.startswith("-"):
            awaits_value = not awaits_value and word not in FLAGS and "=" not in word
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


def parse(kind: Any, words: Sequence[str], program: str, description: str, default: Any = None) -> Any:
    """Read words by a type with tyro, whose box of an error becomes one line.

    Raises:
        UserError: an option or a value that cannot be read.
        SystemExit: help was asked for and printed.
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
