"""flash-linear-attention's plain PyTorch references of MesaNet, on CPU. Without gates they compute the ungated layer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from peers.problem import BATCH, HEADS, NOT_INSTALLED, REGULARISER, Problem, Reference, Unavailable, affordable_heads, checked
from stopwatch.rows import LARGEST_ERROR
from stopwatch.timing import Contender, largest_error

CHUNK = 64
COPIED_NUMBERS = 1e9
SOLVER_STEPS = (6, 8, 10, 12, 15, 20, 25, 30)
QUERY_SCALE = 1e3  # its solver adds 1e-5 to denominators, which stops it short of our accuracy unless the residuals are large beside that


@cache
def naive() -> ModuleType:
    """Its file of references, loaded by itself: the package round it needs triton, which CPU builds of torch do not bring.

    Raises:
        Unavailable: it, or torch, is not installed.
    """
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations or importlib.util.find_spec("torch") is None:
        raise Unavailable(NOT_INSTALLED)
    file = Path(package.submodule_search_locations[0]) / "ops" / "mesa_net" / "naive.py"
    spec = importlib.util.spec_from_file_location("fla_mesa_net_naive", file)
    if spec is None or spec.loader is None or not file.exists():
        raise Unavailable(f"this version of fla has no {'/'.join(file.parts[-4:])}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exact(problem: Problem, gradient: bool) -> Contender:
    """`naive_mesa_net_exact`: every token's system by torch.linalg.solve; gradients by torch's autograd.

    Raises:
        Unavailable: not installed, or too slow at this size.
    """
    heads = affordable_heads(problem)
    if gradient:  # autograd undoes every write into the array of all tokens' matrices by a copy of it
        heads = min(heads, int(COPIED_NUMBERS // (problem.tokens * problem.key_size) ** 2))
    if heads == 0:
        raise Unavailable("its reverse pass copies the matrices of all tokens once a token: about a minute for one head")
    return _contender("fla naive exact", lambda *given: naive().naive_mesa_net_exact(*given)[0], problem, gradient, heads)


def conjugate_gradient(problem: Problem, gradient: bool, reference: Reference) -> Contender:
    """`naive_mesa_net_CG`, chunk by chunk, with the fewest solver steps that reach our accuracy (its default is 30)."""
    fewest = _fewest_steps(problem, reference, False, SOLVER_STEPS[0])
    return _with_steps(problem, gradient, _fewest_steps(problem, reference, True, fewest) if gradient else fewest)


@lru_cache(maxsize=4)
def _fewest_steps(problem: Problem, reference: Reference, gradient: bool, start: int) -> int:
    for steps in (steps for steps in SOLVER_STEPS if steps >= start):
        tried = _with_steps(problem, gradient, steps)
        answers = tried.answer(tried.run())
        if largest_error(answers, (reference.gradient if gradient else reference.output)(answers)) <= LARGEST_ERROR:
            return steps
    return SOLVER_STEPS[-1]


def _with_steps(problem: Problem, gradient: bool, steps: int) -> Contender:
    def solve(query: Any, *given: Any) -> Any:
        scaled = naive().naive_mesa_net_CG(QUERY_SCALE * query, *given, chunk_size=min(CHUNK, problem.tokens), max_CG_iteration=steps)
        return scaled[0] / QUERY_SCALE

    note = f"{steps} solver steps, queries scaled by {QUERY_SCALE:g} and back"
    return _contender("fla naive CG", solve, problem, gradient, BATCH * HEADS, note)


def _contender(name: str, function: Callable[..., Any], problem: Problem, gradient: bool, heads: int, note: str = "") -> Contender:
    """Its layout is (batch, time, heads, channels); all heads go into one batch entry."""
    naive()  # says first what is not installed
    import torch

    query, key, value, cotangent, *gates = (torch.from_numpy(np.ascontiguousarray(np.swapaxes(x, 0, 1)))[None] for x in problem.first_heads(heads))
    log_forget, input_gate = gates or (torch.zeros(query.shape[:3]), torch.ones(query.shape[:3]))
    regulariser = torch.full((heads, problem.key_size), REGULARISER)
    inputs = [query, key, value, log_forget, input_gate]

    def forward() -> list[Any]:
        with torch.no_grad():
            return [function(query, key, value, log_forget, regulariser, input_gate)]

    def backward() -> list[Any]:
        leaves = [x.detach().requires_grad_() for x in (inputs if gates else inputs[:3])]
        q, k, v, forget, write = leaves if gates else [*leaves, log_forget, input_gate]
        loss = (function(q, k, v, forget, regulariser, write) * cotangent).sum()
        return list(torch.autograd.grad(loss, leaves))[:3]

    def answer(result: list[Any]) -> list[np.ndarray]:
        return [checked(np.swapaxes(x[0].numpy(), 0, 1)) for x in result]

    partly = "" if heads == BATCH * HEADS else f"{heads} of {BATCH * HEADS} heads, scaled"
    return Contender(name, backward if gradient else forward, answer, heads / (BATCH * HEADS), ". ".join(filter(None, (note, partly))))
