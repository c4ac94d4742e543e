r"""Deep ensembles with removable sources of noise, trained as one Learner over members.

A member predicts $F_m(x) = f(x, \theta) + g_m(x)$ with a frozen offset $g_m$. Its initial parameters and its offset determine which noise the ensemble keeps.
In the linear regime, a trained member equals the kernel model in the table, with $Q_m = \Theta_m(x, X)\Theta_m(X, X)^{-1}$ and shared reference parameters r:

| variant | start | offset | ends as | noise kept |
|---|---|---|---|---|
| gd | $\theta_m$ | 0 | $f_m + Q_m(Y - f_m(X))$ | all |
| gd-c | $\theta_m$ | $-f(x, \theta_m)$ | $Q_m Y$ | kernel |
| gd-a | $\theta_r$ | $f(x, \theta_m) - f(x, \theta_r)$ | $f_m + Q_r(Y - f_m(X))$ | initial function |
| gd-i | two centred trainings on $-f_m(X)$, from $\theta_m$ and $\theta_r$ | | $-(Q_m - Q_r) f_m(X)$ | interaction |

All members see the same batches; otherwise batch noise would be a fourth source.

Reference: Kobayashi, Vilimelis Aceituno and von Oswald (2022); gd-i is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree

from mesocosm.learning.ensemble_targets import check_targets, squared_error
from mesocosm.learning.fit import fit
from mesocosm.learning.fit_options import Watcher
from mesocosm.learning.gradient_learner import GradientState, Transform, gradient_step, start
from mesocosm.learning.learner import Learner
from mesocosm.learning.optimizers import adam
from mesocosm.nn.model_file import check_arrays, named_arrays
from mesocosm.numerics.programs import filter_jit

VariantName = Literal["gd", "gd-c", "gd-a", "gd-i"]


class EnsembleArm(NamedTuple):
    """One training of every member, described by numbers, so that arms share a program.

    Attributes:
        shared_start: 1 to start at the reference parameters, 0 at the member's own.
        drawn: weight of $f(x, \\theta_m)$ in the offset.
        reference: weight of $f(x, \\theta_r)$ in the offset.
        labels: weight of the labels in the targets.
        drawn_targets: weight of $f(X, \\theta_m)$ in the targets.
    """

    shared_start: float
    drawn: float
    reference: float
    labels: float = 1.0
    drawn_targets: float = 0.0


VARIANTS: dict[VariantName, tuple[EnsembleArm, ...]] = {
    "gd": (EnsembleArm(0.0, 0.0, 0.0),),
    "gd-c": (EnsembleArm(0.0, -1.0, 0.0),),
    "gd-a": (EnsembleArm(1.0, 1.0, -1.0),),
    "gd-i": (EnsembleArm(0.0, -1.0, 0.0, 0.0, -1.0), EnsembleArm(1.0, 0.0, -1.0, 0.0, -1.0)),
}
"""The arms of each variant; if there are two, the second is subtracted from the first."""


def call(network: Any, x: Any) -> Array:
    """`network(x)`, the default `apply` of an `Ensemble`."""
    return network(x)


class EnsembleState(NamedTuple):
    """State of `EnsembleLearner`. Leading axes are (arms, members) unless noted.

    Attributes:
        networks: the trained arrays.
        drawn: the initial arrays of every member; leading axis members.
        reference: the shared parameters.
        optimizer: the optax states.
        offsets: g_m(X), on the training set.
        targets: the targets on the training set.
        active: whether a member is still learning.
        step: number of updates so far, a scalar.
    """

    networks: PyTree
    drawn: PyTree
    reference: PyTree
    optimizer: PyTree
    offsets: Array
    targets: Array
    active: Bool[Array, "arms members"]
    step: Int[Array, ""]


class EnsembleLearner(Learner):
    """Trains every member of every arm on the same batches; a member stops once its loss on the whole training set has reached the goal.

    Arms share the draws: in all arms, member m starts from the same parameters or subtracts the same function.

    Attributes:
        init_network: key -> network, any PyTree.
        apply: (network, x) -> outputs for one example, a module-level function.
        inputs: the training inputs.
        targets: the training targets: shaped like the outputs, or whatever else `loss` takes, such as integer labels, for arms that teach nothing else.
        arms: the trainings of each member.
        loss: (outputs, target) -> scalar for one example.
        optimizer: hyperparameters -> optax transformation.
        hyperparameters: by name; traced.
        goal: the training loss at which a member stops; 0 for never.
        members: number of members per arm.
        batch_size: examples per step, drawn with replacement; 0 for the whole set.
        check_every: steps between two evaluations of the loss on the whole set.
        over_members: run members in parallel (`vmap`) or one after another (`lax.map`).
        reference: the reference network; None to draw it.
    """

    init_network: Callable[[Any], Any]
    apply: Callable[[Any, Any], Array]
    inputs: Array
    targets: Array
    arms: tuple[EnsembleArm, ...]
    loss: Callable[[Array, Array], Array]
    optimizer: Callable[..., Transform]
    hyperparameters: Mapping[str, Any]
    goal: float = 0.0
    members: int = eqx.field(static=True, default=10)
    batch_size: int = eqx.field(static=True, default=0)
    check_every: int = eqx.field(static=True, default=50)
    over_members: str = eqx.field(static=True, default="vmap")
    reference: PyTree | None = None

    def init(self, key: Key[Array, ""]) -> EnsembleState:
        """Draw the members and the reference, unless it is given, and freeze the offsets."""
        reference_key, member_key = jax.random.split(key)
        drawn = jax.vmap(self._draw)(jax.random.split(member_key, self.members))
        given = self._draw(reference_key) if self.reference is None else eqx.filter(self.reference, eqx.is_array)
        reference = jax.tree.unflatten(jax.tree.structure(drawn), jax.tree.leaves(given))  # functions that each network makes anew differ
        shared, own, common, labels, taught = (jnp.stack([jnp.asarray(number) for number in numbers]) for numbers in zip(*self.arms, strict=True))
        first = jax.tree.map(lambda a, b: _mix(shared, a, b), reference, drawn)
        f_drawn = jax.vmap(self._outputs, (0, None))(drawn, self.inputs)  # members, n, outputs
        f_reference = self._outputs(reference, self.inputs)
        own, common, labels, taught = (weight.reshape(-1, *[1] * f_drawn.ndim) for weight in (own, common, labels, taught))
        lead, like_outputs = (len(self.arms), self.members), self.targets.shape == f_drawn.shape[1:]
        return EnsembleState(
            networks=first,
            drawn=drawn,
            reference=reference,
            optimizer=jax.vmap(jax.vmap(lambda network: start(network, self._transform()).optimizer))(first),
            offsets=own * f_drawn + common * f_reference,
            targets=labels * self.targets + taught * f_drawn if like_outputs else jnp.broadcast_to(self.targets, (*lead, *self.targets.shape)),
            active=jnp.ones((len(self.arms), self.members), bool),
            step=jnp.int32(0),
        )

    def update(self, state: EnsembleState, key: Key[Array, ""]) -> tuple[EnsembleState, dict[str, Float[Array, ""]]]:
        """Draw one batch for all members, and take one optimiser step for each member that is still learning."""
        examples = self.inputs.shape[0]
        rows = jax.random.randint(key, (self.batch_size,), 0, examples) if self.batch_size else jnp.arange(examples)
        inputs = self.inputs[rows]

        def member(arrays: Any, optimizer: Any, offsets: Array, targets: Array, active: Array) -> tuple[Any, Any, Array]:
            before = GradientState(arrays, optimizer)
            step = gradient_step(lambda arrays: (self._loss(arrays, inputs, offsets[rows], targets[rows]), {}), before, self._transform())
            after = jax.tree.map(lambda new, old: jnp.where(active, new, old), step.state, before)
            return after.model, after.optimizer, step.metrics["loss"]

        networks, optimizer, losses = self._over(member)(state.networks, state.optimizer, state.offsets, state.targets, state.active)
        step, active = state.step + 1, state.active
        moved = state._replace(networks=networks, optimizer=optimizer, step=step)
        active = jax.lax.cond(step % self.check_every == 0, lambda: active & (self.losses(moved) > self.goal), lambda: active)
        return moved._replace(active=active), {"loss": jnp.mean(losses), "learning": jnp.mean(active.astype(losses.dtype))}

    def losses(self, state: EnsembleState) -> Float[Array, "arms members"]:
        """Every member's loss on the whole training set."""
        return self._over(lambda network, offsets, targets: self._loss(network, self.inputs, offsets, targets))(state.networks, state.offsets, state.targets)

    def model(self, state: EnsembleState) -> TrainedEnsemble:
        """The trained members."""
        return TrainedEnsemble(state.networks, state.drawn, state.reference, self._static(), self.apply, self.arms)

    def _draw(self, key: Key[Array, ""]) -> PyTree:
        """The arrays of a new network; `_static` has its other fields."""
        return eqx.filter(self.init_network(key), eqx.is_array)

    def _static(self) -> PyTree:
        """The static fields that all networks share, from an abstract evaluation."""
        shapes = eqx.filter_eval_shape(self.init_network, jax.random.key(0))
        return eqx.filter(shapes, lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))

    def _transform(self) -> Transform:
        return self.optimizer(**self.hyperparameters)

    def _outputs(self, arrays: PyTree, inputs: Array) -> Array:
        network = eqx.combine(arrays, self._static())
        return jax.vmap(lambda x: self.apply(network, x))(inputs)

    def _loss(self, arrays: PyTree, inputs: Array, offsets: Array, targets: Array) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(self.loss)(self._outputs(arrays, inputs) + offsets, targets))

    def _over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Apply the function of one member to all members of all arms."""
        if self.over_members == "vmap":
            return jax.vmap(jax.vmap(function))
        return lambda *parts: jax.lax.map(lambda arm: jax.lax.map(lambda member: function(*member), arm), parts)


def _mix(shared: Array, reference: Array, drawn: Array) -> Array:
    """The reference parameters if an arm shares its start, else the member's own."""
    return jnp.where(shared.reshape(len(shared), *[1] * drawn.ndim) > 0.5, reference, drawn)


def all_reached(learner: EnsembleLearner, state: EnsembleState, key: Any) -> Bool[Array, ""]:
    """A criterion for `fit(until=...)`: no member is still learning."""
    return ~jnp.any(state.active)


# --- trained ensembles -----------------------------------------------------------------------------------------------


class TrainedEnsemble(eqx.Module):
    """Trained members with their offsets.

    Attributes:
        networks: trained arrays, leading axes (arms, members).
        drawn: initial arrays, leading axis members.
        reference: the shared arrays.
        static: the static fields of a network.
        apply: (network, x) -> outputs.
        arms: as trained.
    """

    networks: PyTree
    drawn: PyTree
    reference: PyTree
    static: PyTree
    apply: Callable[[Any, Any], Array]
    arms: tuple[EnsembleArm, ...]

    def outputs(self, x: Float[Array, "n ..."]) -> Float[Array, "arms members n ..."]:
        """F_m(x) of every arm and member."""

        def of(arrays: PyTree) -> Array:
            network = eqx.combine(arrays, self.static)
            return jax.vmap(lambda one: self.apply(network, one))(x)

        trained = jax.lax.map(lambda arm: jax.lax.map(of, arm), self.networks)
        drawn, reference = jax.lax.map(of, self.drawn), of(self.reference)
        own, common = (
            jnp.stack([jnp.asarray(weight) for weight in weights]).reshape(-1, 1, *[1] * reference.ndim) for weights in list(zip(*self.arms, strict=True))[1:3]
        )
        return trained + own * drawn + common * reference


class Prediction(NamedTuple):
    """Mean and variance over members (members in the denominator) for each input and output."""

    mean: Array
    variance: Array


class FittedEnsemble(NamedTuple):
    """The result of `Ensemble.fit`.

    Attributes:
        ensemble: the trained members.
        losses: every member's loss on the training set, averaged over the variant's trainings.
        steps: number of updates.
        reached: whether every member reached the goal; False without a goal.
    """

    ensemble: TrainedEnsemble
    losses: Float[Array, " members"]
    steps: int
    reached: bool

    def outputs(self, x: Float[Array, "n ..."]) -> Float[Array, "members n ..."]:
        """Every member's prediction."""
        return combined(_outputs(self.ensemble, x))

    def predict(self, x: Float[Array, "n ..."]) -> Prediction:
        """Mean and variance over members."""
        outputs = self.outputs(x)
        return Prediction(jnp.mean(outputs, axis=0), jnp.var(outputs, axis=0))

    def score(self, x: Float[Array, "n ..."], score: Callable[[Array], Array]) -> Float[Array, " n"]:
        """An out-of-distribution score of each input, from `analysis.detection`; larger means further outside."""
        outputs = self.outputs(x)
        return score(outputs.reshape(*outputs.shape[:2], -1))


def combined(outputs: Float[Array, "arms members n ..."]) -> Float[Array, "members n ..."]:
    """The outputs of a single training, or the difference of two."""
    return outputs[0] if outputs.shape[0] == 1 else outputs[0] - outputs[1]


@filter_jit
def _outputs(ensemble: TrainedEnsemble, x: Array) -> Array:
    return ensemble.outputs(x)


class Ensemble(eqx.Module):
    """An ensemble of your own model.

    ```python
    ensemble = Ensemble(build_mlp, members=10, variant="gd-c")
    fitted = ensemble.fit(x, y, steps=1000, learning_rate=1e-3)
    mean, variance = fitted.predict(new_x)
    ```

    For integer labels, choose `loss=cross_entropy`, or `loss=one_hot_error` for regression on one-hot targets, both from `learning.ensemble_targets`.

    Attributes:
        init_network: key -> network: an Equinox module, or parameters of any kind.
        apply: (network, x) -> outputs for one example; by default, calls the network.
        members: number of members.
        variant: selects the noise that is kept; see the module docstring.
        loss: (outputs, target) -> scalar for one example.
        reference: the shared network r of the variants gd-a and gd-i, such as a pretrained one; None to draw it. Members of other variants start at
            networks of `init_network`, which may be pretrained in part.
    """

    init_network: Callable[[Any], Any]
    apply: Callable[[Any, Any], Array] = call
    members: int = 10
    variant: VariantName = "gd"
    loss: Callable[[Array, Array], Array] = squared_error
    reference: PyTree | None = None

    def __check_init__(self) -> None:
        """Reject an unknown variant, an ensemble of one, and a reference that nothing reads or that is another network.

        Raises:
            ValueError: the variant is unknown or has no reference, there are fewer than two members, or the arrays of the reference have other
                names, shapes or dtypes than those of `init_network`.
        """
        if self.variant not in VARIANTS:
            raise ValueError(f"there is no variant {self.variant!r}; choose one of {', '.join(VARIANTS)}")
        if self.members < 2:
            raise ValueError(f"a variance over members needs two or more, not {self.members}")
        if self.reference is None:
            return
        if not any(arm.shared_start or arm.reference for arm in VARIANTS[self.variant]):
            raise ValueError(f"the variant {self.variant!r} has no reference network: its members start at networks of init_network; gd-a starts all at one")
        network = eqx.filter_eval_shape(self.init_network, jax.random.key(0))
        check_arrays("the reference is not a network of init_network", named_arrays(self.reference), named_arrays(network))

    def fit(
        self,
        x: Num[Array | np.ndarray, "n ..."],
        y: Num[Array | np.ndarray, "n ..."],
        *,
        steps: int,
        learning_rate: float = 1e-3,
        batch_size: int = 0,
        goal: float = 0.0,
        check_every: int = 50,
        seed: int = 0,
        optimizer: Callable[..., Transform] = adam,
        watcher: Watcher | None = None,
    ) -> FittedEnsemble:
        """Train all members in one program.

        Args:
            x, y: training inputs and targets, or integer labels for a loss that takes them.
            steps: maximum number of updates.
            learning_rate: passed to `optimizer`.
            batch_size: examples per step; 0 for all.
            goal: training loss at which a member stops, so that variants can be compared at equal loss.
            check_every: steps between two evaluations of that loss.
            seed: seed of parameters and batches.
            optimizer: learning_rate -> optax transformation, a module-level function.
            watcher: receives progress (`learning.fit`).

        Raises:
            ValueError: inputs and targets do not fit each other, the network or the loss.
        """
        x, y = jnp.asarray(x), jnp.asarray(y)
        if len(x) != len(y):
            raise ValueError(f"there are {len(x)} inputs and {len(y)} targets")
        outputs = eqx.filter_eval_shape(lambda key: self.apply(self.init_network(key), x[0]), jax.random.key(0)).shape
        check_targets(y, outputs, self.loss, functions=self.variant == "gd-i")
        learner = EnsembleLearner(
            self.init_network,
            self.apply,
            x,
            y,
            VARIANTS[self.variant],
            self.loss,
            optimizer,
            {"learning_rate": learning_rate},
            goal,
            self.members,
            batch_size,
            check_every,
            reference=self.reference,
        )
        fitted = fit(learner, steps, [seed], name="ensemble", until=(all_reached, check_every), watcher=watcher)
        state, ensemble = (jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, tree) for tree in (fitted.state, fitted.model))
        return FittedEnsemble(ensemble, jnp.mean(learner.losses(state), axis=0), int(fitted.steps[0]), bool(fitted.reached[0]))


def arms_of(variants: Sequence[VariantName]) -> tuple[EnsembleArm, ...]:
    """The arms of several variants, for training in one program."""
    return tuple(arm for variant in variants for arm in VARIANTS[variant])
