"""Recurrences on the same sequences: ours, a loop in NumPy, PyTorch's LSTM and GRU; and float64 references."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.nn import GRU, LSTM, GatedLinearRNN, associative_recurrence, linear_recurrence
from peers.problem import NOT_INSTALLED, Unavailable
from stopwatch.timing import Contender

BATCH = 2
ORDERS = {"chosen": linear_recurrence, "associative": associative_recurrence}
CELLS = {"LSTM": LSTM, "GRU": GRU}


@dataclass(frozen=True, eq=False)
class Sequences:
    """Normal inputs and the loss gradient of the outputs, (batch, time, channels); decays from 0.9 to 0.999 over the channels."""

    inputs: np.ndarray
    cotangent: np.ndarray
    decay: np.ndarray

    @classmethod
    @cache
    def draw(cls, length: int, channels: int) -> Sequences:
        """The same at every call."""
        inputs, cotangent = np.random.default_rng(0).standard_normal((2, BATCH, length, channels)).astype(np.float32)
        return cls(inputs, cotangent, (1 - np.logspace(-1, -3, channels)).astype(np.float32))

    @property
    def size(self) -> str:
        """For the table."""
        return f"{self.inputs.shape[1]} tokens, {self.inputs.shape[2]} channels"


# --- the diagonal recurrence


def in_order(problem: Sequences, gradient: bool, order: str) -> Contender:
    """One order of work: the states, or the gradients of decay and inputs."""
    recurrence = ORDERS[order]

    def states(decay: Any, inputs: Any) -> Any:
        return jax.vmap(lambda g: recurrence(decay, g))(inputs)

    return _compiled("mesocosm" if order == "chosen" else f"{order} scan", states, problem, gradient, (problem.decay, problem.inputs), lambda given: given)


def numpy_loop(problem: Sequences, gradient: bool) -> Contender:
    """What one would write first; with the gradient, the reverse loop by hand."""
    return Contender("NumPy loop", lambda: _loop(problem.decay, problem.inputs, problem.cotangent, gradient), lambda result: result)


def loop_reference(problem: Sequences, gradient: bool, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same loop in float64."""
    return _wide_loop(problem, gradient)


@cache
def _wide_loop(problem: Sequences, gradient: bool) -> list[np.ndarray]:
    return _loop(*(part.astype(np.float64) for part in (problem.decay, problem.inputs, problem.cotangent)), gradient)


def _loop(decay: np.ndarray, inputs: np.ndarray, cotangent: np.ndarray, gradient: bool) -> list[np.ndarray]:
    states, state = np.empty_like(inputs), np.zeros_like(inputs[:, 0])
    for t in range(inputs.shape[1]):
        state = decay * state + inputs[:, t]
        states[:, t] = state
    if not gradient:
        return [states]
    adjoints, adjoint = np.empty_like(inputs), np.zeros_like(state)
    for t in reversed(range(inputs.shape[1])):
        adjoint = decay * adjoint + cotangent[:, t]
        adjoints[:, t] = adjoint
    return [np.einsum("btn,btn->n", adjoints[:, 1:], states[:, :-1]), adjoints]


# --- cells


@cache
def _layer(name: str, channels: int) -> Any:
    """As many cells as channels, and no readout: the states are the output."""
    return CELLS[name].create(channels, state_dim=channels, key=jax.random.key(0))


def _weights(layer: Any) -> dict[str, np.ndarray]:
    """Under PyTorch's names."""
    back = np.zeros(len(layer.bias), np.float32)
    if isinstance(layer, GRU):
        back[2 * len(layer.recurrent_bias) :] = layer.recurrent_bias
    return {"weight_ih_l0": layer.input_weight, "weight_hh_l0": layer.recurrent_weight, "bias_ih_l0": layer.bias, "bias_hh_l0": back}


def ours(problem: Sequences, gradient: bool, name: str) -> Contender:
    """The states, or the gradients of the inputs and of the recurrent weights."""
    layer = _layer(name, problem.inputs.shape[2])
    return _compiled("mesocosm", _states, problem, gradient, (layer, problem.inputs), _parts)


def _states(layer: Any, inputs: Any) -> Any:
    return jax.vmap(layer.states)(inputs)


def _parts(gradients: Any) -> tuple[Any, Any]:
    layer, inputs = gradients
    return layer.recurrent_weight, inputs


def wide_reference(problem: Sequences, gradient: bool, name: str, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Our cells in float64; the tests hold them to their equations."""
    return _wide_cells(problem, gradient, name)


@cache
def _wide_cells(problem: Sequences, gradient: bool, name: str) -> list[np.ndarray]:
    layer = _layer(name, problem.inputs.shape[2])
    with jax.enable_x64(True):
        wide = [jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), part) for part in (layer, problem.inputs, problem.cotangent)]
        program = _with_gradient(_states) if gradient else (lambda _, *given: _states(*given))
        found = jax.jit(program)(wide[2], *wide[:2])
        return [np.asarray(part) for part in (_parts(found) if gradient else (found,))]


def gated(problem: Sequences, gradient: bool) -> Contender:
    """As many neurons, and products at the output, as channels."""
    channels = problem.inputs.shape[2]
    layer = GatedLinearRNN.create(channels, state_dim=channels, gain=0.5, key=jax.random.key(0))
    return _compiled("mesocosm", lambda rnn, inputs: jax.vmap(rnn)(inputs), problem, gradient, (layer, problem.inputs), lambda _: ())


def in_torch(problem: Sequences, gradient: bool, name: str) -> Contender:
    """`torch.nn.LSTM` or `torch.nn.GRU` with the same weights.

    Raises:
        Unavailable: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise Unavailable(NOT_INSTALLED)
    import torch

    channels = problem.inputs.shape[2]
    cell = getattr(torch.nn, name)(channels, channels, batch_first=True)
    cell.load_state_dict({key: torch.tensor(np.array(value)) for key, value in _weights(_layer(name, channels)).items()})
    inputs, cotangent = torch.from_numpy(problem.inputs.copy()), torch.from_numpy(problem.cotangent)

    def forward() -> list[Any]:
        with torch.no_grad():
            return [cell(inputs)[0]]

    def backward() -> list[Any]:
        leaf = inputs.detach().requires_grad_()
        loss = (cell(leaf)[0] * cotangent).sum()
        found = torch.autograd.grad(loss, [cell.weight_hh_l0, leaf, cell.weight_ih_l0, cell.bias_ih_l0, cell.bias_hh_l0])
        return list(found[:2])

    return Contender(f"torch {name}", backward if gradient else forward, lambda result: [part.numpy() for part in result])


# --- compiled


def _with_gradient(program: Callable[..., Any]) -> Callable[..., Any]:
    return lambda cotangent, *arguments: jax.grad(lambda given: jnp.sum(program(*given) * cotangent))(arguments)


def _compiled(
    name: str, program: Callable[..., Any], problem: Sequences, gradient: bool, arguments: tuple[Any, ...], parts: Callable[[Any], Sequence[Any]]
) -> Contender:
    whole = _with_gradient(program) if gradient else (lambda _, *given: program(*given))
    given = jax.tree.map(jnp.asarray, (problem.cotangent, *arguments))
    compiled = jax.jit(whole).lower(*given).compile()

    def answer(result: Any) -> list[np.ndarray]:
        return [np.asarray(part) for part in (parts(result) if gradient else (result,))]

    return Contender(name, lambda: jax.block_until_ready(compiled(*given)), answer)
