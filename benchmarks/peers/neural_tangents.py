"""Neural Tangents in an environment of its own, since it cannot be imported beside a current JAX: a process that computes kernels when it is told to.

Its interpreter is named by the environment variable NEURAL_TANGENTS_PYTHON; how to make one is said in benchmarks/requirements-neural-tangents.txt. It is
started isolated (-I): in this folder the library's name is that of this file.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from peers.problem import Unavailable

VARIABLE = "NEURAL_TANGENTS_PYTHON"
SERVER = Path(__file__).with_name("neural_tangents_server.py")


class Limits(NamedTuple):
    """What a peer may take.

    Attributes:
        mebibytes: of its program; a method that needs more is left out.
        seconds: a call; where it would take longer, it computes some of the rows.
        probed: examples on which its methods are timed.
    """

    mebibytes: float
    seconds: float
    probed: int


class NeuralTangents:
    """A running peer with a network and examples loaded and its fastest method chosen and compiled; use as a context.

    Attributes:
        method: the one that was chosen.
        share: of the kernel's rows that `run` computes: all but where that would take long.

    Raises:
        Unavailable: there is no such environment, or the kernel does not fit the memory limit.
    """

    NAME = "neural-tangents 0.6.5"

    def __init__(self, kind: str, leaves: list[np.ndarray], x: np.ndarray, limits: Limits):
        python = os.environ.get(VARIABLE)
        if not python:
            raise Unavailable(f"its environment is not there: {VARIABLE} names the interpreter (how to make it: benchmarks/requirements-neural-tangents.txt)")
        self.folder = tempfile.TemporaryDirectory()
        held: dict[str, Any] = {"x": x, **{f"leaf{place}": leaf for place, leaf in enumerate(leaves)}}
        np.savez(Path(self.folder.name, "problem.npz"), **held)
        words = [python, "-I", str(SERVER), kind, self.folder.name, *map(str, limits)]
        theirs = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # an older XLA ends at a flag that it does not know
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=theirs)
        answer = self._read()
        if not answer.startswith("ready "):
            self.__exit__()
            raise Unavailable(answer or "its process ended")
        _, rows, self.method = answer.split(" ", 2)
        self.share = int(rows) / len(x)

    def run(self) -> None:
        """Compute the kernel, or its first rows."""
        self._ask("run")

    def corner(self, number: int) -> np.ndarray:
        """The kernel of the first examples, (n, c, m, d)."""
        self._ask(f"corner {number}")
        return np.load(Path(self.folder.name, "corner.npy"))

    def _ask(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        if (answer := self._read()) != "done":
            raise RuntimeError(f"the peer answered {answer!r}")

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> NeuralTangents:
        return self

    def __exit__(self, *_: Any) -> None:
        with self.process:  # closes the pipes and waits
            self.process.terminate()
        self.folder.cleanup()
