"""The paper's claims and their checks. Regions come from the paper's figures and from the specification; pilots are in search.csv."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import replicates
from mesocosm.claims.pilots import pilots
from mesocosm.studies.incontext_composition.measures import (
    ahead,
    ahead_at_equal_fit,
    decline,
    decoded,
    decoded_early,
    gap,
    gap_of_execution,
    oracle,
    r2,
    ridge,
    ridge_gap,
    support_matters,
    support_matters_for_execution,
    support_matters_for_ridge,
    unexplained,
)
from mesocosm.studies.incontext_composition.notes import NOTES
from mesocosm.studies.incontext_composition.tables import (
    DECAYED,
    HYPERNET,
    LATENT_MLP,
    MLP_DECAYED,
    UNDECAYED,
    VANILLA,
    Curve,
    Executed,
    Explained,
    Modules,
    References,
    short,
)
from mesocosm.studies.interface import Check, Claim, Control, Mean, Reference, above, below, between

TEACHER = "teacher, initialisation and training tasks"
PAPER = frozenset({"paper"})

SEARCHED = pilots("mesocosm.studies.incontext_composition").counts("model")
"""Configurations in search.csv by model."""


def trained(*models: str) -> partial[Check]:
    """A check of trained models, whose pilots count."""
    return partial(Check, judged_at=CPU, replicate=TEACHER, searched=sum(SEARCHED.get(model, 0) for model in models))


of_vanilla, of_hypernet, of_both = trained("vanilla"), trained("hypernet"), trained("vanilla", "hypernet")
of_bottlenecks, given = trained("vanilla", "hypernet", "latent-mlp"), trained("given-code")
untrained = partial(Check, judged_at=ALL, replicate="teacher")

GIVEN = "a hypernetwork that is given the code"
MLP = "an MLP reads the code, in place of the hypernetwork"
RIDGE = "ridge regression on the context"
KNOWN = "training's pairs"
OTHERS = "a probe for other tasks' codes"


def from_figure(value: float) -> Reference:
    """A number read from the paper's vector graphics."""
    return Reference(value, "paper")


CLAIMS = [
    Claim(
        "C1",
        "A vanilla transformer fits training's pairs of modules, with an R² above 0.95, and explains less of unseen pairs, by more than 0.05.",
        source="Fig. 2A",
        checks=[
            of_vanilla(
                "gap",
                Mean("vanilla model, R² on training's pairs minus R² on held-out ones"),
                above(0.05),
                gap(VANILLA),
                Control(RIDGE, ridge_gap()),
                reference=from_figure(0.128),
            ),
            of_vanilla(
                "fits",
                Mean("vanilla model, R² on training's pairs"),
                above(0.95),
                r2(Explained.train, VANILLA),
                Control(RIDGE, ridge(References.train)),
                reference=from_figure(0.998),
            ),
        ],
    ),
    Claim(
        "C2",
        "A transformer with linear attention can express the composition: one head per module and a feed-forward part run any task from its code, "
        "divided by the norm of its weights.",
        source="App. A",
        checks=[against_mutant("C2 construction", "one head fewer", check="construction", of="largest error, float64", tolerance=1e-12)],
    ),
    Claim(
        "C3",
        "After 5000 steps, or 2500 without weight decay (`paper`: 100,000), a transformer that infers a code, which a hypernetwork executes, is ahead of the "
        "vanilla model on unseen pairs by more than 0.05: with the paper's weight decay, with the same coefficient for both, and with none. Its R² there is "
        "less than 0.05 below that on training's pairs.",
        source="Fig. 2A (after 100,000 steps)",
        checks=[
            of_bottlenecks(
                "better",
                Mean("R² on held-out pairs, hypernetwork transformer minus vanilla model (reference: after 5000 steps; after 100,000 it is 0.117)"),
                above(0.05),
                ahead(Explained.held_out, HYPERNET, VANILLA),
                Control(MLP, ahead(Explained.held_out, LATENT_MLP, VANILLA)),
                reference=from_figure(-0.04),
                note=NOTES["C3.better"],
            ),
            of_both(
                "gap",
                Mean("hypernetwork transformer, R² on training's pairs minus R² on held-out ones (reference: after 5000 steps; after 100,000 it is 0.013)"),
                below(0.05),
                gap(HYPERNET),
                Control("vanilla model", gap(VANILLA)),
                reference=from_figure(0.11),
                note=NOTES["C3.gap"],
            ),
            of_bottlenecks(
                "decay",
                Mean("R² on held-out pairs after the short training, hypernetwork transformer minus vanilla model, both without weight decay"),
                above(0.05),
                ahead(Explained.held_out, short("hypernet"), UNDECAYED),
                Control(f"{MLP}, without weight decay", ahead(Explained.held_out, short("latent-mlp"), UNDECAYED)),
                note=NOTES["C3.decay"],
            ),
            of_bottlenecks(
                "both-decay",
                Mean("R² on held-out pairs, hypernetwork transformer minus vanilla model, both with the same coefficient of weight decay"),
                above(0.05),
                ahead(Explained.held_out, DECAYED, VANILLA),
                Control(f"{MLP}, with weight decay", ahead(Explained.held_out, MLP_DECAYED, VANILLA)),
                note=NOTES["C3.both-decay"],
            ),
        ],
    ),
    Claim(
        "C4",
        "The code of unseen pairs can be decoded from the vanilla model's residual stream, with an R² above 0.6, by a probe fitted on training's pairs.",
        source="Fig. 2B",
        checks=[
            of_vanilla(
                "decoded",
                Mean("vanilla model, R² of the code on held-out pairs"),
                above(0.6),
                decoded(VANILLA),
                Control(OTHERS, decoded(VANILLA, Explained.decoded_shuffled)),
                judged_at=PAPER,
                reference=from_figure(0.876),
            )
        ],
    ),
    Claim(
        "C5",
        "The hypernetwork transformer, and a hypernetwork that is given the code, explain less of unseen pairs after training on a disconnected support, by "
        "more than 0.05.",
        source="Fig. 2D",
        checks=[
            of_both(
                "support",
                Mean("hypernetwork transformer, R² on held-out pairs, Connected minus Disconnected"),
                above(0.05),
                support_matters(Explained.held_out, "hypernet"),
                Control("vanilla model", support_matters(Explained.held_out, "vanilla")),
                reference=from_figure(0.124),
                note=NOTES["C5.support"],
            ),
            of_both(
                "same-pairs",
                Mean("the same on the seven pairs that both hold out"),
                above(0.05),
                support_matters(Explained.shared, "hypernet"),
                Control("vanilla model", support_matters(Explained.shared, "vanilla")),
                note=NOTES["C5.same-pairs"],
            ),
            given(
                "given-code",
                Mean("hypernetwork that is given the code, R² on held-out pairs, Connected minus Disconnected"),
                above(0.05),
                support_matters_for_execution(Executed.held_out),
                Control(f"{RIDGE}, which knows neither support", support_matters_for_ridge(References.held_out)),
                judged_at=ALL,
                note=NOTES["C5.given-code"],
            ),
            given(
                "given-code-same-pairs",
                Mean("the same on the seven pairs that both hold out"),
                above(0.05),
                support_matters_for_execution(Executed.shared),
                Control(KNOWN, support_matters_for_execution(Executed.train)),
                judged_at=ALL,
                note=NOTES["C5.given-code-same-pairs"],
            ),
        ],
    ),
    Claim(
        "C6",
        "The setting: masks from Table 1, codes with two entries of 1/2 or more that sum to 3/2, generated weights of norm 1, so that the length of a code has "
        "no effect. A linear hypernetwork can be the teacher, and a code that fits the context explains unseen pairs of modules, with an R² above 0.98.",
        source="Sec. 2, Table 1, Algorithm 1",
        checks=[
            against_mutant("C6 supports", "training's and held-out masks exchanged", check="supports", of="masks that are not in their list of Table 1"),
            against_mutant("C6 codes", "the sampler that divides by 1 + the sum", check="codes", of="largest violation of the laws of codes, float64"),
            against_mutant("C6 norm", "weights divided by their Frobenius norm", check="norm", of="largest distance of a norm from 1, float64", tolerance=1e-5),
            against_mutant("C6 scale", "the sign of a code", check="scale"),
            against_mutant("C6 student", "codes that are not divided by the norm of their weights", check="student"),
            untrained(
                "oracle",
                Mean("R² on held-out pairs, of the code that fits the context best through the teacher's modules"),
                above(0.98),
                oracle(References.held_out),
                Control(RIDGE, ridge(References.held_out)),
            ),
        ],
    ),
    Claim(
        "C7",
        "On training's pairs the hypernetwork transformer has an R² above 0.95, and leaves less than 0.82 of that unexplained which the vanilla model does.",
        source="Figs. 2A, 3 (0.82: after 5000 steps)",
        checks=[
            of_hypernet(
                "fits",
                Mean("hypernetwork transformer, R² on training's pairs"),
                above(0.95),
                r2(Explained.train, HYPERNET),
                Control(RIDGE, ridge(References.train)),
                reference=from_figure(0.9998),
            ),
            of_bottlenecks(
                "smaller",
                Mean("log of what the hypernetwork transformer leaves unexplained on training's pairs over what the vanilla model does"),
                below(-0.2),
                unexplained(HYPERNET, VANILLA),
                Control(MLP, unexplained(LATENT_MLP, VANILLA)),
                reference=from_figure(-2.3),
            ),
        ],
    ),
    Claim(
        "C8",
        "Early in training, the code of unseen pairs can be decoded better from the hypernetwork transformer than from the vanilla model, by more than 0.3; in "
        "the end from both alike, within 0.1.",
        source="Fig. 2B",
        checks=[
            of_both(
                "early",
                Mean("R² of the code on held-out pairs, hypernetwork transformer minus vanilla model"),
                above(0.3),
                decoded_early(HYPERNET).minus(decoded_early(VANILLA)),
                Control(OTHERS, decoded_early(HYPERNET, Curve.decoded_shuffled).minus(decoded_early(VANILLA, Curve.decoded_shuffled))),
                reference=from_figure(0.727),
            ),
            of_both(
                "end",
                Mean("the same at the end"),
                between(-0.1, 0.1),
                decoded(HYPERNET).minus(decoded(VANILLA)),
                Control("early in training", decoded_early(HYPERNET).minus(decoded_early(VANILLA))),
                judged_at=PAPER,
                reference=from_figure(-0.001),
            ),
        ],
    ),
    Claim(
        "C9",
        "On tasks whose modules are not the training tasks', the hypernetwork transformer predicts worse than the mean of the context does; the vanilla "
        "model's R² is higher by more than 0.2.",
        source="Fig. 2C",
        checks=[
            of_hypernet(
                "fails",
                Mean("hypernetwork transformer, R² on unstructured tasks"),
                below(0.0),
                r2(Explained.unstructured, HYPERNET),
                Control(RIDGE, ridge(References.unstructured)),
                reference=from_figure(-0.288),
            ),
            of_both(
                "modest",
                Mean("R² on unstructured tasks, vanilla model minus hypernetwork transformer"),
                above(0.2),
                ahead(Explained.unstructured, VANILLA, HYPERNET),
                Control("held-out pairs", ahead(Explained.held_out, VANILLA, HYPERNET)),
                judged_at=PAPER,
                reference=from_figure(0.449),
            ),
        ],
    ),
    Claim(
        "C10",
        "The vanilla model's R² on unseen pairs is the same after training on a connected and on a disconnected support, within 0.04.",
        source="Fig. 2D",
        checks=[
            trained("vanilla", "given-code")(
                "support",
                Mean("vanilla model, R² on held-out pairs, Connected minus Disconnected"),
                between(-0.04, 0.04),
                support_matters(Explained.held_out, "vanilla"),
                Control(GIVEN, support_matters_for_execution(Executed.held_out)),
                reference=from_figure(0.002),
            ),
            trained("vanilla", "given-code")(
                "same-pairs",
                Mean("the same on the seven pairs that both hold out"),
                between(-0.04, 0.04),
                support_matters(Explained.shared, "vanilla"),
                Control(GIVEN, support_matters_for_execution(Executed.shared)),
            ),
        ],
    ),
    Claim(
        "C11",
        "The units of the hypernetwork transformer's modules are those of its teacher: on average, a teacher's unit has a cosine above 0.9 with one of them.",
        source="Sec. 4 (an interpretation; the paper does not compare modules)",
        checks=[
            of_hypernet(
                "modules",
                Mean("largest cosine of a teacher's unit with a unit of the student, mean over units"),
                above(0.9),
                replicates(Modules.own, trial=HYPERNET),
                Control("another teacher's units", replicates(Modules.foreign, trial=HYPERNET)),
                note=NOTES["C11.modules"],
            )
        ],
    ),
    Claim(
        "C12",
        "The vanilla model's R² on unseen pairs ends below the highest value in the first 30 % of training, by more than 0.01.",
        source="Fig. 2A (read from the curve; the text does not say it)",
        checks=[
            of_both(
                "declines",
                Mean("vanilla model, largest R² on held-out pairs in the first 30 % of training minus the last"),
                above(0.01),
                decline(VANILLA),
                Control("hypernetwork transformer", decline(HYPERNET)),
                judged_at=PAPER,
                reference=from_figure(0.018),
            )
        ],
    ),
    Claim(
        "H1",
        "HYLA in place of softmax attention raises the vanilla model's R² on unseen pairs by more than 0.03.",
        source="our question, not the paper's",
        checks=[
            trained("hyla", "vanilla")(
                "better",
                Mean("R² on held-out pairs after the short training, vanilla model with HYLA minus with softmax attention"),
                above(0.03),
                ahead(Explained.held_out, short("hyla"), short("vanilla")),
                Control("softmax attention without weight decay, in place of HYLA", ahead(Explained.held_out, UNDECAYED, short("vanilla"))),
                note=NOTES["H1.better"],
            )
        ],
    ),
    Claim(
        "H2",
        "A vanilla model that is given the code explains less of unseen pairs than of training's, by more than 0.05; a hypernetwork that is given it, "
        "after a longer training without contexts, does not.",
        source="our question; the paper argues from the probe of C4 that to know the code is not enough",
        checks=[
            trained("told", "given-code")(
                "gap",
                Mean("vanilla model that is given the code, R² on training's pairs minus R² on held-out ones"),
                above(0.05),
                gap(short("told")),
                Control(f"{GIVEN}, Connected+", gap_of_execution()),
            )
        ],
    ),
    Claim(
        "H3",
        "At the best R² on training's pairs that both reach (about 0.96 at `cpu`), interpolated between ends of trainings of several lengths, the hypernetwork "
        "transformer explains more of unseen pairs.",
        source="our question; the paper compares after equal numbers of steps",
        checks=[
            of_bottlenecks(
                "equal-fit",
                Mean("R² on held-out pairs at equal R² on training's pairs, hypernetwork transformer minus vanilla model"),
                above(0.0),
                ahead_at_equal_fit("hypernet", "vanilla"),
                Control(MLP, ahead_at_equal_fit("latent-mlp", "vanilla")),
                note=NOTES["H3.equal-fit"],
            )
        ],
    ),
]
