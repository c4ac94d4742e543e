"""Every layer of the registry and every way to name one fits the studies that train a user's layer; what does not is one line; its code is its trial's."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from mesocosm.analysis.in_context.polynomial_coefficients import derivative_coefficients
from mesocosm.lab.catalogue import find
from mesocosm.lab.store.code import trial_code
from mesocosm.lab.store.run_directory import Run
from mesocosm.nn import LAYERS, GatedMesaAttention, MesaAttention
from mesocosm.studies.gated_rnn.students import build_student, student_loss
from mesocosm.studies.mesa.networks import build_user_mixer, prediction_loss
from mesocosm.studies.mesa.references import orthogonal_systems
from mesocosm.studies.part_names import code_of, find_constructor, read_name
from mesocosm.studies.parts import check_mixer, check_model, user_mixer, user_model
from mesocosm.tasks.attention_teacher import LinearAttentionTeacher

KEY = jax.random.key(0)


def trial(study, mixer):
    """The trial of one user's layer at the smoke preset."""
    config = replace(find(study).presets["smoke"].config, mixer=mixer)
    return next(trial for trial in find(study).trials(config) if trial.name in ("user-1", "student-user"))


def network_and_loss(study, arm):
    """A new network of an arm, and its loss on one example."""
    if study == "mesa":
        return build_user_mixer(arm, KEY), lambda network: prediction_loss(network, orthogonal_systems(arm.systems).sample(KEY, "iid"), KEY)
    teacher = LinearAttentionTeacher.draw(KEY, arm.teacher.dim, length=arm.teacher.length)
    return build_student(arm, KEY), lambda network: student_loss(network, teacher.sample(KEY, "iid"), KEY)


@pytest.mark.parametrize(
    ("study", "name"),
    [
        *(pytest.param("mesa", name, marks=pytest.mark.whole) for name in LAYERS),
        *(pytest.param("gated-rnn", name, marks=pytest.mark.whole if name in ("attention", "gru", "mesa") else pytest.mark.slow) for name in LAYERS),
    ],
)
def test_every_layer_of_the_registry_fits_and_learns(study, name):
    find(study).check(replace(find(study).presets["smoke"].config, mixer=name))
    network, loss = network_and_loss(study, trial(study, name).config)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))(network)
    assert 0 < value < 1e3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    layer = (gradient.layers[0] if study == "mesa" else gradient.mixer).layer
    learns = any(np.abs(leaf).max() > 1e-8 for leaf in jax.tree.leaves(layer))
    if study == "gated-rnn":
        measured = eqx.filter_eval_shape(lambda network: derivative_coefficients(network, 3, time=5, source=4), network)
        assert measured.shape == (3, 3, 3, 3)
    assert learns is not (study == "mesa" and name == "rg-lru")  # it mixes no channels, and in mesa the predicted ones start at 0


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "mesa(heads=2)",
        " mesa ( heads = 2, ) ",
        "mesocosm.nn:MesaAttention(heads=2)",
        "mesocosm.nn.mixers.mesa:MesaAttention(heads=2)",
        "mesocosm.nn:MesaAttention.create(heads=2)",
        "theirs:two_heads",
        "theirs:Classy(heads=2)",
        "theirs:partial",
    ],
)
def test_every_form_of_a_name_builds_the_same_layer(theirs, text):
    wanted = MesaAttention.create(8, heads=2, key=KEY)
    assert eqx.tree_equal(user_mixer(text, 8, KEY).layer, wanted)


def test_options_are_literals_of_any_kind():
    assert read_name("a:B(x=-1.5, y='(', z=(1, [True, None]), w={'k': 2})") == ("a:B", {"x": -1.5, "y": "(", "z": (1, [True, None]), "w": {"k": 2}})
    assert read_name("a:B") == read_name("a:B()") == ("a:B", {})
    layer = user_mixer("gated-mesa(steps=3, value_dim=5)", 8, KEY).layer
    assert isinstance(layer, GatedMesaAttention)
    assert (layer.steps, layer.output.shape) == (3, (4, 8, 5))


def test_create_comes_before_the_class_itself(theirs):
    """`Both(dim, key=key)` would build another layer."""
    assert user_mixer("theirs:Both", 8, KEY).layer.made == "create"
    assert user_mixer("theirs:Direct(made='so')", 8, KEY).layer.made == "so"


BAD = [
    ("msea", "there is no layer 'msea'; did you mean mesa? `mesocosm layers` lists them, and your own is package.module:Name"),
    ("mesocosm.nn", "there is no layer 'mesocosm.nn'; `mesocosm layers` lists them"),
    ("mesa(heads=2", "is not a layer: write a name from `mesocosm layers` or package.module:Name, and options as in Name(heads=2)"),
    ("mesa()(heads=2)", "is not a layer: write"),
    ("mesa(heads=2).x()", "is not a layer: write"),
    ("mesa(heads=" + "(" * 999 + ")" * 999 + ")", "is not a layer: write"),
    ("mesa(heads='\\d')", "is not a layer: write"),
    ("a:b:c", "is not a layer: write"),
    ("mesa(2)", "mesa(2): the option 2 has no name; write options as in Name(heads=2)"),
    ("mesa(*[2])", "the option *[2] has no name"),
    ("mesa(heads=2, heads=4)", "write each option once"),
    ("mesa(**{'heads': 2})", "write each option once"),
    ("mesa(heads=two)", "heads=two is not a literal"),
    ("mesa(heads=__import__('os').getpid())", "heads=__import__('os').getpid() is not a literal"),
    ("mesa(head=2)", "mesa has no option 'head'; its options are heads, key_dim, value_dim, std, strength, learn_strength, unit_keys"),
    ("mesa(key=2)", "mesa has no option 'key'"),
    ("mesa(dim=2)", "mesa has no option 'dim'"),
    ("theirs:two_heads(heads=2)", "theirs:two_heads has no option 'heads'; it has no options"),
    ("mesa(heads=3)", "mesa(heads=3) cannot be built for tokens of width 8: 8 channels cannot be split into 3 heads"),
    ("mesa(strength=-1.0)", "the strength lambda must be above 0 and finite, got -1.0"),
    ("mesa(heads='2')", "mesa(heads='2') cannot be built for tokens of width 8: "),
    ("attention(causal=False)", "its output at one position depends on later tokens"),
    ("lstm(out_dim=3)", "it gives float32[6, 3] for tokens float32[6, 8]"),
    ("mesocosm.nn:Mesa", "the module mesocosm.nn has no Mesa"),
    ("mesocosm.nn:MesaAttention.make", "the class MesaAttention has no make"),
    ("mesocosm.nn:__all__", "mesocosm.nn:__all__ is neither a class nor a function"),
    ("theirs:stranger", "theirs:stranger cannot be built for tokens of width 8: TypeError: "),
]


@pytest.mark.parametrize(("text", "told"), BAD)
def test_what_is_no_layer_is_told_in_a_line(theirs, text, told):
    with pytest.raises(ValueError, match=r".") as error:
        check_mixer(text, 8, 6)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hint_how_layers_are_built_is_given_for_a_users_layer_only(theirs):
    for text, hinted in (("theirs:stranger", True), ("mesa(heads='2')", False)):
        with pytest.raises(ValueError, match="cannot be built") as error:
            check_mixer(text, 8, 6)
        assert ("built by Class.create(dim, key=key)" in str(error.value)) is hinted


def test_a_constructor_that_takes_anything_is_given_it(theirs):
    build, options = find_constructor("theirs:Anything(a=1, b='2')")
    assert build(8, key=KEY, **options).options == {"a": 1, "b": "2"}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A user's module."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("theirs", None)


THEIRS = """
import functools
import equinox as eqx
import jax
import jax.numpy as jnp
from mesocosm.nn import MesaAttention

partial = functools.partial(MesaAttention.create, heads=2)

class Classy:
    @staticmethod
    def create(dim, *, heads=4, key):
        return MesaAttention.create(dim, heads=heads, key=key)

def two_heads(dim, *, key):
    return MesaAttention.create(dim, heads=2, key=key)

def stranger(dim):
    return two_heads(dim, key=None)

class Direct(eqx.Module):
    made: str
    def __init__(self, dim, *, made="directly", key):
        self.made = made

class Both(Direct):
    @classmethod
    def create(cls, dim, *, key):
        return cls(dim, made="create", key=key)

class Anything(eqx.Module):
    options: dict
    def __init__(self, dim, *, key, **options):
        self.options = options

class Tossed(eqx.Module):
    weight: jax.Array

    def __init__(self, channels, *, outputs, scale=1.0, key):
        self.weight = scale * jax.random.normal(key, (channels + 1, outputs))

    def __call__(self, tokens, *, key):
        return jnp.concatenate([tokens, jax.random.uniform(key, (tokens.shape[0], 1))], axis=1) @ self.weight


class Silent(Tossed):
    def __call__(self, tokens):
        return tokens @ self.weight[:-1]


class Last(Tossed):
    def __call__(self, tokens, *, key):
        return super().__call__(tokens, key=key)[-1]


class Overflowing(Tossed):
    def __call__(self, tokens, *, key):
        return super().__call__(tokens, key=key) / 0


def narrow(channels, *, key):
    return Tossed(channels, outputs=1, key=key)
"""


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "text"),
    [
        ("mesa", "gated-mesa(heads=2)"),
        ("gated-rnn", "mesocosm.nn:GatedMesaAttention.create"),
        pytest.param("mesa", "mesocosm.nn:GatedMesaAttention.create", marks=pytest.mark.whole),
        pytest.param("gated-rnn", "gated-mesa(heads=2)", marks=pytest.mark.whole),
    ],
)
def test_a_trial_holds_the_code_of_the_layer_that_it_trains_and_of_no_other(study, text):
    code = trial_code(trial(study, text)).definitions
    assert {"GatedMesaAttention", "gated_mesa", "GatedProjections"} <= code.keys()
    assert not {"Attention", "DeltaNet", "GatedLinearAttention", "TransformerBlock"} & code.keys()


def test_the_code_of_every_layer_of_the_registry_is_its_class_or_function():
    for name, layer in LAYERS.items():
        (place,) = code_of(name)
        module, _, owner = place.partition(":")
        assert getattr(sys.modules[module], owner) is getattr(layer.create, "__self__", layer.create)


def test_the_code_of_a_users_layer_is_its_module_which_need_not_exist_to_read_a_run():
    assert code_of("no.longer:There(heads=2)") == ("no.longer",)
    assert code_of("no-longer-there") == code_of("mesa(") == ()


def test_another_option_is_another_config_of_the_trial():
    assert trial("mesa", "mesa(heads=2)").config != trial("mesa", "mesa(heads=4)").config


# --- from end to end --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_layer_of_ours_is_trained_by_name(tmp_path):
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "gated-rnn", "--preset", "smoke", "--mixer", "mesa", "--out", "run"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    run = Run(tmp_path / "run")
    assert all(state["state"] == "finished" for state in run.trials.values())
    assert isinstance(run.model("student-user", seed=1).mixer.layer, MesaAttention)
    assert run.table("loss", trial="student-user")["loss"].is_finite().all()
    assert run.table("polynomial", trial="student-user")["derivative_cosine"].abs().min() > 0
    assert {row["verdict"] for row in run.claims} == {"not judged"}


# --- seeded models ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("theirs")
def test_a_seeded_model_is_built_with_its_options_and_reads_its_seed():
    check_model("theirs:Tossed(scale=2.0)", 4, 3, 5)
    one, two = (user_model(text, 4, 3, KEY) for text in ("theirs:Tossed", "theirs:Tossed(scale=2.0)"))
    np.testing.assert_array_equal(two.weight, 2 * one.weight)
    tokens = jax.random.normal(KEY, (5, 4))
    assert one(tokens, key=KEY).shape == (5, 3)
    assert len({float(one(tokens, key=key)[0, 0]) for key in jax.random.split(KEY, 3)}) == 3


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mesa", "mesa is not a model: name yours as package.module:Name; a model is an equinox module"),
        ("theirs:Tossed(size=2)", "theirs:Tossed has no option 'size'"),
        ("theirs:Tossed(outputs=2)", "cannot be built for tokens of width 4: TypeError: "),
        ("theirs:narrow", "cannot be built for tokens of width 4: TypeError: "),
        ("theirs:Silent", "cannot be called with tokens float32[5, 4]: TypeError: "),
        ("theirs:Last", "it gives float32[3] for tokens float32[5, 4]"),
        ("theirs:Overflowing", "the output of a new one for normally distributed tokens is not finite"),
    ],
)
def test_what_is_no_seeded_model_is_told_in_a_line(text, told):
    with pytest.raises(ValueError, match=r".") as error:
        check_model(text, 4, 3, 5)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
