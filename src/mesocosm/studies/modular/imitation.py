"""Networks that adapt to demonstrations of optimal agents, and are tested on preferences and goals that they have never seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.envs.goal_maze import GoalMaze, GoalParams, Maze
from mesocosm.envs.preference_grid import MOVES, PreferenceGrid, PreferenceParams
from mesocosm.learning.bilevel import MetaLearned
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.modular.config import Goals, Method, Preferences, Training
from mesocosm.studies.modular.networks import Sizes, build, inner_loop, learner
from mesocosm.studies.modular.teachers import outputs_of
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.compositional_supports import is_compositional, k_hot, support
from mesocosm.tasks.hyperteacher import damped
from mesocosm.tasks.task import Split, Task, batch, digest

QUADRANT = 3
"""The quadrant that non-compositional goals hold out: bottom right, as in the paper."""


@dataclass(frozen=True)
class WorldArm:
    """One network in one world; `tasks` are those of each test set."""

    world: Preferences | Goals
    method: Method
    training: Training
    tasks: int


class Steps(NamedTuple):
    """Steps of some episodes, one after the other: what the agent saw, what is to be predicted there, and whether the episode had not ended."""

    x: Float[Array, "*batch steps features"]
    target: Float[Array, "*batch steps actions"]
    taken: Float[Array, "*batch steps"]


class Demonstrated(NamedTuple):
    """A task: a `FewShot`."""

    support: Steps
    query: Steps


class PreferenceTasks(Task[Demonstrated]):
    """Regression of the optimal action values of an agent with a mixture of preferences, the split "ood" with held-out ones.

    Attributes:
        preferences: the value of each colour to each preference.
        combinations: which preferences are mixed, as masks.
        grid: where the agent walks.
        length: steps of an episode.
        episodes: demonstrations to adapt to, and as many to be tested on.
        walls: whether walls and their cells are seen.
    """

    preferences: Float[Array, "modules colours"]
    combinations: CombinationSplit
    grid: PreferenceGrid = eqx.field(static=True)
    length: int = eqx.field(static=True)
    episodes: int = eqx.field(static=True)
    walls: bool = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Demonstrated:
        """Draw a mixture and demonstrations."""
        mask_key, code_key, key = jax.random.split(key, 3)
        params = PreferenceParams(self.preferences, damped(code_key, self.combinations.sample(mask_key, split)), max_steps_in_episode=self.length)
        shown = jax.vmap(self.grid.demonstrate, in_axes=(0, None))(jax.random.split(key, 2 * self.episodes), params)
        return halves(Steps(self._seen(shown.observations), shown.values, shown.taken.astype(float)), self.episodes)

    def _seen(self, observations: Float[Array, "*batch features"]) -> Float[Array, "*batch seen"]:
        """All of an observation, or the objects and the agent in free cells."""
        if self.walls:
            return observations
        pictures = observations.reshape(*observations.shape[:-1], -1, self.grid.colours + 2)
        free = self.grid.cells @ np.array([len(self.grid.layout[0]), 1])
        return pictures[..., free, :-1].reshape(*observations.shape[:-1], -1)


class GoalTasks(Task[Demonstrated]):
    """Classification of the actions on shortest paths to a goal, and of the interaction there; the split "ood" has held-out goals.

    Attributes:
        mazes: stacked.
        combinations: goals, as the numbers of their quadrant, interaction, maze and kind.
        maze: the rules.
        length: steps of an episode.
        episodes: demonstrations to adapt to, and as many to be tested on.
    """

    mazes: Maze
    combinations: CombinationSplit
    maze: GoalMaze = eqx.field(static=True)
    length: int = eqx.field(static=True)
    episodes: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Demonstrated:
        """Draw a goal and demonstrations."""
        goal_key, key = jax.random.split(key)
        quadrant, interaction, number, kind = self.combinations.sample(goal_key, split)
        params = GoalParams(jax.tree.map(lambda leaf: leaf[number], self.mazes), quadrant, interaction, kind, self.length)
        shown = jax.vmap(self.maze.demonstrate, in_axes=(0, None))(jax.random.split(key, 2 * self.episodes), params)
        return halves(Steps(shown.observations, jax.nn.one_hot(shown.actions, self.maze.num_actions), shown.taken.astype(float)), self.episodes)


def halves(steps: Steps, episodes: int) -> Demonstrated:
    """The steps of the first episodes, and those of the others."""
    parts = ((leaf[:episodes], leaf[episodes:]) for leaf in steps)
    near, far = (Steps(*(leaf.reshape(-1, *leaf.shape[2:]) for leaf in half)) for half in zip(*parts, strict=True))
    return Demonstrated(near, far)


# --- tasks ------------------------------------------------------------------------------------------------------------


def task_of(world: Preferences | Goals, seed: int, key: PRNGKeyArray) -> PreferenceTasks | GoalTasks:
    """The tasks of a replicate, with its own preferences or mazes, and combinations."""
    if isinstance(world, Preferences):
        preferences = jax.random.normal(key, (world.modules, world.colours))
        grid = PreferenceGrid(world.colours, world.objects, world.layout)
        return PreferenceTasks(preferences, preference_split(world, seed), grid, world.length, world.episodes, world.walls)
    rules = GoalMaze(world.side, world.interactions, world.kinds, world.distractors)
    return GoalTasks(mazes_of(world, rules, seed), goal_split(world, seed), rules, world.length, world.episodes)


def tasks_of(world: Preferences | Goals, context: Context) -> Any:
    """The tasks of all replicates; the leading axis of every array."""
    drawn = [task_of(world, seed, key) for seed, key in zip(context.seeds, context.keys("env"), strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)


def preference_split(world: Preferences, seed: int) -> CombinationSplit:
    """Which mixtures are in training. Those held out on connected and disconnected support are the same: the ones in neither."""
    masks = k_hot(world.modules, *range(1, world.active + 1))
    if world.support == "random":
        return CombinationSplit.draw(masks, world.held_out, seed=seed, covers=is_compositional)
    if world.support == "non-compositional":
        return support("non-compositional", masks)
    near = {1: "connected", 2: "connected+"}[world.apart]
    connected, disconnected = (np.asarray(support(name, masks).train) for name in (near, "disconnected"))
    either = {tuple(row) for part in (connected, disconnected) for row in part.tolist()}
    held_out = np.array([row for row in masks.tolist() if tuple(row) not in either])
    return CombinationSplit.of(connected if world.support == "connected" else disconnected, held_out)


def goal_split(world: Goals, seed: int) -> CombinationSplit:
    """Which goals are in training: all but a random part that leaves every quadrant, interaction, maze and kind, or all but those in the last quadrant."""
    sizes = (4, world.interactions, world.mazes, world.kinds)
    goals = np.array(list(product(*map(range, sizes))))
    if world.support == "random":
        return CombinationSplit.draw(goals, world.held_out, seed=seed, covers=lambda train: [len(np.unique(part)) for part in train.T] == list(sizes))
    last = goals[:, 0] == QUADRANT
    return CombinationSplit.of(goals[~last], goals[last], require_coverage=False)


def mazes_of(world: Goals, rules: GoalMaze, seed: int) -> Maze:
    """The first random mazes in which every goal is possible and no path is longer than an episode."""
    random, found = np.random.default_rng(seed), []
    while len(found) < world.mazes:
        maze = Maze.draw(world.side, seed=int(random.integers(2**31)))
        if maze.longest < world.length and possible(rules, maze):
            found.append(maze)
    return Maze(*(jnp.asarray(np.stack(leaves)) for leaves in zip(*found, strict=True)))


def possible(rules: GoalMaze, maze: Maze) -> bool:
    """Whether every quadrant has a goal, and every goal a start."""
    try:
        for quadrant in range(4):
            rules.params(maze, quadrant)
    except ValueError:
        return False
    return True


# --- losses -----------------------------------------------------------------------------------------------------------


def value_loss(network: Any, data: Steps, key: Any) -> Float[Array, ""]:
    """Half the squared error, sum over actions, mean over steps before the end."""
    errors = jnp.sum((outputs_of(network, data.x) - data.target) ** 2, axis=-1)
    return 0.5 * jnp.sum(errors * data.taken) / jnp.sum(data.taken)


def action_loss(network: Any, data: Steps, key: Any) -> Float[Array, ""]:
    """Cross-entropy, mean over steps before the end."""
    logits = jax.nn.log_softmax(outputs_of(network, data.x))
    return -jnp.sum(jnp.sum(data.target * logits, axis=-1) * data.taken) / jnp.sum(data.taken)


def loss_of(world: Preferences | Goals) -> Any:
    """The loss of a world."""
    return value_loss if isinstance(world, Preferences) else action_loss


class Shares(NamedTuple):
    """On the query episodes of a task: the share of steps with the right action, and of episodes with only such steps."""

    accuracy: Float[Array, ""]
    episodes: Float[Array, ""]


def right_shares(y: Float[Array, "steps actions"], query: Steps, episodes: int) -> Shares:
    """How often the largest output is that of the right action, before the end of episodes."""
    right = (y.argmax(axis=-1) == query.target.argmax(axis=-1)) | (query.taken == 0)
    return Shares(jnp.sum(right * query.taken) / jnp.sum(query.taken), right.reshape(episodes, -1).all(axis=1).mean())


# --- training and tests ------------------------------------------------------------------------------------------------


def sizes_of(arm: WorldArm) -> Sizes:
    """Observations and actions of a world."""
    world = arm.world
    if isinstance(world, Preferences):
        squares = "".join(world.layout)
        inputs, outputs = len(squares) * (world.colours + 2) if world.walls else squares.count(" ") * (world.colours + 1), len(MOVES)
    else:
        inputs, outputs = world.side**2 * (world.kinds + 2), 4 + world.interactions
    return Sizes(inputs, outputs, arm.training.layers, world.codes)


def build_world_arm(arm: WorldArm, key: PRNGKeyArray) -> MetaLearned:
    """The meta-learned network of an arm."""
    return inner_loop(arm.method, arm.training).start(build(arm.method, arm.training.width, sizes_of(arm), key))


def train_in_world(arm: WorldArm, context: Context) -> Tables:
    """Train all replicates, and test them on known and on held-out combinations, there also after adaptation to another one's demonstrations, and on the
    combinations that non-compositional support holds out.
    """
    tasks, beyond = (tasks_of(world, context) for world in (arm.world, replace(arm.world, support="non-compositional")))
    models = context.fit("network", learner(arm.method, arm.training, sizes_of(arm), tasks, loss_of(arm.world)), arm.training.steps, per_seed=True).model
    context.publish("network", models)
    sets, (_, last) = (context.evaluate(Partial(draw_sets, arm, context.evaluation_key), each) for each in (tasks, beyond))
    found = {name: context.evaluate(Partial(adapt_all, arm), models, examples) for name, examples in zip(("known", "held_out"), sets, strict=True)}
    found["last"] = {"loss": context.evaluate(Partial(adapt_all, arm), models, last)["loss"]}
    for name, examples in zip(("known", "held_out", "last"), (*sets, last), strict=True):
        found[name]["spread"] = context.evaluate(spread, examples)
    found["strangers"] = {"loss": context.evaluate(Partial(adapt_all, arm), models, context.evaluate(strangers, sets[1]))["loss"]}
    columns: dict[str, Any] = {}
    for name, column in ((name, column) for name, measured in found.items() for column in measured):
        values = found[name][column]
        columns[f"{name}_{column}"], columns[f"{name}_{column}_error"] = values.mean(axis=1), values.std(axis=1, ddof=1) / arm.tasks**0.5
    digests = [digest(jax.tree.map(lambda leaf, i=i: leaf[i], sets)) for i in range(len(context.seeds))]
    labels = {"world": world_name(arm.world), "method": arm.method, "width": arm.training.width, "codes": arm.world.codes}
    return {"imitation": context.rows(**labels, **columns, rate=np.exp(models.log_rates) * arm.training.inner_rate, digest=digests)}


def world_name(world: Preferences | Goals) -> str:
    """The kind of a world, and its support."""
    return f"{'preferences' if isinstance(world, Preferences) else 'goals'}-{world.support}"


def draw_sets(arm: WorldArm, key: PRNGKeyArray, task: PreferenceTasks | GoalTasks) -> tuple[Demonstrated, Demonstrated]:
    """The test sets of a replicate: known combinations, and held-out ones."""
    known, held_out = jax.random.split(key)
    return batch(task, known, arm.tasks, "iid"), batch(task, held_out, arm.tasks, "ood")


def strangers(examples: Demonstrated) -> Demonstrated:
    """The query episodes of each task with the demonstrations of the task before it."""
    return examples._replace(support=jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), examples.support))


def spread(examples: Demonstrated) -> Float[Array, " tasks"]:
    """The loss of the mean over all tasks as prediction of every action's value; its mean over tasks is half the variance of the targets."""
    query = examples.query
    mean = jnp.mean(jnp.sum(query.target * query.taken[..., None], axis=1) / jnp.sum(query.taken, axis=1)[:, None], axis=0)
    return jax.vmap(lambda data: value_loss(lambda x: mean, data, None))(query)


def adapt_all(arm: WorldArm, model: MetaLearned, examples: Demonstrated) -> dict[str, Float[Array, " tasks"]]:
    """Adapt to each task; the loss on its query episodes, and how often the actions are right."""
    loop, loss = inner_loop(arm.method, arm.training), loss_of(arm.world)

    def of_task(example: Demonstrated) -> dict[str, Float[Array, ""]]:
        network = loop(loss, model, example.support, jax.random.key(0)).network
        shares = right_shares(outputs_of(network, example.query.x), example.query, arm.world.episodes)
        return {"loss": loss(network, example.query, None), **shares._asdict()}

    return jax.lax.map(of_task, examples, batch_size=32)
