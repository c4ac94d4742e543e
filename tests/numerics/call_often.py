"""Run a study at its smallest size, keep every program that calls LAPACK twice or more, and call each of them many times.

A program of its own: XLA's pool has two threads (NPROC=2), no XLA_FLAGS, and a deadlock can be killed.
Usage: python call_often.py STUDY CALLS. The last line is JSON: the number of such programs, and the LAPACK calls that were given a batch.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

from mesocosm.lab.catalogue import find
from mesocosm.lab.run.runner import execute
from mesocosm.numerics import programs

CALL = re.compile(r"custom_call @(lapack_\w+)\(.*\((tensor<[^)]*)\) ->")


def batched(text: str) -> list[str]:
    """LAPACK calls for more than one matrix: their first operand is a matrix behind axes that are not all 1."""
    found = []
    for name, operands in CALL.findall(text):
        sizes = [int(size) for size in operands.split(">")[0].removeprefix("tensor<").split("x")[:-1]]
        if any(size > 1 for size in sizes[:-2]):
            found.append(f"{name} {operands}")
    return found


def main(study: str, calls: int) -> None:
    kept: dict[str, tuple[programs.Program, tuple, dict, bool]] = {}
    call = programs.Program.__call__

    def recorded(self, *args, **kwargs):
        if programs._outermost():
            text = self.lower(*args, **kwargs).as_text()
            if text.count("@lapack_") >= 2 and text not in kept:
                kept[text] = (self, jax.tree.map(lambda leaf: jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf, args), kwargs, jax.config.jax_enable_x64)
        return call(self, *args, **kwargs)

    programs.Program.__call__ = recorded
    with tempfile.TemporaryDirectory() as folder:
        execute(find(study), "smoke", out=Path(folder) / "run")
    programs.Program.__call__ = call
    for program, args, kwargs, x64 in kept.values():
        with jax.enable_x64(x64):
            for _ in range(calls):
                copies = jax.tree.map(lambda leaf: jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf, args)  # a program may take what it is given
                jax.block_until_ready(program(*copies, **kwargs))
    print(json.dumps({"programs": len(kept), "batched": sorted({line for text in kept for line in batched(text)})}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
