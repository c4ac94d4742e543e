"""The table of `mesocosm layers`, and the page of one layer: what it computes, its options and their defaults."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mesocosm.nn.layers import LAYERS
from mesocosm.studies.part_names import options_of, registered

NOTE = """An option without a value depends on the width of the tokens or is off; `mesocosm layers NAME` explains each.
Train one beside a study's own layers: mesocosm run gated-rnn --mixer mesa, or --mixer 'mesa(heads=2,key_dim=16)'."""


def layers_table() -> RenderableType:
    """One row per layer: its name, its options with their defaults, and what it is for."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column, share in (("layer", None), ("options", 1), ("what it is for", 1)):
        table.add_column(column, overflow="fold", ratio=share, no_wrap=share is None)
    for name, layer in LAYERS.items():
        options = ", ".join(option_text(option) for option in (options_of(layer.create) or {}).values())
        table.add_row(Text(name, style="bold"), Text(options), Text(layer.purpose))
    return Group(table, Text(NOTE, style="dim"))


def layer_page(name: str) -> RenderableType:
    """One layer in full: what it is for, its formula, and the arguments of its constructor.

    Raises:
        ValueError: there is no such layer.
    """
    layer = registered(name)
    owner = getattr(layer.create, "__self__", layer.create)
    sections: list[RenderableType] = [Text.assemble((name, "bold"), f"  {layer.purpose}"), Text(f"mesocosm.nn.{owner.__name__}", style="dim"), Text()]
    if owner is not layer.create:
        formula = re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.getdoc(owner) or "")  # the terminal wraps paragraphs
        sections += [Text(formula), Text()]
    signature = ", ".join(["dim", "*", *(f"{one.name}={value_text(one.default)}" for one in (options_of(layer.create) or {}).values()), "key"])
    sections += [Text(f"{layer.create.__qualname__}({signature})", style="cyan"), Padding(Text(inspect.getdoc(layer.create) or ""), (0, 0, 0, 4))]
    return Group(*sections)


def option_text(option: inspect.Parameter) -> str:
    """`name=default`, or only the name if the default is None."""
    return option.name if option.default is None else f"{option.name}={value_text(option.default)}"


def value_text(value: Any) -> str:
    """The repr of a default; for functions and classes, the name."""
    return value.__qualname__ if isinstance(value, type | Callable) else repr(value)
