"""The paper's claims and their checks. Regions come from the paper's figures and from the specification; pilots are in search.csv."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import replicates
from mesocosm.claims.pilots import pilots
from mesocosm.studies.incontext_composition.measures import (
    ahead,
    ahead_at_equal_fit,
    decline,
    gap,
    gap_of_execution,
    oracle,
    r2,
    ridge,
    ridge_gap,
    support_matters,
    support_matters_for_execution,
    told,
    told_early,
    told_untrained,
    unexplained,
)
from mesocosm.studies.incontext_composition.tables import (
    DECAYED,
    HYLA,
    HYPERNET,
    LATENT_MLP,
    TOLD,
    UNDECAYED,
    VANILLA,
    Executed,
    Explained,
    Modules,
    References,
)
from mesocosm.studies.interface import Check, Claim, Control, Mean, Reference, above, below, between

TEACHER = "teacher, initialisation and training tasks"
PAPER = frozenset({"paper"})

SEARCHED = pilots("mesocosm.studies.incontext_composition").count()
"""Configurations in search.csv."""

judged = partial(Check, judged_at=CPU, replicate=TEACHER, searched=SEARCHED)
untrained = partial(Check, judged_at=ALL, replicate="teacher")

GIVEN = "a hypernetwork that is given the code"
MLP = "an MLP reads the code, in place of the hypernetwork"
RIDGE = "ridge regression on the context"


EARLY = "So early in training the vanilla model is ahead in the paper, too: by 0.04 after 5000 of its steps, which are eight times as large."


def from_figure(value: float) -> Reference:
    """A number read from the paper's vector graphics."""
    return Reference(value, "paper")


CLAIMS = [
    Claim(
        "C1",
        "A vanilla transformer fits training's pairs of modules but does not generalise to unseen pairs.",
        source="Fig. 2A",
        checks=[
            judged(
                "gap",
                Mean("vanilla model, R² on training's pairs minus R² on held-out ones"),
                above(0.05),
                gap(VANILLA),
                Control(RIDGE, ridge_gap()),
                reference=from_figure(0.128),
            ),
            judged(
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
        "A transformer with linear attention can express the composition: one head per module and a feed-forward part run any task from its code.",
        source="App. A",
        checks=[against_mutant("C2 construction", "one head fewer", check="construction", of="largest error, float64", tolerance=1e-12)],
    ),
    Claim(
        "C3",
        "With a bottleneck between the inference of a code and its execution by a hypernetwork, the transformer generalises to unseen pairs.",
        source="Fig. 2A",
        checks=[
            judged(
                "better",
                Mean("R² on held-out pairs, hypernetwork transformer minus vanilla model"),
                above(0.05),
                ahead(Explained.held_out, HYPERNET, VANILLA),
                Control(MLP, ahead(Explained.held_out, LATENT_MLP, VANILLA)),
                reference=from_figure(0.117),
                note=EARLY,
            ),
            judged(
                "gap",
                Mean("hypernetwork transformer, R² on training's pairs minus R² on held-out ones"),
                below(0.05),
                gap(HYPERNET),
                Control("vanilla model", gap(VANILLA)),
                reference=from_figure(0.013),
                note="The paper's model has a gap of 0.11 after 5000 steps and of 0.03 after 20,000. Here the modules are not found yet (C11).",
            ),
            judged(
                "equal-fit",
                Mean("R² on held-out pairs where both fit training's pairs equally well, hypernetwork transformer minus vanilla model"),
                above(0.0),
                ahead_at_equal_fit("hypernet", "vanilla"),
                Control(MLP, ahead_at_equal_fit("latent-mlp", "vanilla")),
                note=(
                    "The vanilla model is ahead at this fit (0.96) in the paper's curves too, but by 0.04 only; the order changes at a fit of 0.975. The "
                    "hypernetwork transformer reaches it after 1200 to 2300 steps, at a high learning rate, the vanilla model with its last: part of the "
                    "difference is that."
                ),
            ),
            judged(
                "decay",
                Mean("R² on held-out pairs, hypernetwork transformer minus vanilla model without weight decay"),
                above(0.05),
                ahead(Explained.held_out, HYPERNET, UNDECAYED),
                Control(MLP, ahead(Explained.held_out, LATENT_MLP, UNDECAYED)),
                note=f"{EARLY} Weight decay makes no difference to the vanilla model at this length.",
            ),
            judged(
                "both-decay",
                Mean("R² on held-out pairs, hypernetwork transformer with weight decay minus vanilla model"),
                above(0.05),
                ahead(Explained.held_out, DECAYED, VANILLA),
                Control(MLP, ahead(Explained.held_out, LATENT_MLP, VANILLA)),
                note=(
                    "Weight decay helps the hypernetwork transformer on all ten teachers (0.89 with it, 0.85 without), but not enough at this length. "
                    "The MLP of the control has none."
                ),
            ),
        ],
    ),
    Claim(
        "C4",
        "The vanilla model infers the task: the code of unseen pairs can be decoded from its residual stream by a probe that was fitted on training's pairs.",
        source="Fig. 2B",
        checks=[
            judged(
                "decoded",
                Mean("vanilla model, R² of the code on held-out pairs"),
                above(0.6),
                told(VANILLA),
                Control("a probe for other tasks' codes", told(VANILLA, Explained.shuffled)),
                judged_at=PAPER,
                reference=from_figure(0.876),
            )
        ],
    ),
    Claim(
        "C5",
        "The hypernetwork transformer needs a connected support.",
        source="Fig. 2D",
        checks=[
            judged(
                "support",
                Mean("hypernetwork transformer, R² on held-out pairs, Connected minus Disconnected"),
                above(0.05),
                support_matters(Explained.held_out, "hypernet"),
                Control("vanilla model", support_matters(Explained.held_out, "vanilla")),
                reference=from_figure(0.124),
                note="After a three-hundredth of the paper's tasks, with R² on held-out pairs of 0.62; given the code (C5.given-code), the support matters.",
            ),
            judged(
                "same-pairs",
                Mean("the same on the seven pairs that both hold out"),
                above(0.05),
                support_matters(Explained.shared, "hypernet"),
                Control("training's pairs", support_matters(Explained.train, "hypernet")),
                note="Neither the code of held-out pairs (R² 0.48 and 0.44) nor the modules (cosine 0.38, by chance 0.24) are found after 2500 steps.",
            ),
            judged(
                "given-code",
                Mean("hypernetwork that is given the code, R² on held-out pairs, Connected minus Disconnected"),
                above(0.05),
                support_matters_for_execution(Executed.held_out),
                Control("training's pairs", support_matters_for_execution(Executed.train)),
                judged_at=ALL,
            ),
        ],
    ),
    Claim(
        "C6",
        "The setting: teachers with six modules and one generated layer of norm 1, codes of two active modules, three supports.",
        source="Sec. 2, Table 1, Algorithm 1",
        checks=[
            against_mutant("C6 supports", "training's and held-out masks exchanged", check="supports", of="masks that are not in their list of Table 1"),
            against_mutant("C6 codes", "the sampler that divides by 1 + the sum", check="codes", of="largest violation of the laws of codes, float64"),
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
        "On training's pairs both models solve the task, the vanilla model less well.",
        source="Figs. 2A, 3",
        checks=[
            judged(
                "fits",
                Mean("hypernetwork transformer, R² on training's pairs"),
                above(0.95),
                r2(Explained.train, HYPERNET),
                Control(RIDGE, ridge(References.train)),
                reference=from_figure(0.9998),
            ),
            judged(
                "smaller",
                Mean("log of what the hypernetwork transformer leaves unexplained on training's pairs over what the vanilla model does"),
                below(0.0),
                unexplained(HYPERNET, VANILLA),
                Control(MLP, unexplained(LATENT_MLP, VANILLA)),
                reference=from_figure(-2.3),
            ),
        ],
    ),
    Claim(
        "C8",
        "The code can be decoded from both models equally well in the end, but early in training only from the hypernetwork transformer.",
        source="Fig. 2B",
        checks=[
            judged(
                "early",
                Mean("R² of the code on held-out pairs, hypernetwork transformer minus vanilla model"),
                above(0.3),
                told_early(HYPERNET).minus(told_early(VANILLA)),
                Control("before training", told_untrained(HYPERNET).minus(told_untrained(VANILLA))),
                reference=from_figure(0.727),
            ),
            judged(
                "end",
                Mean("the same at the end"),
                between(-0.1, 0.1),
                told(HYPERNET).minus(told(VANILLA)),
                Control("early in training", told_early(HYPERNET).minus(told_early(VANILLA))),
                judged_at=PAPER,
                reference=from_figure(-0.001),
            ),
        ],
    ),
    Claim(
        "C9",
        "On tasks whose modules are not the training tasks', the hypernetwork transformer fails; the vanilla model does modestly.",
        source="Fig. 2C",
        checks=[
            judged(
                "fails",
                Mean("hypernetwork transformer, R² on unstructured tasks"),
                below(0.0),
                r2(Explained.unstructured, HYPERNET),
                Control(RIDGE, ridge(References.unstructured)),
                reference=from_figure(-0.288),
            ),
            judged(
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
        "The vanilla model does as well on a disconnected support.",
        source="Fig. 2D",
        checks=[
            judged(
                "support",
                Mean("vanilla model, R² on held-out pairs, Connected minus Disconnected"),
                between(-0.04, 0.04),
                support_matters(Explained.held_out, "vanilla"),
                Control(GIVEN, support_matters_for_execution(Executed.held_out)),
                reference=from_figure(0.002),
            ),
            judged(
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
        "The bottleneck leads to the discovery of the teacher's modules.",
        source="Sec. 4 (an interpretation; the paper does not compare modules)",
        checks=[
            judged(
                "modules",
                Mean("largest cosine of a teacher's unit with a unit of the student, mean over units"),
                above(0.9),
                replicates(Modules.own, trial=HYPERNET),
                Control("another teacher's units", replicates(Modules.foreign, trial=HYPERNET)),
                note="The student's units are closer to its own teacher's than to another's, but far from being them.",
            )
        ],
    ),
    Claim(
        "C12",
        "The vanilla model's R² on held-out pairs is highest early in training and declines.",
        source="Fig. 2A (read from the curve; the text does not say it)",
        checks=[
            judged(
                "declines",
                Mean("vanilla model, largest R² on held-out pairs in the first 30 % of training minus the last"),
                above(0.0),
                decline(VANILLA),
                Control("hypernetwork transformer", decline(HYPERNET)),
                judged_at=PAPER,
                reference=from_figure(0.018),
            )
        ],
    ),
    Claim(
        "H1",
        "HYLA in place of attention closes the gap to the hypernetwork transformer.",
        source="our question, not the paper's",
        checks=[
            judged(
                "better",
                Mean("R² on held-out pairs, vanilla model with HYLA minus with softmax attention"),
                above(0.03),
                ahead(Explained.held_out, HYLA, VANILLA),
                Control("softmax attention without weight decay, in place of HYLA", ahead(Explained.held_out, UNDECAYED, VANILLA)),
                note="HYLA fits training's pairs less well, too (0.87 against 0.96 after 5000 steps), so the two are not compared at equal fit.",
            )
        ],
    ),
    Claim(
        "H2",
        "To know the code is not enough: a vanilla model that is given it does not generalise to unseen pairs either.",
        source="our question; the paper argues it from the probe of C4",
        checks=[
            judged(
                "gap",
                Mean("vanilla model that is given the code, R² on training's pairs minus R² on held-out ones"),
                above(0.05),
                gap(TOLD),
                Control(f"{GIVEN}, Connected+", gap_of_execution()),
            )
        ],
    ),
]
