"""The interface of a task, a PyTree of numbers that draws examples from keys, and the fingerprint of an evaluation set."""

import abc
import hashlib
from typing import Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray, PyTree, UInt32

Split = Literal["train", "iid", "ood"]
"""`train`: training examples; `iid`: new examples from the same distribution; `ood`: examples from another distribution."""

Example = TypeVar("Example", covariant=True)


class Task(eqx.Module, Generic[Example]):
    r"""A distribution over examples, $x \sim p_\theta$, whose numbers $\theta$ are leaves of a PyTree.

    Python floats and arrays are leaves, so that a new noise level or teacher does not recompile; integers and booleans,
    which decide shapes, are static fields. `sample` is pure and draws one example, a NamedTuple without a batch axis; see `batch`.
    """

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Example:
        """Draw one example of a split; raises a ValueError if the task has no such split."""


def reject_ood(task: Task, split: Split) -> None:
    """For tasks whose splits train and iid share one distribution and that have no others.

    Raises:
        ValueError: the split is ood.
    """
    if split == "ood":
        raise ValueError(f"{type(task).__name__} has the splits train and iid, which share one distribution, but no split ood")


def batch(task: Task[Example], key: Key[Array, ""] | UInt32[Array, "2"], size: int, split: Split = "train") -> Example:
    """Draw `size` independent examples; every array of the example gains a leading axis of that size."""
    return jax.vmap(lambda key: task.sample(key, split))(jax.random.split(key, size))


def digest(tree: PyTree) -> str:
    """Fingerprint an evaluation set: the first 16 hexadecimal digits of the SHA-256 of its leaves.

    The hash covers the dtype, shape and little-endian row-major bytes of each leaf, in the order of the PyTree. It does not depend on names of fields and
    containers, the device or the process: two sets have equal digests iff they hold the same numbers.
    """
    hashed = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        hashed.update(f"{array.dtype.str}{array.shape};".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()[:16]
