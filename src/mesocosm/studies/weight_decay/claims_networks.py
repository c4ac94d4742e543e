"""The claims about transformers (C4 to C6, C16) and their checks. The paper's curves are pictures, so regions come from pilots, or ask for an order only."""

from __future__ import annotations

from functools import partial
from math import log
from typing import Any

from mesocosm.claims.forms import CPU, unjudged
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Mean, Rate, above, below
from mesocosm.studies.weight_decay.measures_networks import accurate, change, decayed, elsewhere, largest, order
from mesocosm.studies.weight_decay.tables import AttentionProducts

SEARCHED = pilots("mesocosm.studies.weight_decay").counts("experiment")
UNTRAINED = "before training"
SOLVED = 0.9
ORDERED = -0.7
EFFECT = (
    "the effect is slight even with 125 million parameters and 10 billion tokens (16 A100 for four days), and the paper's table is a picture that we could not "
    "read; a figure shows a small grid of ours, whose best decay says nothing about theirs"
)


def _check(task: str, name: str, kind: Any, region: Any, measure: Any, control: Control) -> Check:
    return Check(name, kind, region, measure, control, judged_at=CPU, searched=SEARCHED[task], replicate="initialisation and data stream")


def _falls(task: str, name: str, column: Any, what: str, region: Any, control: str, **where: Any) -> Check:
    """A column is smaller at the decay that is judged than without decay of attention."""
    measures = (change(column, task, chosen(task), **where) for chosen in (decayed, elsewhere))
    return _check(
        task, name, Mean(f"log of {what}, at the decay judged over that without decay of attention"), region, next(measures), Control(control, next(measures))
    )


def _ordered(task: str, name: str, column: Any, what: str, **where: Any) -> Check:
    """The larger the decay, the smaller a column."""
    kind = Rate(f"seeds with a Kendall's tau of {what}, with attention's decay, of {ORDERED} or less")
    trained, before = (order(column, task, trained=moment, **where).map(lambda tau: (tau <= ORDERED).astype(float)) for moment in (True, False))
    return _check(task, name, kind, above(0.5), trained, Control(UNTRAINED, before))


PRODUCTS = {"query": ("QK", "W_K^T W_Q"), "value": ("VO", "P W_V")}
of_recall = partial(_falls, "recall", control="the same decay of everything but attention, and none of attention", layer=1)


def _ranks(task: str, region: Any, control: str, where: str, **layer: int) -> list[Check]:
    checks = []
    for name, (product, formula) in PRODUCTS.items():
        what = f"the pseudo rank (95 % of the sum) of {formula}, {where}"
        checks += [
            _falls(task, f"{name}-rank", AttentionProducts.rank, what, region, control, product=product, **layer),
            _ordered(task, f"{name}-ordered", AttentionProducts.rank, what, product=product, **layer),
        ]
    return checks


ASSOCIATIVE = Claim(
    "C4",
    "In an attention-only transformer on associative recall, larger attention decay under AdamW lowers the pseudo rank of P W_V and W_K^T W_Q in the first "
    "layer, and imbalance and gap tend to zero, the faster the larger the decay.",
    source="Fig. 2, Sec. 4.1 [T]",
    checks=[
        *_ranks("recall", below(log(0.7)), "the same decay of everything but attention, and none of attention", "first layer, mean over heads", layer=1),
        of_recall("imbalance", AttentionProducts.difference, "|P^T P - W_V W_V^T|, first layer, mean over heads", below(log(0.5)), product="VO"),
        _ordered("recall", "imbalance-ordered", AttentionProducts.difference, "|P^T P - W_V W_V^T|, first layer, mean over heads", product="VO", layer=1),
        of_recall("gap", AttentionProducts.gap, "the gap between mean squared norm and nuclear norm of P W_V, first layer", below(log(0.5)), product="VO"),
        _check(
            "recall",
            "solved",
            Rate("networks that answer more than 0.9 of queries without label noise, at the decay judged"),
            above(0.5),
            accurate("recall", decayed("recall"), SOLVED),
            Control("the largest decay, at which nothing is learned", accurate("recall", largest("recall"), SOLVED)),
        ),
    ],
)

MLPS = "the same decay of MLPs, and none of attention"
MODELS = Claim(
    "C5",
    "The pseudo rank of W_K^T W_Q and P W_V falls with attention decay in language models, visibly at the usual 0.1 (vision transformers: C16).",
    source="Fig. 3, Fig. 7 [T]; a small decoder on a small text, decays matched by lambda times the sum of learning rates",
    checks=_ranks("language", below(log(0.9)), MLPS, "mean over layers and heads"),
)
SWEET_SPOT = unjudged(
    "C6",
    "In language models the best attention decay is about 0.1, so that some rank regularisation helps and more harms; more decay of the MLPs helps.",
    "Table 1, Sec. 4.2 [T]",
    EFFECT,
)
IMAGES = Claim(
    "C16",
    "In a vision transformer, larger attention decay lowers the ranks of W_K^T W_Q and P W_V.",
    source="Sec. 4.3, Fig. 3 right [T]; the paper trains on ImageNet for 24 hours, here a small one on handwritten digits stands in",
    checks=_ranks("pictures", below(log(0.9)), MLPS, "mean over layers and heads"),
)
