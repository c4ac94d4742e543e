"""The tutorial notebooks: mkdocs shows each as a page, with the outputs that are saved in it; `python docs/notebooks.py` runs them all and saves new ones."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 300
"""The longest time for a cell."""
TOKEN = "notebook-output-{}-{}"
"""Stands for an output until Markdown has become HTML, which must not be changed further."""


# --- what mkdocs calls -----------------------------------------------------------------------------------------------


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add a page for each notebook."""
    from mkdocs.structure.files import File

    for path in NOTEBOOKS:
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks lead to their pages; in the repository, they lead to the files."""
    return re.sub(r"\]\(((?:\.\./)*notebooks/\w+)\.ipynb\)", r"](\1.md)", markdown)


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    """Fill in the outputs."""
    path = ROOT / "docs" / Path(page.file.src_uri).with_suffix(".ipynb")
    if path in NOTEBOOKS:
        for place, shown in outputs(read(path)):
            content = content.replace(f"<p>{TOKEN.format(*place)}</p>", f'<div class="notebook-output" style="overflow-x:auto">{shown}</div>')
    return content


def page(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and a token for each output."""
    notebook = read(path)
    places: dict[int, list[str]] = {}
    for (cell, number), _ in outputs(notebook):
        places.setdefault(cell, []).append(TOKEN.format(cell, number))
    parts = []
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        parts += [text] if cell["cell_type"] == "markdown" else [f"```python\n{text}\n```", *places.get(number, [])]
    parts.append(f"[Download this notebook]({path.name})")
    return "\n\n".join(parts) + "\n"


def outputs(notebook: Any) -> Iterator[tuple[tuple[int, int], str]]:
    """((cell, number), HTML) of each saved output.

    Raises:
        ValueError: an output is an error, or of a kind that a page cannot show.
    """
    for cell, content in enumerate(notebook["cells"]):
        for number, output in enumerate(content.get("outputs", [])):
            yield (cell, number), as_html(output)


def as_html(output: Any) -> str:
    """One output as HTML: the richest form that needs no script."""
    if output["output_type"] == "stream":
        return preformatted(output["text"])
    forms = output.get("data", {})
    if "text/html" in forms:
        return "".join(forms["text/html"])
    if "image/svg+xml" in forms:
        return "".join(forms["image/svg+xml"])
    if "image/png" in forms:
        return f'<img alt="" src="data:image/png;base64,{"".join(forms["image/png"]).strip()}">'
    if "text/plain" in forms:
        return preformatted(forms["text/plain"])
    raise ValueError(f"an output that a page cannot show: {output['output_type']} with {sorted(forms)}")


def preformatted(text: Any) -> str:
    """Text in a box."""
    import html

    return f"<pre><code>{html.escape(''.join(text))}</code></pre>"


# --- running them ----------------------------------------------------------------------------------------------------


def read(path: Path) -> Any:
    """A notebook's JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def executed(path: Path) -> Any:
    """The notebook with the outputs of a new run, in a copy of its folder, beside the records that it reads.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an error.
    """
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "docs" / "notebooks"
        folder.mkdir(parents=True)
        (Path(temporary) / "results").symlink_to(ROOT / "results")
        shutil.copy(path, folder)
        notebook = nbformat.read(folder / path.name, as_version=4)
        for cell in notebook.cells:
            cell.metadata = {}
        sockets = Config(KernelManager={"transport": "ipc"})  # files in the working directory: the kernel opens no port
        with contextlib.chdir(folder):
            NotebookClient(notebook, timeout=SECONDS, startup_timeout=SECONDS, kernel_name="python3", config=sockets).execute()
    for cell in notebook.cells:
        cell.metadata = {}  # the times of each cell
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    return notebook


if __name__ == "__main__":
    import nbformat

    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
        print(path.relative_to(ROOT))
