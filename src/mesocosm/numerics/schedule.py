"""How XLA is to schedule the library's programs on a CPU, as compiler options. Imports no JAX."""

from importlib.metadata import version

from packaging.version import Version


def memory_optimised() -> dict[str, str | bool]:
    """Operations share buffers, which puts them in a row. Newer versions of jaxlib accept the older name as an option of a compilation and ignore it."""
    if Version(version("jaxlib")) >= Version("0.9.1"):
        return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    return {"xla_cpu_enable_concurrency_optimized_scheduler": False}
