"""Checks the installation and the machine, as one block of text to paste into an issue.

Devices are tested in a separate process with a time limit, so that the rest is reported even if JAX is broken or missing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import mesocosm
from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.errors import UserError, error_line
from mesocosm.lab.store.provenance import git_revision, installed_version, processor, schedule, thread_count

PROBE = """
import json
import jax, numpy
square = jax.jit(lambda x: (x * x).sum())
found = []
for device in jax.devices():
    value = float(square(jax.device_put(numpy.arange(4, dtype=numpy.float32), device)))
    found.append([str(device), device.device_kind, value])
print(json.dumps(found))
"""
PROBE_SECONDS = 120
LITTLE_DISK = 200 * 2**20  # mesocosm's own studies write less
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NPROC", "TF_CPP_MIN_LOG_LEVEL")


@dataclass(frozen=True)
class Finding:
    """One line of the block.

    Attributes:
        topic: what was checked.
        text: what was found.
        remedy: the fix, if something required is broken; else None.
    """

    topic: str
    text: str
    remedy: str | None = None


def examine(out: Path) -> list[Finding]:
    """Run all checks; `out` is the directory for runs."""
    device = devices()
    return [
        installation(),
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        *dependencies(),
        Finding("platform", platform.platform()),
        Finding("processor", f"{processor()}; {os.cpu_count()} cores, {thread_count()} available"),
        Finding("memory", memory()),
        device,
        *compiler(),
        *by_device(works=device.remedy is None),
        Finding("environment", environment(os.environ)),
        *extras(),
        folder(out),
        *studies(deeply=device.remedy is None),
    ]


def block(findings: Iterable[Finding]) -> str:
    """Format all findings, then the fixes for what is broken."""
    findings = list(findings)
    lines = [f"{finding.topic:<13} {'BROKEN: ' if finding.remedy else ''}{finding.text}" for finding in findings]
    broken = [f"- {finding.topic}: {finding.remedy}" for finding in findings if finding.remedy]
    return "\n".join([*lines, "", *(["To fix:", *broken] if broken else ["Everything required is installed and works."])])


# --- the software ---------------------------------------------------------------------------------------------------


def installation() -> Finding:
    """mesocosm's version, commit and location."""
    version, commit, place = installed_version("mesocosm"), git_revision(), Path(mesocosm.__file__).parent
    text = f"{version or 'not installed'}{f', commit {commit}' if commit else ''} ({place})"
    return Finding("mesocosm", text, None if version else f"install it from its checkout: pip install -e {place.parents[1]}")


def dependencies() -> list[Finding]:
    """The required packages, and jaxlib."""
    wanted = [*(requirement for requirement, extra in requirements() if extra is None), Requirement("jaxlib")]
    lacking = [requirement for requirement in wanted if not satisfied(requirement)]
    text = ", ".join(f"{requirement.name} {installed_version(requirement.name) or 'MISSING'}" for requirement in wanted)
    return [Finding("packages", text, install_line(lacking) if lacking else None)]


def extras() -> list[Finding]:
    """The optional extras; a missing one is not an error."""
    by_extra: dict[str, list[Requirement]] = {}
    for requirement, extra in requirements():
        if extra is not None and requirement.name != "mesocosm":
            by_extra.setdefault(extra, []).append(requirement)
    found = []
    for extra, wanted in sorted(by_extra.items()):
        lacking = [requirement for requirement in wanted if not satisfied(requirement)]
        found.append(Finding("extra", f"{extra}: {f'not installed; {install_line(lacking)}' if lacking else 'installed'}"))
    return found


def requirements() -> list[tuple[Requirement, str | None]]:
    """mesocosm's declared requirements, each with its extra or None."""
    try:
        distribution = metadata.distribution("mesocosm")
    except metadata.PackageNotFoundError:
        return []
    extras = distribution.metadata.get_all("Provides-Extra") or []
    declared = [Requirement(line) for line in distribution.requires or []]
    return [(requirement, _extra(requirement, extras)) for requirement in declared]


def _extra(requirement: Requirement, extras: Iterable[str]) -> str | None:
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return None
    return next((extra for extra in extras if requirement.marker.evaluate({"extra": extra})), None)


def satisfied(requirement: Requirement) -> bool:
    """Whether an allowed version is installed."""
    version = installed_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def install_line(lacking: Iterable[Requirement]) -> str:
    """The command that installs the missing packages."""
    return "pip install " + " ".join(f'"{requirement.name}{requirement.specifier}"' for requirement in lacking)


def studies(*, deeply: bool) -> list[Finding]:
    """Each study, with the reason if it cannot be used; `deeply` also imports its modules, which need JAX."""
    found = []
    for name, package in packages().items():
        reason = _reason(lambda name=name: _open(name, deeply=deeply))
        owner = package.partition(".")[0]
        mend = (f"fix or uninstall the package {owner}" if owner != "mesocosm" else "reinstall mesocosm") if reason else None
        found.append(Finding("study", f"{name} ({package}){f': {reason}' if reason else ''}", mend))
    return found or [Finding("study", "none is installed")]


def _open(name: str, *, deeply: bool) -> None:
    study = find(name)
    if deeply:
        for preset in study.presets.values():
            study.trials(preset.config)
        for part in ("claims", "figures"):
            getattr(study, part)


def _reason(look: Callable[[], None]) -> str | None:
    """The first line of the exception that `look` raises, or None; a third-party package may raise anything."""
    try:
        look()
    except UserError as error:
        return str(error)
    except Exception as error:
        return error_line(error)
    return None


# --- the machine ----------------------------------------------------------------------------------------------------


def memory() -> str:
    """Total and free memory, if the system reports them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return f"{_gib(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} total" if hasattr(os, "sysconf") else "unknown"
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    return f"{_gib(1024 * kib['MemTotal'])} total, {_gib(1024 * kib['MemAvailable'])} free"


def devices() -> Finding:
    """The devices that JAX finds, and whether a compiled program runs on each."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding("devices", f"JAX did not respond within {PROBE_SECONDS} s", "set JAX_PLATFORMS=cpu to avoid the accelerator")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        platforms = os.environ.get("JAX_PLATFORMS")
        mend = f"unset JAX_PLATFORMS (it is {platforms!r}), or install JAX for it" if platforms else "reinstall: pip install --force-reinstall jax jaxlib"
        return Finding("devices", f"JAX does not run: {last}", mend)
    found = json.loads(done.stdout.splitlines()[-1])
    wrong = [name for name, _, value in found if value != 14]
    text = ", ".join(f"{name} ({kind}) {'computes WRONGLY' if name in wrong else 'runs a compiled program'}" for name, kind, _ in found)
    return Finding("devices", text, "set JAX_PLATFORMS=cpu to avoid the accelerator" if wrong else None)


def compiler() -> list[Finding]:
    """The settings that decide whether XLA's threads can deadlock; empty without jaxlib."""
    if installed_version("jaxlib") is None:
        return []
    return [Finding("compiler", f"XLA's pool has {thread_count()} threads; programs are compiled with {schedule()}")]


def by_device(*, works: bool) -> list[Finding]:
    """What the library decides by device, and what each decision is here; empty if JAX does not run."""
    if not works:
        return []
    from mesocosm.lab.run.devices import decisions

    return [Finding("by device", f"{decision.what}: {decision.here} ({decision.module})") for decision in decisions()]


def environment(variables: Iterable[str]) -> str:
    """The environment variables that affect JAX or threads."""
    names = sorted(name for name in variables if name.startswith(("JAX_", "XLA_")) or name in VARIABLES)
    return ", ".join(f"{name}={os.environ[name]}" for name in names) or "no variables that affect JAX or threads"


def folder(out: Path) -> Finding:
    """Whether runs can be written, and the free disk space."""
    place = out.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("output", f"{out} cannot be written: {error.strerror}", "choose another directory with --out")
    mend = "free some space, or choose another directory with --out" if free < LITTLE_DISK else None
    return Finding("output", f"{out.resolve()} can be written, {_gib(free)} free", mend)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
