"""The paper's claims about learned models, and their checks. Regions come from the paper's figures, read as the specification gives them, before any pilot."""

from __future__ import annotations

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU
from mesocosm.claims.pilots import pilots
from mesocosm.studies.cocoa import measures
from mesocosm.studies.cocoa.notes import NOTES
from mesocosm.studies.cocoa.references import CORRECT, FAR, NEAR, RATIO, VARIANCE
from mesocosm.studies.cocoa.tables import ALIASED, LONG, Shadow
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Rate, Reference, above, below, between

TRAINING = "initialisation, episodes and, with features, their training"

SEARCHED = pilots("mesocosm.studies.cocoa").counts("experiment", beside=("estimator", "steps"))


def judged(experiment: str, claim: str, name: str, kind: Mean | Rate, region: object, measure: object, control: Control, paper: float | None = None) -> Check:
    """A check of a trained arm, with the paper's number."""
    return Check(
        name,
        kind,
        region,  # type: ignore[arg-type]
        measure,  # type: ignore[arg-type]
        control,
        judged_at=CPU,
        replicate=TRAINING,
        searched=SEARCHED.get(experiment, 0),
        reference=None if paper is None else Reference(paper, "paper"),
        note=NOTES.get(f"{claim}.{name}"),
    )


AVERAGE = "treasure, average over training"
BRIEF = "treasure, average over 5000 iterations"
NAMES = {
    "cocoa-reward": "COCOA-reward",
    "cocoa-feature": "COCOA-feature",
    "cocoa-merged": "COCOA with one outcome for all rewards",
    "q-critic": "Q-critic",
    "advantage": "Advantage",
    "trajcv": "TrajCV",
    "hca-plus": "HCA+",
    "hca": "HCA",
    "hca-return": "HCA-return",
    "counterfactual-return": "Counterfactual Return",
    "reinforce": "REINFORCE",
}


# --- C13, C16: how soon the treasure is found ----------------------------------------------------------------------------


def sooner(ours: str, other: str) -> Check:
    """A COCOA estimator finds the treasure at distance 100 sooner than another one."""
    return judged(
        "long",
        "C13",
        f"{ours}-{other}",
        Mean(f"{AVERAGE}, {NAMES[ours]} less {NAMES[other]}, distance 100"),
        above(0.1),
        measures.mean_lead_of(ours, other, LONG),
        Control(f"{NAMES['cocoa-merged']} less {NAMES[other]}", measures.mean_lead_of("cocoa-merged", other, LONG)),
        FAR[ours] - FAR[other],
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
        Control("REINFORCE less HCA+", measures.brief_lead("reinforce", "hca-plus")),
        NEAR[other] - NEAR["hca-plus"],
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


def stays(estimator: str) -> Check:
    """The average of a COCOA estimator falls little."""
    return judged(
        "long",
        "C16",
        estimator,
        Mean(f"{AVERAGE}, {NAMES[estimator]}, distance 20 less distance 100"),
        below(0.3),
        measures.fall_of(estimator),
        Control("TrajCV", measures.fall_of("trajcv")),
        NEAR[estimator] - FAR[estimator],
    )


# --- C14, C15: quality of gradients --------------------------------------------------------------------------------------


def clearer(ours: str, other: str) -> Check:
    """A COCOA estimator has a higher signal-to-noise ratio than another one."""
    least, instead = (0.0 if other == "q-critic" else 10.0), ("reinforce" if other == "hca-plus" else "hca-plus")
    return judged(
        "shadow",
        "C14",
        f"{ours}-{other}",
        Mean(f"signal-to-noise ratio, {NAMES[ours]} less {NAMES[other]}, distance 20", "dB"),
        above(least),
        measures.shadow_lead(Shadow.snr, ours, other),
        Control(f"{NAMES[instead]} less {NAMES[other]}", measures.shadow_lead(Shadow.snr, instead, other)),
        RATIO[ours] - RATIO[other],
    )


def clearer_than_hca_plus(other: str) -> Check:
    """A baseline has a higher signal-to-noise ratio than HCA+."""
    return judged(
        "shadow",
        "C14",
        f"{other}-hca-plus",
        Mean(f"signal-to-noise ratio, {NAMES[other]} less HCA+, distance 20", "dB"),
        above(0.0),
        measures.shadow_lead(Shadow.snr, other, "hca-plus"),
        Control("REINFORCE less HCA+", measures.shadow_lead(Shadow.snr, "reinforce", "hca-plus")),
        RATIO[other] - RATIO["hca-plus"],
    )


def steadier(other: str) -> Check:
    """COCOA-reward has less variance than another estimator."""
    instead = "reinforce" if other == "hca-plus" else "hca-plus"
    return judged(
        "shadow",
        "C15",
        f"variance-{other}",
        Mean(f"variance, {NAMES[other]} less COCOA-reward, distance 20", "dB"),
        above(10.0),
        measures.shadow_lead(Shadow.variance, other, "cocoa-reward"),
        Control(f"{NAMES[other]} less {NAMES[instead]}", measures.shadow_lead(Shadow.variance, other, instead)),
        VARIANCE[other] - VARIANCE["cocoa-reward"],
    )


def less_biased(other: str, paper: float) -> Check:
    """COCOA-reward has less bias than another estimator."""
    first = measures.first_of("cocoa-reward", Shadow.bias)
    return judged(
        "shadow",
        "C15",
        f"bias-{other}",
        Mean(f"bias, {NAMES[other]} less COCOA-reward, distance 20", "dB"),
        above(5.0),
        measures.shadow_lead(Shadow.bias, other, "cocoa-reward"),
        Control(f"{NAMES[other]} less COCOA-reward before its models learned", measures.binned(other, Shadow.bias).minus(first)),
        paper,
    )


# --- C18: task interleaving ----------------------------------------------------------------------------------------------


def answers_better(other: str) -> Check:
    """COCOA-reward answers more questions correctly than another estimator."""
    instead = "hca-plus" if other == "reinforce" else "reinforce"
    return judged(
        "rooms",
        "C18",
        other,
        Mean(f"share of questions answered correctly, average over training, COCOA-reward less {NAMES[other]}"),
        above(0.03),
        measures.rooms_lead("cocoa-reward", other),
        Control(f"{NAMES[instead]} less {NAMES[other]}", measures.rooms_lead(instead, other)),
        CORRECT["cocoa-reward"] - CORRECT[other],
    )


def adapts_later(name: str, slow: str, quick: str, least: float, control: Control, paper: float) -> Check:
    """One estimator takes longer than another to leave the treasure."""
    return judged(
        "switched",
        "C20",
        name,
        Mean(f"log of the iterations until the treasure is left, {NAMES[slow]} over {NAMES[quick]}"),
        above(least),
        measures.slower(slow, quick),
        control,
        log(paper),
    )


noise = partial(judged, "perturbed", "C23")
bins = partial(Check, judged_at=ALL, replicate="a reward function, all five", searched=SEARCHED["trees"])
late, early = (0.9, 1.0), (0.0, 0.6)
OTHERS = ("q-critic", "advantage", "trajcv", "reinforce")
FEATURE_SOONER = Control("COCOA-feature over COCOA-reward", measures.slower("cocoa-feature", "cocoa-reward"))

LEARNED_CLAIMS = [
    Claim(
        "C13",
        "With learned models COCOA-reward and COCOA-feature need fewer iterations at distance 100 than the Q-critic, Advantage, TrajCV and REINFORCE; "
        "HCA+, here at distance 20, needs fewer than REINFORCE only.",
        source="Fig. 3B right, 1B left",
        checks=[
            *(sooner(ours, other) for ours in ("cocoa-reward", "cocoa-feature") for other in OTHERS),
            judged(
                "learned",
                "C13",
                "hca-plus",
                Mean(f"{BRIEF}, HCA+ less REINFORCE, distance 20"),
                above(0.1),
                measures.brief_lead("hca-plus", "reinforce"),
                Control("HCA-return less REINFORCE", measures.brief_lead("hca-return", "reinforce")),
                NEAR["hca-plus"] - NEAR["reinforce"],
            ),
            *(before_hca_plus(other) for other in ("q-critic", "advantage", "trajcv")),
        ],
    ),
    Claim(
        "C14",
        "Along training, here at distance 20, COCOA-reward's and COCOA-feature's gradients have a higher signal-to-noise ratio than all others; HCA+ is below "
        "Advantage, TrajCV, the Q-critic and HCA-return, but above REINFORCE.",
        source="Fig. 3C, 1B right",
        checks=[
            *(clearer(ours, other) for ours in ("cocoa-reward", "cocoa-feature") for other in (*OTHERS, "hca-return", "hca-plus")),
            *(clearer_than_hca_plus(other) for other in ("advantage", "trajcv", "q-critic", "hca-return")),
            judged(
                "shadow",
                "C14",
                "hca-plus-reinforce",
                Mean("signal-to-noise ratio, HCA+ less REINFORCE, distance 20", "dB"),
                above(0.0),
                measures.shadow_lead(Shadow.snr, "hca-plus", "reinforce"),
                Control("HCA+ less Advantage", measures.shadow_lead(Shadow.snr, "hca-plus", "advantage")),
                RATIO["hca-plus"] - RATIO["reinforce"],
            ),
        ],
    ),
    Claim(
        "C15",
        "COCOA-reward, here at distance 20, has less variance than Advantage, TrajCV, REINFORCE, HCA+ and HCA-return, and less bias than the Q-critic and "
        "HCA+.",
        source="Fig. 3D",
        checks=[
            *(steadier(other) for other in ("advantage", "trajcv", "reinforce", "hca-plus", "hca-return")),
            less_biased("q-critic", 38.0),
            less_biased("hca-plus", 23.0),
            judged(
                "shadow",
                "C15",
                "bias",
                Mean("bias of COCOA-reward over the squared gradient, distance 20", "dB"),
                below(-3.0),
                measures.binned("cocoa-reward", Shadow.bias),
                Control("before its models learned", measures.first_of("cocoa-reward", Shadow.bias)),
                -21.0,
            ),
        ],
    ),
    Claim(
        "C16",
        "Over a fixed budget of training the Q-critic, Advantage and TrajCV find much less of the treasure at distance 100 than at 20; COCOA does not.",
        source="Fig. 1B left",
        checks=[*(stays(each) for each in ("cocoa-reward", "cocoa-feature")), *(falls(each) for each in ("q-critic", "advantage", "trajcv"))],
    ),
    Claim(
        "C18",
        "In task interleaving, here with three contexts, COCOA-reward answers more questions correctly than the Q-critic, Advantage, TrajCV, HCA+ and "
        "REINFORCE; its exact coefficients credit a question's own context more than HCA+'s do.",
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
        "Where the treasure's reward is that of an apple, COCOA-feature finds the treasure sooner than COCOA-reward and its gradient has less bias.",
        source="Fig. 5",
        checks=[
            judged(
                "aliased",
                "C19",
                "sooner",
                Mean(f"{BRIEF}, COCOA-feature less COCOA-reward, distance 100"),
                above(0.05),
                measures.feature_lead(ALIASED),
                Control("rewards of their own", measures.feature_lead(LONG)),
            ),
            judged(
                "aliased",
                "C19",
                "bias",
                Mean("bias of the first step's gradient, second half of training, COCOA-reward less COCOA-feature, distance 100", "dB"),
                above(0.0),
                measures.bias_of("cocoa-reward", ALIASED).minus(measures.bias_of("cocoa-feature", ALIASED)),
                Control("rewards of their own", measures.bias_of("cocoa-reward", LONG).minus(measures.bias_of("cocoa-feature", LONG))),
            ),
        ],
    ),
    Claim(
        "C20",
        "After the treasure's reward changes its sign, COCOA-feature leaves it sooner than COCOA-reward, which leaves it sooner than the Q-critic and "
        "Advantage.",
        source="Fig. 10",
        checks=[
            adapts_later(
                "feature",
                "cocoa-reward",
                "cocoa-feature",
                0.0,
                Control("COCOA-reward over Q-critic", measures.slower("cocoa-reward", "q-critic")),
                790 / 370,
            ),
            adapts_later("q-critic", "q-critic", "cocoa-reward", 0.0, FEATURE_SOONER, 1150 / 790),
            adapts_later("advantage", "advantage", "cocoa-reward", log(2), FEATURE_SOONER, 5300 / 790),
        ],
    ),
    Claim(
        "C21",
        "HCA with a learned reward model, here at distance 20, performs like HCA+.",
        source="Fig. 9",
        checks=[
            judged(
                "learned",
                "C21",
                "alike",
                Mean(f"{BRIEF}, HCA less HCA+, distance 20"),
                between(-0.15, 0.15),
                measures.brief_lead("hca", "hca-plus"),
                Control("COCOA-reward less HCA+", measures.brief_lead("cocoa-reward", "hca-plus")),
            )
        ],
    ),
    Claim(
        "C23",
        "With noise on exact models, COCOA-reward loses about as much per decade as the Q-critic, and stays above Advantage and HCA+ at every size of "
        "the noise.",
        source="Fig. 12",
        checks=[
            noise(
                "sensitive",
                Mean("signal-to-noise ratio lost when the noise grows from 0.03 to 0.3, COCOA-reward less Q-critic", "dB"),
                between(-5.0, 5.0),
                measures.fall_per_decade("cocoa-reward").minus(measures.fall_per_decade("q-critic")),
                Control("Advantage less Q-critic", measures.fall_per_decade("advantage").minus(measures.fall_per_decade("q-critic"))),
                -0.8,
            ),
            noise(
                "advantage",
                Mean("smallest lead in signal-to-noise ratio over all sizes of the noise, COCOA-reward over Advantage", "dB"),
                above(0.0),
                measures.smallest_noisy_lead("cocoa-reward", "advantage"),
                Control("HCA+ over Advantage", measures.smallest_noisy_lead("hca-plus", "advantage")),
                6.9,
            ),
            noise(
                "hca-plus",
                Mean("smallest lead in signal-to-noise ratio over all sizes of the noise, COCOA-reward over HCA+", "dB"),
                above(8.0),
                measures.smallest_noisy_lead("cocoa-reward", "hca-plus"),
                Control("Advantage over HCA+", measures.smallest_noisy_lead("advantage", "hca-plus")),
                11.9,
            ),
        ],
    ),
    Claim(
        "C24",
        "With learned models at distance 100 the Q-critic is ahead of Advantage for the first 6000 iterations, and behind it at the end of 10000.",
        source="Fig. 3B right",
        checks=[
            judged(
                "long",
                "C24",
                "early",
                Mean("treasure, average over the first six tenths of training, Q-critic less Advantage"),
                above(0.0),
                measures.between_steps("q-critic", LONG, early).minus(measures.between_steps("advantage", LONG, early)),
                Control("REINFORCE less Advantage", measures.between_steps("reinforce", LONG, early).minus(measures.between_steps("advantage", LONG, early))),
            ),
            judged(
                "long",
                "C24",
                "late",
                Mean("treasure, average over the last tenth of training, Advantage less Q-critic"),
                above(0.0),
                measures.between_steps("advantage", LONG, late).minus(measures.between_steps("q-critic", LONG, late)),
                Control("REINFORCE less Q-critic", measures.between_steps("reinforce", LONG, late).minus(measures.between_steps("q-critic", LONG, late))),
                0.121,
            ),
        ],
    ),
    Claim(
        "C25",
        "With exact models and 10000 iterations at distance 100, Advantage and TrajCV learn, and HCA-return finds more of the treasure than HCA+.",
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
                    Control("REINFORCE", measures.exceeds(measures.whole("reinforce"), 0.5)),
                )
                for estimator in ("advantage", "trajcv")
            ),
            judged(
                "whole",
                "C25",
                "hca-return",
                Mean(f"{AVERAGE}, HCA-return less HCA+"),
                above(0.0),
                measures.whole_mean("hca-return").minus(measures.whole_mean("hca-plus")),
                Control("REINFORCE less HCA+", measures.whole_mean("reinforce").minus(measures.whole_mean("hca-plus"))),
            ),
        ],
    ),
    Claim(
        "C26",
        "With learned models, here at distance 20, the Q-critic's bias is larger than the gradient, and HCA+ is biased although its variance is only a "
        "little below REINFORCE's.",
        source="Fig. 3D",
        checks=[
            judged(
                "shadow",
                "C26",
                "q-critic",
                Mean("bias of the Q-critic over the squared gradient", "dB"),
                above(0.0),
                measures.binned("q-critic", Shadow.bias),
                Control("COCOA-reward", measures.binned("cocoa-reward", Shadow.bias)),
                17.0,
            ),
            judged(
                "shadow",
                "C26",
                "hca-plus",
                Mean("bias of HCA+ over the squared gradient", "dB"),
                above(-10.0),
                measures.binned("hca-plus", Shadow.bias),
                Control("COCOA-reward", measures.binned("cocoa-reward", Shadow.bias)),
                2.0,
            ),
            judged(
                "shadow",
                "C26",
                "variance",
                Mean("variance, REINFORCE less HCA+", "dB"),
                between(0.0, 12.0),
                measures.shadow_lead(Shadow.variance, "reinforce", "hca-plus"),
                Control("REINFORCE less COCOA-reward", measures.shadow_lead(Shadow.variance, "reinforce", "cocoa-reward")),
                6.0,
            ),
        ],
    ),
    Claim(
        "C27",
        "Binned rewards as outcomes lower COCOA's variance at the price of bias. Here: bins of the sign, on the tree, exact coefficients.",
        source="App. G.3",
        checks=[
            bins(
                "variance",
                Every("lead of the variance with binned rewards over that of COCOA-reward, all overlaps and reward functions", "dB"),
                above(1e-6),  # more than rounding
                measures.leads("binned", "cocoa-reward"),
                Control("groups of each reward instead of bins", measures.leads("groups-4", "cocoa-reward")),
            ),
            bins(
                "bias",
                Every("squared bias with binned rewards over the squared gradient, all overlaps and reward functions"),
                above(1e-6),  # more than rounding
                measures.bias_on_trees("binned"),
                Control("COCOA-reward", measures.bias_on_trees("cocoa-reward")),
            ),
        ],
    ),
]
