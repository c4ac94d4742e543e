"""The paper's claims about learned models, and their checks. Regions come from the paper's figures; the page says which were set again."""

from __future__ import annotations

from functools import partial
from math import log

from mesocosm.studies.cocoa import measures
from mesocosm.studies.cocoa.arm_checks import NAMES, judged
from mesocosm.studies.cocoa.measures import HALF_DB
from mesocosm.studies.cocoa.references import CORRECT, FAR, LEARNING, LEFT, NEAR, least_lead
from mesocosm.studies.cocoa.tables import ALIASED, EXACT, LONG
from mesocosm.studies.interface import Check, Claim, Control, Mean, Measurement, Rate, above, below, between

AVERAGE = "treasure, average over training"
BRIEF = "treasure, average over 5000 iterations"
WHOLE_BUDGET = "average over 10000 iterations"
LEVEL = 0.45  # about half-way between COCOA-feature's and the best other estimator's at distance 100 in the paper, 0.68 and 0.25
SMALL_BIAS = "the squared bias of the first step's gradient is below half of its square (mean of decibels, second half; a silent network's is 0 dB, not below)"
ENTROPY = "a reward of the treasure's own (entropy bonus 0.01 instead of 0.0062)"
FOUND = "trainings that had found it before the switch with both"


# --- C13, C16: how soon the treasure is found ----------------------------------------------------------------------------


def sooner(other: str) -> Check:
    """COCOA-reward finds the treasure at distance 100 sooner than another estimator.

    One outcome for all rewards still tells when to open the door, which REINFORCE does not find; there, the control has no coefficients at all.
    """
    without = "immediate" if other == "reinforce" else "cocoa-merged"
    return judged(
        "long",
        "C13",
        f"cocoa-reward-{other}",
        Mean(f"{AVERAGE}, COCOA-reward less {NAMES[other]}, distance 100"),
        above(0.1),
        measures.mean_lead_of("cocoa-reward", other, LONG),
        Control(f"{NAMES[without]} less {NAMES[other]}", measures.mean_lead_of(without, other, LONG)),
        FAR["cocoa-reward"] - FAR[other],
    )


def sooner_by_features(other: str) -> Check:
    """The same of COCOA-feature, in most trainings: one whose features do not tell the treasure from an apple is lost."""
    without = "immediate" if other == "reinforce" else "cocoa-merged"
    return judged(
        "long",
        "C13",
        f"cocoa-feature-{other}",
        Rate(f"trainings in which COCOA-feature is more than 0.1 ahead of {NAMES[other]} ({AVERAGE}, distance 100)"),
        above(0.5),
        measures.exceeds(measures.mean_lead_of("cocoa-feature", other, LONG), 0.1),
        Control(NAMES[without], measures.exceeds(measures.mean_lead_of(without, other, LONG), 0.1)),
        with_features=True,
    )


def before_hca_plus(other: str) -> Check:
    """A baseline finds the treasure sooner than HCA+."""
    return judged(
        "learned",
        "C13",
        f"{other}-hca-plus",
        Mean(f"{BRIEF}, {NAMES[other]} less HCA+, distance 20"),
        above(0.1),
        measures.brief_lead(other, "hca-plus"),
        Control("without values (REINFORCE), less HCA+", measures.brief_lead("reinforce", "hca-plus")),
        NEAR[other] - NEAR["hca-plus"],
        differs=WHOLE_BUDGET,
    )


def falls(estimator: str) -> Check:
    """A baseline's average falls with distance."""
    return judged(
        "long",
        "C16",
        estimator,
        Mean(f"{AVERAGE}, {NAMES[estimator]}, distance 20 less distance 100"),
        above(0.3),
        measures.fall_of(estimator),
        Control("COCOA-reward", measures.fall_of("cocoa-reward")),
        NEAR[estimator] - FAR[estimator],
    )


def stays() -> Check:
    """COCOA-reward's average falls little."""
    return judged(
        "long",
        "C16",
        "cocoa-reward",
        Mean(f"{AVERAGE}, COCOA-reward, distance 20 less distance 100"),
        below(0.3),
        measures.fall_of("cocoa-reward"),
        Control("Advantage", measures.fall_of("advantage")),
        NEAR["cocoa-reward"] - FAR["cocoa-reward"],
    )


def stays_by_features() -> Check:
    """COCOA-feature's average falls little and is high at distance 100, in most trainings; one that finds the treasure nowhere falls little, too."""

    def stays_high(estimator: str) -> Measurement:
        return measures.both(measures.stays_below(measures.fall_of(estimator), 0.3), measures.exceeds(measures.far_average(estimator), LEVEL))

    return judged(
        "long",
        "C16",
        "cocoa-feature",
        Rate(f"trainings in which COCOA-feature falls by less than 0.3 from distance 20 to 100 and has more than {LEVEL} there ({AVERAGE})"),
        above(0.5),
        stays_high("cocoa-feature"),
        Control(NAMES["cocoa-merged"], stays_high("cocoa-merged")),
        with_features=True,
    )


def still_finds() -> Check:
    """COCOA-reward finds the treasure at distance 100, which one that finds it nowhere would not, although its average falls little, too."""
    return judged(
        "long",
        "C16",
        "cocoa-reward-level",
        Mean(f"{AVERAGE}, COCOA-reward, distance 100"),
        above(LEVEL),
        measures.far_average("cocoa-reward"),
        Control(NAMES["cocoa-merged"], measures.far_average("cocoa-merged")),
        FAR["cocoa-reward"],
    )


def ahead_between(other: str) -> Check:
    """COCOA-reward finds more of the treasure at each distance between 20 and 100."""
    return judged(
        "long",
        "C16",
        f"between-{other}",
        Mean(f"{AVERAGE}, smallest lead of COCOA-reward over {NAMES[other]} at the distances 40, 60 and 80"),
        above(0.0),
        measures.smallest_lead_between("cocoa-reward", other),
        Control(f"REINFORCE over {NAMES[other]}", measures.smallest_lead_between("reinforce", other)),
        least_lead("cocoa-reward", other),
        differs="the smallest difference of means",
    )


# --- C18: task interleaving ----------------------------------------------------------------------------------------------


def answers_better(other: str) -> Check:
    """COCOA-reward answers more questions correctly than another estimator."""
    return judged(
        "rooms",
        "C18",
        other,
        Mean(f"share of questions answered correctly, average over training, COCOA-reward less {NAMES[other]}"),
        above(0.03),
        measures.rooms_lead("cocoa-reward", other),
        Control(f"{NAMES['immediate']} less {NAMES[other]}", measures.rooms_lead("immediate", other)),
        CORRECT["cocoa-reward"] - CORRECT[other],
        differs="five contexts, after 4000 iterations",
    )


def adapts_later(slow: str) -> Check:
    """An estimator takes longer than COCOA-reward to leave the treasure."""
    return judged(
        "switched",
        "C20",
        slow,
        Mean(f"log of the iterations until the treasure is left, {NAMES[slow]} over COCOA-reward, {FOUND}"),
        above(0.0),
        measures.slower(slow, "cocoa-reward"),
        Control("Q-critic with exact models, which know the new reward, over COCOA-reward", measures.slower(f"{EXACT}q-critic", "cocoa-reward")),
        log(LEFT[slow] / LEFT["cocoa-reward"]),
        differs="distance 40, means over all trainings",
    )


# --- C19: aliased rewards


def sooner_where_aliased(other: str) -> Check:
    """COCOA-feature finds an aliased treasure sooner than another estimator, in most trainings."""
    lead = partial(measures.exceeds, least=0.1)
    baseline = measures.over_aliased(other)
    return judged(
        "aliased",
        "C19",
        "sooner" if other == "cocoa-reward" else f"sooner-{other}",
        Rate(f"trainings in which COCOA-feature is more than 0.1 ahead of {NAMES[other]} ({AVERAGE}, distance 100)"),
        above(0.5),
        lead(measures.over_aliased("cocoa-feature").minus(baseline)),
        Control("one outcome for all rewards instead of features", lead(measures.over_aliased("cocoa-merged").minus(baseline))),
        with_features=True,
    )


# --- C24: the end of training


def ahead_at_the_end(name: str, estimator: str) -> Check:
    """A baseline is ahead of the Q-critic over the last tenth of training."""
    critic = measures.between_steps("q-critic", LONG, late)
    return judged(
        "long",
        "C24",
        name,
        Mean(f"treasure, average over the last tenth of training, {NAMES[estimator]} less Q-critic"),
        above(0.0),
        measures.between_steps(estimator, LONG, late).minus(critic),
        Control("without values (REINFORCE), less Q-critic", measures.between_steps("reinforce", LONG, late).minus(critic)),
        LEARNING[estimator][-1] - LEARNING["q-critic"][-1],
        differs="after 10000 iterations",
    )


late, early = (0.9, 1.0), (0.0, 0.6)
OTHERS = ("q-critic", "advantage", "trajcv", "reinforce")

LEARNED_CLAIMS = [
    Claim(
        "C13",
        "With learned models COCOA-reward, and COCOA-feature in most trainings, find the treasure sooner at distance 100 than the Q-critic, Advantage, TrajCV "
        "and REINFORCE, by more than 0.1 on average over training; HCA+, here at distance 20, sooner than REINFORCE only, in most trainings.",
        source="Fig. 3B right, 1B left",
        checks=[
            *(sooner(other) for other in OTHERS),
            *(sooner_by_features(other) for other in OTHERS),
            judged(
                "learned",
                "C13",
                "hca-plus",
                Rate(f"trainings in which HCA+ is more than 0.1 ahead of REINFORCE ({BRIEF}, distance 20)"),
                above(0.5),
                measures.exceeds(measures.brief_lead("hca-plus", "reinforce"), 0.1),
                Control(NAMES["immediate"], measures.exceeds(measures.brief_lead("immediate", "reinforce"), 0.1)),
            ),
            *(before_hca_plus(other) for other in ("q-critic", "advantage", "trajcv")),
        ],
    ),
    Claim(
        "C16",
        "Over a fixed budget of training the Q-critic, Advantage and TrajCV find less of the treasure at distance 100 than at 20, by more than 0.3; COCOA "
        "loses less than that, and finds more than 0.45 at 100, COCOA-feature in most trainings; COCOA-reward is ahead of the Q-critic and of Advantage at "
        "the distances between.",
        source="Fig. 1B left",
        checks=[
            *(stays(), stays_by_features(), still_finds()),
            *(falls(each) for each in ("q-critic", "advantage", "trajcv")),
            *(ahead_between(each) for each in ("q-critic", "advantage")),
        ],
    ),
    Claim(
        "C18",
        "In task interleaving, here with three contexts, COCOA-reward answers more questions correctly than the Q-critic, Advantage, TrajCV, HCA+ and "
        "REINFORCE, by more than 0.03 on average over training; its exact coefficients credit a question's own context more than HCA+'s do.",
        source="Fig. 4",
        checks=[
            *(answers_better(other) for other in (*OTHERS, "hca-plus")),
            judged(
                "rooms",
                "C18",
                "context",
                Mean("share of the exact coefficients that goes to the question's context, COCOA-reward less HCA+"),
                above(0.1),
                measures.diagonal("cocoa-reward").minus(measures.diagonal("hca-plus")),
                Control("one outcome for all rewards, less HCA+", measures.diagonal("cocoa-merged").minus(measures.diagonal("hca-plus"))),
            ),
        ],
    ),
    Claim(
        "C19",
        "Where the treasure's reward is that of an apple, COCOA-feature in most trainings finds the treasure sooner than COCOA-reward, the Q-critic and "
        "Advantage, by more than 0.1 on average over training; in most trainings the squared bias of the first step's gradient, averaged in decibels, is below "
        "half of the squared gradient, and COCOA-reward's is not.",
        source="Fig. 5",
        checks=[
            *(sooner_where_aliased(other) for other in ("cocoa-reward", "q-critic", "advantage")),
            judged(
                "aliased",
                "C19",
                "bias",
                Rate(f"trainings in which {SMALL_BIAS}, COCOA-feature, distance 100"),
                above(0.5),
                measures.stays_below(measures.logit_bias_of("cocoa-feature", ALIASED), HALF_DB),
                Control("one outcome for all rewards instead of features", measures.stays_below(measures.logit_bias_of("cocoa-merged", ALIASED), HALF_DB)),
                with_features=True,
            ),
            judged(
                "aliased",
                "C19",
                "reward-bias",
                Rate(f"trainings in which {SMALL_BIAS}, COCOA-reward, distance 100"),
                below(0.5),
                measures.stays_below(measures.logit_bias_of("cocoa-reward", ALIASED), HALF_DB),
                Control(ENTROPY, measures.stays_below(measures.logit_bias_of("cocoa-reward", LONG), HALF_DB)),
            ),
        ],
    ),
    Claim(
        "C20",
        "After the treasure's reward changes its sign, COCOA-feature leaves it sooner than COCOA-reward in most trainings that had found it, and COCOA-reward "
        "leaves it sooner than the Q-critic and Advantage.",
        source="Fig. 10",
        checks=[
            judged(
                "switched",
                "C20",
                "feature",
                Rate(f"trainings in which COCOA-reward takes longer than COCOA-feature to leave the treasure, of the {FOUND}"),
                above(0.5),
                measures.exceeds(measures.slower("cocoa-reward", "cocoa-feature"), 0.0),
                Control("rewards without their sign as outcomes", measures.exceeds(measures.slower("cocoa-unsigned", "cocoa-feature"), 0.0)),
                with_features=True,
            ),
            adapts_later("q-critic"),
            adapts_later("advantage"),
        ],
    ),
    Claim(
        "C21",
        "HCA with a learned reward model, here at distance 20, finds as much of the treasure as HCA+, up to 0.1 on average over training.",
        source="Fig. 9",
        checks=[
            judged(
                "learned",
                "C21",
                "alike",
                Mean(f"{BRIEF}, HCA less HCA+, distance 20"),
                between(-0.1, 0.1),
                measures.brief_lead("hca", "hca-plus"),
                Control("rewards instead of states as outcomes, less HCA+", measures.brief_lead("cocoa-reward", "hca-plus")),
            ),
        ],
    ),
    Claim(
        "C24",
        "With learned models at distance 100 the Q-critic is ahead of Advantage for the first 6000 iterations, and behind it and TrajCV at the end of 10000.",
        source="Fig. 3B right",
        checks=[
            judged(
                "long",
                "C24",
                "early",
                Mean("treasure, average over the first six tenths of training, Q-critic less Advantage"),
                above(0.0),
                measures.between_steps("q-critic", LONG, early).minus(measures.between_steps("advantage", LONG, early)),
                Control(
                    "without values (REINFORCE), less Advantage",
                    measures.between_steps("reinforce", LONG, early).minus(measures.between_steps("advantage", LONG, early)),
                ),
            ),
            ahead_at_the_end("late", "advantage"),
            ahead_at_the_end("late-trajcv", "trajcv"),
        ],
    ),
    Claim(
        "C25",
        "With exact models and 10000 iterations at distance 100, Advantage and TrajCV learn, and HCA-return finds more of the treasure than HCA+ in "
        "most trainings.",
        source="Fig. 3B left",
        checks=[
            *(
                judged(
                    "whole",
                    "C25",
                    estimator,
                    Rate("trainings in which the treasure is more probable than not, last tenth of training"),
                    above(0.5),
                    measures.exceeds(measures.whole(estimator), 0.5),
                    Control("without values (REINFORCE)", measures.exceeds(measures.whole("reinforce"), 0.5)),
                    replicate="initialisation and episodes",
                )
                for estimator in ("advantage", "trajcv")
            ),
            judged(
                "whole",
                "C25",
                "hca-return",
                Rate("trainings in which HCA-return's treasure, average over training, is above HCA+'s"),
                above(0.5),
                measures.finds_more("hca-return", "hca-plus"),
                Control("the return without hindsight (REINFORCE), above HCA+", measures.finds_more("reinforce", "hca-plus")),
                replicate="initialisation and episodes",
            ),
        ],
    ),
]
