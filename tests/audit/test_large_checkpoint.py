"""A checkpoint of 7 billion parameters' shape is audited in a small part of its size. Slow: minutes."""

import json
import subprocess
import sys

import numpy as np
import pytest

LAYERS, WIDTH, HEADS, SHARDS = 32, 4096, 32, 4
GIBIBYTE = 2**30

CODE = """
import os, resource, sys
from mesocosm.cli import main
code = main(["audit", sys.argv[1], "--top", "4", "--out", sys.argv[2]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def write_shard(path, layers):
    """Attention matrices of some layers in bfloat16, written one at a time; ones and the same random matrix in a new order, which is quick to make."""
    names = [f"model.layers.{layer}.self_attn.{role}_proj.weight" for layer in layers for role in "qkvo"]
    size = 2 * WIDTH * WIDTH
    header = {name: {"dtype": "BF16", "shape": [WIDTH, WIDTH], "data_offsets": [n * size, (n + 1) * size]} for n, name in enumerate(names)}
    text = json.dumps(header).encode()
    random = np.random.default_rng(layers[0])
    upper = (random.standard_normal((WIDTH, WIDTH), np.float32).view(np.uint32) >> 16).astype(np.uint16)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for n in range(len(names)):
            file.write(np.roll(upper, 131 * n, axis=n % 2).tobytes())
    return dict.fromkeys(names, path.name)


@pytest.mark.slow
def test_the_attention_of_seven_billion_parameters_fits_in_four_gibibytes(tmp_path):
    model, places = tmp_path / "model", {}
    model.mkdir()
    for shard in range(SHARDS):
        layers = range(shard * LAYERS // SHARDS, (shard + 1) * LAYERS // SHARDS)
        places |= write_shard(model / f"model-0000{shard + 1}-of-0000{SHARDS}.safetensors", layers)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    config = {"model_type": "llama", "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS}
    (model / "config.json").write_text(json.dumps(config))
    assert sum(file.stat().st_size for file in model.iterdir()) > 3.9 * GIBIBYTE
    done = subprocess.run([sys.executable, "-c", CODE, str(model), str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = 1024 * int(done.stdout.split()[-1])
    assert peak < 4 * GIBIBYTE, f"{peak / GIBIBYTE:.2f} GiB"
    rows = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert len(rows) == LAYERS * HEADS * 2
    ratios = np.array([row["ratio"] for row in rows])
    assert ratios.mean() == pytest.approx(1 - 128 / 4096 / 4, abs=0.002)  # Gaussian weights: the null itself
