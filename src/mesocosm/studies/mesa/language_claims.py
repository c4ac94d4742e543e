"""Claims on decoders of text, with their tables and their measure."""

from functools import partial

from mesocosm.claims.measures import Measure, replicates
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Axis, Table, Trials, Value
from mesocosm.studies.interface import Check, Claim, Control, Mean, below
from mesocosm.studies.mesa.mesanet_claims import NET, PAPER, TRIED

DECODER, MESA_DECODER, LINEAR_DECODER, DELTA_DECODER, HYBRID_DECODER, HYBRID_LINEAR_DECODER = (
    Trials(f"language-{name}") for name in ("attention", "mesa", "gla", "delta-net", "attention-mesa", "attention-gla")
)


class Language(Table):
    """Loss on held-out text, in nats a token."""

    digest: Value
    loss: Value


class LanguageSolver(Language):
    """The same with one step of the mesa layers' solver."""


class LanguageCurve(Table):
    """Loss on held-out text at each position of a window."""

    position: Axis
    loss: Value


def text_loss(trial: Trials, other: Trials, *, solved: bool = True) -> Measure[Replicates]:
    """Difference of two decoders' losses on held-out text, in nats a token; unless `solved`, with one step of the solver in the mesa layers of the first."""
    return replicates(Language.loss if solved else LanguageSolver.loss, trial=trial).minus(replicates(Language.loss, trial=other))


language = partial(Check, judged_at=PAPER, replicate=NET, searched=TRIED.count(kind="language"))

LANGUAGE = [
    Claim(
        "C17",
        "Behind one block of softmax attention, mesa layers predict text better than linear ones, and come near attention in all blocks.",
        source="M, App. G",
        checks=[
            language(
                "linear",
                Mean("held-out loss in nats a token, mesa layers behind attention minus gated linear attention there"),
                below(0.0),
                text_loss(HYBRID_DECODER, HYBRID_LINEAR_DECODER),
                Control("one step of the solver", text_loss(HYBRID_DECODER, HYBRID_LINEAR_DECODER, solved=False)),
            ),
            language(
                "attention",
                Mean("held-out loss in nats a token, mesa layers behind attention minus attention in all blocks"),
                below(0.03),
                text_loss(HYBRID_DECODER, DECODER),
                Control("one step of the solver", text_loss(HYBRID_DECODER, DECODER, solved=False)),
            ),
        ],
    ),
    Claim(
        "N8",
        "Of recurrent networks, those of mesa layers predict text best; here in decoders of a hundred thousand parameters.",
        source="N, Tables 2, 3, 10",
        checks=[
            language(
                name,
                Mean(f"held-out loss in nats a token, mesa layers minus {other}"),
                below(0.0),
                text_loss(MESA_DECODER, trial),
                Control("one step of the solver", text_loss(MESA_DECODER, trial, solved=False)),
            )
            for name, other, trial in (("linear", "gated linear attention", LINEAR_DECODER), ("delta-net", "gated DeltaNet", DELTA_DECODER))
        ],
    ),
]
