"""The paper's claims about the quality of gradients from learned and from inexact models, and their checks. Regions come from the paper's figures."""

from __future__ import annotations

from functools import partial

from mesocosm.claims.forms import ALL
from mesocosm.studies.cocoa import measures
from mesocosm.studies.cocoa.claims_learned import NAMES, OTHERS, SEARCHED, judged
from mesocosm.studies.cocoa.references import RATIO, VARIANCE
from mesocosm.studies.cocoa.tables import EXACT, Shadow
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, above, below, between

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


# --- C23, C27: noise and bins

noise = partial(judged, "perturbed", "C23", replicate="layout, episodes and draw of noise")
bins = partial(Check, judged_at=ALL, replicate="a reward function, all five", searched=SEARCHED["trees"])

GRADIENT_CLAIMS = [
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
        "HCA+; its squared bias and COCOA-feature's are below half of the squared gradient.",
        source="Fig. 3D",
        checks=[
            *(steadier(other) for other in ("advantage", "trajcv", "reinforce", "hca-plus", "hca-return")),
            less_biased("q-critic", 38.0),
            less_biased("hca-plus", 23.0),
            *(
                judged(
                    "shadow",
                    "C15",
                    name,
                    Mean(f"squared bias of {NAMES[estimator]} over the squared gradient, distance 20", "dB"),
                    below(-3.0),  # coefficients of 0 have 0 dB
                    measures.binned(estimator, Shadow.bias),
                    Control("before its models learned", measures.first_of(estimator, Shadow.bias)),
                    paper,
                )
                for name, estimator, paper in (("bias", "cocoa-reward", -21.0), ("feature-bias", "cocoa-feature", -12.0))
            ),
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
                above(0.0),
                measures.smallest_noisy_lead("cocoa-reward", "hca-plus"),
                Control("REINFORCE over HCA+", measures.smallest_noisy_lead("reinforce", "hca-plus")),
                11.9,
            ),
        ],
    ),
    Claim(
        "C26",
        "With learned models, here at distance 20, the Q-critic's squared bias is larger than the squared gradient, and HCA+'s is more than a tenth of it, "
        "although its variance is no more than 12 dB below REINFORCE's.",
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
                Control("HCA+ with exact models", measures.binned(f"{EXACT}hca-plus", Shadow.bias)),
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
