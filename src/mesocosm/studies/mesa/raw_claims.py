"""Claims on networks that see one observation per token: what their layers hold, can be replaced by, and can be used for."""

from functools import partial
from math import log

from mesocosm.claims.forms import CPU
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Mean, Reference, above, below
from mesocosm.studies.mesa import raw_measures as measures
from mesocosm.studies.mesa.few_shot import RIDGE
from mesocosm.studies.mesa.mesanet_claims import PAPER
from mesocosm.studies.mesa.tables import HYBRID, HYBRID_LINEAR, SOFTMAX, UNPLACED, FewShot, RawLoss, RawProbes, on

NET = "initialisation and training sequences"
TRIED = pilots("mesocosm.studies.mesa")
BLIND = "no positions: softmax layers alone"
SHUFFLED = "the observation of another sequence"
ADDED = "linear attention in place of the mesa layer"


def _tried(*kinds: str) -> int:
    return sum(TRIED.count(kind=kind) for kind in kinds)


raw = partial(Check, judged_at=CPU, replicate=NET, searched=_tried("softmax-3", "unplaced-3", "hybrid", "hybrid-linear", "mesa-2"))
distilled = partial(Check, judged_at=CPU, replicate=NET, searched=_tried("softmax-3", "distilled", "network-to-distil"))
few_shot = partial(Check, judged_at=CPU, replicate=f"{NET}, the tuning of prompts, and test examples", searched=_tried("hybrid", "few-shot-network", "prompt"))


def _decodes(name: str, source: str | None, judged_at: frozenset[str]) -> Check:
    trial = SOFTMAX if source is None else on(source, "softmax-3")
    shuffled = Control(SHUFFLED, measures.decoded(trial, RawProbes.shuffled_target))
    return raw(
        name,
        Mean("log ratio of held-out probe losses for the next observation at the last position, last layer over first"),
        below(log(0.25)),
        measures.decoded(trial),
        Control(BLIND, measures.decoded(UNPLACED)) if source is None else shuffled,
        judged_at=judged_at,
    )


def _beats(name: str, source: str | None, loss: str, judged_at: frozenset[str]) -> Check:
    hybrid, softmax, linear = (trial if source is None else on(source, trial.names(None)[0]) for trial in (HYBRID, SOFTMAX, HYBRID_LINEAR))
    late = loss == "late"
    value = RawLoss.late if late else RawLoss.loss
    return raw(
        name,
        Mean(f"log ratio of test losses{' at the last position' if late else ''}, a softmax and a mesa layer over three softmax layers"),
        below(0.0 if late else log(1.03)),
        measures.versus(hybrid, softmax, value),
        Control(ADDED, measures.versus(linear, softmax, value)),
        judged_at=judged_at,
    )


RAW = [
    Claim(
        "C7",
        "After the first softmax layer, each token holds the current and the previous observation; its attention and its gradient agree.",
        source="M, Fig. 2, 3A, 14-17, 21-23",
        checks=[
            raw(
                "binding",
                Mean("log ratio of errors of linear probes after the first layer, for the previous observation over the third before"),
                below(log(0.1)),
                measures.bound(SOFTMAX),
                Control(BLIND, measures.bound(UNPLACED)),
                reference=Reference(log(0.0004 / 0.26), "paper"),
            ),
            raw(
                "hybrid",
                Mean("the same in a network whose second layer is a mesa layer"),
                below(log(0.1)),
                measures.bound(HYBRID),
                Control("three softmax layers without positions", measures.bound(UNPLACED)),
                reference=Reference(log(0.005 / 0.12), "paper"),
            ),
            raw(
                "attention",
                Mean("mean attention on the previous token, in the head of the first layer that has most"),
                above(0.5),
                measures.attended(SOFTMAX),
                Control(BLIND, measures.attended(UNPLACED)),
            ),
            raw(
                "gradient",
                Mean("log ratio of the first layer's sensitivity, to the previous token over any of the six before it"),
                above(log(2.0)),
                measures.sensed(SOFTMAX),
                Control(BLIND, measures.sensed(UNPLACED)),
            ),
        ],
    ),
    Claim(
        "C8",
        "A layer of linear attention can replace the last softmax layer at a small loss, not the first; the later ones the better the larger the dimension.",
        source="M, Fig. 5A, 19",
        checks=[
            distilled(
                "first",
                Mean("log ratio of test losses, first layer replaced by linear attention over whole network, largest dimension"),
                above(log(1.3)),
                measures.replaced(1, measures.most_distilled),
                Control("replaced by another softmax layer, taught alike", measures.replaced(1, measures.most_distilled, "softmax")),
                reference=Reference(log(2.27), "paper"),
            ),
            distilled(
                "last",
                Mean("log ratio of test losses, last layer replaced over whole network, largest dimension"),
                below(log(1.3)),
                measures.replaced(3, measures.most_distilled),
                Control("the first layer", measures.replaced(1, measures.most_distilled)),
                note="Replacing the last layer costs a third of the loss, replacing the first more than doubles it: the order holds, at a larger cost.",
            ),
            distilled(
                "dimension",
                Mean("difference of that log ratio for the second layer, largest dimension minus smallest"),
                below(0.0),
                measures.replaced_trend(2),
                Control("the first layer", measures.replaced_trend(1)),
                judged_at=PAPER,
                reference=Reference(log(1.15 / 1.58), "paper"),
            ),
        ],
    ),
    Claim(
        "C10",
        "In softmax networks, too, the next observation becomes linearly decodable with depth, on all three kinds of systems.",
        source="M, Fig. 6, 24, 25",
        checks=[_decodes("observed", None, CPU), _decodes("partial", "partial", PAPER), _decodes("nonlinear", "nonlinear", PAPER)],
    ),
    Claim(
        "C11",
        "A softmax layer and a mesa layer match or beat a deeper softmax network, on all three kinds of systems.",
        source="M, Fig. 7",
        checks=[
            _beats("mean", None, "mean", CPU),
            _beats("late", None, "late", CPU),
            raw(
                "algorithm",
                Mean("log ratio of test losses, a softmax and a mesa layer over the learned six-step polynomial"),
                below(log(1.03)),
                measures.over_polynomial(HYBRID, 6),
                Control(ADDED, measures.over_polynomial(HYBRID_LINEAR, 6)),
                reference=Reference(log(0.198 / 0.234), "paper"),
            ),
            _beats("partial", "partial", "late", PAPER),
            _beats("nonlinear", "nonlinear", "late", PAPER),
        ],
    ),
    Claim(
        "C12",
        "Networks trained on systems alone do few-shot regression. The loss rises first, as that of least squares on neighbouring tokens does; a tuned "
        "separator lowers it, and a tuned prefix helps the first pairs.",
        source="M, Fig. 8A, 18A",
        checks=[
            few_shot(
                "learns",
                Mean("log ratio of losses, last three pairs over the second"),
                below(log(0.75)),
                measures.end_over_start(FewShot.one),
                Control("a new map for every pair", measures.end_over_start(FewShot.every)),
                reference=Reference(log(0.76 / 1.69), "derived"),
            ),
            few_shot(
                "ascent",
                Mean("log ratio of losses, mean of pairs 4 to 6 over the second"),
                above(0.0),
                measures.ascent(FewShot.one),
                Control("ridge regression on true pairs", measures.ascent(FewShot.true_pairs)),
            ),
            few_shot(
                "least-squares",
                Mean(f"the same of ridge regression on neighbouring tokens, with the ridge that has the paper's peak, {RIDGE}"),
                above(0.1),
                measures.ascent(FewShot.neighbours),
                Control("on true pairs", measures.ascent(FewShot.true_pairs)),
                searched=_tried("neighbour-regression"),
            ),
            few_shot(
                "separator",
                Mean("log ratio of losses from pair 5 on, tuned separator over none"),
                below(log(0.95)),
                measures.prompted("separator", "plain", 5),
                Control("a random separator", measures.prompted("untuned", "plain", 5)),
                reference=Reference(log(0.86 / 1.01), "paper"),
            ),
            few_shot(
                "prefix",
                Mean("log ratio of losses at pairs 2 to 6, tuned prefix and separator over the separator alone"),
                below(0.0),
                measures.prompted("prefix", "separator", 2, 6),
                Control("a random prefix and the tuned separator", measures.prompted("untuned-prefix", "separator", 2, 6)),
            ),
        ],
    ),
    Claim(
        "C13",
        "Two tasks in a row are learned in context one after the other: the loss jumps at the switch and falls again.",
        source="M, Fig. 8B, 18B",
        checks=[
            few_shot(
                "jump",
                Mean("log ratio of losses, first pair of the second task over the two before"),
                above(log(1.5)),
                measures.jump(FewShot.two),
                Control("one task", measures.jump(FewShot.one)),
                reference=Reference(log(2.32 / 1.02), "paper"),
            ),
            few_shot(
                "again",
                Mean("log ratio of losses in the second task, last three pairs over first three"),
                below(log(0.8)),
                measures.recovery(FewShot.two),
                Control("a new map for every pair", measures.recovery(FewShot.every)),
                reference=Reference(log(1.15 / 2.32), "paper"),
            ),
        ],
    ),
]
