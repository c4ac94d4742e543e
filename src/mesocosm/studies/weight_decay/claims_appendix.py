"""The claims of the paper's propositions and appendices (C10 to C18) and their checks."""

from functools import partial

from mesocosm.claims.forms import ALL, against_mutant, unjudged
from mesocosm.claims.measures import instances
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Every, Exact, Mean, Reference, above, below, between
from mesocosm.studies.weight_decay import measures
from mesocosm.studies.weight_decay.claims_networks import IMAGES
from mesocosm.studies.weight_decay.tables import Boundedness, DeepBounds, EndPoints, GapBounds

SEARCHED = pilots("mesocosm.studies.weight_decay").counts("experiment")
FREE = "no decay"
STRETCHED = "other factors of the same product"
SOURCELESS = "without the source of order eta^2"
LARGE = "decay and weights too large for the equivalence (eps 0.01, lambda 1)"

# Arguments shared by similar checks.
on_line = partial(Check, judged_at=ALL, searched=SEARCHED["surface"], replicate="initialisation")
noisy = partial(Check, judged_at=ALL, searched=SEARCHED["noise"], replicate="initialisation and gradient noise")
bounded = partial(Check, judged_at=ALL, searched=SEARCHED["boundedness"], replicate="random directions of the start")
pairs = partial(Check, judged_at=ALL, replicate="random factors")

APPENDIX = [
    Claim(
        "C10",
        "Factors with A^T A = B^T B are roots of their product up to one common rotation, and their mean squared norm is the product's nuclear norm.",
        source="Prop. 3.1 [T]",
        checks=[
            against_mutant("C10 norm", STRETCHED, check="norm", of="largest relative difference of the two, float64", tolerance=1e-12),
            against_mutant("C10 form", STRETCHED, check="form", of="largest error of the form, over the largest singular value, float64", tolerance=1e-12),
        ],
    ),
    Claim(
        "C11",
        "AdamW rests where lambda w = -g / (|g| + eps); for lambda |w| << 1 this is where Adam with L2 of strength eps lambda does. Two scalars on a line so "
        "end at its L2-nearest point if they are parameters, at the L1-nearest if they are products.",
        source="App. E, Fig. 5 [T]",
        checks=[
            on_line(
                "fixed-direct",
                Exact("largest |lambda w + g / (|g| + eps)| at the end of AdamW, scalars direct"),
                below(1e-6),
                instances(EndPoints.error, rule="adamw", form="direct", setting="small"),
                Control("at the end of Adam with L2", instances(EndPoints.error, rule="adam_l2", form="direct", setting="small")),
            ),
            on_line(
                "fixed-factored",
                Exact("the same, scalars factored"),
                below(1e-6),
                instances(EndPoints.error, rule="adamw", form="factored", setting="small"),
                Control("at the end of Adam with L2", instances(EndPoints.error, rule="adam_l2", form="factored", setting="small")),
            ),
            on_line(
                "same-direct",
                Every("distance between the end points of AdamW and Adam with L2 over the norm, scalars direct"),
                below(0.02),
                measures.rules_apart("direct", "small"),
                Control(LARGE, measures.rules_apart("direct", "large")),
            ),
            on_line(
                "same-factored",
                Every("the same, scalars factored"),
                below(0.02),
                measures.rules_apart("factored", "small"),
                Control(LARGE, measures.rules_apart("factored", "large")),
            ),
            on_line(
                "l1",
                Every("|w_2| over |w| at AdamW's end point, scalars factored: 0 at the L1-nearest point"),
                below(0.02),
                measures.beside_first_axis("factored"),
                Control("the scalars themselves, not factored", measures.beside_first_axis("direct")),
            ),
            on_line(
                "l2",
                Every("distance of AdamW's end point from the line's normal over |w|, scalars direct: 0 at the L2-nearest point"),
                below(0.02),
                measures.beside_normal("direct"),
                Control("factored", measures.beside_normal("factored")),
            ),
        ],
    ),
    Claim(
        "C12",
        "With momentum, gradient noise and decoupled decay the imbalance falls exponentially, at rate 2 eta lambda, until it reaches a floor that noise makes.",
        source="Prop. B.2 [T]",
        checks=[
            against_mutant(
                "C12 integral",
                "without the integral",
                check="identity",
                of="largest error of the identity along a noisy path, over the first imbalance; of the order of the step",
                tolerance=1e-3,
                replicate="a random path",
            ),
            against_mutant(
                "C12 steps",
                "without the integral",
                check="steps",
                of="the same with the exact law of every step, rounding only",
                tolerance=1e-10,
                replicate="a random path",
                evidence="implementation",
            ),
            noisy(
                "rate",
                Mean("fitted rate of the imbalance without noise over 2 eta lambda, minus one"),
                between(-0.03, 0.03),
                measures.silent_rate("decayed"),
                Control(FREE, measures.silent_rate("free")),
                reference=Reference(0.0, "derived"),
                replicate="initialisation",
                evidence="identity",
            ),
            noisy(
                "silent",
                Mean("log10 of the late imbalance over the first, without noise"),
                below(-4.0),
                measures.log_floor(lambda config: 0.0),
                Control("the smallest noise", measures.log_floor(lambda config: min(config.noisy.noises))),
                replicate="initialisation",
                evidence="identity",
            ),
            noisy(
                "floor",
                Mean("slope of the log of the late imbalance against the log of the noise"),
                between(0.7, 2.3),
                measures.floor_slope(last=True),
                Control("at the first measurement, before the floor", measures.floor_slope(last=False)),
            ),
        ],
    ),
    Claim(
        "C13",
        "The gap is at most sqrt(|D|_*) (|A|_* + |B|_*) / 2. (Ours: it is at most |D|_* / 2, which is never more.)",
        source="Prop. B.4 [T]",
        checks=[
            pairs(
                "paper",
                Every("the gap minus the paper's bound, over the mean squared norm"),
                below(1e-9),
                instances(GapBounds.paper),
                Control("equal norms in place of balance, which would allow no gap", instances(GapBounds.equal_norms)),
            ),
            pairs(
                "linear",
                Every("the gap minus half the imbalance's nuclear norm, over the mean squared norm"),
                below(1e-9),
                instances(GapBounds.linear),
                Control("equal norms in place of balance, which would allow no gap", instances(GapBounds.equal_norms)),
            ),
            pairs(
                "order",
                Every("our bound minus the paper's, over the mean squared norm"),
                below(1e-9),
                instances(GapBounds.order),
                Control("spectral norms of the factors in the paper's", instances(GapBounds.spectral)),
            ),
        ],
    ),
    Claim(
        "C14",
        "Factors stay bounded under gradient flow if the loss is bounded below; for L = -|A B^T|^2, orthogonal matrices of a large enough scale diverge.",
        source="App. B.5 [T]",
        checks=[
            bounded(
                "bounded",
                Every("largest penalty along the flow over the regularised loss at the start, for a loss that is never negative"),
                below(1.0),
                instances(Boundedness.energy, arm="bounded loss"),
                Control("the loss without a bound, above the threshold", instances(Boundedness.energy, arm="above")),
            ),
            bounded(
                "diverges",
                Every("log10 of the growth of the squared norm from 1.1 times the threshold, scale^2 = lambda / 2"),
                above(1.0),
                instances(Boundedness.growth, arm="above"),
                Control("from 0.9 times the threshold", instances(Boundedness.growth, arm="below")),
            ),
            bounded(
                "decays",
                Every("the same from 0.9 times the threshold, where the printed condition, scale > lambda, is met"),
                below(0.0),
                instances(Boundedness.growth, arm="below"),
                Control("from 1.1 times the threshold", instances(Boundedness.growth, arm="above")),
            ),
            bounded(
                "imbalance",
                Exact("largest error of the exponential law of the imbalance while the factors diverge"),
                below(1e-6),
                instances(Boundedness.error, arm="above"),
                Control(FREE, instances(Boundedness.mutant, arm="above")),
            ),
        ],
    ),
    Claim(
        "C15",
        "For L layers, decay amounts to the Schatten quasi-norm of order 2 / L of their product, up to a bound by their imbalances, which fall exponentially.",
        source="App. B.6, Prop. B.5 [T]",
        checks=[
            against_mutant("C15 quasi-norm", STRETCHED, check="quasi-norm", of="largest relative difference at balance, L = 3 and 4, float64"),
            against_mutant("C15 step", SOURCELESS, check="step", of="largest relative error of a balance after one step, L = 4, float64", tolerance=1e-12),
            Check(
                "rate",
                Mean("fitted rate of a balance of three layers over -2 log(1 - eta lambda) / eta, minus one, the worse of two; a loss that is not quadratic"),
                between(-0.02, 0.02),
                measures.deep_rate("decayed"),
                Control(FREE, measures.deep_rate("free")),
                judged_at=ALL,
                replicate="problem and initialisation",
                reference=Reference(0.0, "derived"),
                searched=SEARCHED["deep"],
                evidence="identity",
            ),
            Check(
                "bound",
                Every("the gap over the paper's bound, L = 3 and 4, near balance"),
                below(1.0),
                instances(DeepBounds.ratio),
                Control("unbalanced layers, with the imbalance of balanced ones in the bound", instances(DeepBounds.unbalanced)),
                judged_at=ALL,
                replicate="random layers near balance",
            ),
        ],
    ),
    IMAGES,
    unjudged(
        "C17",
        "In a pretrained ViT-base (google/vit-base-patch16-224-in21k), norms of rows and the two penalties agree as in LLaMA-2.",
        "App. F, Fig. 6 [T]",
        "the weights are not at hand; its positions are absolute, so the whole law applies to it; mesocosm audit prints the nulls beside every value "
        "(docs/auditing.md, the two models of the paper)",
    ),
    Claim(
        "C18",
        "Other parameters of the network do not matter: the law of the imbalance is the same if they are trained beside the factors.",
        source="App. D [T]",
        checks=[
            against_mutant(
                "C18 step",
                "normalised queries and keys",
                check="step",
                of="largest relative error of the imbalances of an attention layer after one step of all parameters, float64",
                tolerance=1e-12,
                replicate="a random network",
            )
        ],
    ),
]
