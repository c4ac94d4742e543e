"""Runs in Neural Tangents' own environment: loads a network and examples, picks the library's fastest method on a few of them, then computes the kernel at
every line read."""

import sys
import time
import types
from math import sqrt
from pathlib import Path

for name in ("tensorflow", "tf2jax"):  # named by its experimental part, not used here
    sys.modules[name] = types.ModuleType(name)
sys.modules["neural_tangents.experimental"] = types.ModuleType("experimental")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402


def mlp(params, x):
    x = x.reshape(len(x), -1)
    for number, weight in enumerate(params):
        x = (sqrt(2) if number else 1.0) / sqrt(weight.shape[1]) * x @ weight.T
        x = jax.nn.relu(x) if number < len(params) - 1 else x
    return x


def cnn(params, x):
    x = x[:, None]
    for number, weight in enumerate(params[:-1]):
        scale = (sqrt(2) if number else 1.0) / sqrt(weight[0].size)
        x = jax.nn.relu(scale * jax.lax.conv_general_dilated(x, weight, (2, 2), "SAME"))
    return sqrt(2 / params[-1].shape[1]) * x.mean((2, 3)) @ params[-1].T


def main():
    kind, folder = sys.argv[1], Path(sys.argv[2])
    most_bytes, longest, probed = float(sys.argv[3]) * 2**20, float(sys.argv[4]), int(sys.argv[5])
    held = np.load(folder / "problem.npz")
    params = [jnp.asarray(held[f"leaf{place}"]) for place in range(len(held.files) - 1)]
    x = jnp.asarray(held["x"])
    function = {"MLP": mlp, "CNN": cnn}[kind]
    probe = x[:probed]
    seconds, fitting = {}, {}
    for method in (nt.NtkImplementation.JACOBIAN_CONTRACTION, nt.NtkImplementation.NTK_VECTOR_PRODUCTS, nt.NtkImplementation.STRUCTURED_DERIVATIVES):
        kernel = jax.jit(nt.empirical_ntk_fn(function, trace_axes=(), vmap_axes=0, implementation=method))
        jax.block_until_ready(kernel(probe, None, params))
        began = time.perf_counter()
        jax.block_until_ready(kernel(probe, None, params))
        name, took = method.name.lower().replace("_", " "), time.perf_counter() - began
        rows = len(x)
        while rows > probed and took / len(probe) ** 2 * rows * len(x) > longest:
            rows //= 2
        arguments = x[:rows], None if rows == len(x) else x, params
        compiled = kernel.lower(*arguments).compile()
        sizes = compiled.memory_analysis()
        if sizes.temp_size_in_bytes + sizes.output_size_in_bytes <= most_bytes:
            seconds[name], fitting[name] = took, (rows, kernel, compiled, arguments)
    if not fitting:
        print("each of its methods would need more memory than the limit; it has no blocks of its own within a call", flush=True)
        return
    method = min(seconds, key=seconds.get)
    rows, kernel, compiled, arguments = fitting[method]
    print(f"ready {rows} {method}", flush=True)
    for line in sys.stdin:
        if line.startswith("corner"):
            number = int(line.split()[1])
            np.save(folder / "corner.npy", np.transpose(np.asarray(kernel(x[:number], None, params)), (0, 2, 1, 3)))
        else:
            jax.block_until_ready(compiled(*arguments))
        print("done", flush=True)


main()
