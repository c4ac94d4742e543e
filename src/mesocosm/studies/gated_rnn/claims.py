"""What the paper says, and what would show that it is wrong. Regions come from the derivations and from pilots on seeds from 1000 on
(results/gated-rnn/search.csv); the paper's own figures could not be obtained."""

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.studies.gated_rnn.measures import (
    column,
    compact_student,
    identity,
    instances,
    judged_student,
    log_instances,
    log_loss,
    log_ratio,
    named,
    over_optimum,
    pruning_cost,
    smallest_regressor,
    smallest_student,
    widest_regressor,
    widest_student,
    within_structure,
)
from mesocosm.studies.interface import Check, Claim, Control, Every, Mean, Reference, above, below, between

TEACHER = "the teacher, initialisation and training sequences"
NET = "initialisation and training prompts"
INSTANCE = "a random instance"
FORGETFUL = "students of a teacher that forgets a fifth a step"
SIDE = "another bilinear gate: side gating, fewer neurons"

# Configurations in results/gated-rnn/search.csv, by what they trained; a test counts them.
STUDENTS, ARCHITECTURES, REGRESSORS = 11, 4, 9


# What checks of one kind share.
exact = partial(against_mutant, identity)
of_students = partial(Check, judged_at=CPU, replicate=TEACHER, searched=STUDENTS)
of_regressors = partial(Check, judged_at=CPU, replicate=NET, searched=REGRESSORS)
of_instances = partial(Check, judged_at=ALL, replicate=INSTANCE)


def unexplained(check: str, missing: str) -> Check:
    """What the best weights without a gate leave."""
    return Check(
        check,
        Every(f"fraction of the teacher's power left by the best weights, {missing} missing"),
        above(0.1),
        instances("gates", "unexplained", missing=missing),
        Control("with both gates", instances("gates", "unexplained", missing="none")),
        judged_at=ALL,
        replicate="a random teacher",
    )


def mimics(layer: str, check: str, judged_at: frozenset[str] = CPU) -> Check:
    """An architecture on the same teachers."""
    return Check(
        check,
        Mean(f"log10 ratio of losses, {layer} over the gated linear RNN"),
        above(1.0),
        log_ratio(named(f"student-{check}"), judged_student),
        Control(SIDE, log_ratio(named("student-side"), judged_student)),
        judged_at=judged_at,
        replicate=TEACHER,
        searched=ARCHITECTURES,
    )


CLAIMS = [
    Claim(
        "C1",
        "A diagonal linear RNN with bilinear gates at input and output computes causal linear attention exactly, with finitely many neurons.",
        source="Sec. 3, Fig. 1, App. A.1",
        checks=[
            exact("C1 full", "the first memory neuron is not read", check="full"),
            exact("C1 compact", "the first memory neuron is not read", check="compact"),
            unexplained("input-gate", "input gate"),
            unexplained("output-gate", "output gate"),
        ],
    ),
    Claim(
        "C2",
        "The construction takes O(d^4) parameters, attention 3 d^2.",
        source="Sec. 3",
        checks=[
            Check(
                "growth",
                Every("exponent of parameters between successive dimensions 4, 8, 16, 32, 64"),
                between(3.5, 4.5),
                instances("cost", "exponent", exhaustive=True),
                Control("attention", instances("cost", "mutant", exhaustive=True)),
                judged_at=ALL,
                replicate="a doubling of the dimension",
                reference=Reference(4.0, "paper"),
            )
        ],
    ),
    Claim(
        "C3",
        "d(d+1)/2 accumulators and d query neurons always suffice; with less than full ranks fewer do.",
        source="Sec. 3.2; derived",
        checks=[
            exact("C3 count", "the overlap of values' and keys' spaces is ignored", check="count", tolerance=1e-3),
            exact("C3 minimal", "the last query neuron is not read", check="minimal"),
        ],
    ),
    Claim(
        "C4",
        "A gated linear RNN trained on a linear-attention teacher reaches vanishing loss.",
        source="Sec. 4.1",
        checks=[
            Check(
                "loss",
                Mean("log10 of the loss over the targets' variance, twice the compact count of neurons"),
                below(-3.0),
                log_loss(judged_student),
                Control("about half the neurons of the smallest construction at full rank", log_loss(smallest_student)),
                judged_at=ALL,
                replicate=TEACHER,
                searched=STUDENTS,
            )
        ],
    ),
    Claim(
        "C5",
        "In the trained student only neurons with perfect memory or none influence the output, and after pruning its weights have the construction's blocks.",
        source="Fig. 2",
        checks=[
            exact("C5 memory", "memory of 0.99", check="perfect"),
            exact("C5 coefficients", "the first memory neuron is not read", check="coefficients-identity"),
            of_students(
                "decays",
                Mean("influence of neurons with decay below 0.05 or above 0.95, as a fraction of all survivors'"),
                above(0.95),
                within_structure("extreme", judged_student),
                Control(FORGETFUL, within_structure("extreme", named("student-forgetful"))),
            ),
            of_students(
                "blocks",
                Mean("fraction of the output's energy between neurons with memory and neurons without"),
                above(0.8),
                within_structure("right_block", judged_student),
                Control("the same weights, decays moved to other neurons", within_structure("right_block_shuffled", judged_student)),
            ),
            of_students(
                "snapped",
                Mean("log10 ratio of losses, pruned and decays rounded to 0 and 1 over as trained"),
                below(1.0),
                pruning_cost(judged_student),
                Control(FORGETFUL, pruning_cost(named("student-forgetful"))),
            ),
            of_students(
                "coefficients",
                Mean("cosine of the pruned and rounded student's coefficients with its teacher's"),
                above(0.999),
                within_structure("cosine", judged_student),
                Control("another replicate's teacher", within_structure("other_teacher", judged_student)),
            ),
        ],
    ),
    Claim(
        "C6",
        "Identification needs overparametrisation, about twice the neurons of the construction.",
        source="Sec. 4.2",
        checks=[
            of_students(
                "compact",
                Mean("log10 ratio of losses, compact count over twice the compact count"),
                above(1.0),
                log_ratio(compact_student, judged_student),
                Control("three times over twice the count", log_ratio(widest_student, judged_student)),
            )
        ],
    ),
    Claim(
        "C7",
        "Nonlinearities hinder identification; existing RNN architectures do not properly mimic linear attention.",
        source="Sec. 4.3",
        checks=[
            mimics("gated linear units in place of bilinear gates", "glu"),
            mimics("LSTM", "lstm"),
            mimics("GRU", "gru"),
            mimics("LRU with a gated linear unit", "lru"),
            mimics("LRU with an MLP", "lru-mlp", frozenset({"paper"})),
            mimics("Hawk", "hawk"),
        ],
    ),
    Claim(
        "C8",
        "LSTMs can be configured to implement the construction; GRUs cannot, with one layer.",
        source="Sec. 3.3",
        checks=[
            of_instances(
                "lstm",
                Every("error at a scale over error at half of it: 4 for second order"),
                between(3.0, 5.0),
                instances("limits", "lstm_ratio"),
                Control("the output gate held at a half", instances("limits", "lstm_held_ratio")),
                reference=Reference(4.0, "derived"),
            ),
            of_instances(
                "gru",
                Every("log10 relative error of a one-layer GRU configured for small signals"),
                above(-1.0),
                log_instances("limits", "gru"),
                Control("the LSTM", log_instances("limits", "lstm")),
            ),
        ],
    ),
    Claim(
        "C9",
        "In in-context linear regression trained gated RNNs take one gradient step, as linear attention does; coefficients of polynomial terms show it.",
        source="Table 2",
        checks=[
            exact("C9 coefficients", "coefficients at another lag", check="extractor"),
            of_regressors(
                "step",
                Mean("fraction of the predictions' power that the terms y_i (x_i . x_q) leave unexplained"),
                below(0.01),
                column("prompt_loss", widest_regressor, "unexplained"),
                Control("GRU", column("prompt_loss", named("prompts-gru"), "unexplained")),
            ),
            of_regressors(
                "step-size",
                Mean("step size over the optimal one"),
                between(0.95, 1.05),
                over_optimum(widest_regressor),
                Control("fewer neurons than the minimum", over_optimum(smallest_regressor)),
                reference=Reference(1.0, "derived"),
            ),
            of_regressors(
                "attention",
                Mean("log ratio of losses, trained linear attention over the optimal gradient step"),
                below(log(1.05)),
                column("prompt_loss", named("prompts-attention"), "versus_step", "versus_step_error"),
                Control("gated RNN with fewer neurons than the minimum", column("prompt_loss", smallest_regressor, "versus_step", "versus_step_error")),
            ),
        ],
    ),
    Claim(
        "C10",
        "There the gated RNN needs fewer neurons than the generic construction, because the optimal attention weights are sparse.",
        source="Fig. 3B",
        checks=[
            of_regressors(
                "loss",
                Mean("log ratio of losses, gated RNN with 24 neurons (generic: 27 compact, 42 full) over the optimal gradient step"),
                below(log(1.05)),
                column("prompt_loss", widest_regressor, "versus_step", "versus_step_error"),
                Control("6 neurons, half the minimum for these weights", column("prompt_loss", smallest_regressor, "versus_step", "versus_step_error")),
            )
        ],
    ),
    Claim(
        "C11",
        "Nonlinear RNNs, notably the GRU, reach low loss without the attention solution.",
        source="Fig. 4B",
        checks=[
            of_regressors(
                "loss",
                Mean("log ratio of losses, GRU over the optimal gradient step"),
                below(log(0.8)),
                column("prompt_loss", named("prompts-gru"), "versus_step", "versus_step_error"),
                Control("linear attention", column("prompt_loss", named("prompts-attention"), "versus_step", "versus_step_error")),
            ),
            of_regressors(
                "algorithm",
                Mean("fraction of the GRU's predictions' power that the terms y_i (x_i . x_q) leave unexplained"),
                above(0.05),
                column("prompt_loss", named("prompts-gru"), "unexplained"),
                Control("linear attention", column("prompt_loss", named("prompts-attention"), "unexplained")),
            ),
        ],
    ),
    Claim(
        "C12",
        "With side gating, the gate computed from the token, query neurons are not needed.",
        source="from memory of the paper; formulation ours",
        checks=[
            of_students(
                "loss",
                Mean("log10 of the loss over the targets' variance, as many neurons as the compact count with query neurons"),
                below(-3.0),
                log_loss(named("student-side")),
                Control("side gating without an input gate", log_loss(named("student-side-ungated"))),
            )
        ],
    ),
]
