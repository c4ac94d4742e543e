"""What the two papers say, and what would show that it is wrong. Regions were set from pilots on seeds from 1000 on (results/mesa/search.csv).

Sources: M is von Oswald et al. (2023), N is von Oswald et al. (2025).
"""

from functools import partial
from math import log

import numpy as np

from mesocosm.claims.forms import ALL, CPU, against_mutant, unjudged
from mesocosm.claims.replicates import Instances
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Reference, above, below, between
from mesocosm.studies.mesa.measures import (
    best_of,
    column,
    contracting_deepest,
    deepest,
    identity,
    late_over_early,
    loss,
    polynomial,
    preconditioning_position,
    probe_by_context,
    probe_change,
    ratio,
    second_run,
    step_size_ratio,
    stopping,
    target_position,
    versus,
)

NET = "initialisation and training sequences"

# Configurations in results/mesa/search.csv, by what they trained; a test counts them.
ONE_LAYER, FIXED_SYSTEM, DEEP, MESA, CONTRACTING = 15, 22, 27, 4, 10
WIDE = "heads instead of layers: one layer with 4 heads"
FIXED = "one system for all sequences, which weights can store"
SHUFFLED = "the same quantity of another sequence"


# What checks of one kind share.
exact = partial(against_mutant, identity)
one_layer = partial(Check, judged_at=ALL, replicate=NET, searched=ONE_LAYER)
compressed = partial(Check, judged_at=CPU, replicate=NET, searched=ONE_LAYER)
deep = partial(Check, judged_at=CPU, replicate=NET, searched=DEEP)
mesa = partial(Check, judged_at=ALL, replicate=NET, searched=MESA)
contracting = partial(Check, judged_at=CPU, replicate=NET, searched=CONTRACTING)
one_system = partial(Check, judged_at=ALL, replicate=f"the system, {NET}", searched=FIXED_SYSTEM)
stopped = partial(Check, judged_at=CPU, replicate="tokens, gates and regulariser")

SIZE = "needs language models of a size that this bench does not train"

CLAIMS = [
    Claim(
        "C1",
        "One head of causal linear attention with explicit weights takes a full-batch gradient step on the in-context least-squares loss at all positions.",
        source="M, Prop. 1",
        checks=[exact("C1", "the newest pair is dropped")],
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
                versus("step", "linear-1"),
                Control(FIXED, versus("step", "linear-1-fixed")),
                reference=Reference(log(0.894 / 0.900), "paper"),
            ),
            one_layer(
                "blocks",
                Mean("largest weight block off the pattern of gradient descent, as a fraction of the block on it"),
                below(0.15),
                column("pattern", "linear-1", "off_pattern"),
                Control(FIXED, column("pattern", "linear-1-fixed", "off_pattern")),
            ),
            one_layer(
                "step-size",
                Mean("log ratio of step sizes, in the weights over line-searched"),
                between(-0.15, 0.15),
                step_size_ratio("linear-1"),
                Control(FIXED, step_size_ratio("linear-1-fixed")),
            ),
        ],
    ),
    Claim(
        "C3",
        "One number for each block of the weight products keeps the loss; averaging with this compression is almost lossless during a second training.",
        source="M, Fig. 4A, 4B",
        checks=[
            compressed(
                "compressed",
                Mean("log ratio of test losses, compressed over whole network"),
                below(log(1.02)),
                column("compressed", "linear-1", "versus_network", "versus_network_error"),
                Control("without the blocks that ask for the previous state", column("compressed", "linear-1", "mutant", "mutant_error")),
            ),
            compressed(
                "interpolated",
                Mean("largest log ratio of test losses over the second training, averaged over whole network"),
                below(log(1.02)),
                second_run("interpolated"),
                Control("the same numbers in other blocks", second_run("shuffled")),
            ),
            deep(
                "deep",
                Mean("log ratio of test losses, compressed over whole deepest network"),
                below(log(1.1)),
                lambda view: column("compressed", deepest(view), "versus_network", "versus_network_error")(view),
                Control("without the blocks that ask for the previous state", lambda view: column("compressed", deepest(view), "mutant", "mutant_error")(view)),
            ),
        ],
    ),
    Claim(
        "C4",
        "Layers of linear attention compute truncated series for the inverse Gram matrix times the input at all positions; the error falls with each.",
        source="M, Prop. 2",
        checks=[
            exact("C4", "the mask shifted by one token"),
            Check(
                "falls",
                Every("smallest fall of log10 error from one step to the next, six steps"),
                above(0.0),
                lambda view: Instances.of(view.table("series"), "smallest_fall"),
                Control("norm too small for the series to converge", lambda view: Instances.of(view.table("series"), "mutant")),
                judged_at=ALL,
                replicate="a random instance",
            ),
            Check(
                "learned",
                Mean("log ratio of test losses, learned polynomial over Neumann series, both of six steps"),
                below(log(0.8)),
                lambda view: polynomial(view, "learned", 6).log_ratio(polynomial(view, "neumann", 6)),
                Control("learned, but of one step", lambda view: polynomial(view, "learned", 1).log_ratio(polynomial(view, "neumann", 6))),
                judged_at=CPU,
                replicate="minibatches of the polynomial's training",
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
                ratio("linear-2", "linear-1"),
                Control(WIDE, ratio("linear-1-wide", "linear-1")),
                reference=Reference(log(0.430 / 0.894), "paper"),
            ),
            deep(
                "four",
                Mean("log ratio of test losses, four layers over two"),
                below(log(0.8)),
                ratio("linear-4", "linear-2"),
                Control(WIDE, ratio("linear-1-wide", "linear-1")),
                reference=Reference(log(0.236 / 0.430), "paper"),
            ),
            deep(
                "six",
                Mean("log ratio of test losses, six layers over the learned six-step polynomial"),
                between(log(1 / 1.15), log(1.15)),
                lambda view: loss(view, "linear-6").log_ratio(polynomial(view, "learned", 6), same_data=False),
                Control(
                    "two layers",
                    lambda view: loss(view, "linear-2").log_ratio(polynomial(view, "learned", 6), same_data=False),
                ),
                reference=Reference(log(0.216 / 0.234), "paper"),
            ),
            mesa(
                "mesa-one",
                Mean("log ratio of test losses, one mesa layer over one layer of linear attention"),
                below(log(0.5)),
                ratio("mesa-1", "linear-1"),
                Control("without the solve: linear attention with 4 heads", ratio("linear-1-wide", "linear-1")),
                reference=Reference(log(0.190 / 0.894), "paper"),
            ),
            mesa(
                "mesa-optimum",
                Mean("log ratio of test losses, one mesa layer over ridge regression"),
                below(log(1.25)),
                versus("ridge", "mesa-1"),
                Control("without the solve: linear attention with 4 heads", versus("ridge", "linear-1-wide")),
                reference=Reference(log(0.190 / 0.186), "derived"),
            ),
            Check(
                "mesa-all",
                Mean("log ratio of test losses, one mesa layer over the best network of linear attention"),
                below(0.0),
                best_of(lambda view: ["linear-1", *(f"linear-{depth}" for depth in view.config.depths)], "mesa-1"),
                Control(
                    "without the solve: linear attention with 4 heads",
                    best_of(lambda view: ["linear-1", *(f"linear-{depth}" for depth in view.config.depths)], "linear-1-wide"),
                ),
                judged_at=CPU,
                replicate=NET,
                searched=MESA,
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
                probe_change("target", target_position, 1),
                Control(SHUFFLED, probe_change("shuffled_target", target_position, 1)),
                reference=Reference(log(0.008 / 0.50), "paper"),
            ),
            deep(
                "preconditioning",
                Mean("log ratio of held-out probe losses for the preconditioned input at position 20, last layer over input"),
                below(log(0.4)),
                probe_change("preconditioned", preconditioning_position, 0),
                Control(SHUFFLED, probe_change("shuffled_preconditioned", preconditioning_position, 0)),
                reference=Reference(log(0.0032 / 0.054), "paper"),
            ),
            deep(
                "context",
                Mean("rank correlation of position and held-out probe loss for the next state, last layer"),
                below(-0.8),
                probe_by_context("target"),
                Control(SHUFFLED, probe_by_context("shuffled_target")),
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
                versus("step", "contracting-1"),
                Control(FIXED, versus("step", "linear-1-fixed")),
            ),
            contracting(
                "depth",
                Mean("log ratio of test losses, deepest network over one layer"),
                below(log(0.9)),
                lambda view: ratio(contracting_deepest(view), "contracting-1")(view),
                Control(WIDE, ratio("contracting-1-wide", "contracting-1")),
            ),
            contracting(
                "mesa",
                Mean("log ratio of test losses, one mesa layer over one layer of linear attention"),
                below(log(0.9)),
                ratio("contracting-mesa-1", "contracting-1"),
                Control("without the solve: linear attention with 4 heads", ratio("contracting-1-wide", "contracting-1")),
            ),
            contracting(
                "target",
                Mean("log ratio of held-out probe losses for the next state at position 20, last layer over first"),
                below(log(0.8)),
                probe_change("target", preconditioning_position, 1, contracting_deepest),
                Control(SHUFFLED, probe_change("shuffled_target", preconditioning_position, 1, contracting_deepest)),
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
                versus("step", "fixed-system"),
                Control("a new system for each sequence", versus("step", "fresh-systems")),
                reference=Reference(log(0.11 / 0.91), "paper"),
            ),
            one_system(
                "blocks",
                Mean("largest weight block off the pattern of gradient descent, as a fraction of the block on it"),
                above(0.5),
                column("pattern", "fixed-system", "off_pattern"),
                Control("a new system for each sequence", column("pattern", "fresh-systems", "off_pattern")),
            ),
        ],
    ),
    Claim(
        "C16",
        "The mesa layer's recursion equals the ridge solution at every step, and its gradient needs memory quadratic in the key size only.",
        source="M, App. B, C",
        checks=[
            exact("C16 forward", "the newest pair is dropped", check="forward"),
            exact("C16 backward", "c_ts from e* in place of e, as one may read the print", check="backward"),
        ],
    ),
    Claim(
        "N1",
        "The gated mesa layer with a constant regulariser is computed in chunks by conjugate gradients whose products are gated linear attention.",
        source="N, Sec. 3",
        checks=[exact("N1", "the mask shifted by one token")],
    ),
    Claim(
        "N2",
        "The backward pass of the gated mesa layer has a closed form, for all inputs, gates and the regulariser.",
        source="N, App. D",
        checks=[exact("N2", "c_ts from e* in place of e, as one may read the print")],
    ),
    Claim(
        "N3",
        "k solver steps cost O(k n^2) a token for key size n, and none at all is gated linear attention.",
        source="N, Sec. 3",
        checks=[
            exact("N3", "one step is taken", check="zero-steps"),
            Check(
                "cost",
                Every("exponent of operations a token and step between key sizes 16, 32, 64, 128"),
                below(2.2),
                lambda view: Instances.of(view.table("solver_cost"), "exponent", exhaustive=True),
                Control("a step of Newton and Schulz for each token", lambda view: Instances.of(view.table("solver_cost"), "mutant", exhaustive=True)),
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
                lambda view: stopping(1e-4, "error")(view).map(np.log10),
                Control("tolerance 0.1", lambda view: stopping(1e-1, "error")(view).map(np.log10)),
            ),
            stopped(
                "steps",
                Mean("mean solver steps a token at tolerance 1e-4", "steps"),
                below(15.0),
                stopping(1e-4, "steps"),
                Control("a hundredth of the regulariser", stopping(1e-4, "steps", "regulariser / 100")),
                reference=Reference(9.0, "paper"),
            ),
            stopped(
                "uniform",
                Mean("log ratio of relative output errors at tolerance 0.01, last quarter of the sequence over first"),
                between(-0.2, 0.2),
                late_over_early("stopping_by_quarter", tolerance=1e-2),
                Control("four steps for every token", late_over_early("fixed_steps_by_quarter", steps=4)),
            ),
        ],
    ),
    unjudged("C7", "First layers bind current and previous token.", "M, Fig. 2, 3A, 14-17, 21-23", "softmax networks on raw tokens are not on the bench yet"),
    unjudged("C8", "Later softmax layers can be replaced by distilled linear attention.", "M, Fig. 5A, 19", "distillation is not on the bench yet"),
    unjudged("C9", "Softmax-kernel regression suffers from dimension, least squares not.", "M, Fig. 5B, 20", "the dimension sweep is not on the bench yet"),
    unjudged(
        "C10", "C6 holds for softmax networks on all three tasks.", "M, Fig. 6, 24, 25", "softmax networks and the other two tasks are not on the bench yet"
    ),
    unjudged("C11", "A softmax layer and a mesa layer match seven softmax layers.", "M, Fig. 7", "hybrid networks are not on the bench yet"),
    unjudged("C12", "Networks trained on dynamics do few-shot regression.", "M, Fig. 8A, 18A", "few-shot tasks are not on the bench yet"),
    unjudged("C13", "Two tasks in a row are learned in context one after the other.", "M, Fig. 8B, 18B", "few-shot tasks are not on the bench yet"),
    unjudged("C17", "Mesa layers help language modelling.", "M, App. G", SIZE),
    unjudged(
        "N4-late",
        "A few steps for all tokens hurt late tokens most.",
        "N, Fig. 5",
        "speaks of trained language models; in random layers it is early ones",
    ),
    unjudged("N5", "Condition numbers are bimodal over heads.", "N, Fig. 14", "speaks of trained language models"),
    unjudged("N6", "MesaNet leads recurrent networks on MAD.", "N, Table 9", "MAD is not on the bench yet"),
    unjudged("N7", "MesaNet is close to Transformers on RegBench.", "N, Fig. 9", "RegBench is not on the bench yet"),
    unjudged("N8", "MesaNet has the lowest perplexity among recurrent networks.", "N, Tables 2, 3, 10", SIZE),
    unjudged("N9", "The mesa layer is online Newton, DeltaNet online gradient descent.", "N, App. H", "held by tests, not judged as a row yet"),
    unjudged("N10", "Parity needs negative forgetting and a large regulariser.", "N, Fig. 8", "negative forget gates are not on the bench yet"),
    unjudged("N11", "Recursive least squares with forgetting loses its regulariser.", "N, App. H", "not judged as a row yet"),
]
