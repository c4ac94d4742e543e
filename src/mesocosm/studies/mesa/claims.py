"""The papers' claims and their checks. Regions were set from pilots on seeds from 1000 upward (search.csv).

Sources: M is von Oswald et al. (2023); N is von Oswald et al. (2025), in `mesanet_claims.py`.
"""

from functools import partial
from math import log

import polars as pl

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import instances
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Rate, Reference, above, below, between
from mesocosm.studies.mesa import measures
from mesocosm.studies.mesa import mesanet_claims as mesanet
from mesocosm.studies.mesa.algorithm_claims import ALGORITHMS
from mesocosm.studies.mesa.language_claims import LANGUAGE
from mesocosm.studies.mesa.raw_claims import RAW
from mesocosm.studies.mesa.tables import (
    CONTRACTING,
    CONTRACTING_DEEPEST,
    CONTRACTING_MESA,
    CONTRACTING_WIDE,
    DEEPEST,
    EVERY_DEPTH,
    FIXED,
    FIXED_SYSTEM,
    FRESH_SYSTEMS,
    LINEAR,
    MESA,
    WIDE,
    Interpolation,
    Probes,
    Series,
    linear,
)

NET = "initialisation and training sequences"

# Number of configurations in search.csv, by what they trained.
TRIED = pilots("mesocosm.studies.mesa")
ORTHOGONAL = {"source": "orthogonal", "kind": "linear"}
SEARCHED = {
    "one layer": TRIED.count(layers=1, **ORTHOGONAL),
    "fixed system": TRIED.count(source="fixed"),
    "deep": TRIED.count(pl.col("layers") > 1, **ORTHOGONAL),
    "mesa": TRIED.count(source="orthogonal", kind="mesa"),
    "contracting": TRIED.count(source="contracting"),
    "polynomial": TRIED.count(kind="polynomial"),
}
HEADS = "heads instead of layers: one layer with 4 heads"
STORED = "one system for all sequences, which weights can store"
SHUFFLED = "the same quantity of another sequence"


# Arguments shared by similar checks.
one_layer = partial(Check, judged_at=ALL, replicate=NET, searched=SEARCHED["one layer"])
of_compressed = partial(Check, judged_at=CPU, replicate=NET, searched=SEARCHED["one layer"])
deep = partial(Check, judged_at=CPU, replicate=NET, searched=SEARCHED["deep"])
mesa = partial(Check, judged_at=ALL, replicate=NET, searched=SEARCHED["mesa"])
contracting = partial(Check, judged_at=CPU, replicate=NET, searched=SEARCHED["contracting"])
one_system = partial(Check, judged_at=CPU, replicate=f"the system, {NET}", searched=SEARCHED["fixed system"])

CLAIMS = [
    Claim(
        "C1",
        "One head of causal linear attention with explicit weights takes a full-batch gradient step on the in-context least-squares loss at all positions.",
        source="M, Prop. 1",
        checks=[against_mutant("C1", "the newest pair is dropped")],
    ),
    Claim(
        "C2",
        "A trained layer of linear attention reaches the loss of one line-searched gradient step and has its weights.",
        source="M, Fig. 3B, 4A, 4C",
        checks=[
            one_layer(
                "loss",
                Mean("log ratio of test losses, network over gradient step"),
                between(-0.03, 0.03),
                measures.versus_step(LINEAR),
                Control(STORED, measures.versus_step(FIXED)),
                reference=Reference(log(0.894 / 0.900), "paper"),
            ),
            one_layer(
                "blocks",
                Mean("largest weight block off the pattern of gradient descent, as a fraction of the block on it"),
                below(0.15),
                measures.off_pattern(LINEAR),
                Control(STORED, measures.off_pattern(FIXED)),
            ),
            one_layer(
                "step-size",
                Mean("log ratio of step sizes, in the weights over line-searched"),
                between(-0.15, 0.15),
                measures.step_size_ratio(LINEAR),
                Control(STORED, measures.step_size_ratio(FIXED)),
            ),
        ],
    ),
    Claim(
        "C3",
        "One number for each block of the weight products keeps the loss; averaging with this compression is almost lossless during a second training.",
        source="M, Fig. 4A, 4B",
        checks=[
            of_compressed(
                "compressed",
                Mean("log ratio of test losses, compressed over whole network"),
                below(log(1.02)),
                measures.compressed(LINEAR),
                Control("without the blocks that ask for the previous state", measures.compressed_mutant(LINEAR)),
            ),
            of_compressed(
                "interpolated",
                Rate("test loss of the average below 1.02 times the network's after the first sixth of the second training"),
                above(0.5),
                measures.second_run(Interpolation.versus_network),
                Control("the same numbers in other blocks", measures.second_run(Interpolation.mutant)),
                note="A second training, at twice the learning rate, may pass through a state in which the average is somewhat worse than the network.",
            ),
            deep(
                "deep",
                Mean("log ratio of test losses, compressed over whole deepest network"),
                below(log(1.1)),
                measures.compressed(DEEPEST),
                Control("without the blocks that ask for the previous state", measures.compressed_mutant(DEEPEST)),
            ),
        ],
    ),
    Claim(
        "C4",
        "Layers of linear attention compute truncated series for the inverse Gram matrix times the input at all positions; the error falls with each.",
        source="M, Prop. 2",
        checks=[
            against_mutant("C4", "the mask shifted by one token"),
            Check(
                "falls",
                Every("smallest fall of log10 error from one step to the next, six steps"),
                above(0.0),
                instances(Series.smallest_fall),
                Control("norm too small for the series to converge", instances(Series.mutant)),
                judged_at=ALL,
                replicate="a random instance",
            ),
            Check(
                "learned",
                Mean("log ratio of test losses, learned polynomial over Neumann series, both of six steps"),
                below(log(0.8)),
                measures.learned_over_neumann(6, 6),
                Control("learned, but of one step", measures.learned_over_neumann(1, 6)),
                judged_at=CPU,
                replicate="minibatches of the polynomial's training",
                searched=SEARCHED["polynomial"],
            ),
        ],
    ),
    Claim(
        "C5",
        "Loss falls with depth; six layers match the tuned six-step algorithm of Prop. 2; a single mesa layer beats all of them.",
        source="M, Fig. 4B-D",
        checks=[
            deep(
                "two",
                Mean("log ratio of test losses, two layers over one"),
                below(log(0.8)),
                measures.ratio(linear(2), LINEAR),
                Control(HEADS, measures.ratio(WIDE, LINEAR)),
                reference=Reference(log(0.430 / 0.894), "paper"),
            ),
            deep(
                "four",
                Mean("log ratio of test losses, four layers over two"),
                below(log(0.8)),
                measures.ratio(linear(4), linear(2)),
                Control(HEADS, measures.ratio(WIDE, LINEAR)),
                reference=Reference(log(0.236 / 0.430), "paper"),
            ),
            deep(
                "six",
                Mean("log ratio of test losses, six layers over the learned six-step polynomial"),
                between(log(1 / 1.15), log(1.15)),
                measures.over_polynomial(linear(6), 6),
                Control("two layers", measures.over_polynomial(linear(2), 6)),
                reference=Reference(log(0.216 / 0.234), "paper"),
            ),
            deep(
                "late",
                Mean("log ratio of the deepest network's test losses, last fifth of the positions over the fifth before"),
                below(0.0),
                measures.late_rise(DEEPEST),
                Control("two layers, whose loss rises late in the paper, too", measures.late_rise(linear(2))),
                note="The loss of nine networks falls by a tenth, that of one rises threefold: on a rare sequence, its layers overshoot.",
                reference=Reference(log(0.009 / 0.011), "derived"),
            ),
            deep(
                "late-four",
                Mean("log ratio of test losses over the last fifth of the positions, four layers over two"),
                below(log(0.5)),
                measures.late_ratio(linear(4), linear(2)),
                Control(HEADS, measures.late_ratio(WIDE, LINEAR)),
                reference=Reference(log(0.016 / 0.242), "derived"),
            ),
            mesa(
                "mesa-one",
                Mean("log ratio of test losses, one mesa layer over one layer of linear attention"),
                below(log(0.5)),
                measures.ratio(MESA, LINEAR),
                Control("without the solve: linear attention with 4 heads", measures.ratio(WIDE, LINEAR)),
                reference=Reference(log(0.190 / 0.894), "paper"),
            ),
            mesa(
                "mesa-optimum",
                Mean("log ratio of test losses, one mesa layer over ridge regression"),
                below(log(1.25)),
                measures.versus_ridge(MESA),
                Control("without the solve: linear attention with 4 heads", measures.versus_ridge(WIDE)),
                reference=Reference(log(0.190 / 0.186), "derived"),
            ),
            mesa(
                "mesa-all",
                Mean("log ratio of test losses, one mesa layer over the best network of linear attention"),
                below(0.0),
                measures.best_of(EVERY_DEPTH, MESA),
                Control("without the solve: linear attention with 4 heads", measures.best_of(EVERY_DEPTH, WIDE)),
                judged_at=CPU,
                reference=Reference(log(0.190 / 0.216), "paper"),
            ),
        ],
    ),
    Claim(
        "C6",
        "The next state and the preconditioned input become linearly decodable with depth, the next state also with context.",
        source="M, Fig. 4E, 4F",
        checks=[
            deep(
                "target",
                Mean("log ratio of held-out probe losses for the next state at position 45, last layer over first"),
                below(log(0.25)),
                measures.probe_change(Probes.target, measures.target_position, 1),
                Control(SHUFFLED, measures.probe_change(Probes.shuffled_target, measures.target_position, 1)),
                reference=Reference(log(0.008 / 0.50), "paper"),
            ),
            deep(
                "preconditioning",
                Mean("log ratio of held-out probe losses for the preconditioned input at position 20, last layer over input"),
                below(log(0.4)),
                measures.probe_change(Probes.preconditioned, measures.preconditioning_position, 0),
                Control(SHUFFLED, measures.probe_change(Probes.shuffled_preconditioned, measures.preconditioning_position, 0)),
                note="The preconditioned input is best decodable half way; later layers overwrite it, which those of the paper's networks do not.",
                reference=Reference(log(0.0032 / 0.054), "paper"),
            ),
            deep(
                "preconditioning-four",
                Mean("the same in four layers"),
                below(log(0.4)),
                measures.probe_change(Probes.preconditioned, measures.preconditioning_position, 0, linear(4)),
                Control(SHUFFLED, measures.probe_change(Probes.shuffled_preconditioned, measures.preconditioning_position, 0, linear(4))),
            ),
            deep(
                "context",
                Mean("rank correlation of position and held-out probe loss for the next state, last layer"),
                below(-0.8),
                measures.probe_by_context(Probes.target),
                Control(SHUFFLED, measures.probe_by_context(Probes.shuffled_target)),
                note="Decodability improves over most of the sequence, then worsens in networks whose activations grow along it.",
            ),
        ],
    ),
    Claim(
        "C14",
        "The same holds for contracting systems: one layer is one gradient step, depth and the mesa layer improve on it, and probes improve with depth.",
        source="M, Fig. 11",
        checks=[
            contracting(
                "loss",
                Mean("log ratio of test losses, network over gradient step"),
                between(-0.05, 0.05),
                measures.versus_step(CONTRACTING),
                Control(STORED, measures.versus_step(FIXED)),
            ),
            contracting(
                "depth",
                Mean("log ratio of test losses, deepest network over one layer"),
                below(log(0.9)),
                measures.ratio(CONTRACTING_DEEPEST, CONTRACTING),
                Control(HEADS, measures.ratio(CONTRACTING_WIDE, CONTRACTING)),
            ),
            contracting(
                "mesa",
                Mean("log ratio of test losses, one mesa layer over one layer of linear attention"),
                below(log(0.9)),
                measures.ratio(CONTRACTING_MESA, CONTRACTING),
                Control("without the solve: linear attention with 4 heads", measures.ratio(CONTRACTING_WIDE, CONTRACTING)),
            ),
            contracting(
                "mesa-all",
                Mean("log ratio of test losses, one mesa layer over the deepest network of linear attention"),
                below(0.0),
                measures.ratio(CONTRACTING_MESA, CONTRACTING_DEEPEST),
                Control("without the solve: linear attention with 4 heads", measures.ratio(CONTRACTING_WIDE, CONTRACTING_DEEPEST)),
                reference=Reference(log(0.023 / 0.041), "derived"),
            ),
            contracting(
                "target",
                Mean("log ratio of held-out probe losses for the next state at position 20, last layer over first"),
                below(log(0.8)),
                measures.probe_change(Probes.target, measures.preconditioning_position, 1, CONTRACTING_DEEPEST),
                Control(SHUFFLED, measures.probe_change(Probes.shuffled_target, measures.preconditioning_position, 1, CONTRACTING_DEEPEST)),
                note="The probe improves with depth in most networks, in some of them hardly: they are trained for a fraction of the paper's sequences.",
            ),
        ],
    ),
    Claim(
        "C15",
        "With one system for all sequences the mechanism does not appear: one layer is far below a gradient step, and its weights have no structure.",
        source="M, Fig. 12",
        checks=[
            one_system(
                "loss",
                Mean("log ratio of test losses, network over gradient step"),
                below(log(0.3)),
                measures.versus_step(FIXED_SYSTEM),
                Control("a new system for each sequence", measures.versus_step(FRESH_SYSTEMS)),
                reference=Reference(log(0.11 / 0.91), "paper"),
            ),
            one_system(
                "blocks",
                Mean("largest weight block off the pattern of gradient descent, as a fraction of the block on it"),
                above(0.5),
                measures.off_pattern(FIXED_SYSTEM),
                Control("a new system for each sequence", measures.off_pattern(FRESH_SYSTEMS)),
            ),
        ],
    ),
    Claim(
        "C16",
        "The mesa layer's recursion equals the ridge solution at every step, and its gradient needs memory quadratic in the key size only.",
        source="M, App. B, C",
        checks=[
            against_mutant("C16 forward", "the newest pair is dropped", check="forward", evidence="implementation"),
            against_mutant("C16 backward", "c_ts from e* in place of e, as one may read the print", check="backward", evidence="implementation"),
        ],
    ),
    *RAW,
    *ALGORITHMS,
    *mesanet.JUDGED,
    *LANGUAGE,
    *mesanet.UNJUDGED,
]
