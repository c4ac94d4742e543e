"""Trains a network on recall or colouring, and tests it on every input under every test seed."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.analysis.randomized_decisions import majority, sampled, seed_variance, success, tail_loss, verified, voting_groups
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.relaxed_adversary import RelaxedAdversary
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.randomized.config import Colouring, Recall
from mesocosm.studies.randomized.networks import Arm, build_network, task_of
from mesocosm.tasks.bit_recall import BitRecallExample, bit_loss
from mesocosm.tasks.cycle_colouring import colouring_loss
from mesocosm.tasks.task import batch

VOTERS = (3, 5, 10, 30)


class Answers(NamedTuple):
    """A network's answers under each seed to each input.

    Attributes:
        probabilities: of the values of each part of the answer (bits of a word, colours of the vertices).
        losses: of each answer.
        inputs: the inputs.
    """

    probabilities: Float[Array, "seeds inputs parts values"]
    losses: Float[Array, "seeds inputs"]
    inputs: Any


def train(arm: Arm, context: Context) -> Tables:
    """Train an arm; test its single answers, votes and sampled answers."""
    fitted = context.fit("network", learner_of(arm), arm.training.steps)
    context.publish("network", fitted.model)
    answers = context.evaluate(Partial(answer, arm), fitted.model, context.keys("eval"))
    return tables_of(arm, context, answers)


def learner_of(arm: Arm) -> RelaxedAdversary:
    """How an arm learns. The exponent and, in a sweep, the number of seeds are traced."""
    training = arm.training
    hyperparameters = {
        "learning_rate": training.learning_rate,
        "warmup": float(training.warmup),
        "steps": float(training.steps),
        "floor": 0.1,
        "clip_norm": training.clip_norm,
        "weight_decay": training.weight_decay,
        "b2": training.b2,
        "eps": training.epsilon,
    }
    return RelaxedAdversary(
        Partial(build_network, arm.structure),
        task_of(arm.problem),
        recall_loss if isinstance(arm.problem, Recall) else graph_loss,
        adamw,
        hyperparameters,
        training.batch_size,
        q=arm.q,
        seeds=arm.most or arm.seeds,
        used=arm.most and float(arm.seeds),
    )


def recall_loss(network: Any, example: BitRecallExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross-entropy of the bits asked for, mean over bits."""
    return bit_loss(network(example.tokens, key=key), example.target)


def graph_loss(network: Any, edges: Array, key: PRNGKeyArray) -> Float[Array, ""]:
    """Expected clashes per vertex and colour."""
    return colouring_loss(network(jnp.eye(edges.shape[0]), edges, key=key), edges)


def answer(arm: Arm, network: Any, key: PRNGKeyArray) -> Answers:
    """Answer every test input under every test seed (a deterministic network: once)."""
    input_key, seed_key = jax.random.split(key)
    inputs = test_inputs(arm.problem, input_key)
    seeds = jax.random.split(seed_key, arm.test_seeds if arm.randomised else 1)

    def under(seed: PRNGKeyArray) -> tuple[Array, Array]:
        if isinstance(arm.problem, Recall):
            logits = jax.vmap(lambda tokens: network(tokens, key=seed))(inputs.tokens)
            ones = jax.nn.sigmoid(logits)
            return jnp.stack([1 - ones, ones], axis=-1), jax.vmap(bit_loss)(logits, inputs.target)
        logits = jax.vmap(lambda edges: network(jnp.eye(edges.shape[0]), edges, key=seed))(inputs)
        return jax.nn.softmax(logits), jax.vmap(colouring_loss)(logits, inputs)

    probabilities, losses = jax.lax.map(under, seeds)
    return Answers(probabilities, losses, inputs)


def test_inputs(problem: Recall | Colouring, key: PRNGKeyArray) -> Any:
    """A balanced set of recall sequences; all cycles, or some at random."""
    task: Any = task_of(problem)
    if isinstance(problem, Recall):
        return task.balanced(key, problem.completions)
    return batch(task, key, problem.test_cycles, "iid") if problem.test_cycles else task.enumerate("iid")


def tables_of(arm: Arm, context: Context, answers: Answers) -> Tables:
    """One row per replicate and way of deciding; the losses; and the success of each input, for the figures."""
    labels = {"problem": "recall" if isinstance(arm.problem, Recall) else "colouring", "randomised": arm.randomised, "q": arm.q, "m": arm.seeds}
    decided = [_decide(arm, Answers(*(jax.tree.map(lambda leaf, i=i: leaf[i], part) for part in answers)), seed) for i, seed in enumerate(context.seeds)]
    ways = list(decided[0])
    columns = {
        column: np.array([[getattr(found[way], column) for way in ways] for found in decided])
        for column in ("average", "tail", "minimum", "never", "always", "spread")
    }
    rates = np.array([found["single"].rate for found in decided])
    tables = {
        "answers": context.rows({"decision": ways}, **labels, **columns),
        "losses": context.rows(
            **labels,
            loss=answers.losses.mean(axis=(1, 2)),
            tail_loss=[tail_loss(losses) for losses in answers.losses],
            variance=[seed_variance(probabilities).mean() for probabilities in answers.probabilities],
        ),
        "inputs": context.rows({"input": range(rates.shape[1])}, **labels, rate=rates),
    }
    if isinstance(arm.problem, Recall) or not arm.randomised:
        return tables
    drawn = [
        _two_colourings(arm.problem, np.argmax(probabilities, axis=-1), np.asarray(cycles))
        for probabilities, cycles in zip(answers.probabilities, answers.inputs, strict=True)
    ]
    return tables | {"colourings": context.rows({"answer": range(2), "place": range(arm.problem.vertices)}, **labels, colour=np.stack(drawn))}


def _two_colourings(problem: Colouring, decisions: np.ndarray, cycles: np.ndarray) -> Int[np.ndarray, "2 vertices"]:
    """Two answers to the cycle whose success is most uncertain: one that succeeds and one that fails, if there are both. Colours in the ring's order."""
    right = succeeds(problem, decisions, cycles)
    cycle = int(np.argmin(np.abs(right.mean(axis=0) - 0.5)))
    ring = [0]
    while len(ring) < len(cycles[cycle]):
        ring.append(int(np.argmax(cycles[cycle, ring[-1]] & ~np.isin(range(len(cycles[cycle])), ring))))
    return decisions[[right[:, cycle].argmax(), right[:, cycle].argmin()], cycle][:, ring]


def _decide(arm: Arm, answers: Answers, seed: int) -> dict[str, Any]:
    """How often each way of deciding succeeds."""
    decisions = np.argmax(answers.probabilities, axis=-1)
    found = {"single": success(succeeds(arm.problem, decisions, answers.inputs))}
    if not arm.randomised:
        return found | {"sampled": success(succeeds(arm.problem, sampled(np.asarray(answers.probabilities[0]), arm.test_seeds, seed), answers.inputs))}
    for voters in VOTERS:
        groups = voting_groups(decisions, voters)
        found[f"vote-{voters}"] = success(succeeds(arm.problem, majority(groups), answers.inputs))
    checked = verified(voting_groups(succeeds(arm.problem, decisions, answers.inputs), max(VOTERS)))
    return found | {f"verified-{max(VOTERS)}": success(checked)}


def succeeds(problem: Recall | Colouring, decisions: np.ndarray, inputs: Any) -> np.ndarray:
    """Whether all bits are right, or no edge joins equal colours: (voters, inputs, parts) -> (voters, inputs)."""
    if isinstance(problem, Recall):
        return np.all(decisions == np.asarray(inputs.target), axis=-1)
    return ~np.any(np.asarray(inputs) & (decisions[..., :, None] == decisions[..., None, :]), axis=(-2, -1))
