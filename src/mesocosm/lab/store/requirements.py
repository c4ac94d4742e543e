"""What a trial needs on this machine beside mesocosm's dependencies: data sets and optional packages."""

from __future__ import annotations

from mesocosm.lab.store.provenance import installed_version
from mesocosm.studies.interface import Trial
from mesocosm.tasks import data_sets


def missing(trial: Trial) -> str | None:
    """One line with the first data set or package that is not installed and its install command, or None."""
    packages = (f"the package {name} is not installed; to get it: {install}" for name, install in trial.packages.items() if not installed_version(name))
    return data_sets.missing(trial.data) or next(packages, None)


def installed(trial: Trial) -> dict[str, dict[str, str]]:
    """The parts of the trial's identity: checksums of its data, versions of its packages (empty where they are missing)."""
    data = {name: data_sets.find(name).checksum for name in trial.data}
    packages = {package: installed_version(package) or "" for package in trial.packages}
    return {part: found for part, found in (("data", data), ("packages", packages)) if found}
