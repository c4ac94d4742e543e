"""What a search tries next: all combinations of a grid, or Optuna's random and TPE samplers, each a deterministic sequence of configurations.

References: Bergstra and Bengio, "Random search for hyper-parameter optimization" (2012); Bergstra et al., "Algorithms for hyper-parameter optimization"
(2011); Akiba et al., "Optuna: a next-generation hyperparameter optimization framework" (2019).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from mesocosm.lab.catalogue import suggestion
from mesocosm.lab.errors import UserError
from mesocosm.lab.store.configuration import flat, from_plain, plain

Method = Literal["grid", "random", "tpe"]
INSTALL = 'pip install "optuna>=5.0"'


@dataclass(frozen=True)
class Dimension:
    """One field of the config and what to try in it.

    Attributes:
        field: its dotted name, without `config.`.
        values: the values to choose from; empty for a range.
        low, high: the ends of a range.
        log: whether the range is searched on a logarithmic scale.
    """

    field: str
    values: tuple[Any, ...] = ()
    low: float | int = 0
    high: float | int = 0
    log: bool = False


def dimension(text: str, config: Any) -> Dimension:
    """Parse FIELD=A,B,C, or FIELD=LOW:HIGH or FIELD=LOW:HIGH:log for a field that holds a number.

    Raises:
        UserError: there is no such field, or it cannot hold such a value.
    """
    name, sign, words = text.partition("=")
    field = name.strip().removeprefix("config.").replace("-", "_")
    fields = flat(plain(config))
    if not sign or not words.strip():
        raise UserError(f"--over {text}: write FIELD=VALUE,VALUE or FIELD=LOW:HIGH, as in config.learning_rate=1e-3,3e-3")
    if field not in fields:
        raise UserError(f"--over {text}: the config has no field {field!r}{suggestion(field, fields)}")
    if isinstance(fields[field], list):
        raise UserError(f"--over {text}: {field} holds a list; a search is over single values")
    is_number = isinstance(fields[field], int | float) and not isinstance(fields[field], bool)
    if ":" in words and is_number:
        low, high, *rest = words.split(":")
        if rest not in ([], ["log"]):
            raise UserError(f"--over {text}: a range is LOW:HIGH or LOW:HIGH:log")
        ends = [converted(config, field, end, text) for end in (low, high)]
        if ends[0] >= ends[1] or (rest and ends[0] <= 0):
            raise UserError(f"--over {text}: the low end of a range must be below the high one, and above 0 on a logarithmic scale")
        return Dimension(field, low=ends[0], high=ends[1], log=bool(rest))
    values = [converted(config, field, value, text) for value in re.split(r",(?![^(]*\))", words)]  # not within mesa(heads=2, key_dim=4)
    if len(set(values)) < len(values):
        raise UserError(f"--over {text}: a value is given twice")
    return Dimension(field, tuple(values))


def converted(config: Any, field: str, word: str, text: str) -> Any:
    """A word as a value of the field's type.

    Raises:
        UserError: the field cannot hold it, or it is not finite.
    """
    try:
        value = flat(plain(with_values(config, {field: word.strip()})))[field]
    except msgspec.ValidationError as wrong:
        raise UserError(f"--over {text}: {word.strip()!r} does not fit {field}: {str(wrong).partition(' - at')[0].lower()}") from None
    if isinstance(flat(plain(config))[field], int | float) and not math.isfinite(float(value)):
        raise UserError(f"--over {text}: {field} must be finite")
    return value


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """The config with other values in some fields, by dotted names.

    Raises:
        msgspec.ValidationError: a field cannot hold its value.
    """
    whole = plain(config)
    for field, value in values.items():
        *folders, last = field.split(".")
        part = whole
        for folder in folders:
            part = part[folder]
        part[last] = value
    return from_plain(whole, type(config))


@runtime_checkable
class Proposals(Protocol):
    """A sequence of configurations that depends on nothing but the outcomes it was told."""

    arms: int
    """How many configurations will be proposed."""

    def ask(self) -> dict[str, Any]:
        """The next configuration: field -> value."""
        ...

    def tell(self, score: float | None) -> None:
        """What came of it, the smaller the better; None if its training failed."""
        ...


def proposals(method: Method, dimensions: Sequence[Dimension], arms: int, seed: int = 0) -> Proposals:
    """The proposals of a method.

    Args:
        method: grid, random or tpe.
        dimensions: what to search over.
        arms: number of configurations; 0 for all of a grid.
        seed: of the samplers.

    Raises:
        UserError: nothing to search over, a range in a grid, no number of configurations for a sampler, or Optuna is not installed.
    """
    fields = [dimension.field for dimension in dimensions]
    if not fields:
        raise UserError("name what to search over: --over config.FIELD=VALUE,VALUE")
    if len(set(fields)) < len(fields):
        raise UserError(f"--over names {next(field for field in fields if fields.count(field) > 1)} twice; give all its values at once")
    if method == "grid":
        if ranges := [dimension.field for dimension in dimensions if not dimension.values]:
            raise UserError(f"a grid needs values, and --over gives a range for {ranges[0]}; choose --method random or tpe")
        grid = _Grid(dimensions)
        if arms not in (0, grid.arms):
            raise UserError(f"this grid has {grid.arms} configurations; omit --arms {arms}, or choose --method random or tpe")
        return grid
    if arms < 1:
        raise UserError(f"--method {method} needs a number of configurations: --arms N")
    return _Sampled(method, dimensions, arms, seed)


class _Grid:
    """All combinations, the last field varying fastest."""

    def __init__(self, dimensions: Sequence[Dimension]):
        self.arms = math.prod(len(dimension.values) for dimension in dimensions)
        self._fields = [dimension.field for dimension in dimensions]
        self._left = itertools.product(*(dimension.values for dimension in dimensions))

    def ask(self) -> dict[str, Any]:
        return dict(zip(self._fields, next(self._left), strict=True))

    def tell(self, score: float | None) -> None:
        pass


class _Sampled:
    """A sampler of Optuna with a seed: told the same outcomes, it asks the same again, so a resumed search needs no other memory than its runs."""

    def __init__(self, method: Method, dimensions: Sequence[Dimension], arms: int, seed: int):
        try:
            import optuna
        except ImportError:
            raise UserError(f"--method {method} needs Optuna, which is not installed: {INSTALL}; --method grid works without it") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.RandomSampler(seed) if method == "random" else optuna.samplers.TPESampler(seed=seed)
        self.arms = arms
        self._failed = optuna.trial.TrialState.PRUNED  # TPE counts it as the worst outcome; it would ignore FAIL and propose the like again
        self._study = optuna.create_study(sampler=sampler)
        self._space = {each.field: _distribution(optuna.distributions, each) for each in dimensions}
        self._asked: Any = None

    def ask(self) -> dict[str, Any]:
        self._asked = self._study.ask(self._space)
        return dict(self._asked.params)

    def tell(self, score: float | None) -> None:
        self._study.tell(self._asked, score, state=self._failed if score is None else None)


def _distribution(distributions: Any, dimension: Dimension) -> Any:
    """The dimension in Optuna's terms."""
    if dimension.values:
        return distributions.CategoricalDistribution(dimension.values)
    kind = distributions.IntDistribution if isinstance(dimension.low, int) else distributions.FloatDistribution
    return kind(dimension.low, dimension.high, log=dimension.log)
