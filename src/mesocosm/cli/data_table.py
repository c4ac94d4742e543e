"""The table of `mesocosm data`: each data set, whether it is installed, and how to get it."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from mesocosm.tasks import data_sets


def data_table() -> Table:
    """One row per data set."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in ("data set", "content", "images", "licence", "location"):
        table.add_column(column, overflow="fold")
    for found in data_sets.DATA_SETS.values():
        files = found.files()
        here = Text(str(files[0].parent), style="green") if files else Text("missing", style="yellow")
        table.add_row(Text(found.name, style="bold"), found.title, f"{found.counts[0]} + {found.counts[1]}", found.licence, here)
    return table


def install_lines() -> list[str]:
    """Instructions for each missing set, and the folder for your own files."""
    lines = [f"{found.name}: {found.install}" for found in data_sets.DATA_SETS.values() if not found.files()]
    return [*lines, f"The folder for your own copies is {data_sets.data_folder()} (set the environment variable {data_sets.FOLDER_VARIABLE} to change it)."]
