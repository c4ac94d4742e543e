"""The paper's claims and their checks. Regions come from theory and from pilots on seeds from 1000 upward (search.csv).

Whether a network learns to use its seed differs from training to training, so that most outcomes lie at two places: these are judged as rates.
"""

from functools import partial
from math import log
from typing import Any, NamedTuple

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import instances
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Rate, above, below
from mesocosm.studies.randomized.measures import answers, evening, exceeds, lead, loss_ratio, of, stays_below, tail_lead, vote_gain
from mesocosm.studies.randomized.tables import (
    COLOURING,
    COLOURING_FIXED,
    COLOURING_MEAN,
    ENOUGH,
    ENOUGH_FIXED,
    GRID,
    GRID_FIXED,
    GRID_FIXED_FINITE,
    GRID_FIXED_MEAN,
    GRID_MEAN,
    GRID_ONE_SEED,
    GRID_ONE_SEED_MEAN,
    LARGER,
    LARGER_FIXED,
    LARGER_MEAN,
    ONE_SEED,
    RECALL,
    RECALL_FIXED,
    RECALL_MEAN,
    TWICE,
    Answers,
    Games,
    Hunts,
    Losses,
    Returns,
    Votes,
)

NET = "initialisation, training inputs and seeds, test inputs and seeds"
GAME = "a random game"

# Number of configurations in search.csv, the specification's included, by what they trained.
SEARCHED = pilots("mesocosm.studies.randomized").counts("problem")
ON_THE_MEAN = "trained on the expected loss"
AGAINST = "trained against the adversary"
ONE_FIXED = "one fixed seed"
MOST, FEW = above(0.5), below(0.5)

of_recall = partial(Check, judged_at=CPU, replicate=NET, searched=SEARCHED["recall"])
of_colouring = partial(Check, judged_at=CPU, replicate=NET, searched=SEARCHED["colouring"])
of_hunts = partial(Check, judged_at=CPU, replicate="initialisation, populations, training and test seeds", searched=SEARCHED["grid"])
of_games = partial(Check, judged_at=ALL, replicate=GAME)


class World(NamedTuple):
    """A grid: prefix of its checks, where they are judged, its agents (random seed, against the worst treasure; on the mean; one fixed seed), and regions.

    Attributes:
        near: so many steps are near: less than a quarter of the least possible mean (4.5 and 8 steps).
        evener: a third of the deviation over cells of a path that visits each once (2.29 and 4.32 steps).
        of_paths: what the record shows about the number of paths.
    """

    prefix: str
    judged_at: frozenset[str]
    agents: Trials
    mean: Trials
    fixed: Trials
    near: float
    evener: float
    of_paths: str | None = None

    def check(self, name: str, *parts: Any, note: str | None = None) -> Check:
        """A check about this grid."""
        return of_hunts(self.prefix + name, *parts, judged_at=self.judged_at, note=note)


SMALL = World("", CPU, GRID, GRID_MEAN, GRID_FIXED, 1.0, -0.8)
SECOND_PATH = "Seven of ten agents take one path under almost every seed; three keep a second one, under a sixth to two fifths of the seeds."
LARGE = World("larger-", frozenset({"cpu"}), LARGER, LARGER_MEAN, LARGER_FIXED, 1.8, -1.5, SECOND_PATH)

CLAIMS = [
    Claim(
        "C1",
        "Whatever the distributions, the best seed's mean loss is at most the expected loss, which is at most the worst input's mean over seeds.",
        source="Eq. 1 (Yao)",
        checks=[
            of_games(
                "order",
                Every("smaller of the two differences"),
                above(-1e-12),
                instances(Games.slack),
                Control("the best seed against its worst input instead", instances(Games.mutant)),
            )
        ],
    ),
    Claim(
        "C2",
        "A network that can answer every input under one seed gains nothing from randomness.",
        source="Sec. 2.1",
        checks=[
            of_colouring(
                "enough",
                Rate("networks with three rounds and one fixed seed that colour more than 0.95 of the cycles"),
                MOST,
                exceeds(answers(Answers.average, ENOUGH_FIXED), 0.95),
                Control("one round", exceeds(answers(Answers.average, COLOURING_FIXED), 0.95)),
            ),
            of_colouring(
                "gain",
                Rate("pairs of networks with three rounds of which a random seed raises the tail of the success rate over cycles by more than 0.1"),
                FEW,
                exceeds(tail_lead(ENOUGH, ENOUGH_FIXED), 0.1),
                Control("one round", exceeds(tail_lead(COLOURING, COLOURING_FIXED), 0.1)),
            ),
        ],
    ),
    Claim(
        "C3",
        "If several seeds attain the deterministic worst-case loss and no input is worst for all of them, their mixture has a smaller worst-case loss.",
        source="Prop. 1",
        checks=[
            of_games(
                "mixture",
                Every("worst loss of the best algorithm minus that of the uniform mixture"),
                above(0.0),
                instances(Games.gain),
                Control("one input is worst for all of them", instances(Games.common_failure)),
            )
        ],
    ),
    Claim(
        "C4",
        "The q-norm over inputs of the mean over seeds is the expected loss at q = 1 and the worst input's at infinity.",
        source="Eq. 4, 5",
        checks=[
            against_mutant("C4 norm", "the norm over seeds and inputs at once", check="norm", evidence="implementation"),
            against_mutant("C4 ends", "the ends exchanged", check="ends", evidence="implementation"),
            against_mutant("C4 gradient", "one more power", check="gradient", evidence="implementation"),
        ],
    ),
    Claim(
        "C5",
        "With more than (2 / margin^2) ln(wrong answers / delta) seeds, the most frequent answer is wrong with a probability below delta.",
        source="Prop. 2",
        checks=[
            of_games(
                "voters",
                Every("log10 of the exact probability of a wrong majority of two answers, over delta"),
                below(0.0),
                instances(Votes.excess, exhaustive=True),
                Control("a twentieth of the voters", instances(Votes.fewer, exhaustive=True)),
                replicate="a margin and a delta",
            ),
            of_games(
                "simulated",
                Every("log10 of the frequency of a wrong vote on three answers, over delta"),
                below(0.0),
                instances(Votes.simulated, exhaustive=True),
                Control("a twentieth of the voters", instances(Votes.simulated_fewer, exhaustive=True)),
                replicate="a margin and a delta",
            ),
        ],
    ),
    Claim(
        "C6",
        "Trained on the expected loss, a network ignores its seed: random, fixed and voting networks coincide, and some inputs always fail.",
        source="Fig. 3A",
        checks=[
            of_recall(
                "tail",
                Rate("networks that fail on more than 0.05 of the inputs under every seed, expected loss"),
                MOST,
                exceeds(answers(Answers.never, RECALL_MEAN), 0.05),
                Control(AGAINST, exceeds(answers(Answers.never, RECALL), 0.05)),
            ),
            of_recall(
                "vote",
                Mean("success of a vote of 30 minus success of one seed, expected loss"),
                below(0.03),
                vote_gain(RECALL_MEAN),
                Control(AGAINST, vote_gain(RECALL)),
            ),
        ],
    ),
    Claim(
        "C7",
        "Predictions vary with the seed only when the adversary is strong.",
        source="Fig. 2, left",
        checks=[
            of_recall(
                "mean",
                Mean("variance over seeds, expected loss"),
                below(0.01),
                of(Losses.variance, RECALL_MEAN),
                Control(AGAINST, of(Losses.variance, RECALL)),
            ),
            of_recall(
                "adversary",
                Mean("variance over seeds, against the adversary"),
                above(0.01),
                of(Losses.variance, RECALL),
                Control(ON_THE_MEAN, of(Losses.variance, RECALL_MEAN)),
                note="A weak adversary is enough here: the variance is 0.034 at q = 4 and largest, 0.055, at q = 8. In the paper it is about 0 up to q = 8.",
            ),
        ],
    ),
    Claim(
        "C8",
        "On the expected loss inputs succeed always or never; against the adversary, no input fails always.",
        source="Fig. 2, right; Fig. 8",
        checks=[
            of_recall(
                "never",
                Rate("networks that fail on fewer than 0.02 of the inputs under every seed, against the adversary"),
                MOST,
                stays_below(answers(Answers.never, RECALL), 0.02),
                Control(ON_THE_MEAN, stays_below(answers(Answers.never, RECALL_MEAN), 0.02)),
            )
        ],
    ),
    Claim(
        "C9",
        "Against the adversary, a random seed keeps the tail of success above zero where one fixed seed leaves it at zero.",
        source="Fig. 3B, 1C",
        checks=[
            of_recall(
                "tail",
                Rate("networks whose tail over inputs of the success rate exceeds 0.2, random seed"),
                MOST,
                exceeds(answers(Answers.tail, RECALL), 0.2),
                Control(ONE_FIXED, exceeds(answers(Answers.tail, RECALL_FIXED), 0.2)),
            )
        ],
    ),
    Claim(
        "C10",
        "A majority over 30 seeds answers almost every input.",
        source="Fig. 1B, 1C, 3B",
        checks=[
            of_recall(
                "average",
                Rate("networks of which a vote of 30 answers more than 0.9 of the inputs"),
                MOST,
                exceeds(answers(Answers.average, RECALL, "vote-30"), 0.9),
                Control(ON_THE_MEAN, exceeds(answers(Answers.average, RECALL_MEAN, "vote-30"), 0.9)),
            ),
            of_recall(
                "tail",
                Rate("networks of which a vote of 30 succeeds in more than half of the cases on the tail of the inputs"),
                MOST,
                exceeds(answers(Answers.tail, RECALL, "vote-30"), 0.5),
                Control(ON_THE_MEAN, exceeds(answers(Answers.tail, RECALL_MEAN, "vote-30"), 0.5)),
            ),
        ],
    ),
    Claim(
        "C11",
        "Sampling the answer of a fixed-seed network from its distribution does not recover this.",
        source="Fig. 3A, 3B",
        checks=[
            of_recall(
                "sampled",
                Mean("tail of the success rate, random seed minus sampled answers of the fixed-seed network"),
                above(0.1),
                tail_lead(RECALL, RECALL_FIXED, "sampled"),
                Control(ON_THE_MEAN, tail_lead(RECALL_MEAN, RECALL_FIXED, "sampled")),
            )
        ],
    ),
    Claim(
        "C12",
        "A strong adversary lowers the tail loss of random-seed networks, not of fixed-seed networks.",
        source="Fig. 3C, left",
        checks=[
            of_recall(
                "tail-loss",
                Mean("log ratio of tail losses, random over fixed seed, against the adversary"),
                below(log(0.9)),
                loss_ratio(Losses.tail_loss, RECALL, RECALL_FIXED),
                Control(ON_THE_MEAN, loss_ratio(Losses.tail_loss, RECALL_MEAN, RECALL_FIXED)),
                note=(
                    "Whether the adversary lowers the tail loss of fixed-seed networks is not judged. It does here, from 0.783 to 0.695, which is that of "
                    "a guess, ln 2."
                ),
            )
        ],
    ),
    Claim(
        "C13",
        "A few seeds per step suffice; with one, randomness is not learned.",
        source="Fig. 3C, right",
        checks=[
            of_recall(
                "seeds",
                Mean("log ratio of tail losses, several seeds per step over one"),
                below(log(0.9)),
                loss_ratio(Losses.tail_loss, RECALL, ONE_SEED),
                Control("several seeds per step, expected loss", loss_ratio(Losses.tail_loss, RECALL_MEAN, ONE_SEED)),
                note="Eight against one. Two are not enough: the tail loss is 0.695 with one and with two, 0.503 with four, 0.453 with eight, 0.399 with 16.",
            )
        ],
    ),
    Claim(
        "C14",
        "On the expected loss, a cycle is always or never coloured; against the adversary all are under some seeds, and asking several seeds gains.",
        source="Fig. 5A, 5C, 9",
        checks=[
            of_colouring(
                "tail",
                Rate("networks whose tail over cycles of the success rate exceeds 0.2, random seed, against the adversary"),
                MOST,
                exceeds(answers(Answers.tail, COLOURING), 0.2),
                Control(ON_THE_MEAN, exceeds(answers(Answers.tail, COLOURING_MEAN), 0.2)),
            ),
            of_colouring(
                "fixed-tail",
                Rate("networks whose tail over cycles of the success rate exceeds 0.1, one fixed seed, against the adversary"),
                FEW,
                exceeds(answers(Answers.tail, COLOURING_FIXED), 0.1),
                Control("three rounds, which are enough for every cycle", exceeds(answers(Answers.tail, ENOUGH_FIXED), 0.1)),
            ),
            of_colouring(
                "mean-spread",
                Rate("networks of which more than 0.05 of the cycles succeed under some seeds only, expected loss"),
                FEW,
                exceeds(answers(Answers.spread, COLOURING_MEAN), 0.05),
                Control(AGAINST, exceeds(answers(Answers.spread, COLOURING), 0.05)),
            ),
            of_colouring(
                "verified",
                Mean("success of 30 seeds with a checker minus success of one seed, against the adversary"),
                above(0.1),
                vote_gain(COLOURING, "verified-30"),
                Control(ON_THE_MEAN, vote_gain(COLOURING_MEAN, "verified-30")),
            ),
        ],
    ),
    Claim(
        "C15",
        "Against the adversary, the tail loss of random-seed networks is below that of fixed-seed networks.",
        source="Fig. 5B",
        checks=[
            of_colouring(
                "tail-loss",
                Mean("log ratio of tail losses, random over fixed seed, against the adversary"),
                below(log(0.9)),
                loss_ratio(Losses.tail_loss, COLOURING, COLOURING_FIXED),
                Control(ON_THE_MEAN, loss_ratio(Losses.tail_loss, COLOURING_MEAN, COLOURING_FIXED)),
            )
        ],
    ),
    Claim(
        "C16",
        "Sampling colours from a fixed-seed network's distribution leaves the tail far below that of a random seed.",
        source="Fig. 5A",
        checks=[
            of_colouring(
                "sampled",
                Mean("tail over cycles of the success rate, random seed minus sampled colours of the fixed-seed network"),
                above(0.1),
                tail_lead(COLOURING, COLOURING_FIXED, "sampled"),
                Control(ON_THE_MEAN, tail_lead(COLOURING_MEAN, COLOURING_FIXED, "sampled")),
            )
        ],
    ),
    Claim(
        "C17",
        "In a grid world, the randomised agent is near the mean-trained one on average and much better in the tail.",
        source="Fig. 7A",
        checks=[
            check
            for world in (SMALL, LARGE)
            for check in (
                world.check(
                    "worst",
                    Rate("agents whose worst treasure takes fewer steps, on average over seeds, than that of any deterministic agent"),
                    MOST,
                    stays_below(of(Hunts.excess, world.agents), 0.0),
                    Control(ONE_FIXED, stays_below(of(Hunts.excess, world.fixed), 0.0)),
                ),
                world.check(
                    "average",
                    Mean("mean steps over treasures, against the worst treasure minus on the mean"),
                    below(world.near),
                    lead(of(Hunts.average, world.agents), of(Hunts.average, world.mean)),
                    Control(ONE_FIXED, lead(of(Hunts.average, world.fixed), of(Hunts.average, world.mean))),
                    note="With one fixed seed, training fails at an infinite exponent alone (C21), so the control shows what a seed does there.",
                ),
            )
        ],
    ),
    Claim(
        "C18",
        "More seeds per step improve the average.",
        source="Fig. 7B",
        checks=[
            of_hunts(
                check,
                Mean(f"{what}, several seeds per generation minus one, against the worst treasure"),
                region,
                lead(of(value, GRID), of(value, GRID_ONE_SEED)),
                Control("trained on the mean over treasures", lead(of(value, GRID_MEAN), of(value, GRID_ONE_SEED_MEAN))),
                note=note,
            )
            for check, what, region, value, note in (
                (
                    "average",
                    "mean steps over treasures",
                    below(-1.0),
                    Hunts.average,
                    "Eight seeds against one. More than two do not help: 7.07 steps with one, 4.87 with two, 4.86 with four, 4.99 with eight, 5.29 with 16.",
                ),
                ("worst", "steps to the worst treasure", below(-1.0), Hunts.worst, ""),
            )
        ],
    ),
    Claim(
        "C19",
        "The mean-trained agent follows one path; the randomised one visits cells almost uniformly.",
        source="Fig. 7C",
        checks=[
            check
            for world in (SMALL, LARGE)
            for check in (
                world.check(
                    "one-path",
                    Rate("agents that take one path under more than 0.9 of the seeds, trained on the mean over treasures"),
                    MOST,
                    exceeds(of(Hunts.commonest, world.mean), 0.9),
                    Control("against the worst treasure", exceeds(of(Hunts.commonest, world.agents), 0.9)),
                    note=world.of_paths,
                ),
                world.check(
                    "even",
                    Mean("standard deviation over cells of the first visit, of the mean over seeds minus that under one seed, against the worst treasure"),
                    below(world.evener),
                    evening(world.agents),
                    Control("trained on the mean over treasures", evening(world.mean)),
                ),
            )
        ],
    ),
    Claim(
        "C20",
        "The second episode takes the shortest path to the treasure found in the first.",
        source="Fig. 6C",
        checks=[
            of_hunts(
                "shortest",
                Mean("share of found treasures to which the second episode takes a shortest path"),
                above(0.9),
                of(Returns.same, TWICE),
                Control("the treasure is moved to another cell between the episodes", of(Returns.moved, TWICE)),
                note=(
                    "Two of ten agents make a detour in a quarter of the cases; the other eight return straight in 0.89 to 0.98. "
                    "In the record before, the mean was 0.94."
                ),
            )
        ],
    ),
    Claim(
        "C21",
        "With one fixed seed, training against the adversary fails.",
        source="Fig. 10",
        checks=[
            of_hunts(
                "fixed",
                Mean("mean steps over treasures, against the worst treasure minus on the mean, one fixed seed"),
                above(1.0),
                lead(of(Hunts.average, GRID_FIXED), of(Hunts.average, GRID_FIXED_MEAN)),
                Control("a finite exponent", lead(of(Hunts.average, GRID_FIXED_FINITE), of(Hunts.average, GRID_FIXED_MEAN))),
                note=(
                    "It fails at an infinite exponent, where all members of the population that miss a treasure are equal. At an exponent of 16, agents do "
                    "as well as those trained on the mean."
                ),
            )
        ],
    ),
]
