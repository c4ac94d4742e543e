r"""Decisions of a model that reads a random seed: how often each input succeeds, the tail over inputs, and votes over seeds.

The first axis is seeds, the second inputs. Evaluate a model once, `outputs[s, x]`, and derive everything from it. The *tail* is the bad end over inputs: the
5th percentile of the success rate, interpolated linearly between order statistics (`numpy.percentile`). With few inputs, report the minimum as well.

Reference: von Oswald et al., "Learning randomized algorithms with transformers" (2025), Sec. 3 and App. E.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Shaped
from scipy.stats import mode

TAIL = 5.0  # percent of the inputs
MOST_VOTERS = 1e15  # beyond, floats do not tell whole numbers apart


class Success(NamedTuple):
    """Success over seeds and inputs.

    Attributes:
        rate: of each input, the share of seeds that succeed.
        average: mean rate.
        tail: 5th percentile of the rates over inputs.
        minimum: smallest rate.
        never: share of inputs on which no seed succeeds.
        always: share of inputs on which every seed succeeds.
    """

    rate: Float[np.ndarray, " inputs"]
    average: float
    tail: float
    minimum: float
    never: float
    always: float

    @property
    def spread(self) -> float:
        """Share of inputs that succeed under some seeds only; 0 for a deterministic model."""
        return 1 - self.never - self.always


def success(succeeds: Shaped[Array | np.ndarray, "..."]) -> Success:
    """Summarise which seeds succeed on which inputs.

    Args:
        succeeds: (seeds, inputs); booleans, or zeros and ones.

    Raises:
        ValueError: there are no seeds or no inputs, other than two axes, or values other than 0 and 1.
    """
    succeeds = _booleans(succeeds)
    if succeeds.ndim != 2 or not succeeds.size:
        raise ValueError(f"a success rate needs seeds and inputs, an array (seeds, inputs), not one of shape {succeeds.shape}")
    rate = succeeds.mean(axis=0)
    tail = float(np.percentile(rate, TAIL))
    return Success(rate, float(rate.mean()), tail, float(rate.min()), float((~succeeds.any(axis=0)).mean()), float(succeeds.all(axis=0).mean()))


def tail_loss(losses: Float[Array | np.ndarray, "seeds inputs"]) -> float:
    """95th percentile over inputs of the mean loss over seeds.

    Raises:
        ValueError: there are no seeds or no inputs.
    """
    _need(2, "a tail loss needs seeds and inputs", losses)
    return float(np.percentile(np.mean(losses, axis=0, dtype=np.float64), 100 - TAIL))


def seed_variance(probabilities: Float[Array | np.ndarray, "seeds inputs *outputs"]) -> Float[np.ndarray, " inputs"]:
    """Variance over seeds of predicted probabilities (seeds in the denominator), mean over outputs: 0 for a deterministic model.

    Raises:
        ValueError: there are no seeds or no inputs.
    """
    _need(2, "a variance over seeds needs seeds and inputs", probabilities)
    probabilities = np.asarray(probabilities, np.float64)
    variance = np.var(probabilities - probabilities[:1], axis=0)  # relative to one seed, so that equal seeds give exactly 0
    return variance.reshape(variance.shape[0], -1).mean(axis=1)


def sampled(probabilities: Float[Array | np.ndarray, "*inputs parts values"], draws: int, seed: int) -> Integer[np.ndarray, "draws *inputs parts"]:
    """Values of each part drawn by its probabilities, independently; what sampling gives a model that reads no seed.

    Args:
        probabilities: of the values of each part; what is missing from a sum of 1 belongs to the last value, and beyond 1 nothing is drawn.
        draws: number of draws of every part.
        seed: of NumPy's generator.

    Raises:
        ValueError: a probability is negative or NaN.
    """
    if not (np.asarray(probabilities) >= 0).all():
        raise ValueError("answers are drawn by probabilities, which are not negative; some of these are, or NaN (logits need a softmax)")
    cumulative = np.cumsum(probabilities, axis=-1)[..., :-1]
    uniform = np.random.default_rng(seed).random((draws, *cumulative.shape[:-1], 1))
    return (uniform > cumulative).sum(axis=-1)


def majority(decisions: Shaped[Array | np.ndarray, "voters *inputs parts"]) -> Shaped[np.ndarray, "*inputs parts"]:
    """The most frequent decision, taken whole (all bits of a word, all colours of a graph). Of equally frequent ones, the lexicographically smallest.

    The last axis holds the parts of one answer. Plain classes, `(voters, inputs)`, need one of length 1: `classes[..., None]`.

    Raises:
        ValueError: there are no voters or no inputs.
    """
    _need(2, "a vote needs voters, inputs and parts of an answer", decisions)
    decisions = np.asarray(decisions)
    words, index = np.unique(decisions.reshape(-1, decisions.shape[-1]), axis=0, return_inverse=True)
    return words[mode(index.reshape(decisions.shape[:-1]), axis=0).mode]


def part_majority(decisions: Integer[Array | np.ndarray, "voters *inputs parts"]) -> Integer[np.ndarray, "*inputs parts"]:
    """The most frequent value of each part by itself; of equally frequent ones, the smallest.

    Raises:
        ValueError: there are no voters or no inputs.
    """
    _need(2, "a vote needs voters, inputs and parts of an answer", decisions)
    decisions = np.asarray(decisions)
    values = np.unique(decisions)
    return values[np.argmax(np.stack([(decisions == value).sum(axis=0) for value in values]), axis=0)]


def mean_vote(probabilities: Float[Array | np.ndarray, "voters *inputs parts classes"]) -> Integer[np.ndarray, "*inputs parts"]:
    """The most probable class of each part under the mean probability of the voters.

    Raises:
        ValueError: a probability is NaN, which would win, or there are no voters or no inputs.
    """
    _need(3, "a vote needs voters, inputs, parts of an answer and classes", probabilities)
    mean = np.mean(probabilities, axis=0, dtype=np.float64)
    if np.isnan(mean).any():
        raise ValueError("a voter's probability is NaN")
    return np.argmax(mean, axis=-1)


def verified(succeeds: Shaped[Array | np.ndarray, "voters *inputs"]) -> Bool[np.ndarray, " *inputs"]:
    """Whether any voter succeeds: the success of running seeds until a checker accepts, where a checker exists.

    Raises:
        ValueError: there are no voters or no inputs, or values other than 0 and 1.
    """
    _need(1, "a checked vote needs voters and inputs", succeeds)
    return np.any(_booleans(succeeds), axis=0)


def voting_groups(decisions: Shaped[Array | np.ndarray, "seeds *rest"], voters: int) -> Shaped[np.ndarray, "voters groups *rest"]:
    """Cut the seeds into as many groups of `voters` as there are; left-over seeds are dropped.

    Raises:
        ValueError: there is no voter, or there are fewer seeds than voters.
    """
    if not 1 <= voters <= decisions.shape[0]:
        raise ValueError(f"{voters} voters need at least as many seeds, and a group needs one voter; there are {decisions.shape[0]} seeds")
    groups = decisions.shape[0] // voters
    return np.moveaxis(np.asarray(decisions)[: groups * voters].reshape(groups, voters, *decisions.shape[1:]), 0, 1)


def voters_needed(margin: float, wrong_answers: int, delta: float) -> int:
    r"""Smallest n with $n > \frac{2}{\Delta^2} \ln \frac{k}{\delta}$: the most frequent answer of n seeds is right with a probability above $1 - \delta$.

    Args:
        margin: $\Delta$, the probability of the most probable right answer minus that of the most probable wrong one, above 0.
        wrong_answers: number k of wrong answers.
        delta: allowed probability of error.

    Raises:
        ValueError: the margin is not in (0, 1], or delta not in (0, 1), or the number is too large to be told exactly (a margin below about 1e-7).

    Source: von Oswald et al. (2025), Prop. 2 (Hoeffding's bound for each wrong answer).
    """
    if not 0 < margin <= 1 or not 0 < delta < 1 or wrong_answers < 1:
        raise ValueError(f"a vote needs 0 < margin <= 1, 0 < delta < 1 and a wrong answer; got {margin}, {delta} and {wrong_answers}")
    bound = 2 / margin**2 * math.log(wrong_answers / delta) if margin**2 > 0 else math.inf
    if bound > MOST_VOTERS:
        raise ValueError(f"a margin of {margin:g} needs more than {MOST_VOTERS:.0e} voters")
    return max(1, math.floor(bound) + 1)


def _booleans(values: Shaped[Array | np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    values = np.asarray(values)
    if not ((values == 0) | (values == 1)).all():
        raise ValueError("success is 0 or 1 (or a boolean) for each seed and input; these values are not, and rates or probabilities have no success")
    return values.astype(bool)


def _need(axes: int, needs: str, values: Shaped[Array | np.ndarray, "..."]) -> None:
    """Reject an array with fewer axes, or without entries."""
    if values.ndim < axes or 0 in values.shape:
        raise ValueError(f"{needs}; this array has shape {values.shape}")
