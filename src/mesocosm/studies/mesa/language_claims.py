"""Claims on decoders of text, with their tables and their measures."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
from jaxtyping import Float

from mesocosm.claims.forms import CPU
from mesocosm.claims.measures import Measure, derived
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Axis, Table, Trials, Value
from mesocosm.studies.interface import Check, Claim, Control, Mean, above, below
from mesocosm.studies.mesa.mesanet_claims import NET, TRIED

DECODER, MESA_DECODER, LINEAR_DECODER, DELTA_DECODER, HYBRID_DECODER, HYBRID_LINEAR_DECODER = (
    Trials(f"language-{name}") for name in ("attention", "mesa", "gla", "delta-net", "attention-mesa", "attention-gla")
)

BETTER = 0.01
"""The least difference that counts as better, in nats a token [our choice]: the papers' differences between recurrent layers are 0.01 to 0.1 nats."""


class Language(Table):
    """Loss in each part of the held-out text and each eighth of a window's positions, in nats a token."""

    part: Axis
    eighth: Axis
    digest: Value
    loss: Value


class LanguageSolver(Language):
    """The same with one step of the mesa layers' solver."""


def text_loss(trial: Trials, other: Trials, *, eighths: range = range(1, 9), next_seed: bool = False) -> Measure[Replicates]:
    """Difference of two decoders' losses on the held-out text, in nats a token, paired by part of it.

    Args:
        trial: the first decoder.
        other: the second.
        eighths: of a window's positions, over which losses are averaged.
        next_seed: pair each replicate of the first with the second's of the next seed.
    """
    return derived(lambda table, rows: difference(table, rows, eighths, next_seed=next_seed), Language.rows(trial), Language.rows(other))


def difference(table: pl.DataFrame, other: pl.DataFrame, eighths: range, *, next_seed: bool = False) -> Replicates:
    """See `text_loss`; the standard error is that of the mean over parts."""
    rows, others = (each.filter(pl.col(Language.eighth).is_in(list(eighths))) for each in (table, other))
    pairs = _mean(rows).minus(_mean(others))
    apart = _by_part(rows) - np.roll(_by_part(others), -1 if next_seed else 0, axis=0)
    return replace(pairs, values=apart.mean(1), errors=apart.std(1, ddof=1) / np.sqrt(apart.shape[1]))


def _mean(table: pl.DataFrame) -> Replicates:
    return Replicates.within(table, lambda rows: float(rows[Language.loss].to_numpy().mean()))


def _by_part(table: pl.DataFrame) -> Float[np.ndarray, "seeds parts"]:
    means = table.group_by("seed", Language.part).agg(pl.col(Language.loss).cast(pl.Float64).mean()).sort("seed", Language.part)
    return means[Language.loss].to_numpy().reshape(table["seed"].n_unique(), -1)


EARLY, LATE = range(1, 2), range(5, 9)

language = partial(Check, judged_at=CPU, replicate=f"{NET}; one held-out text", searched=TRIED.count(kind="language"))
NULL = Control("gated linear attention of the next seed in the mesa layers' place", text_loss(LINEAR_DECODER, LINEAR_DECODER, next_seed=True))

LANGUAGE = [
    Claim(
        "C17",
        "Behind one block of softmax attention, gated mesa layers predict text better than gated linear attention, and come near attention in all blocks.",
        source="M, App. G",
        checks=[
            language(
                "linear",
                Mean("held-out loss in nats a token, mesa layers behind attention minus gated linear attention there"),
                below(-BETTER),
                text_loss(HYBRID_DECODER, HYBRID_LINEAR_DECODER),
                Control(NULL.name, text_loss(HYBRID_LINEAR_DECODER, HYBRID_LINEAR_DECODER, next_seed=True)),
            ),
            language(
                "attention",
                Mean("held-out loss in nats a token, mesa layers behind attention minus attention in all blocks"),
                below(0.03),
                text_loss(HYBRID_DECODER, DECODER),
                Control("gated linear attention in all blocks", text_loss(LINEAR_DECODER, DECODER)),
            ),
        ],
    ),
    Claim(
        "N8",
        "Decoders of mesa layers predict text better than those of gated linear attention and of gated DeltaNet.",
        source="N, Tables 2, 3, 10",
        checks=[
            language(
                name,
                Mean(f"held-out loss in nats a token, mesa layers minus {other}"),
                below(-BETTER),
                text_loss(MESA_DECODER, trial),
                NULL,
            )
            for name, other, trial in (("linear", "gated linear attention", LINEAR_DECODER), ("delta-net", "gated DeltaNet", DELTA_DECODER))
        ],
    ),
    Claim(
        "N12",
        "Beside attention, mesa layers have a lower loss early in a window and a higher one late.",
        source="N, v1 Fig. 4, 9-11",
        checks=[
            language(
                name,
                Mean(f"held-out loss in nats a token, mesa layers minus attention, {where} of a window"),
                region,
                text_loss(MESA_DECODER, DECODER, eighths=eighths),
                Control("attention of the next seed in the mesa layers' place", text_loss(DECODER, DECODER, eighths=eighths, next_seed=True)),
            )
            for name, where, region, eighths in (("early", "first eighth", below(-BETTER), EARLY), ("late", "second half", above(BETTER), LATE))
        ],
    ),
]
