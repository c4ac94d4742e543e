"""The XLA schedule of the library's programs on a CPU, as compiler options. This module does not import JAX."""

from importlib.metadata import version

from packaging.version import Version


def memory_optimised() -> dict[str, str | bool]:
    """The schedule in which operations share buffers, which puts most of them in a row.

    Newer versions of jaxlib accept the older option name for a compilation but ignore it.
    """
    if Version(version("jaxlib")) >= Version("0.9.1"):
        return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    return {"xla_cpu_enable_concurrency_optimized_scheduler": False}
