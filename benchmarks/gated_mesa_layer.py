"""The gated mesa layer (MesaNet), solved by conjugate gradients in chunks, against a solve a token, flash-linear-attention's references and autodiff.

Recursive least squares is no peer: a regulariser that does not wear off is no rank-one change.
"""

from __future__ import annotations

import sys
from functools import partial

from peers import in_jax, in_torch
from peers.layers import Kind, LayerBenchmark, Peer
from peers.problem import Problem, Reference
from stopwatch.driver import main
from stopwatch.rows import Target

NAME = "gated_mesa_layer"
TITLE = "the gated mesa layer, batch 2, 8 heads"
PRODUCTS = "The time is that of the solver's matrix products, several a step for all tokens, until the slowest token has converged"
LIMITS: dict[tuple[Kind, str], str] = {
    ("forward", "fla naive CG"): f"{PRODUCTS}; the peer does the same products",
    ("forward", "jnp.linalg.solve a token"): f"{PRODUCTS}; a small system is solved as fast directly",
}


def peers(problem: Problem, gradient: bool, reference: Reference) -> list[Peer]:
    """With the gradient also automatic differentiation of our own solver."""
    return [
        ("jnp.linalg.solve a token", partial(in_jax.per_step_solve, problem, gradient)),
        *([("autodiff through the solver", partial(in_jax.solver_autodiff, problem))] if gradient else []),
        ("fla naive exact", partial(in_torch.exact, problem, gradient)),
        ("fla naive CG", partial(in_torch.conjugate_gradient, problem, gradient, reference)),
    ]


def target(key_size: int, kind: Kind, peer: str) -> Target | None:
    """Forward 3 against all."""
    return Target("ratio", "≥", 3) if kind == "forward" else None


cases = LayerBenchmark(NAME, gated=True, peers=peers, target=target, limits=LIMITS).cases

if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
