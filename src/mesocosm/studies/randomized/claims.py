"""The paper's claims and their checks. Regions come from theory and from pilots on seeds from 1000 upward (search.csv).

Whether a network learns to use its seed differs from training to training, so that most outcomes lie at two places: these are judged as rates.
"""

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import instances
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Rate, above, below, between
from mesocosm.studies.randomized.hunt_claims import HUNTS
from mesocosm.studies.randomized.measures import answers, exceeds, lead, loss_ratio, of, stays_below, tail_lead, vote_gain
from mesocosm.studies.randomized.notes import NOTES
from mesocosm.studies.randomized.tables import (
    COLOURING,
    COLOURING_FIXED,
    COLOURING_MEAN,
    ENOUGH,
    ENOUGH_FIXED,
    ONE_SEED,
    RECALL,
    RECALL_FIXED,
    RECALL_FIXED_MEAN,
    RECALL_MEAN,
    RECALL_WEAK,
    Answers,
    Games,
    Losses,
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
of_games = partial(Check, judged_at=ALL, replicate=GAME)


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
            of_recall(
                "fixed",
                Mean("success of a vote of 30 minus success of the fixed-seed network, expected loss"),
                between(-0.1, 0.1),
                lead(answers(Answers.average, RECALL_MEAN, "vote-30"), answers(Answers.average, RECALL_FIXED_MEAN)),
                Control(AGAINST, lead(answers(Answers.average, RECALL, "vote-30"), answers(Answers.average, RECALL_FIXED))),
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
            ),
            of_recall(
                "weak",
                Mean("variance over seeds, against a weak adversary (q = 8)"),
                below(0.01),
                of(Losses.variance, RECALL_WEAK),
                Control("a strong adversary", of(Losses.variance, RECALL)),
                note=NOTES["C7.weak"],
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
            ),
            of_recall(
                "mean-spread",
                Mean("share of the inputs that succeed under some seeds only, expected loss"),
                below(0.1),
                answers(Answers.spread, RECALL_MEAN),
                Control(AGAINST, answers(Answers.spread, RECALL)),
            ),
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
            ),
            of_recall(
                "fixed",
                Mean("log ratio of tail losses, against the adversary over expected loss, one fixed seed"),
                above(log(0.9)),
                loss_ratio(Losses.tail_loss, RECALL_FIXED, RECALL_FIXED_MEAN),
                Control("random seed", loss_ratio(Losses.tail_loss, RECALL, RECALL_MEAN)),
                note=NOTES["C12.fixed"],
            ),
        ],
    ),
    Claim(
        "C13",
        "A few seeds per step suffice; with one, randomness is not learned.",
        source="Fig. 3C, right",
        checks=[
            of_recall(
                "seeds",
                Mean("log ratio of tail losses, eight seeds per step over one"),
                below(log(0.9)),
                loss_ratio(Losses.tail_loss, RECALL, ONE_SEED),
                Control("eight seeds per step, expected loss", loss_ratio(Losses.tail_loss, RECALL_MEAN, ONE_SEED)),
            ),
            of_recall(
                "one-seed",
                Rate("networks whose tail over inputs of the success rate exceeds 0.2, one seed per step"),
                FEW,
                exceeds(answers(Answers.tail, ONE_SEED), 0.2),
                Control("eight seeds per step", exceeds(answers(Answers.tail, RECALL), 0.2)),
            ),
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
            of_colouring(
                "vote",
                Rate("networks of which a vote of 30, without a checker, colours more than 0.9 of the cycles, against the adversary"),
                MOST,
                exceeds(answers(Answers.average, COLOURING, "vote-30"), 0.9),
                Control(ON_THE_MEAN, exceeds(answers(Answers.average, COLOURING_MEAN, "vote-30"), 0.9)),
                note=NOTES["C14.vote"],
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
    *HUNTS,
]
