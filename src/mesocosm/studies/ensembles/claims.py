"""The paper's claims and their checks.

The paper's full text was not available: statements come from its abstract, the caption of its Fig. 1 and a short summary. The regions are ours, from
theory, from the specification's pilots, or from pilots on seeds from 1000 upward (search.csv).
"""

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, against_mutant, unjudged
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Value
from mesocosm.studies.ensembles import measures
from mesocosm.studies.ensembles.config import HALF, HALF_CENTRED, SINGLE
from mesocosm.studies.ensembles.tables import Correlations, KernelDetection, Limits, Wide, Widths
from mesocosm.studies.interface import Check, Claim, Control, Mean, Reference, Region, above, below, between

# Configurations in search.csv by what they were for: tried on pilot seeds, and by the specification.
TRIED, SPECIFIED = (pilots("mesocosm.studies.ensembles").counts("kind", made_by=maker) for maker in ("pilot", "specification"))

POINTS = "points, labels' order and members"
SUBSET = "training pictures and members"
TRAINING = "training pictures, members and batches"
PLANE = "the points' rotation and members"
BIASED, PLAIN = "one hidden layer, biases", "one hidden layer"
MNIST, FASHION = "mnist-5k", "fashion-mnist"
BOTH = (MNIST, FASHION)
SHORT = {MNIST: "mnist", FASHION: "fashion"}
PARTS = ("full", "function", "kernel", "interaction")
FEWER = "half of gd's members: fewer, and no noise taken"
NOTHING = "between two halves of the inside, where there is nothing to detect"
NO_DIFFERENCE = (
    "The smallest AUROC of all parts is 0.84 or more in every replicate. Where there is nothing to detect, it is 0.52, with an interval that reaches 0.605, "
    "just into the region."
)
SMALL_GAIN = "The gain is small, and on Fashion-MNIST the common error of the test pictures is as large; a record with more pictures can tell."

# Arguments shared by similar checks.
over_widths = partial(Check, judged_at=ALL, replicate=POINTS, searched=SPECIFIED["widths"])
in_the_plane = partial(Check, judged_at=ALL, replicate=PLANE)
on_pictures = partial(Check, judged_at=CPU, replicate=SUBSET, searched=TRIED["kernels"] + SPECIFIED["kernels"])
of_trained = partial(Check, judged_at=CPU, replicate=TRAINING, searched=TRIED["trained"] + SPECIFIED["trained"])


def exact(name: str, mutant: str) -> Check:
    """An identity and its mutant."""
    return against_mutant(name, mutant, check=name, tolerance=1e-8)


def linear(part: str, symbol: str, against: str, mutant: str, tolerance: float = 1.1) -> Check:
    """A variance of the linear network agrees with its closed form."""
    return over_widths(
        f"linear-{part.replace('_', '-')}",
        Mean(f"log ratio of {symbol}, found over closed form, at the width where they differ most"),
        between(-log(tolerance), log(tolerance)),
        measures.linear_ratio(part),
        Control(mutant, measures.linear_ratio(part, against)),
        reference=Reference(0.0, "derived"),
        searched=SPECIFIED["linear"],
        evidence="identity",
    )


def slope(part: Value, words: str, region: Region, other: Value, expected: float) -> Check:
    """Scaling of a part of the variance with width."""
    return over_widths(
        f"slope-{part}",
        Mean(f"slope of log variance on log width, {words}"),
        region,
        measures.width_slope(part),
        Control({Widths.function: "noise of the initial function", Widths.kernel: "noise of the kernel"}[other], measures.width_slope(other)),
        reference=Reference(expected, "derived"),
    )


def kernel_checks(inside: str) -> list[Check]:
    """C4 on one pair of data sets."""
    name = SHORT[inside]
    other_half = "the same between two halves of the inside"
    return [
        on_pictures(
            f"{name}-variance",
            Mean("log ratio of mean variance, outside over inside; smallest over three networks, function and kernel noise"),
            above(log(1.5)),
            measures.smallest(measures.mlps, ("function", "kernel"), KernelDetection.outside_ratio, inside),
            Control(other_half, measures.smallest(measures.mlps, ("function", "kernel"), KernelDetection.halves_ratio, inside)),
            note="The variance is larger outside in every replicate; the images that all share leave an interval that reaches below 1.5 times.",
        ),
        *(
            on_pictures(
                f"{name}-{check}",
                Mean(measured),
                above(0.6),
                measures.smallest(networks, PARTS, KernelDetection.auroc, inside),
                Control(NOTHING, measures.smallest(networks, PARTS, KernelDetection.inside_auroc, inside)),
                note=NO_DIFFERENCE if (name, check) == ("mnist", "cnn") else None,
            )
            for check, networks, measured in (
                ("auroc", measures.mlps, "AUROC, smallest over three networks and all parts"),
                ("cnn", measures.cnns, "AUROC of a convolutional network, smallest over all parts"),
            )
        ),
        on_pictures(
            f"{name}-kernel-width",
            Mean("slope of log kernel noise inside on log width, four widths of at least five times the number of training pictures"),
            between(-1.15, -0.85),
            measures.slope("width", "kernel", inside),
            Control("noise of the initial function", measures.slope("width", "function", inside)),
            reference=Reference(-1.0, "derived"),
        ),
        on_pictures(
            f"{name}-function-width",
            Mean("slope of log function noise inside on log width, the same networks"),
            between(-0.1, 0.1),
            measures.slope("width", "function", inside),
            Control("noise of the kernel", measures.slope("width", "kernel", inside)),
            reference=Reference(0.0, "derived"),
        ),
        on_pictures(
            f"{name}-depth",
            Mean("slope of log kernel noise's share of the variance on log depth, one to four hidden layers"),
            above(0.1),
            measures.slope("depth", "share", inside),
            Control("the depths in another order", measures.slope("depth", "share, sizes shuffled", inside)),
        ),
    ]


def trained_checks(inside: str) -> list[Check]:
    """C6 on one data set."""
    name = SHORT[inside]
    return [
        of_trained(
            f"{name}-variance",
            Mean("log ratio of mean variance inside, gd-c over gd"),
            below(log(0.6)),
            measures.trained_variance("gd-c", "gd", inside),
            Control(f"{FEWER}, over all", measures.trained_variance(HALF, "gd", inside)),
        ),
        *(
            of_trained(
                f"{name}-{part}",
                Mean(f"AUROC of {variant}, which has {noise} alone, for pictures of the other set"),
                above(0.6),
                measures.detection(variant, inside, MNIST if inside == FASHION else FASHION),
                Control(NOTHING, measures.chance(variant, inside)),
            )
            for part, variant, noise in (("kernel", "gd-c", "kernel noise"), ("interaction", "gd-i", "the interaction"))
        ),
    ]


def sweep_checks() -> list[Check]:
    """C6 by read-out scale, width and depth, in the directions that the linear regime predicts."""
    share = "log ratio of kernel noise's share of the variance inside (gd-c over gd)"
    return [
        of_trained(
            "readout",
            Mean("log ratio of gd's variance inside, largest read-out scale over smallest; above half of what function noise alone would do"),
            above(log(8)),
            measures.readout_growth("gd"),
            Control("gd-c, which has no function noise", measures.readout_growth("gd-c")),
        ),
        of_trained(
            "width",
            Mean(f"{share}, network of a quarter of the width over the wide one; above half of what small noise of order 1/n would do"),
            above(log(4) / 2),
            measures.kernel_share_growth("width", "base", "wide"),
            Control("half of the narrow network's members over the other half", measures.kernel_share_growth("width unchanged", "base")),
            reference=Reference(log(4), "derived"),
        ),
        of_trained(
            "depth",
            Mean(f"{share}, three hidden layers over one; above half of what small noise in proportion to the layers would do"),
            above(log(3) / 2),
            measures.kernel_share_growth("depth", "deep", "base"),
            Control("half of the deep network's members over the other half", measures.kernel_share_growth("depth unchanged", "deep")),
            reference=Reference(log(3), "derived"),
            note="The share grows with the depth, by about the factor at which the region begins, half of the theory's on a log scale.",
        ),
    ]


CLAIMS = [
    Claim(
        "C1",
        "In the linear regime the predictive variance comes from two sources of noise at initialisation, the initial function and the kernel.",
        source="abstract",
        checks=[
            exact("kernel", "the coupling of outputs is dropped"),
            over_widths(
                "share",
                Mean("share of the variance that function noise and kernel noise alone sum to, width 128"),
                between(0.95, 1.05),
                measures.explained_share(Widths.function, Widths.kernel),
                Control("function noise without kernel noise, at the same width", measures.explained_share(Widths.function)),
                reference=Reference(1.0, "derived"),
                searched=TRIED["widths"] + SPECIFIED["widths"],
            ),
        ],
    ),
    Claim(
        "C2",
        "The variance of the linearly trained ensemble is a superposition of three isolated parts.",
        source="Fig. 1",
        checks=[
            exact("mirrored", "members without their mirrors"),
            exact("labels", "all variance grows with the square of the labels"),
            exact("readout", "all variance grows with the square of the read-out"),
        ],
    ),
    Claim(
        "C3",
        "In the plane function noise follows the distance to the data points, kernel noise the angle.",
        source="Fig. 1",
        checks=[
            in_the_plane(
                "distance",
                Mean("rank correlation of function noise with the distance to the nearest point, one hidden layer with biases"),
                above(0.75),
                measures.correlation(BIASED, "function", Correlations.distance),
                Control("distance to points that were not trained on", measures.correlation(BIASED, "function", Correlations.turned_distance)),
                searched=SPECIFIED["plane"],
            ),
            in_the_plane(
                "distance-contrast",
                Mean("the same at a fixed angle and norm (partial rank correlation), less that of kernel noise"),
                above(0.0),
                measures.contrast(BIASED, "function", "kernel", Correlations.distance_alone),
                Control("the same for points that were not trained on", measures.contrast(BIASED, "function", "kernel", Correlations.turned_distance_alone)),
                searched=TRIED["plane"] + SPECIFIED["plane"],
            ),
            in_the_plane(
                "angle",
                Mean("rank correlation of kernel noise over the squared norm with the angle to the nearest point, one hidden layer"),
                above(0.5),
                measures.correlation(PLAIN, "kernel", Correlations.angle),
                Control("angle to points that were not trained on", measures.correlation(PLAIN, "kernel", Correlations.turned_angle)),
                searched=SPECIFIED["plane"],
            ),
            in_the_plane(
                "angle-contrast",
                Mean("rank correlation of kernel noise with the angle at a fixed distance and norm, less that of function noise, one hidden layer"),
                above(0.0),
                measures.contrast(PLAIN, "kernel", "function", Correlations.angle_alone),
                Control("the interaction in place of kernel noise", measures.contrast(PLAIN, "interaction", "function", Correlations.angle_alone)),
                searched=TRIED["plane"] + SPECIFIED["plane"],
                note="Kernel noise does follow the angle, but function noise follows it more closely, at a fixed distance and norm too.",
            ),
        ],
    ),
    Claim(
        "C4",
        "The decomposition holds up on kernel models of MLPs and CNNs of several depths and widths on real pictures, inside and outside of the distribution.",
        source="a summary's fragment",
        checks=[check for inside in BOTH for check in kernel_checks(inside)],
    ),
    Claim(
        "C5",
        "Kernel noise is of order 1/n in the width n, function noise of order 1.",
        source="from memory; derived by us",
        checks=[
            linear("function", "V^a", "kernel", "the closed form of V^c"),
            linear("kernel", "V^c", "function", "the closed form of V^a"),
            linear("interaction", "V^i", "kernel", "the closed form of V^c"),
            linear("function_interaction", "2 Cov(a, i)", "interaction", "the closed form of V^i", 1.25),
            slope(Widths.kernel, "kernel noise", between(-1.15, -0.85), Widths.function, -1.0),
            slope(Widths.interaction, "interaction", between(-1.15, -0.85), Widths.function, -1.0),
            slope(Widths.function, "function noise", between(-0.1, 0.1), Widths.kernel, 0.0),
            over_widths(
                "neuron",
                Mean("log of n V^c over what one neuron predicts, widths from 128"),
                between(-log(1.1), log(1.1)),
                measures.neuron_ratio(Widths.kernel, Limits.kernel),
                Control("the prediction of the interaction", measures.neuron_ratio(Widths.kernel, Limits.interaction)),
                reference=Reference(0.0, "derived"),
            ),
        ],
    ),
    Claim(
        "C6",
        "Both sources of noise still shape the predictive variance of non-linear networks trained by gradient descent.",
        source="abstract",
        checks=[*(check for inside in BOTH for check in trained_checks(inside)), *sweep_checks()],
    ),
    Claim(
        "C7",
        "Simple constructions take one source of noise from a trained ensemble.",
        source="abstract; constructions from memory",
        checks=[
            over_widths(
                "wide",
                Mean("slope of log distance to the kernel model on log width, shallowest of gd, gd-c and gd-a trained by gradient descent"),
                between(-0.8, -0.2),
                measures.distance_slope(Wide.gd, Wide.gd_c, Wide.gd_a),
                Control("gd beside the kernel model of gd-c", measures.distance_slope(Wide.mismatched)),
                searched=TRIED["wide"],
                reference=Reference(-0.5, "derived"),
            ),
            *[
                of_trained(
                    f"{SHORT[inside]}-accuracy",
                    Mean("accuracy of gd-c less that of gd, with as many networks: half the members, whose starts count"),
                    above(-0.015),  # half of what ten members gain over one on pilots, on Fashion-MNIST, where they gain less
                    measures.accuracy_gain(HALF_CENTRED, inside),
                    Control("one member of gd", measures.accuracy_gain(SINGLE, inside)),
                )
                for inside in BOTH
            ],
        ],
    ),
    Claim(
        "C8",
        "Removing a source of noise changes out-of-distribution detection and can improve it; which source depends on the data.",
        source="abstract",
        checks=[
            *[
                on_pictures(
                    f"{SHORT[inside]}-models",
                    Mean("AUROC of function noise alone less that of all noise, kernel models, mean over networks"),
                    above(0.0),
                    measures.kernel_gain("function", inside),
                    Control("kernel noise alone", measures.kernel_gain("kernel", inside)),
                    note=SMALL_GAIN,
                )
                for inside in BOTH
            ],
            of_trained(
                "changes",
                Mean(f"AUROC of gd-c less that of gd, trained on {MNIST}, outside {FASHION}, at equal training loss"),
                below(-0.005),
                measures.gain("gd-c", MNIST, FASHION),
                Control(f"{FEWER}, less all", measures.gain(HALF, MNIST, FASHION)),
                note="It changes detection in every replicate, by 0.07 to 0.11. Half of the members detect worse, too, by 0.004, with an interval that reaches "
                "the region.",
            ),
            of_trained(
                "mnist-improves",  # "can": a variant, data set and scale that gained on every pilot seed
                Mean(f"AUROC of gd-a less that of gd, trained on {MNIST}, outside {FASHION}, smallest read-out scale, at equal training loss"),
                above(0.0),
                measures.swept_gain("gd-a", 0),
                Control("at the largest read-out scale, where function noise is most of the variance", measures.swept_gain("gd-a", -1)),
            ),
        ],
    ),
    unjudged(
        "C9",
        "The same in larger experiments: a WideResNet on CIFAR10, with SVHN, LSUN and other sets outside.",
        "from memory",
        "needs an accelerator and data sets that are not distributed with mesocosm (it reads local copies: mesocosm data)",
    ),
    Claim(
        "C10",
        "The infinitely wide ensemble, the NNGP and the NTK-GP are references for the variance.",
        source="from memory",
        checks=[
            over_widths(
                "wide",
                Mean("log of the variance at the largest width over that of the infinitely wide ensemble"),
                between(-log(1.1), log(1.1)),
                measures.widest_ratio(Limits.function),
                Control("over the posterior variance of the NTK-GP", measures.widest_ratio(Limits.ntk_gp)),
                reference=Reference(0.0, "derived"),
            ),
            on_pictures(
                "pictures",
                Mean("log of function noise inside over the variance of the infinitely wide ensemble, width 512, MNIST"),
                between(-log(1.1), log(1.1)),
                measures.limit_ratio("function", MNIST),
                Control("kernel noise", measures.limit_ratio("kernel", MNIST)),
                reference=Reference(0.0, "derived"),
            ),
        ],
    ),
]
