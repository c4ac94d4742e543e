"""The paper's claims and their checks. Regions come from derivations and from pilots on seeds from 1000 upward (results/randomized/search.csv)."""

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, against_mutant, unjudged
from mesocosm.claims.measures import instances
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, above, below
from mesocosm.studies.randomized import measures
from mesocosm.studies.randomized.tables import (
    COLOURING,
    COLOURING_FIXED,
    COLOURING_MEAN,
    ENOUGH,
    ENOUGH_FIXED,
    ONE_SEED,
    RECALL,
    RECALL_FIXED,
    RECALL_MEAN,
    Answers,
    Games,
    Losses,
    Votes,
)

NET = "initialisation, training inputs and seeds, test inputs and seeds"
GAME = "a random game"

# Number of configurations in results/randomized/search.csv, by what they trained; a test counts them.
SEARCHED = {"recall": 0, "colouring": 0}
ON_THE_MEAN = "trained on the expected loss"
ONE_FIXED = "one fixed seed"

of_recall = partial(Check, judged_at=CPU, replicate=NET, searched=SEARCHED["recall"])
of_colouring = partial(Check, judged_at=ALL, replicate=NET, searched=SEARCHED["colouring"])
of_games = partial(Check, judged_at=ALL, replicate=GAME)
GRID = "the grid world and the evolution strategy's study are not on the bench yet"

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
                Mean("smallest success rate of an input, two rounds and one fixed seed"),
                above(0.9),
                measures.answers(Answers.tail, ENOUGH_FIXED),
                Control("one round", measures.answers(Answers.tail, COLOURING_FIXED)),
                judged_at=CPU,
            ),
            of_colouring(
                "gain",
                Mean("tail over cycles of the success rate, random minus fixed seed, two rounds"),
                below(0.1),
                measures.tail_lead(ENOUGH, ENOUGH_FIXED),
                Control("one round", measures.tail_lead(COLOURING, COLOURING_FIXED)),
                judged_at=CPU,
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
            )
        ],
    ),
    Claim(
        "C6",
        "Trained on the expected loss, a network ignores its seed: random, fixed and voting networks coincide, and some inputs always fail.",
        source="Fig. 3A",
        checks=[
            of_recall(
                "tail",
                Mean("tail over inputs of the success rate, random seed, expected loss"),
                below(0.05),
                measures.answers(Answers.tail, RECALL_MEAN),
                Control("against the adversary", measures.answers(Answers.tail, RECALL)),
            ),
            of_recall(
                "vote",
                Mean("success of a vote of 30 minus success of one seed, expected loss"),
                below(0.03),
                measures.vote_gain(RECALL_MEAN),
                Control("against the adversary", measures.vote_gain(RECALL)),
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
                measures.loss(Losses.variance, RECALL_MEAN),
                Control("against the adversary", measures.loss(Losses.variance, RECALL)),
            ),
            of_recall(
                "adversary",
                Mean("variance over seeds, against the adversary"),
                above(0.01),
                measures.loss(Losses.variance, RECALL),
                Control(ON_THE_MEAN, measures.loss(Losses.variance, RECALL_MEAN)),
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
                Mean("share of inputs on which no seed succeeds, against the adversary"),
                below(0.02),
                measures.answers(Answers.never, RECALL),
                Control(ON_THE_MEAN, measures.answers(Answers.never, RECALL_MEAN)),
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
                Mean("tail over inputs of the success rate, random seed"),
                above(0.3),
                measures.answers(Answers.tail, RECALL),
                Control(ONE_FIXED, measures.answers(Answers.tail, RECALL_FIXED)),
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
                Mean("success of a vote of 30, mean over inputs"),
                above(0.95),
                measures.answers(Answers.average, RECALL, "vote-30"),
                Control(ON_THE_MEAN, measures.answers(Answers.average, RECALL_MEAN, "vote-30")),
            ),
            of_recall(
                "tail",
                Mean("success of a vote of 30, tail over inputs"),
                above(0.9),
                measures.answers(Answers.tail, RECALL, "vote-30"),
                Control(ON_THE_MEAN, measures.answers(Answers.tail, RECALL_MEAN, "vote-30")),
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
                measures.tail_lead(RECALL, RECALL_FIXED, "sampled"),
                Control(ON_THE_MEAN, measures.tail_lead(RECALL_MEAN, RECALL_FIXED, "sampled")),
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
                measures.loss_ratio(Losses.tail_loss, RECALL, RECALL_FIXED),
                Control(ON_THE_MEAN, measures.loss_ratio(Losses.tail_loss, RECALL_MEAN, RECALL_FIXED)),
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
                Mean("log ratio of tail losses, 8 seeds per step over one"),
                below(log(0.9)),
                measures.loss_ratio(Losses.tail_loss, RECALL, ONE_SEED),
                Control("8 seeds per step, expected loss", measures.loss_ratio(Losses.tail_loss, RECALL_MEAN, ONE_SEED)),
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
                Mean("tail over cycles of the success rate, random minus fixed seed, against the adversary"),
                above(0.2),
                measures.tail_lead(COLOURING, COLOURING_FIXED),
                Control(ON_THE_MEAN, measures.tail_lead(COLOURING_MEAN, COLOURING_FIXED)),
            ),
            of_colouring(
                "mean-spread",
                Mean("share of cycles that succeed under some seeds only, expected loss"),
                below(0.05),
                measures.answers(Answers.spread, COLOURING_MEAN),
                Control("against the adversary", measures.answers(Answers.spread, COLOURING)),
            ),
            of_colouring(
                "adversary-spread",
                Mean("share of cycles that succeed under some seeds only, against the adversary"),
                above(0.9),
                measures.answers(Answers.spread, COLOURING),
                Control(ON_THE_MEAN, measures.answers(Answers.spread, COLOURING_MEAN)),
            ),
            of_colouring(
                "verified",
                Mean("success of 30 seeds with a checker minus success of one seed, against the adversary"),
                above(0.1),
                measures.vote_gain(COLOURING, "verified-30"),
                Control(ON_THE_MEAN, measures.vote_gain(COLOURING_MEAN, "verified-30")),
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
                below(log(0.85)),
                measures.loss_ratio(Losses.tail_loss, COLOURING, COLOURING_FIXED),
                Control(ON_THE_MEAN, measures.loss_ratio(Losses.tail_loss, COLOURING_MEAN, COLOURING_FIXED)),
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
                measures.tail_lead(COLOURING, COLOURING_FIXED, "sampled"),
                Control(ON_THE_MEAN, measures.tail_lead(COLOURING_MEAN, COLOURING_FIXED, "sampled")),
            )
        ],
    ),
    unjudged("C17", "In a grid world, the randomised agent is near the mean-trained one on average and much better in the tail.", "Fig. 7A", GRID),
    unjudged("C18", "More seeds per step improve the average.", "Fig. 7B", GRID),
    unjudged("C19", "The mean-trained agent follows one path; the randomised one visits cells almost uniformly.", "Fig. 7C", GRID),
    unjudged("C20", "The second episode takes the shortest path to the treasure found in the first.", "Fig. 6C", GRID),
    unjudged("C21", "With one fixed seed, training against the adversary fails.", "Fig. 10", GRID),
]
