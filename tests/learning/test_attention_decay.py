"""Attention decays at its own rate in one line, the list says what decays how, and torch gets the same groups."""

import importlib.util

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.learning import ATTENTION, OTHERS, attention_decay, decay_rates, list_decay, torch_groups
from mesocosm.nn import language_model, vision_transformer

ATTENTION_PARTS = ("query", "key", "value", "output")


def shapes(build):
    return eqx.filter(eqx.filter_eval_shape(build, jax.random.key(0)), lambda leaf: hasattr(leaf, "shape"))


def test_one_line_decays_attention_and_the_rest_and_leaves_biases_and_norms():
    model = {"attn": {f"{name}_proj": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)} for name in "qkvo"}}
    model |= {"mlp": {"fc": jnp.ones((4, 8))}, "layer_norm_1": {"scale": jnp.ones(4)}, "embed": jnp.ones((5, 4))}
    optimizer = optax.chain(attention_decay(0.1, others=0.3), optax.scale_by_learning_rate(0.5))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, model), optimizer.init(model), model)
    found = jax.tree.map(lambda leaf: float(leaf.ravel()[0]), updates)
    assert found["attn"] == {f"{name}_proj": {"kernel": pytest.approx(-0.05), "bias": 0.0} for name in "qkvo"}
    assert [found[name] for name in ("mlp", "layer_norm_1", "embed")] == [{"fc": pytest.approx(-0.15)}, {"scale": 0.0}, pytest.approx(-0.15)]
    alone = attention_decay(0.1)
    updates, _ = alone.update(jax.tree.map(jnp.zeros_like, model), alone.init(model), model)
    assert float(updates["embed"].sum()) == 0
    with pytest.raises(ValueError, match="matches ATTENTION"):
        attention_decay(0.1).init({"mlp": jnp.ones(2)})


def test_the_groups_of_our_models_cover_every_weight_once():
    """Embeddings, positions, MLPs and readouts on one side, the four matrices on the other, biases and norms on none."""
    for build in (
        lambda key: language_model(5, 8, layers=2, key=key),
        lambda key: vision_transformer((1, 8, 8), 8, classes=3, patch=4, key=key),
    ):
        model = shapes(build)
        rates = decay_rates({ATTENTION: 0.1, OTHERS: 0.3}, model)
        leaves = dict(zip(rates, jax.tree.leaves(model), strict=True))
        assert {name for name, rate in rates.items() if rate == 0.1} == {f"blocks.{i}.mixer.{part}" for i in range(2) for part in ATTENTION_PARTS}
        free = {name for name, rate in rates.items() if rate == 0}
        assert all("bias" in name or "norm" in name for name in free)
        assert not any("bias" in name or "norm" in name for name in set(rates) - free)
        assert all(leaves[name].ndim > 1 for name in set(rates) - free - {"embed.class_token"})


def test_names_of_other_libraries():
    weights = ["wte.weight", "h.0.attn.c_attn.weight", "h.0.attn.c_proj.weight", "h.0.mlp.c_fc.weight", "params/Dense_0/kernel", "block/~/linear.w"]
    free = ["h.0.ln_1.weight", "ln_f.weight", "h.0.attn.c_attn.bias", "params/LayerNorm_0/scale", "block/~/linear.b", "model.norm.weight"]
    free += ["input_layernorm.weight", "blocks.0.norm1.weight", "self_attn.in_proj_bias", "bn.bias", "q_norm.weight", "final_layer_norm.weight"]
    rates = decay_rates({ATTENTION: 0.1, OTHERS: 0.3}, dict.fromkeys(weights + free, 0.0))
    assert [rates[name] for name in weights] == [0.3, 0.1, 0.1, 0.3, 0.3, 0.3]
    assert [rates[name] for name in free] == [0.0] * len(free)


def test_the_list_tells_rate_shape_and_name_of_every_parameter():
    model = shapes(lambda key: language_model(5, 8, layers=1, key=key))
    told = list_decay({ATTENTION: 0.1, OTHERS: 0.3}, model).splitlines()
    sizes = dict.fromkeys(("0", "0.1", "0.3"), 0)
    for line in told[3:]:
        rate, shape, name = line.split()
        assert rate == {"mixer": "0.1"}.get(name.split(".")[2] if name.startswith("blocks") else "", rate)
        sizes[rate] += int(np.prod([int(size) for size in shape.split("×")]))
    assert [int(line.split()[-2]) for line in told[:3]] == list(sizes.values())
    assert told[1].startswith("decay 0.1: 4 parameters with ")
    assert sum(sizes.values()) == sum(leaf.size for leaf in jax.tree.leaves(model))
    assert "scalar" in list_decay({ATTENTION: 0.1}, dict.fromkeys(["query", "key", "value", "output"], 0.0))


class Module:
    """What is asked of a torch module."""

    def __init__(self, **parameters):
        self.parameters_by_name = parameters

    def named_parameters(self):
        return iter(self.parameters_by_name.items())


def test_torch_groups_hold_every_parameter_once_with_its_rate():
    names = [f"layers.0.self_attn.{name}_proj.{kind}" for name in ("q", "k", "v", "out") for kind in ("weight", "bias")] + ["embed.weight", "norm.weight"]
    model = Module(**{name: object() for name in names})
    groups = torch_groups(model, {ATTENTION: 0.1, OTHERS: 0.3})
    rates = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert rates == {name: 0.1 if "proj.weight" in name else 0.3 if name == "embed.weight" else 0.0 for name in names}
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == len(names)
    assert {id(parameter) for parameter in held} == {id(parameter) for _, parameter in model.named_parameters()}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torchs_adamw_decays_the_groups_as_optax_does():
    import torch

    layer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    optimizer = torch.optim.AdamW(torch_groups(layer, {ATTENTION: 0.5, OTHERS: 0.2}), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    wanted = {name: 1 - 0.1 * rate for name, rate in decay_rates({ATTENTION: 0.5, OTHERS: 0.2}, dict.fromkeys(before, 0.0)).items()}
    assert wanted["self_attn.in_proj_weight"] == 0.95
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), wanted[name] * before[name].numpy(), rtol=1e-5, atol=1e-7)
