"""Claims of the second paper: N is von Oswald et al., MesaNet (2025)."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant, unjudged
from mesocosm.claims.measures import instances
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Reference, below, between
from mesocosm.studies.mesa.measures import late_over_early_at_tolerance, late_over_early_of_steps, stopping, stopping_error
from mesocosm.studies.mesa.tables import SolverCost, Stopping

SIZE = "needs language models larger than mesocosm trains"

stopped = partial(Check, judged_at=CPU, replicate="tokens, gates and regulariser")

JUDGED = [
    Claim(
        "N1",
        "The gated mesa layer with a constant regulariser is computed in chunks by conjugate gradients whose products are gated linear attention.",
        source="N, Sec. 3",
        checks=[against_mutant("N1", "the mask shifted by one token")],
    ),
    Claim(
        "N2",
        "The backward pass of the gated mesa layer has a closed form, for all inputs, gates and the regulariser.",
        source="N, App. D",
        checks=[against_mutant("N2", "c_ts from e* in place of e, as one may read the print")],
    ),
    Claim(
        "N3",
        "k solver steps cost O(k n^2) a token for key size n, and none at all is gated linear attention.",
        source="N, Sec. 3",
        checks=[
            against_mutant("N3", "one step is taken", check="zero-steps"),
            Check(
                "cost",
                Every("exponent of operations a token and step between key sizes 16, 32, 64, 128"),
                below(2.2),
                instances(SolverCost.exponent, exhaustive=True),
                Control("a step of Newton and Schulz for each token", instances(SolverCost.mutant, exhaustive=True)),
                judged_at=ALL,
                replicate="a doubling of the key size",
            ),
        ],
    ),
    Claim(
        "N4",
        "Stopping each token's solve at a relative residual of 1e-4 equals 30 steps with far fewer, and a large tolerance hurts all positions alike.",
        source="N, Fig. 5, 7",
        checks=[
            stopped(
                "error",
                Mean("log10 relative output error at tolerance 1e-4"),
                below(-3.0),
                stopping_error(1e-4),
                Control("tolerance 0.1", stopping_error(1e-1)),
            ),
            stopped(
                "steps",
                Mean("mean solver steps a token at tolerance 1e-4", "steps"),
                below(15.0),
                stopping(Stopping.steps, 1e-4),
                Control("a hundredth of the regulariser", stopping(Stopping.steps, 1e-4, "regulariser / 100")),
                reference=Reference(9.0, "paper"),
            ),
            stopped(
                "uniform",
                Mean("log ratio of relative output errors at tolerance 0.01, last quarter of the sequence over first"),
                between(-0.2, 0.2),
                late_over_early_at_tolerance(1e-2),
                Control("four steps for every token", late_over_early_of_steps(4)),
            ),
        ],
    ),
]

UNJUDGED = [
    unjudged(
        "N4-late",
        "A few steps for all tokens hurt late tokens most.",
        "N, Fig. 5",
        "concerns trained language models; in random layers, early tokens suffer most",
    ),
    unjudged("N5", "Condition numbers are bimodal over heads.", "N, Fig. 14", "concerns trained language models"),
    unjudged("N6", "MesaNet leads recurrent networks on MAD.", "N, Table 9", "MAD is not implemented yet"),
    unjudged("N7", "MesaNet is close to Transformers on RegBench.", "N, Fig. 9", "RegBench is not implemented yet"),
    unjudged("N8", "MesaNet has the lowest perplexity among recurrent networks.", "N, Tables 2, 3, 10", SIZE),
    unjudged("N9", "The mesa layer is online Newton, DeltaNet online gradient descent.", "N, App. H", "covered by tests, but has no check yet"),
    unjudged("N10", "Parity needs negative forgetting and a large regulariser.", "N, Fig. 8", "negative forget gates are not implemented yet"),
    unjudged("N11", "Recursive least squares with forgetting loses its regulariser.", "N, App. H", "has no check yet"),
]
