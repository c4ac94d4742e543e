"""The claims of the paper's main text (C1 to C9) and their checks, with those of its appendices. Regions come from the derivations (T1 to T9) and from
pilots on seeds from 1000 upward (search.csv).

[T] is the paper's text or a caption, which we have read whole; curves and two of its tables are pictures that we could not read, so no number is the paper's.
"""

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, unjudged
from mesocosm.claims.measures import instances
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Bootstrap, Check, Claim, Control, Exact, Mean, Rate, Reference, above, below, between
from mesocosm.studies.weight_decay import measures
from mesocosm.studies.weight_decay.claims_appendix import APPENDIX
from mesocosm.studies.weight_decay.claims_networks import ASSOCIATIVE, MODELS, SWEET_SPOT
from mesocosm.studies.weight_decay.tables import AdaptiveBalance, AdaptiveSpectrum, Equilibrium, Minima, Pruned, Spectrum, Step

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

pruned = partial(Check, judged_at=ALL, searched=SEARCHED["pruning"], replicate=INITIAL)

AUDIT = (
    "the weights are not at hand; at their shapes, random initialisation is as close (0.992), and the argument from zero off-diagonals is this same effect of "
    "wide matrices; mesocosm audit prints the nulls beside every value (docs/auditing.md, the two models of the paper)"
)

CLAIMS = [
    Claim(
        "C1",
        "Two factors are a local minimum of the L2-regularised loss if and only if they are balanced and their product is a local minimum of the "
        "nuclear-norm-regularised loss among matrices of at most their rank.",
        source="Lemma 3.2, Thm 3.3 [T]",
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
        "If the factors stay bounded, the two regularised losses become identical exponentially fast under gradient flow, for any differentiable loss.",
        source="Thm 3.4, Lemma B.1 [T]",
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
        "In a 5 x 5 factorisation the gap and the imbalance vanish exponentially at a rate set by lambda, except without decay; singular values after 1000 "
        "steps fall linearly in lambda and vanish from lambda = s_i on.",
        source="Fig. 1 [T]",
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
    ASSOCIATIVE,
    MODELS,
    SWEET_SPOT,
    unjudged(
        "C7",
        "In pretrained LLaMA-2 7B, norms of the rows of W_Q and W_K, and of W_V and the columns of P, mostly agree, and the Frobenius term is close to the "
        "nuclear norm.",
        "Sec. 4.4, Fig. 4 [T]",
        f"{AUDIT}; under rotary positions, only sums over pairs of rows must agree",
    ),
    Claim(
        "C8",
        "Rank and gap behave so under Adam with L2 and under AdamW, too, for which the theory does not hold exactly.",
        source="Sec. 3.5, Figs. 2, 3 [T]",
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
            rotated(
                "pseudo-rank-adamw",
                Rate("initialisations with a pseudo rank (95 % of the sum) of 3 of 5 or less at the largest lambda, AdamW with noisy gradients"),
                above(0.8),
                measures.low_pseudo_rank("both"),
                Control(ONE, measures.low_pseudo_rank("one")),
                judged_at=ALL,
                replicate="target, initialisation and gradient noise",
            ),
        ],
    ),
    Claim(
        "C9",
        "In a linear network of two layers, rows at equilibrium are equal, orthogonal and of squared norm s_i - lambda or zero, so that decay prunes hidden "
        "directions; a single matrix keeps its rank.",
        source="Sec. 3.4 [T]",
        checks=[
            two_layers(
                "directions",
                Rate("networks with as many active hidden directions (singular values above 1e-3) as the teacher's rank, online with noise"),
                above(0.8),
                measures.as_many_as_the_teacher("both"),
                Control(ONE, measures.as_many_as_the_teacher("one")),
            ),
            pruned(
                "above",
                Rate("networks with as many active hidden directions (singular values above 1e-3) as singular values above lambda, of twenty"),
                above(0.8),
                measures.as_many_as_are_above("both"),
                Control("a single matrix", measures.as_many_as_are_above("single")),
            ),
            pruned(
                "rows",
                Exact("largest difference of rows from each other, or of their products from the diagonal of max(s_i - lambda, 0)"),
                below(1e-3),
                instances(Equilibrium.error, arm="both"),
                Control(ONE, instances(Equilibrium.error, arm="one")),
            ),
            pruned(
                "single",
                Exact("distance of a single matrix from S / (1 + lambda), of which no singular value is zero"),
                below(1e-6),
                instances(Pruned.distance, arm="single"),
                Control("two factors", instances(Pruned.distance, arm="both")),
            ),
        ],
    ),
    *APPENDIX,
]
