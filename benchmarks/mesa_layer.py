"""The ungated mesa layer against what else computes it: a solve a token, other recursive least squares, flash-linear-attention's references, autodiff."""

from __future__ import annotations

import sys
from functools import partial

from peers import in_jax, in_numpy, in_torch
from peers.layers import Kind, LayerBenchmark, Peer
from peers.problem import Problem, Reference
from stopwatch.driver import main
from stopwatch.rows import Target

NAME = "mesa_layer"
TITLE = "the ungated mesa layer, batch 2, 8 heads"
PRODUCTS = "The time is that of small products on one core: XLA does a batch of them one after another"
LIMITS: dict[tuple[Kind, str], str] = {
    ("forward", "fla naive CG"): f"{PRODUCTS}; the peer's use all cores",
    ("forward", "NumPy"): PRODUCTS,
    ("forward", "jnp.linalg.solve a token"): f"{PRODUCTS}, and small systems are solved quickly",
    ("forward + backward", "autodiff through the scan"): f"{PRODUCTS}; short sequences also fit the peer's stored inverses into the cache",
}


def peers(problem: Problem, gradient: bool, reference: Reference) -> list[Peer]:
    """Only what can differentiate is asked for gradients."""
    if gradient:
        recursions = [("autodiff through the scan", partial(in_jax.scan_autodiff, problem))]
    else:
        recursions = [("NumPy", partial(in_numpy.vectorised, problem)), ("padasip FilterRLS", partial(in_numpy.padasip, problem))]
    return [
        ("jnp.linalg.solve a token", partial(in_jax.per_step_solve, problem, gradient)),
        *recursions,
        ("fla naive exact", partial(in_torch.exact, problem, gradient)),
        ("fla naive CG", partial(in_torch.conjugate_gradient, problem, gradient, reference)),
    ]


def target(key_size: int, kind: Kind, peer: str) -> Target | None:
    """Forward 3 against all; with the gradient 3 (key size 32) or 5 (above) against automatic differentiation of the recursion."""
    if kind == "forward":
        return Target("ratio", "≥", 3)
    return Target("ratio", "≥", 3 if key_size <= 32 else 5) if peer == "autodiff through the scan" else None


cases = LayerBenchmark(NAME, gated=False, peers=peers, target=target, limits=LIMITS).cases

if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
