"""Claims of the second paper: N is von Oswald et al., MesaNet (2025)."""

from mesocosm.claims.forms import against_mutant, unjudged
from mesocosm.studies.interface import Claim

SIZE = "needs language models larger than mesocosm trains"

JUDGED = [
    Claim(
        "N1",
        "The gated mesa layer with a constant regulariser is computed in chunks by conjugate gradients whose products are gated linear attention.",
        source="N, Sec. 3",
        checks=[against_mutant("N1", "the mask shifted by one token", evidence="implementation")],
    ),
    Claim(
        "N2",
        "The backward pass of the gated mesa layer has a closed form, for all inputs, gates and the regulariser.",
        source="N, App. D",
        checks=[against_mutant("N2", "c_ts from e* in place of e, as one may read the print", evidence="implementation")],
    ),
    Claim(
        "N3",
        "Without solver steps, the gated mesa layer is gated linear attention.",
        source="N, Sec. 3",
        checks=[against_mutant("N3", "one step is taken", check="zero-steps", evidence="implementation")],
    ),
]

UNJUDGED = [
    unjudged("N3-cost", "k solver steps cost O(k n^2) a token for key size n.", "N, Sec. 3", "a property of the program: a test counts its operations"),
    unjudged(
        "N4",
        "Stopping each token's solve at a relative residual of 1e-4 equals 30 steps with far fewer; a few steps for all tokens hurt late ones most, a large "
        "tolerance all alike.",
        "N, Fig. 5, 7",
        "concerns trained language models, and random layers are no evidence for them",
    ),
    unjudged("N5", "Condition numbers are bimodal over heads.", "N, Fig. 14", "concerns trained language models"),
    unjudged("N6", "MesaNet leads recurrent networks on MAD.", "N, Table 9", "MAD is not implemented yet"),
    unjudged("N7", "MesaNet is close to Transformers on RegBench.", "N, Fig. 9", "RegBench is not implemented yet"),
    unjudged("N8", "MesaNet has the lowest perplexity among recurrent networks.", "N, Tables 2, 3, 10", SIZE),
    unjudged("N9", "The mesa layer is online Newton, DeltaNet online gradient descent.", "N, App. H", "covered by tests, but has no check yet"),
    unjudged("N10", "Parity needs negative forgetting and a large regulariser.", "N, Fig. 8", "negative forget gates are not implemented yet"),
    unjudged("N11", "Recursive least squares with forgetting loses its regulariser.", "N, App. H", "has no check yet"),
]
