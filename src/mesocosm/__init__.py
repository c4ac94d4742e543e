"""mesocosm: what emerges when networks learn, ten papers in one library.

`run` trains a study and judges its claims; `Run` reads a run directory. The reusable parts are in `nn`, `tasks`, `envs`, `learning`,
`analysis` and `audit`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesocosm import moved

if TYPE_CHECKING:
    from mesocosm.lab.store.run_directory import Run

__all__ = ["Run", "run"]

moved.install()


def run(
    study: str,
    preset: str = "quick",
    *,
    config: Any = None,
    seeds: int | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    again: bool = False,
) -> Run:
    """Run a study from Python, as `mesocosm run` does: `mesocosm.run("mesa").claims`.

    Args:
        study: name of the study, as shown by `mesocosm list`.
        preset: name of the preset, which sets the size.
        config: replaces the preset's config; has the same type.
        seeds: number of replicates; None for the preset's.
        out: the run directory; None for one under `runs/`.
        fresh: discard an earlier run in this directory.
        again: make a record even on seeds that an earlier record of the study has met.

    Raises:
        mesocosm.lab.errors.UserError: an unknown study or preset, or a directory that cannot be used.
    """
    from rich.console import Console

    from mesocosm.lab.catalogue import find
    from mesocosm.lab.events.progress import screen
    from mesocosm.lab.run.runner import execute

    replicates = None if seeds is None else tuple(range(seeds))
    with screen(Console(highlight=False)) as observer:
        path = None if out is None else Path(out)
        return execute(find(study), preset, config=config, seeds=replicates, out=path, fresh=fresh, again=again, observer=observer)


def __getattr__(name: str) -> Any:
    if name == "Run":
        from mesocosm.lab.store.run_directory import Run

        return Run
    if name == "__version__":
        from importlib.metadata import version

        return version("mesocosm")
    raise AttributeError(f"module 'mesocosm' has no attribute {name!r}")
