"""The paper's claims about the law and their checks. Regions come from the derivations (T1 to T9) and from pilots on seeds from 1000 upward
(search.csv).

Sources: the paper's text was read after the first records. [S] is the abstract, a caption or an index that quotes it, [S2] a page that describes its figures.
"""

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, unjudged
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Bootstrap, Check, Claim, Control, Exact, Mean, Rate, Reference, above, below, between
from mesocosm.studies.weight_decay import measures
from mesocosm.studies.weight_decay.tables import AdaptiveBalance, AdaptiveSpectrum, Minima, Spectrum, Step

ONE = "one factor alone regularised"
FREE = "no decay"
DRAWN = "problem and initialisation"
INITIAL = "initialisation"

SEARCHED = pilots("mesocosm.studies.weight_decay").counts("experiment")
"""Experiment -> number of configurations in search.csv."""

# Arguments shared by similar checks.
minimised = partial(Check, judged_at=ALL, searched=SEARCHED["minima"], replicate="a random convex problem and its initialisation")
descended = partial(Check, judged_at=ALL, searched=SEARCHED["descent"], replicate=DRAWN, evidence="identity")  # the law decides
factorised = partial(Check, judged_at=ALL, searched=SEARCHED["factorisation"], replicate=INITIAL)
scalars = partial(Check, searched=SEARCHED["scalars"])
rotated = partial(Check, searched=SEARCHED["adaptive"])
two_layers = partial(Check, judged_at=CPU, searched=SEARCHED["two-layers"], replicate="teacher, initialisation and data stream")

LATER = "the transformer studies are not implemented yet"

CLAIMS = [
    Claim(
        "C1",
        "A minimum of the L2-regularised loss of two factors is a minimum of the nuclear-norm-regularised loss of their product.",
        source="abstract [S]",
        checks=[
            minimised(
                "minimum",
                Exact("distance of -G / lambda from the nuclear norm's subgradients at the product that gradient descent ends at"),
                below(1e-5),
                measures.absolute(Minima.subgradient, arm="both"),
                Control(ONE, measures.absolute(Minima.subgradient, arm="one")),
            ),
            minimised(
                "equal",
                Exact("relative difference of the two regularised losses there"),
                below(1e-6),
                measures.absolute(Minima.difference, arm="both"),
                Control(ONE, measures.absolute(Minima.difference, arm="one")),
            ),
        ],
    ),
    Claim(
        "C2",
        "The two losses become identical exponentially fast during training, whatever the loss.",
        source="abstract [S]",
        checks=[
            Check(
                "step",
                Exact("relative error of the imbalance after one step of gradient descent, any gradient"),
                below(1e-12),
                measures.absolute(Step.error),
                Control("without the source of order eta^2", measures.absolute(Step.mutant)),
                judged_at=ALL,
                replicate="random factors and a random gradient",
            ),
            descended(
                "rate",
                Mean("fitted rate of the imbalance over -2 log(1 - eta lambda) / eta, minus one; a loss that is not quadratic"),
                between(-0.02, 0.02),
                measures.descent_rate("decayed"),
                Control(FREE, measures.descent_rate("free")),
                reference=Reference(0.0, "derived"),
            ),
            descended(
                "bound",
                Mean("largest ratio of the gap to exp(-2 lambda t) |D(0)| / 2 during training"),
                below(1.0),
                measures.gap_over_bound("decayed"),
                Control(FREE, measures.gap_over_bound("free")),
            ),
        ],
    ),
    Claim(
        "C3",
        "In a 5 x 5 factorisation the gap and the imbalance vanish exponentially with a time constant set by lambda; singular values fall linearly in lambda "
        "and vanish at lambda = s_i.",
        source="Fig. 1 [S]",
        checks=[
            factorised(
                "gap",
                Mean("log10 of the gap after training over before, largest over lambda > 0"),
                below(-3.0),
                measures.gap_fall(measures.positive_decays),
                Control(FREE, measures.gap_fall(lambda config: [0.0])),
            ),
            factorised(
                "rate",
                Mean("fitted rate of the imbalance over -2 log(1 - eta lambda) / eta, minus one, worst over lambda > 0"),
                between(-0.02, 0.02),
                measures.rate_deviation(True),
                Control("no decay, against the same rates", measures.rate_deviation(False)),
                reference=Reference(0.012, "derived"),
                evidence="identity",
            ),
            factorised(
                "linear",
                Bootstrap("median of the largest distance of final singular values from max(s_i - lambda, 0), modes with s_i = lambda apart"),
                below(1e-3),
                measures.threshold_error(Spectrum, arm="both"),
                Control(ONE, measures.threshold_error(Spectrum, arm="one")),
            ),
            factorised(
                "vanish",
                Mean("largest final singular value of modes with s_i at or below the largest lambda"),
                below(0.02),
                measures.dead_modes("both"),
                Control(ONE, measures.dead_modes("one")),
                reference=Reference(0.01, "derived"),
            ),
        ],
    ),
    unjudged("C4", "In a small transformer larger decay lowers the rank of P W_V and the imbalance, and the gap is near zero.", "Fig. 2 [S2]", LATER),
    unjudged(
        "C5", "The rank of W_K^T W_Q and P W_V falls with attention decay in language models and vision transformers.", "abstract [S], Fig. 3 [S2]", LATER
    ),
    unjudged("C6", "Decoupling attention decay from the rest helps language modelling.", "abstract [S], Table 1 [S2]", LATER),
    unjudged(
        "C7",
        "In pretrained LLaMA-2 the Frobenius term is close to the nuclear norm.",
        "Fig. 4 [S2]",
        "the weights are not available; at their shapes, random initialisation is as close (0.992): mesocosm audit prints this null beside every value",
    ),
    Claim(
        "C8",
        "The same is found with decoupled decay, for which the theory does not hold exactly.",
        source="abstract [S], appendix figure [S2]",
        checks=[
            scalars(
                "scalars-l2",
                Rate("initialisations with both factored scalars within 0.01 of max(m - lambda, 0) at every lambda, Adam with L2"),
                above(0.8),
                measures.scalars_at_threshold("factored"),
                Control("the scalars themselves, not factored", measures.scalars_at_threshold("direct")),
                judged_at=ALL,
                replicate=INITIAL,
            ),
            scalars(
                "scalars-adamw",
                Mean("log of the share that the small scalar keeps over the large one's, factored, AdamW with noisy gradients"),
                below(log(0.8)),
                measures.scalar_selectivity("factored"),
                Control("the scalars themselves, not factored", measures.scalar_selectivity("direct")),
                judged_at=CPU,
                replicate="initialisation and gradient noise",
                reference=Reference(log((0.0774 / 0.3) / 0.4584), "derived"),
            ),
            rotated(
                "balance-l2",
                Mean("relative imbalance of the factors at the largest lambda, Adam with L2"),
                below(0.01),
                measures.adaptive("adam_l2", AdaptiveBalance.imbalance),
                Control(FREE, measures.adaptive("adam_l2", AdaptiveBalance.imbalance, regularised=False)),
                judged_at=ALL,
                replicate="target's singular vectors and initialisation",
            ),
            rotated(
                "linear-l2",
                Mean("largest distance of final singular values from max(s_i - lambda, 0), Adam with L2"),
                below(0.01),
                measures.threshold_error(AdaptiveSpectrum, optimizer="adam_l2"),
                Control("no decay, against the same values", measures.threshold_error(AdaptiveSpectrum, regularised=False, optimizer="adam_l2")),
                judged_at=ALL,
                replicate="target's singular vectors and initialisation",
            ),
            rotated(
                "gap-adamw",
                Mean("gap over mean squared norm at the largest lambda, AdamW with noisy gradients"),
                below(0.001),
                measures.adaptive("adamw", AdaptiveBalance.relative_gap),
                Control(FREE, measures.adaptive("adamw", AdaptiveBalance.relative_gap, regularised=False)),
                judged_at=CPU,
                replicate="target, initialisation and gradient noise",
            ),
            rotated(
                "rank-adamw",
                Mean("log of the effective rank at the largest lambda over that without decay, AdamW with noisy gradients"),
                below(log(0.8)),
                measures.rank_change("both"),
                Control(ONE, measures.rank_change("one")),
                judged_at=ALL,
                replicate="target, initialisation and gradient noise",
            ),
        ],
    ),
    Claim(
        "C9",
        "In a linear network of two layers decay on both matrices prunes hidden directions adaptively, decay on one does not.",
        source="Sec. 3.4",
        checks=[
            two_layers(
                "directions",
                Rate("networks with as many active hidden directions (singular values above 1e-3) as the teacher's rank"),
                above(0.8),
                measures.as_many_as_the_teacher("both"),
                Control(ONE, measures.as_many_as_the_teacher("one")),
            ),
        ],
    ),
]
