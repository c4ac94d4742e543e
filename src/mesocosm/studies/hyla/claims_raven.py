"""The paper's claims about Raven matrices, and their checks. Regions come from the paper's Table A1 and from pilots, as in `claims`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mesocosm.claims.forms import ALL, CPU
from mesocosm.claims.measures import replicates
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials
from mesocosm.studies.hyla.config import RAVEN_PAPER, Config
from mesocosm.studies.hyla.measures import cosine, explained_by, first, from_other_rows, last_raven, later, middle_raven, solved
from mesocosm.studies.hyla.notes import NOTES
from mesocosm.studies.hyla.tables import COPIED, ONE_HEAD, TIED, Ambiguous, Causes, Solved, by_matrices, by_width, codes, of_features, raven
from mesocosm.studies.interface import Check, Claim, Control, Mean, Rate, Reference, Region, above, below

SPLIT = "split, initialisation and training examples"
PAPER = frozenset({"paper"})
SOFTMAX_CODES = codes("raven-softmax")
NO_RULE = "the same networks, on matrices of which all rows but the last are another matrix's"
OTHER = "codes of the same networks, and another feature of matrices whose features have independent rules"

of_raven = partial(Check, judged_at=CPU, replicate=SPLIT, searched=pilots("mesocosm.studies.hyla").count(task="raven"))


def grows(check: str, variant: str, by: Callable[[str, Any], Trials], metric: str, region: Region, judged_at: frozenset[str] = CPU) -> Check:
    """Accuracy on held-out combinations grows with training or size; where no rows tell the rules, so that only guesses are left, it does not."""
    most, fewest = by(variant, max), by(variant, min)
    return of_raven(
        check,
        Mean(metric),
        region,
        solved(Solved.held_out, most, fewest),
        Control(NO_RULE, solved(Solved.other_rows, most, fewest)),
        judged_at=judged_at,
        note=NOTES.get(f"C7.{check}"),
    )


def needed(check: str, variant: str) -> Check:
    """On Raven matrices, HYLA is ahead of HYLA without a part."""
    return of_raven(
        check,
        Mean("accuracy on held-out combinations of rules, HYLA minus the ablation"),
        above(0.03),
        solved(Solved.held_out, raven("hyla"), raven(variant)),
        Control(NO_RULE, solved(Solved.other_rows, raven("hyla"), raven(variant))),
        judged_at=PAPER,
        reference=Reference(round((RAVEN_PAPER["hyla"] - RAVEN_PAPER[variant]) / 100, 4), "paper"),
    )


def most_features(config: Config) -> int:
    """The number of features of the statement about ambiguity."""
    return max(config.ambiguity.features)


def fewest_features(config: Config) -> int:
    """That of its control."""
    return min(config.ambiguity.features)


SIZE_AND_CODES = [
    Claim(
        "C7",
        "On Raven matrices, softmax attention and HYLA generalise better with more matrices and with more width; at the size of Table A1, HYLA is ahead.",
        source="Fig. 4, Table A1",
        checks=[
            of_raven(
                "hyla",
                Mean("accuracy on held-out combinations of rules, HYLA minus softmax attention"),
                above(0.03),
                solved(Solved.held_out, raven("hyla"), raven("softmax")),
                Control("HYLA without its nonlinearity, minus softmax attention", solved(Solved.held_out, raven("hyla-linear"), raven("softmax"))),
                judged_at=PAPER,
                reference=Reference(round((RAVEN_PAPER["hyla"] - RAVEN_PAPER["softmax"]) / 100, 4), "paper"),
            ),
            grows("matrices-softmax", "softmax", by_matrices, "accuracy on held-out combinations, softmax attention, most matrices minus fewest", above(0.05)),
            grows("matrices-hyla", "hyla", by_matrices, "accuracy on held-out combinations, HYLA, most matrices minus fewest", above(0.05)),
            grows("width-softmax", "softmax", by_width, "accuracy on held-out combinations, softmax attention, widest minus narrowest", above(0.03)),
            grows("width-hyla", "hyla", by_width, "accuracy on held-out combinations, HYLA, widest minus narrowest", above(0.03), PAPER),
        ],
    ),
    Claim(
        "C8",
        "With a single head, softmax attention generalises clearly worse on Raven matrices.",
        source="Fig. 5C",
        checks=[
            of_raven(
                "heads",
                Mean("softmax attention's accuracy on held-out combinations of rules, as many weights, several heads minus one"),
                above(0.05),
                solved(Solved.held_out, raven("softmax"), ONE_HEAD),
                Control("as many heads, tied in training, minus one", solved(Solved.held_out, TIED, ONE_HEAD)),
                note=NOTES.get("C8.heads"),
            )
        ],
    ),
    Claim(
        "C9",
        "The rule explains the last layer's codes better than the symbol to predict does; in the first layer, the symbol explains them better.",
        source="Figs. 5A, 5B, A6, A7",
        checks=[
            of_raven(
                "rule",
                Mean("R² of the last layer's codes, explained by the rule minus by the symbol"),
                above(0.02),
                explained_by(Causes.rule, Causes.target, SOFTMAX_CODES, last_raven),
                Control(OTHER, explained_by(Causes.other_rule, Causes.other_target, SOFTMAX_CODES, last_raven)),
                note=NOTES["C9.rule"],
            ),
            of_raven(
                "symbol",
                Mean("R² of the first layer's codes, explained by the symbol minus by the rule"),
                above(0.02),
                explained_by(Causes.target, Causes.rule, SOFTMAX_CODES, first),
                Control(OTHER, explained_by(Causes.other_target, Causes.other_rule, SOFTMAX_CODES, first)),
            ),
        ],
    ),
    Claim(
        "C10",
        "Addition and difference have nearly the same codes.",
        source="Figs. 5E, A8",
        checks=[
            of_raven(
                "sums",
                Mean("cosine of the mean codes of addition and difference"),
                above(0.8),
                cosine(SOFTMAX_CODES, "addition", "difference"),
                Control("addition and constant", cosine(SOFTMAX_CODES, "addition", "constant")),
                judged_at=PAPER,
            )
        ],
    ),
    Claim(
        "C11",
        "The rule can be decoded from the latent code on held-out combinations, better than where the other rows do not follow it; later layers tell more than "
        "the first.",
        source="Fig. 5F",
        checks=[
            of_raven(
                "rules",
                Mean("macro F1 of probes of the last layer's codes for the rule, minus that where all rows but the last are another matrix's"),
                above(0.05),
                from_other_rows(SOFTMAX_CODES),
                Control(OTHER, from_other_rows(SOFTMAX_CODES, "other feature")),
                note=NOTES.get("C11.rules"),
            ),
            of_raven(
                "later",
                Mean("macro F1 of probes of codes for the rule, minus that of probes fitted on other matrices' rules, last layer minus first"),
                above(0.05),
                later(SOFTMAX_CODES),
                Control(OTHER, later(SOFTMAX_CODES, "other feature")),
                note=NOTES.get("C11.later"),
            ),
            of_raven(
                "middle",
                Mean("the same, middle layer minus first"),
                above(0.05),
                later(SOFTMAX_CODES, layer=middle_raven),
                Control(OTHER, later(SOFTMAX_CODES, "other feature", layer=middle_raven)),
            ),
        ],
    ),
    Claim(
        "C12",
        "Raven matrices with more features are harder for softmax attention after as many steps.",
        source="Fig. 5D",
        checks=[
            of_raven(
                "features",
                Mean("fraction of features that softmax attention gets right on held-out combinations, most features minus fewest"),
                below(-0.05),
                solved(Solved.held_out_feature, of_features(max), of_features(min), same_data=False),
                Control("fewest features with copies of one of them, minus fewest", solved(Solved.held_out_feature, COPIED, of_features(min), same_data=False)),
                note=NOTES["C12.features"],
            )
        ],
    ),
]

AMBIGUOUS = Claim(
    "C15",
    "Fewer than 0.5 % of the matrices with four features have another answer that differs in every feature.",
    source="App. B.2",
    checks=[
        Check(
            "ambiguous",
            Rate("fraction of matrices with an answer that differs in every feature"),
            below(0.005),
            replicates(Ambiguous.everywhere, by=Ambiguous.matrix, features=most_features),
            Control("two features", replicates(Ambiguous.everywhere, by=Ambiguous.matrix, features=fewest_features)),
            judged_at=ALL,
            replicate="a matrix, all of whose readings are enumerated",
        )
    ],
)
