"""The mesa study: what its smoke run measured, the paper's sizes, its identities and mutants, and verdicts on made-up tables."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from jax.tree_util import Partial

from mesocosm.analysis.in_context.regression import ChebyshevInverse, least_squares
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.analysis.tables import long_table
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.view import View
from mesocosm.nn import LinearAttention, MesaAttention, ResidualStack
from mesocosm.studies.mesa import claims, identities
from mesocosm.studies.mesa.config import PRESETS, Identities, Network
from mesocosm.studies.mesa.networks import NetworkArm, build_linear, prediction_loss
from mesocosm.studies.mesa.probing import learned_inverse, probe_network
from mesocosm.studies.mesa.references import Sequences, group_means
from mesocosm.studies.mesa.trials import trials
from mesocosm.studies.mesa.weights import compressed, products_of
from mesocosm.tasks.linear_systems import LinearSystems, next_token_loss
from mesocosm.tasks.task import batch


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("mesa")


def test_a_published_network_predicts_as_it_was_measured(smoke):
    """The loss in the table is the rebuilt network's on the same sequences."""
    from mesocosm.studies.mesa.references import draw_sequences

    config = smoke.config
    task = LinearSystems.orthogonal(config.systems.dim, length=config.systems.length)
    test = draw_sequences(config.evaluation, task, jax.random.key(2**31 - 1)).test
    network = smoke.model("linear-2", seed=1)
    losses = jax.vmap(lambda states: prediction_loss(network, _example(states), jax.random.key(0)))(test)
    table = smoke.table("loss", trial="linear-2")
    np.testing.assert_allclose(losses.mean(), table.filter(table["seed"] == 1)["loss"][0], rtol=1e-5)
    assert all(isinstance(layer, LinearAttention) for layer in network.layers)
    assert isinstance(smoke.model("mesa-1").layers[0], MesaAttention)


def test_losses_by_group_are_of_all_late_and_earlier_positions(smoke):
    """The smoke run's sequences have 12 positions, so that a fifth is two; each of its 64 sequences is a group."""
    from mesocosm.studies.mesa.networks import predict
    from mesocosm.studies.mesa.references import draw_sequences, orthogonal_systems, sequence_losses

    config = smoke.config
    test = draw_sequences(config.evaluation, orthogonal_systems(config.systems), jax.random.key(2**31 - 1)).test
    losses = np.asarray(sequence_losses(Partial(predict, smoke.model("linear-2", seed=1)), test))
    table = smoke.table("group_loss", trial="linear-2").filter(pl.col("seed") == 1).sort("group")
    for column, positions in {"loss": slice(None), "late": slice(10, 12), "before": slice(8, 10)}.items():
        np.testing.assert_allclose(table[column], losses[:, positions].mean(1), rtol=1e-4)


def _example(states):
    from mesocosm.tasks.linear_systems import Trajectory

    return Trajectory(states, jnp.zeros((states.shape[1],) * 2))


def test_arms_are_paired_and_share_their_evaluation_data(smoke):
    losses = smoke.table("loss")
    fresh = losses.filter(~losses["trial"].str.contains("fixed|contracting"))
    assert fresh["digest"].n_unique() == 1
    fixed = losses.filter(losses["trial"] == "fixed-system")
    assert fixed["digest"].n_unique() == len(fixed)


@pytest.mark.slow
def test_the_papers_programs_compile_and_tell_their_memory():
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "mesa", "--preset", "paper", "--dry-run"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for trial in trials(PRESETS["paper"].config):
        line = next(line for line in told.stdout.splitlines() if line.split()[:1] == [trial.name])
        assert ("MiB" in line) == bool(trial.models or trial.name == "linear-1-again"), line


def test_identities_hold_and_their_mutants_do_not(smoke):
    found = smoke.table("identities")
    assert set(found["identity"]) == set(identities.IDENTITIES)
    assert found["error"].max() < 1e-10
    assert found.group_by("identity").agg(pl.col("mutant").max())["mutant"].min() > 1e-3


@pytest.mark.whole
def test_the_printed_mutant_formula_differs_only_in_its_mutation():
    """The dense key gradient behind the mutant of N2, unmutated, is autodiff's: so it is the mutation that fails."""
    with jax.enable_x64(True):
        tokens = identities._tokens(Identities(length=9, dim=3), jax.random.key(0))
        error = jax.random.normal(jax.random.key(1), tokens.value.shape)
        wanted = jax.grad(lambda t: jnp.sum(error * identities.dense_output(t)))(tokens).key
        np.testing.assert_allclose(identities._key_gradient(tokens, error, mutant=False), wanted, rtol=1e-9, atol=1e-12)


def test_compressing_a_compressed_network_changes_nothing():
    config = PRESETS["smoke"].config
    arm = NetworkArm(config.systems, "orthogonal", Network(layers=2, heads=2), replace(config.linear, init_std=0.1), config.evaluation, config.probing)
    small = compressed(build_linear(arm, jax.random.key(0)), config.systems.dim)
    with pytest.raises(AssertionError):
        products_of(small.layers[0])
    whole = products_of(build_linear(arm, jax.random.key(0)).layers[0])
    assert not np.allclose(small.layers[0].query_key, whole.query_key)
    np.testing.assert_allclose(np.trace(small.layers[0].query_key[0]), np.trace(whole.query_key[0]), rtol=1e-5)


# --- probes -----------------------------------------------------------------------------------------------------------


class Unchanged(ChebyshevInverse):
    """An "inverse" that gives the input back, which every token holds."""

    def __call__(self, matrix, right):
        return right


def _observations(task, count):
    return batch(task, jax.random.key(0), count, "iid").observations


@pytest.mark.whole
def test_probes_look_for_the_next_state_and_the_preconditioned_input_of_their_position():
    """Without layers: the next state of one fixed system is a linear map of the token, that of many is not; the state itself is in the token of both."""
    probe = jax.jit(lambda observations: probe_network((4, 7), 64, ResidualStack(()), Sequences(observations[:64], observations[64:]), Unchanged.neumann(1)))
    tasks = LinearSystems.fixed_teacher(jax.random.key(1), 3, length=8), LinearSystems.orthogonal(3, length=8)
    fixed, many = (probe(_observations(task, 128)) for task in tasks)
    assert fixed.target.shape == (1, 2, 16)
    assert max(fixed.target.max(), fixed.preconditioned.max(), many.preconditioned.max()) < 0.01
    for controls in (fixed.shuffled_target, fixed.shuffled_preconditioned, many.shuffled_target, many.shuffled_preconditioned, many.target):
        assert controls.mean() > 0.2


@pytest.mark.whole
def test_the_learned_inverse_was_learned():
    """It predicts better than the series from which it starts, on the sequences that it was fitted on, and without the newest pair."""
    tuning = _observations(LinearSystems.orthogonal(3, length=10), 64)

    def loss(inverse):
        predicted = jax.vmap(lambda states: least_squares(states, inverse, include_last_pair=False))(tuning[:, :-1])
        return float(next_token_loss(predicted, tuning[:, 1:]))

    learned = learned_inverse(100, tuning, jax.random.key(1))
    assert learned.step_sizes.shape == (6,)
    assert loss(learned) < 0.97 * loss(ChebyshevInverse.neumann(6))


# --- verdicts on made-up tables ---------------------------------------------------------------------------------------

SEEDS = {"seed": range(10)}
GROUPS = {"group": range(64)}
LOSSES = {"linear-1": 0.88, "linear-1-wide": 0.88, "linear-2": 0.45, "linear-4": 0.24, "linear-6": 0.21, "mesa-1": 0.19}
LOSSES |= {f"contracting-{name}": loss for name, loss in {"1": 0.9, "1-wide": 0.9, "4": 0.25, "mesa-1": 0.23}.items()}
LATE = {"linear-2": (0.15, 0.25), "linear-4": (0.02, 0.02), "linear-6": (0.011, 0.009)}
POLYNOMIALS = {"learned": {1: 0.8, 6: 0.22}, "neumann": {1: 0.9, 6: 0.36}}
POSITIONS = (10, 15, 20, 25, 30, 35, 40, 45)


def verdicts(**tables):
    rows = judge("mesa", claims.CLAIMS, View(PRESETS["cpu"].config, "cpu", tables), Circumstances(command=""), strict=True)
    return {row.id.removeprefix("mesa/"): row.verdict for row in rows if row.estimate is not None}


def losses_of(losses, late=LATE, common=0.5):
    """Losses by seed and group, over all positions and over the last two fifths. Groups differ by a factor that networks and polynomials share, which alone
    gives each mean an error of six per cent."""
    random = np.random.default_rng(0)
    hard = 1 + common * random.normal(size=64)

    def around(loss):
        return loss * hard * (1 + 0.01 * random.normal(size=(10, 1))) * (1 + 0.01 * random.normal(size=(10, 64)))

    networks = [
        long_table({**SEEDS, **GROUPS}, trial=trial, digest="a", loss=around(loss), before=around(before), late=around(end))
        for trial, loss in losses.items()
        for before, end in [late.get(trial, (loss, loss))]
    ]
    steps = {name: np.stack([around(loss) for loss in by_steps.values()], axis=1) for name, by_steps in POLYNOMIALS.items()}
    return {"group_loss": pl.concat(networks), "polynomial": long_table({**SEEDS, "steps": (1, 6), **GROUPS}, trial="polynomials", digest="a", **steps)}


PAIRED = ("C4.learned", "C5.two", "C5.four", "C5.six", "C5.late", "C5.late-four", "C5.mesa-one", "C5.mesa-all", "C14.depth", "C14.mesa", "C14.mesa-all")


def test_depth_and_the_mesa_layer_hold_although_all_losses_share_a_large_error():
    assert verdicts(**losses_of(LOSSES)) == dict.fromkeys(PAIRED, "holds")


def test_depth_and_the_mesa_layer_fail_where_they_change_nothing():
    found = verdicts(**losses_of(dict.fromkeys(LOSSES, 0.88), late={}))
    assert {name for name, verdict in found.items() if verdict == "holds"} == {"C4.learned"}
    assert {name for name, verdict in found.items() if verdict == "not judged"} <= {"C5.late", "C5.mesa-all", "C14.mesa-all"}
    found = verdicts(**losses_of({**LOSSES, "linear-6": 0.3, "mesa-1": 0.32}))
    assert {name for name, verdict in found.items() if verdict == "fails"} == {"C5.six", "C5.mesa-all"}
    found = verdicts(**losses_of(LOSSES, late={**LATE, "linear-4": (0.2, 0.2)}))
    assert {name for name, verdict in found.items() if verdict == "fails"} == {"C5.late-four"}


def test_losses_on_other_sequences_are_not_compared():
    tables = losses_of(LOSSES)
    other = pl.when(pl.col("trial") == "linear-2").then(pl.lit("b")).otherwise("digest").alias("digest")
    found = verdicts(**{**tables, "group_loss": tables["group_loss"].with_columns(other)})
    assert "C5.two" not in found
    assert found["C5.mesa-one"] == "holds"


def test_the_error_of_a_paired_difference_survives_its_groups():
    random = np.random.default_rng(0)
    one, other = random.lognormal(size=(2, 3, 4096)) + random.lognormal(sigma=2, size=4096)
    (whole, error), (grouped, grouped_error) = log_ratio_of_means(one, other), log_ratio_of_means(group_means(one), group_means(other))
    assert group_means(one).shape == (3, 64)
    np.testing.assert_allclose(grouped, whole, rtol=1e-9)
    np.testing.assert_allclose(grouped_error, error, rtol=0.3)


@pytest.mark.parametrize(("good", "verdict"), [(20, "holds"), (10, "inconclusive"), (1, "fails")])
def test_averages_with_the_first_compression_are_judged_by_how_many_are_lossless_throughout(good, verdict):
    """A network that is worse at one late step is not; one that is worse at the start, before the first sixth, is."""
    values = 0.005 + 1e-3 * np.random.default_rng(0).normal(size=(20, 12))
    values[good:, 7], values[:, 0] = 0.05, 1.0
    axes = {"seed": range(20), "step": range(0, 1200, 100)}
    columns = {"versus_network": values, "mutant": 1 + values}
    table = long_table(axes, trial="linear-1-again", **columns, **{f"{name}_error": np.full((20, 12), 1e-3) for name in columns})
    assert verdicts(interpolation=table) == {"C3.interpolated": verdict}


@pytest.mark.parametrize(("rise", "verdict"), [(0.8, "holds"), (1.2, "fails")])
def test_a_loss_that_rises_at_the_end_is_seen(rise, verdict):
    tables = losses_of({"linear-6": 0.05, "linear-2": 0.2}, late={"linear-6": (0.05, 0.05 * rise), "linear-2": (0.2, 0.3)})
    assert verdicts(group_loss=tables["group_loss"])["C5.late"] == verdict


@pytest.mark.parametrize(
    ("target", "preconditioned", "spread", "expected"),
    [
        (0.5, 0.8, 0.1, ("holds", "holds", "holds")),
        (1.0, 1.0, 0.1, ("fails", "fails", "holds")),
        (0.7, 0.85, 1.0, ("inconclusive", "inconclusive", "inconclusive")),
    ],
    ids=["decoded", "not decoded", "decoded, but only in some groups"],
)
def test_probes_are_judged_with_the_error_of_their_sequences(target, preconditioned, spread, expected):
    """Losses that fall from layer to layer and along the sequence; groups differ by a factor that layers share, and by one that they do not."""
    random = np.random.default_rng(0)
    shape = (7, len(POSITIONS), 16)
    common, own = np.exp(0.5 * random.normal(size=16)), np.exp(spread * random.normal(size=shape))
    seeds = common * own * (1 + 0.1 * random.normal(size=(10, 7, len(POSITIONS), 1)))
    layers, along = np.arange(7)[:, None, None], np.linspace(1, 0.4, len(POSITIONS))[:, None]
    shuffled = common * (1 + 0.01 * random.normal(size=(10, *shape))) / along
    losses = {"target": seeds * target**layers * along, "preconditioned": seeds * preconditioned**layers}
    losses |= {"shuffled_target": shuffled, "shuffled_preconditioned": shuffled}
    table = long_table({**SEEDS, "layer": range(7), "position": POSITIONS, "group": range(16)}, trial="linear-6", **losses)
    found = verdicts(probes=table)
    assert tuple(found[f"C6.{check}"] for check in ("target", "preconditioning", "context")) == expected
