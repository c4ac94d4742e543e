"""HYLA, layer and training step, against its formula written with einsum; and our softmax attention against flax's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax

from peers import hypernetwork_attention as peers
from peers.hypernetwork_attention import Setting
from peers.problem import Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target

NAME = "hypernetwork_attention"
TITLE = "attention as a hypernetwork, in float32"
FASTER = Target("ratio", "≥", 1.5)
RUNS = {"forward": peers.forward, "forward + backward": peers.backward}
SCORES = "Passes over the scores, which both make, and the sum of their gradient over the batch, for the relative bias, take most of the time"
PRODUCTS = "Both run the same small products, one per head, in XLA"


@dataclass(frozen=True)
class Size:
    """Settings, and how many seconds a pair is timed."""

    settings: tuple[Setting, ...]
    seconds: float


FUZZY = Setting("fuzzy logic", 128, 16, 5, 1, 1, 2, 128, 8, 2)
RAVEN = Setting("Raven matrices", 128, 36, 8, 8, 4, 4, 128, 16, 4)
SIZES = {
    "tiny": Size((Setting("tiny", 2, 6, 3, 2, 2, 2, 8, 2, 2),), 0.0),
    "small": Size((replace(FUZZY, batch=16), replace(RAVEN, batch=8)), 1.0),
    "full": Size((FUZZY, RAVEN), 10.0),
}


def cases(sizes: str) -> Sequence[Case]:
    """Layer and model in each setting."""
    size = SIZES[sizes]
    found = [Case(f"{case}, {setting.name}", 1, partial(compare_layers, setting, case, size.seconds)) for setting in size.settings for case in RUNS]
    return found + [Case(f"training step, {setting.name}", 1, partial(compare_models, setting, size.seconds)) for setting in size.settings]


def compare_layers(setting: Setting, case: str, seconds: float) -> list[Row]:
    """One layer of HYLA, and one of softmax attention."""
    run, layer = RUNS[case], peers.layer_of(setting, "hyla")
    plain = peers.Transcribed(layer)
    head = Comparison(NAME, f"HYLA, {case}", str(setting), seconds, FASTER, SCORES)
    rows = [
        head.timed(
            peers.of_layer(setting, "mesocosm", run, layer),
            peers.of_layer(setting, "einsum", run, plain),
            peers.reference(run, plain, setting.tokens),
        )
    ]
    head = Comparison(NAME, f"softmax, {case}", str(setting), seconds, FASTER, PRODUCTS)
    ours = replace(peers.layer_of(setting, "softmax"), position=None)
    try:
        theirs = peers.in_flax(setting, ours, run)
    except Unavailable as reason:
        return [*rows, head.skipped("flax", str(reason))]

    def tokens(layer: peers.Attention, x: jax.Array) -> tuple[jax.Array]:
        """What flax is asked for."""
        return peers.forward(layer, x) if case == "forward" else (jax.grad(lambda x: peers.weighted_sum(jax.vmap(layer)(x)))(x),)

    return [*rows, head.timed(peers.of_layer(setting, "mesocosm", tokens, ours), theirs, peers.reference(tokens, ours, setting.tokens))]


def compare_models(setting: Setting, seconds: float) -> list[Row]:
    """A training step, and the memory that it reserves."""
    model = peers.model_of(setting, "hyla")
    ours, theirs = peers.of_model(setting, "mesocosm", model), peers.of_model(setting, "einsum", peers.transcribed(model))
    head = Comparison(NAME, "HYLA, training step", f"{setting}, {setting.layers} layers", seconds, FASTER, SCORES)
    memory = replace(head, case="HYLA, training step, memory", target=None)
    return [head.timed(ours, theirs, peers.step_reference(setting, model)), memory.measured("MiB", ours.mebibytes or 0.0, "einsum", theirs.mebibytes)]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
