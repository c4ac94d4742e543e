"""Attention is found by name in any library's layout, as the factors that were packed; in torch by a hook on the optimiser."""

import importlib.util
from types import SimpleNamespace

import equinox as eqx
import jax
import numpy as np
import pytest

from mesocosm.audit.heads import Heads
from mesocosm.learning import BalanceMonitor, TorchBalance, attention_pairs, attention_products
from mesocosm.nn import language_model
from packed_models import columns, gpt2, linear, rows

HEADS, SIZE, WIDTH = 4, 3, 12


def drawn(keys=HEADS):
    random = np.random.default_rng(0)
    return Heads(*(random.standard_normal(shape) for shape in ((HEADS, SIZE, WIDTH), (keys, SIZE, WIDTH), (keys, SIZE, WIDTH), (HEADS, WIDTH, SIZE))))


def flax(prefix, heads):
    """Kernels of (inputs, heads, size), and (heads, size, outputs)."""
    into = {name: np.transpose(part, (2, 0, 1)) for name, part in (("query", heads.query), ("key", heads.key), ("value", heads.value))}
    return {f"{prefix}.{name}.kernel": kernel for name, kernel in (into | {"out": np.transpose(heads.output, (0, 2, 1))}).items()}


def haiku(prefix, heads):
    names = {"query": rows(heads.query), "key": rows(heads.key), "value": rows(heads.value), "linear": columns(heads.output)}
    return {f"{prefix}/{name}.w": matrix.T for name, matrix in names.items()}


def nano_gpt(prefix, heads):
    return {name: matrix.T for name, matrix in gpt2(prefix, heads).items()}


PACKS = {
    "BERT": linear("self.query self.key self.value output.dense"),
    "Llama": linear("q_proj k_proj v_proj o_proj"),
    "equinox": linear("query_proj key_proj value_proj output_proj"),
    "GPT-2": gpt2,
    "nanoGPT": nano_gpt,
    "flax": flax,
    "haiku": haiku,
}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_the_factors_are_those_of_the_packed_heads(pack):
    heads = drawn()
    found = attention_products(pack("layers.0.attention", heads) | {"mlp.weight": np.ones((3, 3))}, heads=HEADS)
    assert len(found) == 2
    for name, pair in found.items():
        a, b = pair
        told = heads.key.swapaxes(1, 2) @ heads.query if name.endswith("QK") else heads.output @ heads.value
        np.testing.assert_allclose(a @ b.swapaxes(1, 2), told, rtol=1e-12)
        assert name.startswith("layers.0.att")


def test_queries_that_share_a_key_are_stacked():
    heads = drawn(keys=2)
    (a, b), (p, v) = attention_products(PACKS["Llama"]("attn", heads), heads=HEADS, key_heads=2).values()
    for key in range(2):
        mine = slice(2 * key, 2 * key + 2)
        np.testing.assert_allclose(a[key] @ b[key].T, np.concatenate([heads.key[key].T @ query for query in heads.query[mine]], axis=1), rtol=1e-12)
        np.testing.assert_allclose(p[key] @ v[key].T, np.concatenate([output @ heads.value[key] for output in heads.output[mine]]), rtol=1e-12)


@pytest.mark.whole
def test_our_models_need_no_number_of_heads_and_may_have_an_axis_of_seeds():
    models = eqx.filter_vmap(lambda key: language_model(5, 8, layers=2, key=key))(jax.random.split(jax.random.key(0), 3))
    found = attention_products(eqx.filter(models, eqx.is_inexact_array))
    assert list(found) == [f"blocks.{layer}.mixer {product}" for layer in range(2) for product in ("QK", "VO")]
    mixer = models.blocks[1].mixer
    for product, pair in attention_pairs(mixer.query, mixer.key, mixer.value, mixer.output).items():
        for ours, told in zip(found[f"blocks.1.mixer {product}"], pair, strict=True):
            np.testing.assert_array_equal(ours, told)
    monitor = BalanceMonitor(attention_products, every=1)
    monitor(0, eqx.filter(models, eqx.is_inexact_array))
    assert monitor.table().height == 4 * 3 * 4


def test_what_cannot_be_read_is_told():
    packed = PACKS["Llama"]("layers.0.attn", drawn())
    with pytest.raises(ValueError, match=r"no attention layer was found; the names are mlp\.weight"):
        attention_products({"mlp.weight": np.ones((2, 2))})
    with pytest.raises(ValueError, match=r"layers\.0\.attn: its matrices have no axis of heads; give the number of heads"):
        attention_products(packed)
    with pytest.raises(ValueError, match=r"layers\.0\.attn: .*5"):
        attention_products(packed, heads=5)
    del packed["layers.0.attn.o_proj.weight"]
    with pytest.raises(ValueError, match=r"layers\.0\.attn: missing: output"):
        attention_products(packed, heads=HEADS)


class Optimizer:
    """What is asked of a torch optimiser: hooks after a step, and groups with their learning rates."""

    def __init__(self, model, learning_rates):
        self.param_groups = [{"params": [parameter], "lr": lr} for (_, parameter), lr in zip(model.named_parameters(), learning_rates, strict=True)]
        self.hooks = []

    def register_step_post_hook(self, hook):
        self.hooks.append(hook)
        return SimpleNamespace(remove=lambda: self.hooks.remove(hook))

    def step(self):
        for group in self.param_groups:
            group["params"][0] *= 1 - 0.1 * group["lr"]
        for hook in self.hooks:
            hook(self, (), {})


def test_the_hook_counts_steps_and_adds_up_the_learning_rate_of_attention():
    packed = {"embed.weight": np.ones((3, WIDTH)), **PACKS["Llama"]("attn", drawn())}
    model = SimpleNamespace(named_parameters=lambda: iter(packed.items()))
    optimizer = Optimizer(model, [7.0, *[0.5] * 4])
    watch = TorchBalance(model, optimizer, heads=HEADS, every=3)
    for _ in range(6):
        optimizer.step()
    table = watch.table()
    assert table["step"].unique().sort().to_list() == [0, 3, 6]
    assert table["clock"].unique().sort().to_list() == [0.0, 1.5, 3.0]
    np.testing.assert_allclose(watch.decay_rates()["rate"], -2 * np.log(1 - 0.05) / 0.5, rtol=1e-9)
    watch.remove()
    assert not optimizer.hooks


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torchs_own_optimiser_calls_it():
    import torch

    model = torch.nn.TransformerEncoderLayer(8, 2, 16).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25, weight_decay=0.1)
    watch = TorchBalance(model, optimizer, heads=2, every=2)
    for _ in range(4):
        model(torch.ones(3, 1, 8, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
    assert watch.table().height == 3 * 2 * 2
    assert watch.table()["clock"].max() == 1.0
