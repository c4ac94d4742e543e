"""Earlier addresses of modules, from before the packages had rooms: importing one gives the module at its present address."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_MOVED = {
    "analysis": {
        "in_context": "attention_products gated_structure polynomial_coefficients probes in_context_regression=regression",
        "spectra": "blas_threads factor_spectra low_rank_law nuclear_norm random_factors",
        "tabular": "dynamic_programming enumeration expected_contributions gradient_statistics layered_programming",
        "tangent": "infinite_width kernel_regression structured_derivatives variance_decomposition "
        "tangent_features=features tangent_kernel=kernel ntk_vector_products=vector_products",
        "..claims": "intervals replicates",
    },
    "nn": {
        "blocks": "projected residual",
        "constructions": "attention_as_rnn small_signal_limits",
        "mixers": "attention conjugate_gradient gated_linear_attention gated_mesa gated_mixers gated_sums mesa",
        "recurrences": "decays gated_linear_rnn gates hawk linear_recurrence lru lstm_gru",
    },
    "lab": {"store": "parameters", "run": "runner", "..claims": "judge"},
}


def addresses() -> dict[str, str]:
    """Earlier address -> present address."""
    found = {}
    for package, rooms in _MOVED.items():
        for room, modules in rooms.items():
            for module in modules.split():
                old, _, new = module.partition("=")
                home = f"mesocosm.{room.removeprefix('..')}" if room.startswith("..") else f"mesocosm.{package}.{room}"
                found[f"mesocosm.{package}.{old}"] = f"{home}.{new or old}"
    return found


class Finder(MetaPathFinder, Loader):
    """Finds modules under their earlier addresses; both addresses give the same module object."""

    def __init__(self) -> None:
        self.addresses = addresses()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a moved module."""
        return ModuleSpec(fullname, self) if fullname in self.addresses else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let the import system make a placeholder."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the moved module in place of the placeholder."""
        sys.modules[module.__name__] = importlib.import_module(self.addresses[module.__name__])


def install() -> None:
    """Add the finder behind all others."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
