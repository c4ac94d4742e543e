"""What `mesocosm data` shows: each data set, whether it is here, and the line that gets it."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from mesocosm.tasks import data_sets


def data_table() -> Table:
    """A row a data set."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in ("data set", "what", "pictures", "licence", "here"):
        table.add_column(column, overflow="fold")
    for found in data_sets.DATA_SETS.values():
        files = found.files()
        here = Text(str(files[0].parent), style="green") if files else Text("no", style="yellow")
        table.add_row(Text(found.name, style="bold"), found.title, f"{found.counts[0]} + {found.counts[1]}", found.licence, here)
    return table


def install_lines() -> list[str]:
    """A line for each set that is missing, and where files are looked for."""
    lines = [f"{found.name}: {found.install}" for found in data_sets.DATA_SETS.values() if not found.files()]
    return [*lines, f"Your own copies are looked for in {data_sets.data_folder()} (the environment variable {data_sets.FOLDER_VARIABLE} names another folder)."]
