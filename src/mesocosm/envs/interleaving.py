"""Task interleaving: questions from several contexts are asked now and answered later, so each reward depends on one decision long ago.

Reference: Meulemans et al. (2023), App. E.3, after Mesnard et al. (2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from mesocosm.envs.environment import Box, Episode
from mesocosm.envs.pictures import paint
from mesocosm.envs.tabular import FiniteEnvironment, TabularMDP


class InterleavingState(NamedTuple):
    """The current room and the open contexts.

    Attributes:
        time: steps so far.
        opened: contexts whose question was asked and not yet answered.
        keys: contexts whose question was decided correctly.
        context: the context of this room.
        answer: whether this is an answer room; then the objects are 0 and `flip` is False.
        unrewarding, rewarding: which of the context's objects are shown.
        flip: whether the rewarding object is on the right.
        done: whether the episode has ended.
    """

    time: Int[Array, "*batch"]
    opened: Bool[Array, "*batch contexts"]
    keys: Bool[Array, "*batch contexts"]
    context: Int[Array, "*batch"]
    answer: Bool[Array, "*batch"]
    unrewarding: Int[Array, "*batch"]
    rewarding: Int[Array, "*batch"]
    flip: Bool[Array, "*batch"]
    done: Bool[Array, "*batch"]


class InterleavingParams(eqx.Module):
    """The numbers of the environment.

    Attributes:
        objects: a permutation of the objects per context; the first half are the rewarding ones.
        reward: the reward in each context's answer room, if the question was decided correctly.
        death: probability that the episode ends after a step.
        max_steps_in_episode: time limit.
    """

    objects: Int[Array | np.ndarray, "contexts objects"]
    reward: Float[Array | np.ndarray, " contexts"]
    death: Float[Array | np.ndarray, ""]
    max_steps_in_episode: int = eqx.field(static=True)


@dataclass(frozen=True)
class Interleaving(FiniteEnvironment[InterleavingState, InterleavingParams]):
    """Question rooms (choose left or right) and answer rooms (any action gives the reward if the context's question was decided correctly).

    With probability (number open) / `most_open`, the next room answers one of the open contexts, otherwise it asks one of the others; all draws are uniform.
    After each step, the episode ends with probability `death`.

    Attributes:
        contexts: number of contexts.
        most_open: number of contexts that may be open at once, below `contexts`.
        kinds: number of rewarding objects per context, and of unrewarding ones.
        limit: time limit of an episode, which the tabular form ignores.
    """

    contexts: int = 5
    most_open: int = 3
    kinds: int = 2
    limit: int = 100

    def __post_init__(self) -> None:
        """Check that there is always a context to ask, and something to see."""
        if not 1 <= self.most_open < self.contexts:
            raise ValueError(f"between 1 and {self.contexts - 1} of {self.contexts} contexts may be open at once, not {self.most_open}")
        if self.kinds < 1 or self.limit < 1:
            raise ValueError(f"there must be one or more kinds of objects and steps; there are {self.kinds} and {self.limit}")

    @property
    def num_actions(self) -> int:
        """Left and right."""
        return 2

    @property
    def default_params(self) -> InterleavingParams:
        """Permutations of seed 0; rewards from 0.2 to 1; death probability 0.05."""
        return self.params()

    def params(self, seed: int = 0, death: float = 0.05) -> InterleavingParams:
        """Draw the permutations and return the params.

        Raises:
            ValueError: the probability of death is not between 0 and 1.
        """
        if not 0 <= death <= 1:
            raise ValueError(f"the probability of death must be between 0 and 1; it is {death}")
        draw = np.random.default_rng(seed)
        objects = np.stack([draw.permutation(2 * self.kinds) for _ in range(self.contexts)]).astype(np.int32)
        return InterleavingParams(objects, np.linspace(0.2, 1.0, self.contexts), np.array(death), self.limit)

    # --- rules

    def reset_env(self, key: PRNGKeyArray, params: InterleavingParams) -> tuple[Array, InterleavingState]:
        """Start with a question from any context; no context is open."""
        nothing = jnp.zeros(self.contexts, dtype=bool)
        state = self._room(jnp.int32(0), nothing, nothing, jnp.array(False), jax.random.uniform(key, (5,)))
        return self.observe(state, params), state

    def step_env(
        self, key: PRNGKeyArray, state: InterleavingState, action: Any, params: InterleavingParams
    ) -> tuple[Array, InterleavingState, Array, Array, dict[str, Any]]:
        """Decide or receive the reward, then move to another room or end."""
        here = jnp.arange(self.contexts) == state.context
        reward = jnp.where(state.answer & state.keys[state.context], jnp.asarray(params.reward, dtype=float)[state.context], 0.0)
        right = (action == 1) == state.flip
        opened = jnp.where(here, ~state.answer, state.opened)
        keys = jnp.where(here, ~state.answer & right, state.keys)
        uniform = jax.random.uniform(key, (7,))
        answers = uniform[5] * self.most_open < jnp.sum(opened)
        dies = uniform[6] < params.death
        after = self._room(state.time + 1, opened, keys, answers, uniform[:5])._replace(done=dies)
        return self.observe(after, params), after, reward, dies, {}

    def _room(self, time: Array, opened: Array, keys: Array, answer: Array, uniform: Float[Array, "5"]) -> InterleavingState:
        """Draw a room: its context is one of the open ones (answer) or one of the others (question)."""
        among = opened == answer
        context = jnp.sum(jnp.cumsum(among / jnp.sum(among)) <= uniform[0], dtype=jnp.int32)
        context = jnp.minimum(context, self.contexts - 1 - jnp.argmax(among[::-1]).astype(jnp.int32))  # rounding may leave the last share open
        objects = jnp.where(answer, 0, (uniform[1:3] * self.kinds).astype(jnp.int32))
        return InterleavingState(time, opened, keys, context, answer, objects[0], objects[1], ~answer & (uniform[3] < 0.5), jnp.array(False))

    def observe(self, state: InterleavingState, params: InterleavingParams) -> Float[Array, " features"]:
        """Context, kind of room, left and right object, open contexts, and keys held; all zero at the end."""
        objects = jnp.asarray(params.objects)
        if objects.shape != (self.contexts, 2 * self.kinds):
            raise ValueError(f"the params are of {objects.shape[0]} contexts and {objects.shape[1]} objects, not {self.contexts} and {2 * self.kinds}")
        if params.reward.shape != (self.contexts,):
            raise ValueError(f"the params have rewards of shape {params.reward.shape}, not ({self.contexts},)")
        objects = objects[state.context]
        pair = jnp.stack([objects[state.rewarding], objects[self.kinds + state.unrewarding]])
        left, right = jnp.where(state.flip, pair[::-1], pair)
        shown = jax.nn.one_hot(jnp.stack([left, right]), 2 * self.kinds) * ~state.answer
        context = jax.nn.one_hot(state.context, self.contexts)
        parts = [context, state.answer[None] * 1.0, shown.reshape(-1), state.opened * 1.0, state.keys * 1.0]
        return jnp.where(state.done, 0.0, jnp.concatenate(parts))

    def observation_space(self, params: InterleavingParams) -> Box:
        """Binary vectors of length 1 + 3 contexts + 4 kinds."""
        return Box(0.0, 1.0, (1 + 3 * self.contexts + 4 * self.kinds,))

    # --- tabular form

    @cached_property
    def _codes(self) -> np.ndarray:
        """The code of every state in which the agent acts, in the order of `index`."""
        found = []
        for answer, context in product((False, True), range(self.contexts)):
            others = [c for c in range(self.contexts) if c != context]
            for number in range(self.most_open):
                for opened in combinations(others, number):
                    opened = (*opened, context) if answer else opened
                    for held in product((0, 1), repeat=len(opened)):
                        masks = sum(1 << c for c in opened), sum(bit << c for bit, c in zip(held, opened, strict=True))
                        shown = [(0, 0, 0)] if answer else product(range(self.kinds), range(self.kinds), (0, 1))
                        found += [_code(self, *masks, context, int(answer), *objects) for objects in shown]
        return np.array(found)

    @cached_property
    def _numbers(self) -> np.ndarray:
        """Maps a code to its position in `_codes`; -1 if there is no such state."""
        table = np.full(4**self.contexts * self.contexts * 4 * self.kinds**2, -1, dtype=np.int32)
        table[self._codes] = np.arange(len(self._codes))
        return table

    def index(self, state: InterleavingState, params: InterleavingParams | None = None) -> Int[Array, ""]:
        """Question rooms, then answer rooms; -1 at the end."""
        bits = 2 ** jnp.arange(self.contexts)
        masks = jnp.sum(bits * state.opened), jnp.sum(bits * state.keys)
        code = _code(self, *masks, state.context, state.answer.astype(jnp.int32), state.unrewarding, state.rewarding, state.flip.astype(jnp.int32))
        return jnp.where(state.done, -1, jnp.asarray(self._numbers)[code]).astype(jnp.int32)

    def every_state(self) -> InterleavingState:
        """All states in which the agent acts, in the order of `index`, at time 0."""
        opened, keys, context, answer, unrewarding, rewarding, flip = (jnp.asarray(part) for part in _decode(self, self._codes))
        bits = 2 ** jnp.arange(self.contexts)
        false = jnp.zeros(len(self._codes), dtype=bool)
        masks = opened[:, None] & bits > 0, keys[:, None] & bits > 0
        return InterleavingState(jnp.zeros_like(context), *masks, context, answer > 0, unrewarding, rewarding, flip > 0, false)

    def tabular(self, params: InterleavingParams | None = None) -> TabularMDP:
        """The tabular form; 1650 states at the paper's sizes."""
        params = self.default_params if params is None else params
        number, values = len(self._codes), np.unique([0.0, *np.asarray(params.reward)])
        transition, rewards = np.zeros((number, 2, number)), np.zeros((number, 2, len(values)))
        for source, (opened, keys, context, answer, *_, flip) in enumerate(zip(*_decode(self, self._codes), strict=True)):
            bit = 1 << int(context)
            reward = float(np.asarray(params.reward)[context]) if answer and keys & bit else 0.0
            rewards[source, :, np.searchsorted(values, reward)] = 1.0
            for action in range(2):
                now_open = opened & ~bit if answer else opened | bit
                now_keys = keys & ~bit if answer or action != flip else keys | bit
                for code, probability in self._rooms(int(now_open), int(now_keys)):
                    transition[source, action, self._numbers[code]] += (1 - float(params.death)) * probability
        initial = np.zeros(number)
        for code, probability in self._rooms(0, 0):
            initial[self._numbers[code]] = probability
        observations = np.asarray(jax.vmap(self.observe, in_axes=(0, None))(self.every_state(), params))
        return TabularMDP(transition, rewards, values, initial, observations, params.max_steps_in_episode)

    def _rooms(self, opened: int, keys: int) -> list[tuple[int, float]]:
        """The possible next rooms and their probabilities."""
        are_open = [c for c in range(self.contexts) if opened >> c & 1]
        closed = [c for c in range(self.contexts) if not opened >> c & 1]
        answers = len(are_open) / self.most_open
        found = [(_code(self, opened, keys, c, 1, 0, 0, 0), answers / len(are_open)) for c in are_open]
        if len(are_open) < self.most_open:
            share = (1 - answers) / len(closed) / (2 * self.kinds**2)
            shown = list(product(range(self.kinds), range(self.kinds), (0, 1)))
            found += [(_code(self, opened, keys, c, 0, *objects), share) for c in closed for objects in shown]
        return found

    # --- display

    def text(self, episode: Episode, params: InterleavingParams | None = None) -> str:
        """One line per room; open contexts are in brackets, correctly decided ones have a star."""
        states, lines = jax.tree.map(np.asarray, episode.states), []
        for t in np.flatnonzero(np.asarray(episode.taken)):
            inventory = " ".join(f"{c}{'*' if states.keys[t, c] else ''}" for c in np.flatnonzero(states.opened[t]))
            action = "right" if episode.actions[t] == 1 else "left"
            room = f"answer {states.context[t]}      " if states.answer[t] else f"ask    {states.context[t]} {action:5s}"
            lines.append(f"{t:3d}  {room}  reward {float(episode.rewards[t]):.2f}  [{inventory}]")
        return "\n".join([*lines, f"return {float(np.asarray(episode.rewards).sum()):.2f}"])

    def image(self, episode: Episode, params: InterleavingParams | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """One row per context and one column per step: pale means open, dark asked, green answered with reward, red without."""
        states, rewards = jax.tree.map(np.asarray, episode.states), np.asarray(episode.rewards)
        colours = np.full((self.contexts, len(rewards), 3), 255, dtype=np.uint8)
        for t in np.flatnonzero(np.asarray(episode.taken)):
            colours[:, t] = np.where(states.opened[t][:, None], 200, 240)
            answered = (60, 160, 90) if rewards[t] > 0 else (200, 60, 60)
            colours[states.context[t], t] = answered if states.answer[t] else (90, 90, 90)
        return paint(colours)


def _code(env: Interleaving, opened: Any, keys: Any, context: Any, answer: Any, unrewarding: Any, rewarding: Any, flip: Any) -> Any:
    """Encode each state as an integer (mixed radix)."""
    masks = opened * 2**env.contexts + keys
    return ((((masks * env.contexts + context) * 2 + answer) * env.kinds + unrewarding) * env.kinds + rewarding) * 2 + flip


def _decode(env: Interleaving, code: np.ndarray) -> tuple[np.ndarray, ...]:
    """Decode an integer to a state, the inverse of the encoding."""
    parts = []
    for radix in (2, env.kinds, env.kinds, 2, env.contexts, 2**env.contexts, 2**env.contexts):
        parts.append(code % radix)
        code = code // radix
    flip, rewarding, unrewarding, answer, context, keys, opened = parts
    return opened, keys, context, answer, unrewarding, rewarding, flip
