"""Claims of the second paper: N is von Oswald et al., MesaNet (2025)."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant, unjudged
from mesocosm.claims.measures import instances
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Rate, Reference, above, below, between
from mesocosm.studies.mesa import raw_measures
from mesocosm.studies.mesa.tables import AUTOMATA, NOISY, RECALL, SIGNED, UNSIGNED, Forgetting

SIZE = "needs language models larger than mesocosm trains"

PAPER = frozenset({"paper"})
"""For checks whose recipe has not been piloted at a smaller size."""

NET = "initialisation and training sequences"
TRIED = pilots("mesocosm.studies.mesa")

recall = partial(Check, judged_at=CPU, replicate=NET, searched=TRIED.count(kind="gated-mesa") + TRIED.count(kind="gated-linear"))
parity = partial(Check, judged_at=CPU, replicate=NET, searched=TRIED.count(kind="parity-signed") + TRIED.count(kind="parity-unsigned"))

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
    Claim(
        "N4",
        "Stopping each token's solve at a relative residual of 1e-4 equals 30 steps with far fewer; here in networks trained on recall.",
        source="N, Fig. 5, 7",
        checks=[
            recall(
                "equal",
                Mean("loss at a tolerance of 1e-4 minus that of 30 steps, nats"),
                between(-0.005, 0.005),
                raw_measures.excess("0.0001", "30 steps"),
                Control("one step", raw_measures.excess("1 steps", "30 steps")),
                note="Half of the networks have not learned recall after 600 steps; in them, one step of the solver is as good as thirty.",
                reference=Reference(0.0, "paper"),
            ),
            recall(
                "fewer",
                Mean("mean steps at a tolerance of 1e-4"),
                below(15.0),
                raw_measures.steps_taken("0.0001"),
                Control("no tolerance, 30 steps", raw_measures.steps_taken("30 steps")),
                reference=Reference(8.9, "paper"),
            ),
        ],
    ),
    Claim(
        "N6",
        "The mesa layer recalls in context better than gated linear attention, also between distracting tokens.",
        source="N, Table 9",
        checks=[
            recall(
                name,
                Mean("accuracy of mesa layers minus that of gated linear attention"),
                above(0.0),
                raw_measures.recalled(trials["mesa"], trials["gla"]),
                Control("one step of the solver", raw_measures.without_the_solve(trials["mesa"], trials["gla"])),
                note=note,
            )
            for name, trials, note in (
                ("recall", RECALL, "Half of the networks of either kind have not learned recall after 600 steps; the others need one step of the solver."),
                ("noisy", NOISY, "One step of the solver recalls nearly as well as thirty: this gain of the mesa layers does not come from their solve."),
            )
        ],
    ),
    Claim(
        "N7",
        "In context, mesa layers learn the languages of automata better than other recurrent layers, and about as well as attention.",
        source="N, Fig. 9",
        checks=[
            recall(
                "recurrent",
                Mean("rate of predictions that may come next, mesa layers minus gated linear attention"),
                above(0.0),
                raw_measures.recalled(AUTOMATA["mesa"], AUTOMATA["gla"]),
                Control("one step of the solver", raw_measures.without_the_solve(AUTOMATA["mesa"], AUTOMATA["gla"])),
                judged_at=PAPER,
            ),
            recall(
                "attention",
                Mean("rate of predictions that may come next, mesa layers minus attention"),
                above(-0.05),
                raw_measures.recalled(AUTOMATA["mesa"], AUTOMATA["attention"]),
                Control("gated linear attention in its place", raw_measures.recalled(AUTOMATA["gla"], AUTOMATA["attention"])),
                judged_at=PAPER,
            ),
        ],
    ),
    Claim(
        "N9",
        "The mesa layer takes an online Newton step per token, DeltaNet an online gradient step.",
        source="N, App. H",
        checks=[
            against_mutant("N9 mesa", "the Hessian of the token before", check="mesa"),
            against_mutant("N9 DeltaNet", "the gradient at 0: linear attention", check="delta-net"),
        ],
    ),
    Claim(
        "N10",
        "With a large regulariser, parity generalises to longer strings if forget gates may be negative; positive gates solve the training length alone.",
        source="N, Fig. 8",
        checks=[
            parity(
                "longer",
                Rate("accuracy above 0.9 at twice the training length"),
                above(0.5),
                raw_measures.solved(SIGNED, 2, 0.9),
                Control("gates between 0 and 1", raw_measures.solved(UNSIGNED, 2, 0.9)),
            ),
            parity(
                "trained",
                Rate("accuracy above 0.9 at the training length, gates between 0 and 1"),
                above(0.5),
                raw_measures.solved(UNSIGNED, 1, 0.9),
                Control("at four times the training length", raw_measures.solved(UNSIGNED, 4, 0.9)),
                note="Eight of ten networks solve the training length; ten networks cannot tell that from half of them.",
            ),
        ],
    ),
    Claim(
        "N11",
        "Recursive least squares with forgetting forgets its regulariser exponentially, and its inverse grows where no keys come.",
        source="N, App. H",
        checks=[
            against_mutant("N11", "a constant regulariser", check="regulariser"),
            Check(
                "growth",
                Every("growth of the inverse per token in a direction without keys, over -log gamma"),
                between(0.999, 1.001),
                instances(Forgetting.growth),
                Control("a constant regulariser, as in MesaNet", instances(Forgetting.constant)),
                judged_at=ALL,
                replicate="a random instance",
            ),
        ],
    ),
]

UNJUDGED = [
    unjudged("N3-cost", "k solver steps cost O(k n^2) a token for key size n.", "N, Sec. 3", "a property of the program: a test counts its operations"),
    unjudged("N5", "Condition numbers are bimodal over heads.", "N, Fig. 14", "concerns trained language models"),
    unjudged("N13", "A lower bound on the regulariser, unit keys and queries, and corrected gates keep the solve stable.", "N, v1 App. F.5", SIZE),
]
