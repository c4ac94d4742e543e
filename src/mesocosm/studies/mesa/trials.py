"""What the mesa study trains: linear-attention networks and a mesa layer that predict linear systems, each beside what regression in context can know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.attention_products import (
    BlockScalars,
    ProductAttention,
    compress,
    effective_step_size,
    expand,
    interpolate,
    pattern_strength,
)
from mesocosm.analysis.in_context.probes import ProbeData, preconditioning_target, probe_losses
from mesocosm.analysis.in_context.regression import ChebyshevInverse, least_squares, line_search
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.analysis.tables import long_table
from mesocosm.learning.supervised import Supervised, cosine_adamw
from mesocosm.nn import LinearAttention, MesaAttention, Mixer, ResidualStack
from mesocosm.studies.interface import Context, Tables, Trial
from mesocosm.studies.mesa.config import Config, Evaluation, Network, Probing, Systems, Training
from mesocosm.studies.mesa.identities import check_identities
from mesocosm.studies.mesa.references import (
    References,
    Sequences,
    draw_sequences,
    measure_polynomials,
    measure_references,
    orthogonal_systems,
    sequence_losses,
    step_predictor,
)
from mesocosm.studies.mesa.stopping import measure_stopping
from mesocosm.studies.parts import check_mixer, user_mixer
from mesocosm.tasks.linear_systems import LinearSystems, Trajectory, constructed_tokens
from mesocosm.tasks.task import digest

Source = Literal["orthogonal", "contracting", "fixed"]
Layer = Literal["linear", "mesa", "user"]


@dataclass(frozen=True)
class NetworkArm:
    """One network on one kind of systems."""

    systems: Systems
    source: Source
    network: Network
    training: Training
    evaluation: Evaluation
    probing: Probing
    mixer: str = ""


def check(config: Config) -> None:
    """Refuse a mixer that does not fit.

    Raises:
        ValueError: in what.
    """
    check_mixer(config.mixer, 4 * config.systems.dim, config.systems.length)


def trials(config: Config) -> list[Trial]:
    """One trial for each network; those that differ in numbers only share a program."""

    def arm(name: str, source: Source = "orthogonal", *, layers: int = 1, heads: int = 4, layer: Layer = "linear", training: Training | None = None) -> Trial:
        clip = config.deep_clip if layers > 1 or layer == "mesa" else config.network.residual_clip
        network = Network(layers, heads, config.network.key_dim, clip)
        training = training or (config.mesa if layer == "mesa" else config.linear if layers == 1 else config.deep)
        mixer = config.mixer if layer == "user" else ""
        settings = NetworkArm(config.systems, source, network, training, config.evaluation, config.probing, mixer)
        run, build = LAYERS[layer]
        user_parts = (mixer.partition(":")[0],) if mixer else ()
        return Trial(name, run, settings, models={"network": build}, over_seeds=config.over_seeds, user_parts=user_parts)

    heads, references = config.network.heads, References(config.systems, config.evaluation)
    if config.mixer:
        depths = (1, *(config.depths or (2,)))
        ours = [arm(f"linear-{depth}", layers=depth, heads=heads if depth == 1 else 4) for depth in depths]
        theirs = [arm(f"user-{depth}", layers=depth, layer="user") for depth in depths]
        return [Trial("references", measure_references, references, seeds=1), *ours, arm("mesa-1", layer="mesa"), *theirs]
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("references", measure_references, references, seeds=1),
        arm("linear-1", heads=heads),
        arm("linear-1-fixed", "fixed", heads=heads),
        replace(arm("fixed-system", "fixed", heads=heads, training=config.fixed), seeds=config.fixed_seeds),
        replace(arm("fresh-systems", heads=heads, training=config.fixed), seeds=config.fixed_seeds),
        arm("mesa-1", layer="mesa"),
        arm("linear-1-wide"),
    ]
    found += [arm(f"linear-{depth}", layers=depth) for depth in config.depths]
    if config.depths:
        found.append(Trial("polynomials", measure_polynomials, references))
    for depth in config.contracting_depths:
        training = config.linear if depth == 1 else config.contracting
        found.append(arm(f"contracting-{depth}", "contracting", layers=depth, heads=heads if depth == 1 else 4, training=training))
    if config.contracting_depths:
        found += [arm("contracting-mesa-1", "contracting", layer="mesa"), arm("contracting-1-wide", "contracting")]
    if config.retrain:
        again = NetworkArm(config.systems, "orthogonal", config.network, config.linear, config.evaluation, config.probing)
        found.append(Trial("linear-1-again", train_twice, again, over_seeds=config.over_seeds))
    if config.stopping_judged:
        found.append(Trial("stopping", measure_stopping, config.stopping))
    return found


# --- networks -------------------------------------------------------------------------------------------------------


def build_linear(arm: NetworkArm, key: PRNGKeyArray) -> ResidualStack:
    """Linear attention throughout. With one layer the first two channels are hidden, so that each vector stands in one place only (paper)."""
    network, dim = arm.network, arm.systems.dim
    std = arm.training.init_std
    keys = jax.random.split(key, network.layers)
    layers = tuple(LinearAttention.create(4 * dim, heads=network.heads, key_dim=network.key_dim, std=std, key=k) for k in keys)
    visible = (False,) * 2 * dim + (True,) * 2 * dim if network.layers == 1 else None
    return ResidualStack(layers, clip=network.residual_clip, visible=visible)


def build_mesa(arm: NetworkArm, key: PRNGKeyArray) -> ResidualStack:
    """One mesa layer with a learned strength."""
    network, dim = arm.network, arm.systems.dim
    layer = MesaAttention.create(4 * dim, heads=network.heads, key_dim=network.key_dim, std=arm.training.init_std, key=key)
    return ResidualStack((layer,), clip=network.residual_clip)


def build_user_mixer(arm: NetworkArm, key: PRNGKeyArray) -> ResidualStack:
    """Somebody else's layer throughout, as its class initialises it."""
    keys = jax.random.split(key, arm.network.layers)
    return ResidualStack(tuple(user_mixer(arm.mixer, 4 * arm.systems.dim, k) for k in keys), clip=arm.network.residual_clip)


def predict(network: ResidualStack, inputs: Float[Array, "time dim"]) -> Float[Array, "time dim"]:
    """The prediction is what the network writes into the first block."""
    return network(constructed_tokens(inputs))[:, : inputs.shape[1]]


def prediction_loss(network: ResidualStack, example: Trajectory, key: PRNGKeyArray) -> Float[Array, ""]:
    """Half the squared error of the next state, summed over components, averaged over positions."""
    return 0.5 * jnp.mean(jnp.sum((predict(network, example.inputs) - example.targets) ** 2, axis=-1))


def learner(arm: NetworkArm, build: Any, task: LinearSystems) -> Supervised:
    """AdamW on fresh sequences."""
    training = arm.training
    return Supervised(
        build=Partial(build, arm),
        task=task,
        loss=prediction_loss,
        optimizer=cosine_adamw,
        hyperparameters={
            "learning_rate": training.learning_rate,
            "steps": float(training.steps),
            "weight_decay": training.weight_decay,
            "clip": training.clip,
            "clip_norm": training.clip_norm,
        },
        batch_size=training.batch_size,
    )


# --- trials ---------------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """Networks of all seeds and what they are evaluated on; a fixed teacher's sequences differ from seed to seed."""

    networks: Any
    sequences: Sequences


def train_linear(arm: NetworkArm, context: Context) -> Tables:
    """A network of linear attention: its losses, its products, and, where it is deep, its probes."""
    trained = _train(arm, build_linear, context)
    further = _weights if arm.network.layers == 1 else _probes
    return _losses(arm, context, trained) | _compressed(arm, context, trained) | further(arm, context, trained)


def train_mesa(arm: NetworkArm, context: Context) -> Tables:
    """One mesa layer."""
    return _losses(arm, context, _train(arm, build_mesa, context))


def train_user_mixer(arm: NetworkArm, context: Context) -> Tables:
    """Somebody else's layer."""
    return _losses(arm, context, _train(arm, build_user_mixer, context))


LAYERS = {"linear": (train_linear, build_linear), "mesa": (train_mesa, build_mesa), "user": (train_user_mixer, build_user_mixer)}


def _train(arm: NetworkArm, build: Any, context: Context) -> Trained:
    """Train, publish, and draw the evaluation data. A fixed system is drawn anew with each replicate."""
    systems = arm.systems
    if arm.source == "fixed":
        task = context.evaluate(Partial(_draw_fixed_system, systems), context.keys("env"))
    elif arm.source == "contracting":
        task = LinearSystems.contracting(systems.dim, length=systems.length, noise=systems.noise)
    else:
        task = orthogonal_systems(arm.systems)
    fitted = context.fit("network", learner(arm, build, task), arm.training.steps, per_seed=arm.source == "fixed")
    context.publish("network", fitted.model)
    draw = Partial(draw_sequences, arm.evaluation)
    if arm.source == "fixed":
        return Trained(fitted.model, context.evaluate(Partial(_draw_with_teacher, draw, context.evaluation_key), task))
    return Trained(fitted.model, context.evaluate(draw, shared=(task, context.evaluation_key)))


def _draw_fixed_system(systems: Systems, key: PRNGKeyArray) -> LinearSystems:
    return LinearSystems.fixed_teacher(key, systems.dim, length=systems.length, noise=systems.noise)


def _draw_with_teacher(draw: Any, key: PRNGKeyArray, task: LinearSystems) -> Sequences:
    return draw(task, key)


class Measured(NamedTuple):
    """Half squared errors on the test sequences, (sequences, time), of a network and of its two references."""

    network: Array
    gradient_step: Array
    ridge: Array
    step_size: Array


def measure_network(network: ResidualStack, sequences: Sequences) -> Measured:
    """The references see the same sequences; the step size is searched on others."""
    step_size = line_search(sequences.tuning)
    return Measured(
        sequence_losses(Partial(predict, network), sequences.test),
        sequence_losses(Partial(step_predictor, step_size), sequences.test),
        sequence_losses(least_squares, sequences.test),
        step_size,
    )


def _losses(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    measured = context.evaluate(measure_network, trained.networks, trained.sequences)
    digests = [digest(test) for test in trained.sequences.test]
    mean = {name: getattr(measured, name).mean(-1) for name in ("network", "gradient_step", "ridge")}
    versus_step, versus_step_error = log_ratio_of_means(mean["network"], mean["gradient_step"])
    versus_ridge, versus_ridge_error = log_ratio_of_means(mean["network"], mean["ridge"])
    loss = context.rows(
        layers=arm.network.layers,
        digest=digests,
        loss=mean["network"].mean(-1),
        loss_error=mean["network"].std(-1) / np.sqrt(mean["network"].shape[-1]),
        gradient_step_loss=mean["gradient_step"].mean(-1),
        ridge_loss=mean["ridge"].mean(-1),
        versus_step=versus_step,
        versus_step_error=versus_step_error,
        versus_ridge=versus_ridge,
        versus_ridge_error=versus_ridge_error,
        step_size=measured.step_size,
    )
    positions = {"position": range(1, arm.systems.length + 1)}
    curve = context.rows(positions, **{name: getattr(measured, name).mean(1) for name in ("network", "gradient_step", "ridge")})
    return {"loss": loss, "position_loss": curve}


# --- what the weights say -------------------------------------------------------------------------------------------


def products_of(layer: Mixer) -> ProductAttention:
    """The layer by its products."""
    assert isinstance(layer, LinearAttention)
    return ProductAttention.from_factors(layer.query, layer.key, layer.value, layer.output)


def compressed(network: ResidualStack, dim: int) -> ResidualStack:
    """Every layer by one number for each block of its products."""
    layers = tuple(expand(compress(products_of(layer), dim), dim) for layer in network.layers)
    return ResidualStack(layers, clip=network.clip, visible=network.visible)


class Weights(NamedTuple):
    """What the products of a one-layer network say."""

    scalars: BlockScalars
    products: ProductAttention
    step_size: Array
    searched: Array
    off_pattern: Array
    identity: Array


def read_weights(dim: int, network: ResidualStack, tuning: Array) -> Weights:
    """Compression, the step size of gradient descent that it amounts to, and how much stands elsewhere."""
    products = products_of(network.layers[0])
    scalars, strength = compress(products, dim), pattern_strength(products, dim)
    return Weights(scalars, products, effective_step_size(scalars), line_search(tuning), strength.off_pattern, strength.identity)


def _weights(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    weights = context.evaluate(Partial(read_weights, arm.systems.dim), trained.networks, trained.sequences.tuning)
    pattern = context.rows(off_pattern=weights.off_pattern, identity=weights.identity, step_size=weights.step_size, searched_step_size=weights.searched)
    axes = {"product": ["query-key", "value-output"], "head": range(arm.network.heads)}
    blocks = {**axes, "row": range(4), "column": range(4)}
    channels = {**axes, "row": range(4 * arm.systems.dim), "column": range(4 * arm.systems.dim)}
    scalars = np.stack([weights.scalars.query_key, weights.scalars.value_output], axis=1)
    products = np.stack([weights.products.query_key, weights.products.value_output], axis=1)
    first = {"seed": context.seeds[:1]}
    return {
        "pattern": pattern,
        "block_scalars": context.rows(blocks, value=scalars),
        "products": long_table({**first, **channels}, value=products[:1]),
    }


def _compressed(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    """Losses of the compressed network, and of one compressed without the blocks of gradient descent."""
    losses = context.evaluate(Partial(_compressed_losses, arm.systems.dim), trained.networks, trained.sequences.test)
    whole, small, mutant = (part.mean(-1) for part in losses)
    versus, error = log_ratio_of_means(small, whole)
    mutant_versus, mutant_error = log_ratio_of_means(mutant, whole)
    table = context.rows(layers=arm.network.layers, versus_network=versus, versus_network_error=error, mutant=mutant_versus, mutant_error=mutant_error)
    return {"compressed": table}


def _compressed_losses(dim: int, network: ResidualStack, test: Array) -> tuple[Array, Array, Array]:
    small = compressed(network, dim)
    without = eqx.tree_at(lambda stack: [layer.query_key for layer in stack.layers], small, replace_fn=lambda m: m.at[:, :, 3 * dim :].set(0.0))
    return tuple(sequence_losses(Partial(predict, net), test) for net in (network, small, without))  # type: ignore[return-value]


class Retrained(Supervised):
    """The second training, which knows the compression of the first."""

    first: ProductAttention


def train_twice(arm: NetworkArm, context: Context) -> Tables:
    """Train, compress, train again from the same seed at twice the learning rate; on the way, average the network with the compression of the first."""
    task = orthogonal_systems(arm.systems)
    plain = learner(arm, build_linear, task)
    first = context.fit("first", plain, arm.training.steps).model
    scalars = context.evaluate(Partial(_compress_first, arm.systems.dim), first)
    test = context.evaluate(Partial(draw_sequences, arm.evaluation), shared=(task, context.evaluation_key)).test[0]
    faster = {**plain.hyperparameters, "learning_rate": 2 * arm.training.learning_rate}
    again = Retrained(plain.build, task, plain.loss, plain.optimizer, faster, plain.batch_size, scalars)
    every = max(1, arm.training.steps // 12)
    second = context.fit("second", again, arm.training.steps, per_seed=True, probe=(Partial(_interpolated, jnp.asarray(test)), every))
    return {"interpolation": context.rows({"step": second.probe_steps.tolist()}, **second.probes)}


def _compress_first(dim: int, network: ResidualStack) -> ProductAttention:
    return expand(compress(products_of(network.layers[0]), dim), dim)


def _interpolated(test: Array, second: Retrained, state: Any, key: PRNGKeyArray) -> dict[str, Array]:
    network = state.model
    now = products_of(network.layers[0])
    stacks = {
        "network": network,
        "interpolated": ResidualStack((interpolate(now, second.first),), clip=network.clip, visible=network.visible),
        "compressed": ResidualStack((second.first,), clip=network.clip, visible=network.visible),
        "shuffled": ResidualStack((interpolate(now, _other_blocks(second.first)),), clip=network.clip, visible=network.visible),
    }
    return {name: sequence_losses(Partial(predict, stack), test).mean() for name, stack in stacks.items()}


def _other_blocks(products: ProductAttention) -> ProductAttention:
    """The same numbers in other blocks: what the query asks for is swapped between current and previous state."""
    dim = products.query_key.shape[1] // 4
    swap = np.r_[0 : 2 * dim, 3 * dim : 4 * dim, 2 * dim : 3 * dim]
    return ProductAttention(products.query_key[:, :, swap], products.value_output)


# --- probes ---------------------------------------------------------------------------------------------------------


class ProbeCurves(NamedTuple):
    """Held-out losses of linear probes at every layer (input first) and position, (layers + 1, positions)."""

    target: Array
    preconditioned: Array
    shuffled_target: Array
    shuffled_preconditioned: Array


def _probes(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    n, probing = arm.systems.length, arm.probing
    positions = sorted({*range(10, n + 1, 5), probing.target_position, probing.preconditioning_position})
    curves = context.evaluate(Partial(probe_network, tuple(positions), probing.sequences), trained.networks, trained.sequences)
    axes = {"layer": range(arm.network.layers + 1), "position": positions}
    return {"probes": context.rows(axes, layers=arm.network.layers, **curves._asdict())}


def probe_network(positions: tuple[int, ...], size: int, network: ResidualStack, sequences: Sequences) -> ProbeCurves:
    """Probe the next state and the preconditioned input; the controls probe those of another sequence."""
    fitted, held_out = (_probe_data(positions, network, observations[:size]) for observations in (sequences.tuning, sequences.test))
    return ProbeCurves(*(probe_losses(a, b).held_out for a, b in zip(fitted, held_out, strict=True)))


def _probe_data(positions: tuple[int, ...], network: ResidualStack, observations: Array) -> list[ProbeData]:
    at = np.asarray(positions) - 1
    inputs = observations[:, :-1]
    activations = jax.lax.map(lambda s: network.activations(constructed_tokens(s))[:, at], inputs, batch_size=128)
    activations = jnp.moveaxis(activations, 0, 2)
    targets = jnp.moveaxis(observations[:, at + 1], 0, 1)
    whitened = preconditioning_target(inputs, ChebyshevInverse.neumann(6))
    preconditioned, typical = whitened.targets[at], whitened.typical[at]
    return [
        ProbeData(activations, targets),
        ProbeData(activations, preconditioned, typical),
        ProbeData(activations, jnp.roll(targets, 1, axis=1)),
        ProbeData(activations, jnp.roll(preconditioned, 1, axis=1), jnp.roll(typical, 1, axis=1)),
    ]
