"""A trial is another trial as soon as anything that could change its tables is another, and only then."""

import math
import os
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from mesocosm.lab.catalogue import find
from mesocosm.lab.store.code import Code, trial_code
from mesocosm.lab.store.configuration import changed_fields, from_plain, plain
from mesocosm.lab.store.identity import difference, digest, identity
from toy_study.config import Config
from toy_study.trials import probe, trials

STUDY = find("toy-study")
ROLLING = trials(Config())[1]


def of(trial=ROLLING, seeds=(0, 1), parents=None) -> dict:
    return identity(STUDY, trial, seeds, parents or {}, trial_code(trial))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda: of(replace(ROLLING, precision="float64")), "precision (float32 -> float64)"),
        (lambda: of(seeds=(0, 1, 2)), "seeds ([0, 1] -> [0, 1, 2])"),
        (lambda: of(seeds=(1, 0)), "seeds ([0, 1] -> [1, 0])"),
        (lambda: of(replace(ROLLING, over_seeds="map")), "over seeds (vmap -> map)"),
        (lambda: of(replace(ROLLING, name="other")), "trial (rolling -> other)"),
        (lambda: of(replace(ROLLING, config=replace(ROLLING.config, steps=51))), "config (steps: 50 -> 51)"),
        (lambda: of(replace(ROLLING, config=replace(ROLLING.config, learning_rate=math.nan))), 'config (learning_rate: 0.1 -> "nan")'),
        (lambda: of(parents={"a": "x"}), "parent a"),
    ],
)
def test_what_changes_the_tables_changes_the_identity(other, why):
    assert digest(of()) == digest(of())
    assert digest(other()) != digest(of())
    assert difference(of(), other()) == why


def test_threads_devices_and_versions_change_it(monkeypatch):
    before = of()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(37)), raising=False)
    assert difference(before, of()) == f"threads ({before['threads']} -> 37)"
    assert before["devices"] == ["cpu:cpu"]
    monkeypatch.undo()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    assert difference(before, of()).startswith("compiler (")
    assert {"jax", "jaxlib", "equinox", "optax"} <= before.keys()


def test_what_changes_no_table_does_not_change_it():
    assert of(replace(ROLLING, after=("identity",))) == of()


def test_another_function_and_another_builder_of_the_model_that_children_read_change_it():
    assert of(replace(ROLLING, run=probe))["code"].startswith("probe ")
    assert of(replace(ROLLING, models={}))["code"] != of()["code"]


def test_changed_definitions_are_named():
    code = trial_code(ROLLING)
    other = Code("roll 0", {**code.definitions, "height": "0", "Ball": "0"})
    new = of() | {"code": other.name}
    assert difference(of(), new, {code.name: code.definitions, other.name: other.definitions}) == "code of Ball, height"
    assert difference(of(), new, {other.name: other.definitions}) == "code of unknown definitions (not recorded)"


def test_an_identity_comes_back_from_a_file_the_same():
    parts = of(replace(ROLLING, config=Shapes()))
    assert msgspec.json.decode(msgspec.json.encode(parts)) == parts


# --- configs as plain data ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    rate: float = math.inf
    note: str = "nan"


@dataclass(frozen=True)
class Shapes:
    sizes: tuple[int, ...] = (1, 2)
    by_depth: dict[int, float] = field(default_factory=lambda: {1: -math.inf})
    inner: Inner = field(default_factory=Inner)
    maybe: float | None = None
    several: tuple[Inner, ...] = (Inner(0.1), Inner(1e-300, "1"))
    flag: bool = True


def test_a_config_comes_back_as_it_was():
    config = Shapes()
    text = msgspec.json.encode(plain(config))
    assert from_plain(msgspec.json.decode(text), Shapes) == config
    assert msgspec.json.decode(text) == plain(config)
    assert math.isnan(from_plain(plain(Inner(math.nan)), Inner).rate)
    with pytest.raises(msgspec.ValidationError):
        from_plain(plain(config) | {"sizes": "many"}, Shapes)


def test_changed_fields_are_named_with_both_values():
    changed = replace(Shapes(), inner=Inner(0.5), sizes=(1, 3), maybe=2.0)
    assert changed_fields(plain(Shapes()), plain(changed)) == ["sizes: [1, 2] -> [1, 3]", 'inner.rate: "inf" -> 0.5', "maybe: null -> 2.0"]
    assert changed_fields(plain(Shapes()), plain(Shapes())) == []
