"""flash-linear-attention's kernel of MesaNet, on a GPU. It takes bfloat16 alone, so its error is that of bfloat16 inputs."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from peers.problem import NOT_INSTALLED, REGULARISER, Problem, Unavailable, checked, flat_heads
from stopwatch.timing import Contender

ROUNDED = "bfloat16 inputs, and states in bfloat16"
"""What the kernel is spared."""


def mesa_kernel(problem: Problem, gradient: bool) -> Contender:
    """`chunk_mesa_net` with its 30 solver steps, all heads of the whole batch; gradients by its own backward kernels.

    Raises:
        Unavailable: torch sees no GPU, or flash-linear-attention or its compiler is not installed.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("fla") is None:
        raise Unavailable(NOT_INSTALLED)
    import torch

    if not torch.cuda.is_available():
        raise Unavailable("this build of torch sees no GPU, which the kernel needs")
    try:
        from fla.ops.mesa_net import chunk_mesa_net
    except ImportError as error:
        raise Unavailable(f"cannot be imported: {error}") from None

    half = {"device": "cuda", "dtype": torch.bfloat16}
    query, key, value, cotangent = (torch.tensor(x, **half) for x in (problem.query, problem.key, problem.value, problem.cotangent))
    forget, write = (torch.tensor(x, **half) for x in (problem.log_forget, problem.input_gate))
    regulariser = torch.full(problem.query.shape[2:], REGULARISER, **half)

    def forward(*inputs: Any) -> Any:
        q, k, v, g, beta = inputs
        return chunk_mesa_net(q=q, k=k, v=v, g=g, beta=beta, lamb=regulariser)[0]

    def run() -> list[Any]:
        if gradient:
            leaves = [x.detach().requires_grad_() for x in (query, key, value, forget, write)]
            found = list(torch.autograd.grad((forward(*leaves) * cotangent).sum(), leaves))[:3]
        else:
            with torch.no_grad():
                found = [forward(query, key, value, forget, write)]
        torch.cuda.synchronize()
        return found

    def answer(result: list[Any]) -> list[np.ndarray]:
        return [checked(flat_heads(x.float().cpu().numpy())) for x in result]

    return Contender("fla kernel", run, answer, note=ROUNDED)
