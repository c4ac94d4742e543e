"""Claims on algorithms and constructions that need no training."""

from functools import partial
from math import log

from mesocosm.claims.forms import CPU, against_mutant
from mesocosm.studies.interface import Check, Claim, Control, Mean, Reference, above, below
from mesocosm.studies.mesa import raw_measures as measures
from mesocosm.studies.mesa.tables import Dimension

swept = partial(Check, judged_at=CPU, replicate="systems and sequences")
FEW = "in the smallest dimension"

ALGORITHMS = [
    Claim(
        "C9",
        "Regression with a softmax kernel, the algorithm of an induction head, suffers from the dimension; ridge regression does not.",
        source="M, Fig. 5B, 20",
        checks=[
            swept(
                "kernel",
                Mean("log ratio of the kernel's losses per component, largest dimension over the second smallest"),
                above(log(1.2)),
                measures.growth_with_dimension(Dimension.kernel),
                Control("ridge regression", measures.growth_with_dimension(Dimension.least_squares)),
                reference=Reference(log(0.114 / 0.079), "paper"),
            ),
            swept(
                "least-squares",
                Mean("log ratio of ridge regression's losses per component, largest dimension over the second smallest"),
                below(0.0),
                measures.growth_with_dimension(Dimension.least_squares),
                Control("the kernel", measures.growth_with_dimension(Dimension.kernel)),
                reference=Reference(log(0.022 / 0.029), "paper"),
            ),
            swept(
                "gap",
                Mean("log ratio of losses in the largest dimension, kernel over ridge regression"),
                above(log(4.0)),
                measures.kernel_over_least_squares(measures.largest, measures.least_noise),
                Control(FEW, measures.kernel_over_least_squares(measures.smallest, measures.least_noise)),
                reference=Reference(log(0.114 / 0.022), "paper"),
            ),
        ],
    ),
    Claim(
        "C20",
        "In a large dimension, noise in the dynamics makes the kernel's disadvantage larger.",
        source="M, Fig. 20",
        checks=[
            swept(
                "noise",
                Mean("growth of the log ratio of losses, kernel over ridge regression, from the least to the most noise in the largest dimension"),
                above(log(2.0)),
                measures.growth_with_noise(measures.largest),
                Control(FEW, measures.growth_with_noise(measures.smallest)),
                reference=Reference(log(15.2 / 0.82 * 0.022 / 0.114), "paper"),
            ),
        ],
    ),
    Claim(
        "C18",
        "Layers of Prop. 1 in a row are not steps of gradient descent, because causal tokens see the residuals of earlier models; the stack of Prop. 2 is.",
        source="M, Sec. 4.2",
        checks=[against_mutant("C18", "two layers of Prop. 1 in a row")],
    ),
    Claim(
        "C19",
        "In a partially observed system, the last k observations obey a linear map if together they have as many numbers as the state.",
        source="M, Methods, App. D",
        checks=[against_mutant("C19", "one observation too few")],
    ),
]
