"""Networks that learn few-shot tasks of a hyperteacher, and are tested on combinations of modules that they have never seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.bilevel import MetaLearned
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.modular.config import Evaluation, Hyperteacher, Method, Training, Variant
from mesocosm.studies.modular.networks import FAST, Sizes, build, build_again, inner_loop, learner
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.compositional_supports import is_compositional, is_connected, k_hot, support
from mesocosm.tasks.hyperteacher import Teacher
from mesocosm.tasks.task import Split, Task, batch, digest

RIDGE = 1.0
"""Weight of the squared coefficients when codes are decoded."""
CODES = 2
"""Layers are generated from two codes, one after the other."""


@dataclass(frozen=True)
class TeacherArm:
    """One network on one set of tasks."""

    problem: Hyperteacher
    method: Method
    training: Training
    evaluation: Evaluation
    variant: Variant = ""


class Points(NamedTuple):
    """Inputs, and the probabilities of the classes there."""

    x: Float[Array, "*batch points inputs"]
    probabilities: Float[Array, "*batch points classes"]


class Example(NamedTuple):
    """A task: a `FewShot` with the code that it comes from."""

    support: Points
    query: Points
    code: Float[Array, "*batch modules"]


class Classes(Task[Example]):
    """Few-shot classification by the hyperteacher of a replicate. The split "ood" has held-out combinations.

    Attributes:
        teacher: generates networks from codes.
        combinations: masks in training, and held out.
        normalising: inputs over which each output has mean 0 and variance 1.
        temperature: of the softmax over outputs.
        points: support points, and as many query points.
    """

    teacher: Teacher
    combinations: CombinationSplit
    normalising: Float[Array, "n inputs"]
    temperature: float
    points: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Example:
        """Draw a combination and points."""
        mask_key, x_key = jax.random.split(key)
        code = self.combinations.sample(mask_key, split).astype(float)
        x = jax.random.uniform(x_key, (2 * self.points, self.normalising.shape[1]), minval=-1.0, maxval=1.0)
        y = self.teacher(jnp.concatenate([self.normalising, x]), code)
        usual, y = y[: len(self.normalising)], y[len(self.normalising) :]
        probabilities = jax.nn.softmax((y - usual.mean(axis=0)) / jnp.maximum(usual.std(axis=0), 1e-6) / self.temperature)
        near, far = (Points(x[half], probabilities[half]) for half in (slice(0, self.points), slice(self.points, None)))
        return Example(near, far, code)


class Tested(NamedTuple):
    """Of each task of a test set: the query loss and accuracy after adaptation, the fast parameters, and the task's code."""

    loss: Float[Array, " tasks"]
    accuracy: Float[Array, " tasks"]
    fast: Float[Array, "tasks parameters"]
    code: Float[Array, "tasks modules"]


class Sets(NamedTuple):
    """Test tasks: known combinations, held-out ones, and the one in which all modules are active."""

    known: Example
    held_out: Example
    every: Example


# --- tasks ------------------------------------------------------------------------------------------------------------


def combinations(problem: Hyperteacher, seed: int) -> CombinationSplit:
    """Which combinations of two codes' masks are in training, and which are held out."""
    masks = k_hot(problem.modules, *range(1, problem.active + 1))
    pairs = np.array([np.concatenate(pair) for pair in product(masks, masks)])
    if problem.support == "random":
        return CombinationSplit.draw(pairs, problem.held_out, seed=seed, covers=is_compositional)
    if problem.support == "non-compositional":
        return support("non-compositional", pairs)
    return _by_halves(problem, pairs, seed)


def _by_halves(problem: Hyperteacher, pairs: np.ndarray, seed: int) -> CombinationSplit:
    """Equally many tasks with connected and with disconnected support, and the same held-out ones: those in neither.

    Connected tasks have active modules at most two apart on a ring in each code. Disconnected ones have all active modules in the same half, and equally
    many in each code.
    """
    m = problem.modules
    near, halves = (_masks_in(name, problem) for name in ("connected+", "disconnected"))
    codes = pairs.reshape(len(pairs), CODES, m)
    connected = np.array([all(code in near for code in map(tuple, pair)) for pair in codes.tolist()])
    counts, first = codes.sum(axis=2), codes[:, :, : m // 2].sum(axis=2) > 0
    inside = np.array([all(code in halves for code in map(tuple, pair)) for pair in codes.tolist()])
    disconnected = inside & (counts[:, 0] == counts[:, 1]) & (first[:, 0] == first[:, 1])
    held_out = pairs[~connected & ~disconnected]
    if problem.support == "disconnected":
        return CombinationSplit.of(pairs[disconnected], held_out)
    generator = np.random.default_rng(seed)
    while True:
        train = pairs[connected][np.sort(generator.choice(connected.sum(), disconnected.sum(), replace=False))]
        if is_compositional(train) and is_connected(train):
            return CombinationSplit.of(train, held_out)


def _masks_in(name: str, problem: Hyperteacher) -> set[tuple[int, ...]]:
    masks = k_hot(problem.modules, *range(1, problem.active + 1))
    return {tuple(row) for row in np.asarray(support(name, masks).train).tolist()}


def task_of(problem: Hyperteacher, seed: int, key: PRNGKeyArray) -> Classes:
    """The task of a replicate, with its own teacher and combinations."""
    teacher_key, x_key = jax.random.split(key)
    sizes = (problem.inputs, *problem.hidden, problem.outputs)
    teacher = Teacher.create(*sizes, modules=CODES * problem.modules, generated=problem.generated, key=teacher_key)
    normalising = jax.random.uniform(x_key, (problem.normalising, problem.inputs), minval=-1.0, maxval=1.0)
    return Classes(teacher, combinations(problem, seed), normalising, problem.temperature, problem.points)


def tasks_of(problem: Hyperteacher, context: Context) -> Any:
    """The tasks of all replicates; the leading axis of every array."""
    return _stacked(task_of(problem, seed, key) for seed, key in zip(context.seeds, context.keys("env"), strict=True))


def classes_loss(network: Any, data: Points, key: Any) -> Float[Array, ""]:
    """KL(p || softmax of the logits), mean over points."""
    logits = jax.nn.log_softmax(outputs_of(network, data.x))
    return jnp.mean(jnp.sum(jax.scipy.special.xlogy(data.probabilities, data.probabilities) - data.probabilities * logits, axis=-1))


def outputs_of(network: Any, x: Float[Array, "points inputs"]) -> Float[Array, "points outputs"]:
    """The outputs at all points; codes generate their network once."""
    generated, bias = (network.network(), network.output_bias) if hasattr(network, "hypernetwork") else (network, None)
    y = jax.vmap(generated)(x)
    return y if bias is None else y + bias


# --- training and tests ------------------------------------------------------------------------------------------------


def sizes_of(arm: TeacherArm) -> Sizes:
    """Codes have four times as many entries as the teacher has modules."""
    return Sizes(arm.problem.inputs, arm.problem.outputs, arm.training.layers, 4 * arm.problem.modules)


def build_teacher_arm(arm: TeacherArm, key: PRNGKeyArray) -> MetaLearned:
    """The meta-learned network of an arm."""
    return inner_loop(arm.method, arm.training).start(build(arm.method, arm.training.width, sizes_of(arm), key))


def train_on_teacher(arm: TeacherArm, context: Context) -> Tables:
    """Train all replicates, test them, and decode the codes."""
    drawn = tasks_of(arm.problem, context)
    trained = learner(arm.method, arm.training, sizes_of(arm), drawn, classes_loss, build_again if arm.variant == "-again" else build)
    models = context.fit("network", trained, arm.training.steps, per_seed=True).model
    context.publish("network", models)
    sets = context.evaluate(Partial(draw_sets, arm, context.evaluation_key), drawn)
    found = {name: context.evaluate(Partial(adapt_all, arm, arm.training.inner_steps), models, examples) for name, examples in sets._asdict().items()}
    found["longer"] = context.evaluate(Partial(adapt_all, arm, arm.evaluation.longer), models, sets.every)
    columns: dict[str, Any] = {}
    for name, tested in found.items():
        columns[name], columns[f"{name}_error"] = tested.accuracy.mean(axis=1), tested.accuracy.std(axis=1, ddof=1) / arm.evaluation.tasks**0.5
    each = [{name: Tested(*(part[i] for part in found[name])) for name in ("known", "held_out")} for i in range(len(context.seeds))]
    r2 = [decoded(tested["known"], tested["held_out"]) for tested in each]
    r2_known = [decoded(*halved(tested["known"])) for tested in each]
    digests = [digest(jax.tree.map(lambda leaf, i=i: leaf[i], sets)) for i in range(len(context.seeds))]
    labels = {"problem": problem_name(arm.problem), "method": arm.method, "variant": arm.variant.removeprefix("-") or "usual"}
    return {"accuracy": context.rows(**labels, **columns, r2=r2, r2_known=r2_known, rate=np.exp(models.log_rates) * arm.training.inner_rate, digest=digests)}


def problem_name(problem: Hyperteacher) -> str:
    """A problem's name: the support, or for random ones the number of active modules."""
    return f"k{problem.active}" if problem.support == "random" else problem.support


def draw_sets(arm: TeacherArm, key: PRNGKeyArray, task: Classes) -> Sets:
    """The test sets of a replicate."""
    known, held_out, every = jax.random.split(key, 3)
    crowded = eqx.tree_at(lambda t: t.combinations, task, CombinationSplit(task.combinations.train, jnp.ones((1, CODES * arm.problem.modules), jnp.int32)))
    return Sets(
        batch(task, known, arm.evaluation.tasks, "iid"), batch(task, held_out, arm.evaluation.tasks, "ood"), batch(crowded, every, arm.evaluation.tasks, "ood")
    )


def adapt_all(arm: TeacherArm, steps: int, model: MetaLearned, examples: Example) -> Tested:
    """Adapt to each task, and test on its query points."""
    loop = inner_loop(arm.method, arm.training, steps)

    def of_task(example: Example) -> Tested:
        network = loop(classes_loss, model, example.support, jax.random.key(0)).network
        logits = outputs_of(network, example.query.x)
        right = logits.argmax(axis=-1) == example.query.probabilities.argmax(axis=-1)
        fast = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(FAST[arm.method](network))])
        return Tested(classes_loss(network, example.query, None), right.mean(), fast, example.code)

    return jax.lax.map(of_task, examples, batch_size=32)


def decoded(known: Tested, held_out: Tested) -> float:
    r"""$R^2$ of the codes of held-out tasks by ridge regression on fast parameters, fitted on known tasks; mean over entries that vary in the held-out ones.

    In the dual form, exact for any number of parameters.
    """
    mean, offset = known.fast.mean(axis=0), known.code.mean(axis=0)
    x, y = np.asarray(known.fast - mean, np.float64), np.asarray(known.code - offset, np.float64)
    weights = x.T @ np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), y)
    errors = np.mean((held_out.code - offset - (held_out.fast - mean) @ weights) ** 2, axis=0)
    variances = held_out.code.var(axis=0)
    varies = variances > 0
    return float(np.mean(1 - errors[varies] / variances[varies]))


def halved(tested: Tested) -> tuple[Tested, Tested]:
    """The first half of the tasks, and the others."""
    half = len(tested.code) // 2
    return Tested(*(part[:half] for part in tested)), Tested(*(part[half:] for part in tested))


def _stacked(drawn: Iterable[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *drawn)
